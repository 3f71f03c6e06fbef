"""Setups that compare or read the support: on networks with kernels, and tested with fewer classes than trained."""

from pathlib import Path

import pytest
import torch

from maml_bench import registry
from maml_bench.core.setup import Capability, Setup
from maml_bench.engine.execution import Execution
from maml_bench.engine.scoring import Scorer
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.models import Conv4
from maml_bench.setups.matching import MatchingNet
from maml_bench.setups.protonet import ProtoNet
from maml_bench.setups.r2d2 import R2D2
from maml_bench.setups.relation import RelationNet
from tests.conftest import of_blocks
from tests.engine.test_meta_step import gradients_agree
from tests.harness.conftest import surroundings  # noqa: F401  (for every test here)
from tests.setups.checks import EXACT, learner_of, tasks_of

SETUPS = {
    "protonet": ProtoNet(scale=0.1),
    "matching": MatchingNet(),
    "full context": MatchingNet(full_context=True),
    "relation": RelationNet(filters=16),
    "r2d2": R2D2(),
}


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_kernels_have_the_gradient_and_the_scores_of_the_loop(setup: Setup) -> None:
    """Two blocks in kernels, three classes in training and two at test."""
    conv = of_blocks(16, 16, downsample="pool", average=False, affine=True, eps=1e-5)
    make = torch.Generator().manual_seed(0)
    learner = learner_of(lambda: Conv4(1, 16, 3, conv, normalise="batch", generator=make), 3)
    gradients_agree(setup, learner, tasks_of(3, 2, 2, 16), "traced", 1e-10)
    meta = setup.init(learner, torch.Generator().manual_seed(1))
    fewer = tasks_of(2, 1, 3, 16)
    found, expected = (
        Scorer(setup, Execution(learner, schedule)).scores(meta, fewer, (0,), 2) for schedule in ("traced", "loop")
    )
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.real_data
def test_a_run_that_trains_with_more_classes_than_it_is_tested_with(omniglot: object, tmp_path: Path) -> None:
    recipe = resolve("omniglot-5w1s", preset="smoke", setup="protonet", settings=["outer.steps=2"])
    assert (recipe.train.way, recipe.validation.way, recipe.test[0].way) == (8, 5, 5)
    record = run(recipe, 0, Options(tmp_path / "runs", threads=1, schedule="vmap")).record
    assert record is not None
    assert record.status == "ok", record.reason
    assert (record.evaluations[0].way, record.evaluations[0].points[0].mean) == (5, pytest.approx(0.6, abs=0.4))


@pytest.mark.parametrize(
    "setup",
    [name for name in registry.setup_names() if Capability.CLASSIFIES in registry.setup_class(name).capabilities],
)
def test_tasks_without_classes_are_refused(setup: str) -> None:
    with pytest.raises(MamlBenchError, match="the setup tells classes apart, and sinusoid has no classes"):
        resolve("sinusoid-k10", preset="smoke", setup=setup)
