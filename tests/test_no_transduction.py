"""Every setup on images can be tested without transduction: no query's answer depends on the others beside it."""

import pytest
import torch

from maml_bench import registry
from maml_bench.contracts.problem import in_type
from maml_bench.core.evaluate import evaluate, population
from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import MODES
from maml_bench.harness.seeding import generator, stream_key
from maml_bench.types import Batch, Episode

from .test_contracts import recipe_for


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
@pytest.mark.parametrize("name", [name for name in registry.setup_names() if registry.offers("omniglot", name)])
def test_a_query_is_answered_alike_beside_any_others(name: str) -> None:
    recipe = recipe_for("omniglot", name)
    setup, tasks = registry.build_setup(recipe.setup, "test"), registry.build_tasks(recipe.tasks, "test")
    start, test = generator("init", 0), recipe.test[0]
    learner = Learner(
        tasks.model(recipe.train.shape, start).double(),
        tasks.loss,
        lambda predict, batch: predict(batch.x)[0].nan_to_num(neginf=-1e3).sum(),
        recipe.inner,
        recipe.train.way,
    ).with_way(test.way)
    meta = {name: p.double() for name, p in setup.init(learner, start).items()}
    many = in_type(tasks.sample("test", 0, 1, key=stream_key("test", 0), shape=test.shape))
    one = Episode(many.support, Batch(*(part[:, :1] for part in many.query)))
    steps = test.inner_steps[:2]
    moments = [population(setup, learner, meta, many.support, steps)]
    for mode in MODES[1:]:
        given = {"mode": mode, "moments": moments if mode == "running" else ()}
        beside, alone = (evaluate(setup, learner, meta, episodes, steps, **given) for episodes in (many, one))
        torch.testing.assert_close(beside, alone, rtol=1e-8, atol=1e-10, msg=f"{name} under {mode}")
