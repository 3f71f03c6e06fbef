"""What a recording depends on besides the values that it is given."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_bench.core.outer import meta_gradient
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.scoring import Scorer
from maml_bench.setups.maml import MAML
from tests.core.test_gradients import relative_error
from tests.engine.test_meta_step import NETWORKS, problem


class Doubles(nn.Module):
    """A layer that asks whether it is in training."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


class InALayer(nn.Module):
    def __init__(self, way: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(81, 6), nn.Sequential(Doubles()), nn.Tanh())
        self.out = nn.Linear(6, way)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))


class BesideKernels(nn.Module):
    """The network itself asks, beside a convolution block that runs in a kernel."""

    def __init__(self, way: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16, track_running_stats=False)
        self.out = nn.Linear(16, way)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.conv(x))).mean((-2, -1))
        return self.out(F.dropout(maps, 1.0, training=self.training))


NETWORKS |= {"in a layer": (InALayer, 9), "beside kernels": (BesideKernels, 9)}


def to_evaluation(model: nn.Module) -> None:
    model.eval()


def one_module_to_evaluation(model: nn.Module) -> None:
    next((module for module in model.modules() if isinstance(module, Doubles)), model).training = False


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
@pytest.mark.parametrize("change", [to_evaluation, one_module_to_evaluation])
@pytest.mark.parametrize("network", ["in a layer", "beside kernels"])
def test_training_or_evaluation_of_each_module_is_that_of_the_call(
    network: str, change: Callable[[nn.Module], None], schedule: str
) -> None:
    learner, episodes = problem(network, dtype=torch.float64)
    meta, model = learner.initial(), learner.model
    learner.score = learner.loss
    step = MetaStep(MAML(), learner, schedule=schedule)
    scorer = Scorer(MAML(), step.execution)
    plain, found, scores = [], [], []
    for put in (nn.Module.train, change, nn.Module.train):
        put(model)
        plain.append(meta_gradient(MAML(), learner, meta, episodes, schedule_name="loop")[0])
        found.append(step.gradient(meta, episodes)[0])
        scores.append(scorer.scores(meta, episodes, (0,)))
        assert relative_error(found[-1], plain[-1]) < 1e-10
    assert relative_error(plain[1], plain[0]) > 1e-3
    assert not torch.allclose(scores[1], scores[0])
    assert all(torch.equal(found[0][name], found[2][name]) for name in meta)
