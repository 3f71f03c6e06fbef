"""What a user has done to a network holds in both loops, and the network is the same afterwards."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_bench.core.learner import Inner, Learner
from maml_bench.core.setup import Setup
from maml_bench.engine.meta_step import OPTIMISERS, MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.setups.maml import MAML
from maml_bench.types import Batch, Episode
from tests.core.conftest import built, fill
from tests.core.test_gradients import relative_error
from tests.engine.test_meta_step import EAGER, SETUPS

SIZE = 3


class TwoNames(nn.Module):
    """A module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(SIZE, SIZE)
        self.again, self.out = self.first, nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.again(torch.tanh(self.first(x)))))


class Tied(nn.Module):
    """Two modules with one weight and one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.out = (nn.Linear(SIZE, SIZE) for _ in range(3))
        self.again.weight, self.again.bias = self.first.weight, self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.again(torch.tanh(self.first(x)))))


class Nested(nn.Module):
    """A block that is in two lists."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Tanh())
        self.blocks = nn.ModuleList([first, nn.Sequential(first)])
        self.out = nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.out(x)


class Once(nn.Module):
    """What these networks compute, with each parameter in one place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.first(torch.tanh(self.first(x)))))


def learner_of(model: nn.Module) -> Learner:
    return Learner(model, lambda p, b: F.mse_loss(p(b.x), b.y), lambda p, b: p(b.x).mean(), Inner(0.1, 2))


def episodes() -> Episode:
    x, y = torch.randn(2, 3, 8, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Episode(Batch(x[:, :4], y[:, :4]), Batch(x[:, 4:], y[:, 4:]))


def bits(model: nn.Module) -> list[tuple[str, int, Tensor]]:
    """Every name of a parameter or buffer, which object it is, and its values."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return [(name, id(tensor), tensor.detach().clone()) for name, tensor in tensors]


def unchanged(model: nn.Module, before: list[tuple[str, int, Tensor]]) -> bool:
    pairs = zip(bits(model), before, strict=True)
    return all(now[:2] == then[:2] and torch.equal(now[2], then[2]) for now, then in pairs)


@pytest.mark.parametrize("schedule", EAGER)
@pytest.mark.parametrize("kind", [TwoNames, Tied, Nested])
def test_a_parameter_with_several_names_is_one(kind: type[nn.Module], schedule: str) -> None:
    model, once = fill(built(kind), 1), fill(built(Once), 1)
    before = bits(model)
    learner, other = learner_of(model), learner_of(once)
    expected, _ = MetaStep(MAML(), other, schedule="loop").gradient(other.initial(), episodes())
    found, _ = MetaStep(MAML(), learner, schedule=schedule).gradient(learner.initial(), episodes())
    assert relative_error(dict(zip(expected, found.values(), strict=True)), expected) < 1e-12
    assert unchanged(model, before)


@pytest.mark.parametrize(
    ("setup", "optimiser", "schedule"),
    [
        *((setup, optimiser, "vmap") for setup in SETUPS for optimiser in OPTIMISERS),
        *(("maml", "adam", schedule) for schedule in ("loop", "traced")),
    ],
)
def test_a_frozen_parameter_keeps_its_value_in_both_loops(setup: str, optimiser: str, schedule: str) -> None:
    model = fill(built(Once), 0)
    model.first.weight.requires_grad_(False)
    before = bits(model)
    learner = learner_of(model)
    method = SETUPS[setup]
    meta = method.init(learner, torch.Generator().manual_seed(0))
    state = method.adapt(learner, meta, Batch(*(tensor[0] for tensor in episodes().support)), 2)[-1]
    step = MetaStep(method, learner, schedule=schedule, optimiser=optimiser)
    moved, _, _ = step(meta, step.init(meta), episodes(), 0, 0.1)
    assert torch.equal(state.get("first.weight", model.first.weight), model.first.weight)
    assert torch.equal(moved["first.weight"], meta["first.weight"])
    assert any(not torch.equal(moved[name], p) for name, p in meta.items()) or not Setup.asks_query(method)
    assert unchanged(model, before)


def test_a_frozen_network_has_the_gradient_of_what_is_left() -> None:
    """By hand: a network whose first layer is a constant, by torch.autograd."""
    model = fill(built(Once), 0)
    model.first.requires_grad_(False)
    learner = learner_of(model)
    found, _ = MetaStep(MAML(), learner).gradient(learner.initial(), episodes())
    names = ("out.weight", "out.bias")
    leaves = {name: learner.initial()[name].requires_grad_() for name in names}
    total = torch.zeros((), dtype=torch.float64)
    support, query = episodes()
    for task in range(3):
        own = dict(leaves)
        for _ in range(2):
            loss = F.mse_loss(torch.func.functional_call(model, own, (support.x[task],)), support.y[task])
            grads = torch.autograd.grad(loss, list(own.values()), create_graph=True)
            own = {name: p - 0.1 * g for (name, p), g in zip(own.items(), grads, strict=True)}
        total = total + F.mse_loss(torch.func.functional_call(model, own, (query.x[task],)), query.y[task]) / 3
    expected = dict(zip(names, torch.autograd.grad(total, list(leaves.values())), strict=True))
    assert relative_error({name: found[name] for name in names}, expected) < 1e-12
    assert all(not found[name].any() for name in found if name not in names)


class Failing(Once):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise MamlBenchError("the network of the user fails")


@pytest.mark.parametrize("schedule", EAGER)
def test_an_error_inside_leaves_the_network_as_it_was(schedule: str) -> None:
    model = fill(built(Failing), 0)
    before = bits(model)
    learner = learner_of(model)
    with pytest.raises(MamlBenchError, match="the network of the user fails"):
        MetaStep(MAML(), learner, schedule=schedule).gradient(learner.initial(), episodes())
    assert unchanged(model, before)
