"""The meta-step under every schedule: the same numbers as the plain loop, as torch's optimisers and as evaluation."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from _pytest.mark import ParameterSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from maml_bench import native_code
from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import SCHEDULES
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.scoring import Scorer
from maml_bench.errors import MamlBenchError
from maml_bench.models import MLP, Conv4
from maml_bench.registry import setup_class
from maml_bench.setups.maml import MAML
from maml_bench.setups.reptile import Reptile
from maml_bench.types import Batch, Episode, Params
from tests.conftest import of_blocks
from tests.core.conftest import Make
from tests.core.test_gradients import relative_error

COMPILER = native_code.compiler() is not None
ANY_NETWORK = ("maml", "fomaml", "anil", "boil", "meta_sgd", "maml_pp", "oracle", "pretrained", "scratch")
"""Setups that ask nothing of the network; the others are held to the loop beside their own tests."""
SETUPS: dict[str, Setup] = {name: setup_class(name)() for name in ANY_NETWORK} | {
    "reptile": Reptile(inner_optimiser="sgd")
}
EAGER = ("loop", "vmap", "traced")
shared = settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Users(nn.Module):
    """Torch's default normalisation, whose scale and offset are adapted, functions for layers, and a hidden layer."""

    def __init__(self, way: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16, track_running_stats=False)
        self.hidden, self.out = nn.Linear(16 * 4 * 4, 12), nn.Linear(12, way)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.out(torch.tanh(self.hidden(x.flatten(1))))


def strided(way: int) -> nn.Module:
    """Two of the paper's four blocks: the second is what every later one is, and recording takes half the time."""
    conv = of_blocks(16, 16)
    return Conv4(1, 9, way, conv, normalise="batch", generator=torch.Generator().manual_seed(0))


def pooled(way: int) -> nn.Module:
    conv = of_blocks(16, 16, downsample="pool", average=False)
    return Conv4(1, 18, way, conv, normalise="batch", generator=torch.Generator().manual_seed(0))


def layers(way: int) -> nn.Module:
    return MLP([81, 10, way], normalise="batch", generator=torch.Generator().manual_seed(0))


def wide(way: int) -> nn.Module:
    return MLP([81, 72, 72, way], normalise="batch", generator=torch.Generator().manual_seed(0))


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], int]] = {
    "strided": (strided, 9), "pooled": (pooled, 18), "users": (Users, 9), "layers": (layers, 9),
    "wide": (wide, 9),
}  # fmt: skip


def problem(
    network: str, *, way: int = 3, shot: int = 1, steps: int = 1, tasks: int = 3, seed: int = 0, dtype: torch.dtype
) -> tuple[Learner, Episode]:
    """Random images for a network whose values are not those of its initialisation, which has ties and zeros."""
    generator = torch.Generator().manual_seed(seed)
    make, size = NETWORKS[network]
    with torch.random.fork_rng():
        model = make(way).to(dtype)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(dtype)
    learner = Learner(
        model,
        lambda p, b: F.cross_entropy(p(b.x), b.y),
        lambda p, b: (p(b.x).argmax(-1) == b.y).to(dtype).mean(),
        Inner(0.1, steps),
        way,
    )
    x = torch.rand(tasks, 2 * way * shot, 1, size, size, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.arange(way).repeat(2 * shot).expand(tasks, -1)
    n = way * shot
    return learner, Episode(Batch(x[:, :n], y[:, :n]), Batch(x[:, n:], y[:, n:]))


def gradients_agree(setup: Setup, learner: Learner, episodes: Episode, schedule: str, limit: float, **options) -> None:
    meta = setup.init(learner, torch.Generator().manual_seed(1))
    reference, losses = meta_gradient(setup, learner, meta, episodes, schedule_name="loop")
    grads, same = MetaStep(setup, learner, schedule=schedule, **options).gradient(meta, episodes)
    if all(float(g.abs().max()) == 0 for g in reference.values()):
        assert all(float(g.abs().max()) == 0 for g in grads.values())
    else:
        assert relative_error(grads, reference) <= limit
    torch.testing.assert_close(same, losses, rtol=max(limit, 1e-10), atol=0)


def pair(setup: str, network: str) -> ParameterSet:
    """MAML on every network and every setup on a cheap one; the rest of the grid with `tox -e slow`."""
    usual = setup == "maml" or network == "layers"
    return pytest.param(SETUPS[setup], network, id=f"{setup}-{network}", marks=[] if usual else [pytest.mark.slow])


@pytest.mark.parametrize(("setup", "network"), [pair(setup, network) for setup in SETUPS for network in NETWORKS])
@shared
@given(way=st.integers(2, 4), shot=st.integers(1, 2), steps=st.integers(0, 2), tasks=st.integers(1, 4))
def test_a_recording_has_the_gradient_of_the_loop(
    setup: Setup, network: str, way: int, shot: int, steps: int, tasks: int
) -> None:
    learner, episodes = problem(network, way=way, shot=shot, steps=steps, tasks=tasks, dtype=torch.float64)
    gradients_agree(setup, learner, episodes, "traced", 1e-10)


@pytest.mark.parametrize("setup", [name for name in SETUPS if name != "maml"])
def test_a_recording_with_convolutions_has_the_gradient_of_the_loop(setup: str) -> None:
    learner, episodes = problem("strided", steps=2, tasks=2, dtype=torch.float64)
    gradients_agree(SETUPS[setup], learner, episodes, "traced", 1e-10)


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
def test_adapted_scales_of_normalisation_have_exact_second_derivatives(schedule: str) -> None:
    """Torch's own batch_norm under vmap fails this. test_layers.py has the other normalisations."""
    learner, episodes = problem("users", steps=1, tasks=3, dtype=torch.float64)
    gradients_agree(MAML(), learner, episodes, schedule, 1e-10)


@pytest.mark.parametrize("network", ["strided", "pooled", "users", "wide"])
def test_a_recording_in_single_precision(network: str, record_property) -> None:
    """It may be several times as far from the exact gradient as the loop is: which is further differs by machine."""
    exact, reference, recorded = (
        problem_gradient(network, dtype, schedule)
        for dtype, schedule in ((torch.float64, "loop"), (torch.float32, "loop"), (torch.float32, "traced"))
    )
    error, allowed = (
        relative_error({n: g.double() for n, g in found.items()}, exact) for found in (recorded, reference)
    )
    record_property("relative_error", error)
    assert error <= max(2e-4, 10 * allowed)
    assert error <= 5e-3


def problem_gradient(network: str, dtype: torch.dtype, schedule: str) -> Params:
    learner, episodes = problem(network, steps=2, tasks=5, dtype=dtype)
    setup = MAML()
    meta = setup.init(learner, torch.Generator().manual_seed(1))
    return MetaStep(setup, learner, schedule=schedule).gradient(meta, episodes)[0]


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_recording_in_chunks(chunk: int) -> None:
    learner, episodes = problem("strided", tasks=3, dtype=torch.float64)
    gradients_agree(MAML(), learner, episodes, "traced", 1e-10, chunk=chunk)


@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler: install g++")
def test_a_compiled_step() -> None:
    """Around kernels; tests/harness/test_schedules.py has a compiled step without."""
    learner, episodes = problem("users", tasks=2, dtype=torch.float64)
    gradients_agree(MAML(), learner, episodes, "compiled", 1e-10)


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler: install g++")
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_compiled_steps(setup: Setup, network: str, steps: int) -> None:
    learner, episodes = problem(network, way=4, shot=2, steps=steps, dtype=torch.float64)
    gradients_agree(setup, learner, episodes, "compiled", 1e-10)


@pytest.mark.parametrize("schedule", EAGER)
@pytest.mark.parametrize(
    ("optimiser", "kind", "constants"),
    [
        ("adam", partial(torch.optim.Adam, lr=0.1), {}),
        ("sgd", partial(torch.optim.SGD, lr=0.1), {}),
        ("rmsprop", partial(torch.optim.RMSprop, lr=0.1, alpha=0.8, momentum=0.7), {"smoothing": 0.8, "momentum": 0.7}),
        ("rmsprop", partial(torch.optim.RMSprop, lr=0.1, alpha=0.95, momentum=0.9), {}),
    ],
)
def test_the_outer_optimiser_is_torchs(
    regression: Make, schedule: str, optimiser: str, kind: Callable[..., torch.optim.Optimizer], constants: dict
) -> None:
    learner, meta, episodes = regression()
    expected = {name: p.clone() for name, p in meta.items()}
    theirs = kind(expected.values())
    step = MetaStep(MAML(), learner, optimiser=optimiser, schedule=schedule, clip=0.05, constants=constants)
    state = step.init(meta)
    for number in range(4):
        rate = 0.1 / (number + 1)
        grads, losses = meta_gradient(MAML(), learner, expected, episodes)
        theirs.param_groups[0]["lr"] = rate
        for name, p in expected.items():
            p.grad = grads[name].clamp(-0.05, 0.05)
        theirs.step()
        meta, state, same = step(meta, state, episodes, number, rate)
        torch.testing.assert_close(same, losses, rtol=1e-9, atol=0)
        torch.testing.assert_close(meta, {n: p.detach() for n, p in expected.items()}, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", EAGER)
@pytest.mark.parametrize("bound", [1e-3, 1e3])
def test_a_bound_of_the_length_of_the_gradient_is_torchs(regression: Make, schedule: str, bound: float) -> None:
    learner, meta, episodes = regression()
    grads, _ = meta_gradient(MAML(), learner, meta, episodes)
    expected = [nn.Parameter(p.clone()) for p in meta.values()]
    for p, g in zip(expected, grads.values(), strict=True):
        p.grad = g
    torch.nn.utils.clip_grad_norm_(expected, bound)
    step = MetaStep(MAML(), learner, optimiser="sgd", schedule=schedule, norm=bound)
    moved, _, _ = step(meta, step.init(meta), episodes, 0, 1.0)
    for found, p in zip(moved.values(), expected, strict=True):
        torch.testing.assert_close(found, (p - p.grad).detach(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("network", ["strided", "users", "wide"])
def test_scores_are_those_of_evaluation(network: str) -> None:
    learner, episodes = problem(network, dtype=torch.float64)
    meta = learner.initial()
    for schedule in EAGER:
        step = MetaStep(MAML(), learner, schedule=schedule)
        for steps in ((0, 2), (1,)):
            torch.testing.assert_close(
                Scorer(MAML(), step.execution).scores(meta, episodes, steps),
                evaluate(MAML(), learner, meta, episodes, steps),
            )


def test_new_shapes_are_recorded_anew_and_old_values_do_not_stick() -> None:
    learner, episodes = problem("strided", tasks=4, dtype=torch.float64)
    step = MetaStep(MAML(), learner, schedule="traced")
    meta = learner.initial()
    for count in (4, 3, 4):
        part = Episode(*(Batch(x[:count], y[:count]) for x, y in episodes))
        moved = {name: p + 0.01 * count for name, p in meta.items()}
        expected, _ = meta_gradient(MAML(), learner, moved, part, schedule_name="loop")
        assert relative_error(step.gradient(moved, part)[0], expected) < 1e-10


def test_a_step_is_pure() -> None:
    learner, episodes = problem("strided", dtype=torch.float32)
    step = MetaStep(MAML(), learner, schedule="traced")
    meta = learner.initial()
    state = step.init(meta)
    before = [p.clone() for p in meta.values()]
    first = step(meta, state, episodes, 0, 0.1)
    again = step(meta, state, episodes, 0, 0.1)
    for found, same in zip(first[0].values(), again[0].values(), strict=True):
        assert torch.equal(found, same)
    assert all(map(torch.equal, meta.values(), before))


def test_an_unknown_schedule_is_a_sentence(regression: Make) -> None:
    with pytest.raises(MamlBenchError, match=r"no schedule 'tracd' \(did you mean 'traced'\?\)"):
        MetaStep(MAML(), regression()[0], schedule="tracd")
    assert SCHEDULES == ("loop", "vmap", "traced", "compiled")
