"""MAML++: the weights of its losses, its rates and its normalisation by step, and that without them it is MAML."""

from functools import partial
from itertools import pairwise
from json import loads

import pytest
import torch

from maml_bench.core.outer import meta_gradient, take
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.harness.sections import Adam
from maml_bench.setups.maml import MAML
from maml_bench.setups.maml_pp import MAMLPlusPlus
from tests.core.conftest import Make
from tests.core.test_gradients import finite_differences, relative_error

PLAIN = {"multi_step_epochs": 0, "learn_rates": False, "per_step_norm": False}
BETA = {"outside": ("*.beta",)}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, [0.2] * 5),
        (499, [0.2] * 5),
        (500, [0.18] * 4 + [0.28]),
        (2500, [0.1] * 4 + [0.6]),
        (4999, [0.02] * 4 + [0.92]),
        (5000, [0, 0, 0, 0, 1]),
        (40_000, [0, 0, 0, 0, 1]),
    ],
)
def test_weights_go_to_the_last_step_in_ten_epochs_of_500(number: int, expected: list[float]) -> None:
    for given in (number, torch.tensor(number, dtype=torch.float64)):
        assert MAMLPlusPlus().weights(given, 5).tolist() == pytest.approx(expected)


def test_early_losses_keep_three_percent_of_their_share_until_the_end() -> None:
    late = MAMLPlusPlus(multi_step_epochs=100, epoch=2)
    assert late.weights(198, 5).tolist() == pytest.approx([0.006] * 4 + [0.976])
    assert late.weights(200, 5).tolist() == [0, 0, 0, 0, 1]


STEPS, OUTSIDE = "it is read where inner.steps is at least 2", "it is read where inner.outside names parameters"


@pytest.mark.parametrize(
    ("inner", "option", "why"),
    [
        ("inner.steps=1", "per_step_norm=false", STEPS),
        ("inner.steps=1", "multi_step_epochs=3", STEPS),
        ("inner.steps=1", "epoch=7", STEPS),
        ("inner.outside=[]", "per_step_norm=false", OUTSIDE),
        ("tasks.normalisation=none", "per_step_norm=false", OUTSIDE),
    ],
)
def test_what_one_step_or_nothing_outside_leaves_without_effect_is_refused(inner: str, option: str, why: str) -> None:
    key = option.partition("=")[0]
    find = partial(resolve, "omniglot-5w1s", preset="paper", setup="maml_pp")
    with pytest.raises(MamlBenchError, match=rf"setup\.{key} is set by --set, but has no effect: {why}$"):
        find(settings=[inner, f"setup.{option}"])
    used = find(settings=["inner.steps=2", "inner.outside=['*.beta']", f"setup.{option}"])
    assert used.setup[key] == loads(option.partition("=")[2])


def test_without_its_parts_it_is_maml(classification: Make) -> None:
    learner, meta, episodes = classification(**BETA)
    setup = MAMLPlusPlus(**PLAIN)
    assert setup.init(learner, torch.Generator()).keys() == meta.keys()
    expected, losses = meta_gradient(MAML(), learner, meta, episodes)
    grads, same = meta_gradient(setup, learner, meta, episodes)
    assert relative_error(grads, expected) < 1e-12
    torch.testing.assert_close(same, losses)


def test_it_starts_where_maml_is(classification: Make) -> None:
    """Rates all equal, normalisation alike at every step: the path is that of MAML, the last loss its loss."""
    learner, _, episodes = classification(steps=3, **BETA)
    meta = MAMLPlusPlus().init(learner, torch.Generator())
    assert {n: tuple(p.shape) for n, p in meta.items() if "." in n and n.split(".")[0] in ("rate", "later")} == {
        **{f"rate.{n}": (3,) for n in learner.names if not n.endswith("beta")},
        **{f"later.{n}": (2, 2) for n in learner.names if n.endswith("beta")},
    }
    support = take(episodes.support, 0)
    for ours, theirs in zip(
        MAMLPlusPlus().adapt(learner, meta, support, 5), MAML().adapt(learner, meta, support, 5), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    late, _ = meta_gradient(MAMLPlusPlus(), learner.at_step(5000), meta, episodes)
    expected, _ = meta_gradient(MAML(), learner, {n: meta[n] for n in learner.names}, episodes)
    weights = {n for n in learner.names if not n.endswith("beta")}
    assert relative_error({n: late[n] for n in weights}, {n: expected[n] for n in weights}) < 1e-12


@pytest.mark.parametrize(
    ("parts", "number"), [({}, 0), ({}, 700), ({"learn_rates": False}, 0), ({"per_step_norm": False}, 5000)]
)
def test_the_gradient_is_exact(parts: dict[str, bool], number: int, classification: Make) -> None:
    learner, _, episodes = classification(tasks=1, steps=2, **BETA)
    setup, learner = MAMLPlusPlus(**parts), learner.at_step(number)
    meta = setup.init(learner, torch.Generator())
    generator = torch.Generator().manual_seed(1)
    meta = {n: p + 0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in meta.items()}
    grads, losses = meta_gradient(setup, learner, meta, episodes)
    assert relative_error(grads, finite_differences(setup, learner, meta, episodes)) < 1e-6
    episode = take(episodes, 0)
    states = setup.adapt(learner, meta, episode.support, 2)[1:]
    query = torch.stack([learner.batch_loss(state, episode.query) for state in states])
    torch.testing.assert_close(losses[0], setup.weights(number, 2) @ query)


def test_each_step_has_its_rate_and_offsets_and_later_ones_the_last(classification: Make) -> None:
    learner, _, episodes = classification(steps=2, **BETA)
    meta = MAMLPlusPlus().init(learner, torch.Generator())
    offset = next(n for n in learner.names if n.endswith("beta"))
    meta |= {n: torch.tensor([0.3, 0.0], dtype=torch.float64) for n in meta if n.startswith("rate.")}
    meta[f"later.{offset}"] = torch.tensor([[5.0, 6.0]], dtype=torch.float64)
    path = MAMLPlusPlus().adapt(learner, meta, take(episodes.support, 0), 4)
    assert [torch.equal(p[offset], meta[offset]) for p in path] == [True, True, False, False, False]
    assert all(p[offset].tolist() == [5, 6] for p in path[2:])
    moved = [not torch.equal(a["head.weight"], b["head.weight"]) for a, b in pairwise(path)]
    assert moved == [True, False, False, False]


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
def test_one_recording_serves_all_epochs(schedule: str, classification: Make) -> None:
    learner, _, episodes = classification(tasks=2, steps=2, **BETA)
    setup = MAMLPlusPlus()
    meta = setup.init(learner, torch.Generator())
    step = MetaStep(setup, learner, schedule=schedule)
    for number in (0, 700, 5000):
        expected, losses = meta_gradient(setup, learner.at_step(number), meta, episodes, schedule_name="loop")
        grads, same = step.gradient(meta, episodes, number)
        assert relative_error(grads, expected) < 1e-10
        torch.testing.assert_close(same, losses, rtol=1e-10, atol=0)


def test_its_outer_rate_falls_to_a_floor() -> None:
    outer = Adam(100, 8, rate=1e-3, decay="cosine", floor=1e-5)
    assert [outer.rate_at(step) for step in (0, 50, 100)] == pytest.approx([1e-3, (1e-3 + 1e-5) / 2, 1e-5])
    assert Adam(100, 8, rate=1.0, decay="linear", floor=0.2).rate_at(75) == pytest.approx(0.4)
