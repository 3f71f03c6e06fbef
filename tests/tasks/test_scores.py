"""The score of a predictor whose outputs are not numbers is no number either, in every family."""

import pytest
import torch

from maml_bench import registry
from maml_bench.record import Point
from maml_bench.rl.protocol import acts
from maml_bench.types import Batch

LABELLED = [name for name in registry.task_names() if not acts(registry.task_class(name))]
WAY, EXAMPLES = 5, 10


def batch_of(tasks) -> tuple[Batch, torch.Tensor]:
    """A batch of one task, and finite outputs for it."""
    labels = torch.arange(EXAMPLES) % WAY
    if tasks.metric.name == "accuracy":
        return Batch(torch.zeros(EXAMPLES, 1), labels), torch.nn.functional.one_hot(labels, WAY).float()
    if registry.scored_by_density(tasks):
        return Batch(torch.ones(EXAMPLES, 1, 28, 28), torch.ones(EXAMPLES)), torch.zeros(EXAMPLES)
    return Batch(torch.zeros(EXAMPLES, 1), torch.zeros(EXAMPLES, 1)), torch.zeros(EXAMPLES, 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", LABELLED)
def test_an_output_that_is_no_number_gives_no_score(name, value):
    tasks = registry.task_class(name)()
    batch, outputs = batch_of(tasks)
    assert torch.isfinite(tasks.score(lambda x: outputs, batch))
    for place in ((3,), (slice(None),)):
        broken = outputs.clone()
        broken[place] = value
        score = float(tasks.score(lambda x, broken=broken: broken, batch))
        assert Point.of(0, [score, 0.5], tasks.metric).diverged_episodes == 1


@pytest.mark.parametrize("name", [n for n in LABELLED if registry.task_class(n).metric.name == "accuracy"])
def test_a_class_may_have_no_probability_at_all(name):
    tasks = registry.task_class(name)()
    batch, outputs = batch_of(tasks)
    assert float(tasks.score(lambda x: outputs.log(), batch)) == 1.0
