"""The trust region: its fast products against the plain ones, and what a step promises."""

from contextlib import nullcontext

import pytest
import torch

from maml_bench.core import outer
from maml_bench.core.outer import schedule
from maml_bench.engine import execution
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.rl.trust_region import Trust, TrustRegion
from maml_bench.types import Params
from tests.rl.conftest import double, drawn, started


def region(run, trust: Trust, how: str = "vmap") -> TrustRegion:
    run.learner.model.double()
    return TrustRegion(run.setup, run.learner, run.tasks, trust, schedule(how), plain=how == "loop")


def some_direction(meta: Params) -> Params:
    noise = torch.Generator().manual_seed(3)
    return {n: torch.randn(p.shape, generator=noise, dtype=torch.float64) for n, p in meta.items()}


@pytest.mark.parametrize("setup", ["maml", "fomaml", "anil", "meta_sgd", "pretrained", "context"])
@pytest.mark.parametrize("recipe", ["navigation", "bandit"])
def test_kept_products_are_the_second_derivative_of_the_divergence(recipe, setup):
    run = started(recipe, setup)
    episodes, meta = double(drawn(run)), double(run.meta)
    v = some_direction(meta)
    fast = region(run, Trust(damping=0.0)).product(meta, episodes)(v)
    plain = region(run, Trust(damping=0.0), "loop").product(meta, episodes)(v)
    size = max(float(p.abs().max()) for p in plain.values())
    assert size > 0
    for name, p in plain.items():
        # Behaviour was put out in float32, so that the policies that acted are these to its precision.
        torch.testing.assert_close(fast[name], p, rtol=0, atol=1e-4 * size)


def test_products_are_symmetric_and_damped():
    run = started()
    episodes, meta = double(drawn(run)), double(run.meta)
    left, right = some_direction(meta), {n: p**2 for n, p in some_direction(meta).items()}
    apply = region(run, Trust(damping=0.0)).product(meta, episodes)

    def dot(a: Params, b: Params) -> float:
        return float(sum((a[n] * b[n]).sum() for n in a))

    assert dot(left, apply(right)) == pytest.approx(dot(right, apply(left)), rel=1e-9)
    damped = region(run, Trust(damping=0.5)).product(meta, episodes)(left)
    assert dot(damped, left) == pytest.approx(dot(apply(left), left) + 0.5 * dot(left, left), rel=1e-9)


@pytest.mark.parametrize("fill", ["true", "false"])
def test_a_share_of_the_rollouts_gives_the_curvature_of_those_where_nothing_is_adapted(fill):
    run = started("navigation", "pretrained", "vmap", f"tasks.fill={fill}")
    episodes, meta = double(drawn(run)), double(run.meta)
    part = (slice(None), slice(0, 1), slice(0, 9 if fill == "true" else None))  # of 3 rollouts of 10 steps
    first = episodes._replace(support=[type(b)(*(field[part] for field in b)) for b in episodes.support])
    v = some_direction(meta)
    share = region(run, Trust(share=0.3)).product(meta, episodes)(v)
    alone = region(run, Trust()).product(meta, first)(v)
    for name, p in alone.items():
        torch.testing.assert_close(share[name], p)


@pytest.mark.parametrize("setup", ["maml", "emaml", "pretrained"])
def test_what_is_found_at_once_are_the_loss_and_the_divergence(setup):
    run = started("navigation", setup)
    episodes, meta = double(drawn(run)), {n: p + 0.01 for n, p in double(run.meta).items()}
    trust, over_tasks = region(run, Trust()), schedule("vmap")
    losses = over_tasks(lambda episode: run.setup.loss(run.learner, meta, episode), episodes)
    divergences = over_tasks(lambda episode: trust._divergence(meta, episode), episodes)
    loss, divergence = trust.loss_and_divergence(meta, episodes)
    assert float(loss) == pytest.approx(float(losses.mean()), rel=1e-12)
    assert float(divergence) == pytest.approx(float(divergences.mean()), rel=1e-12)
    assert float(divergence) > 0


@pytest.mark.parametrize("elements", [1, 10**6])
def test_tasks_in_parts_are_tasks_at_once(monkeypatch, elements):
    monkeypatch.setattr(outer, "AT_ONCE_ELEMENTS", elements)
    run = started("navigation", "maml")
    episodes, meta = double(drawn(run)), double(run.meta)
    run.learner.model.double()
    at_once, losses = run.setup.gradient(run.learner, meta, episodes, schedule("vmap"))
    in_parts, same = run.setup.gradient(run.learner, meta, episodes, outer.in_parts)
    torch.testing.assert_close(same, losses, rtol=1e-12, atol=0)
    for name, gradient in at_once.items():
        torch.testing.assert_close(in_parts[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_step_lowers_the_loss_within_the_bound(share):
    run = started("navigation", "maml", "vmap", "tasks.fill=false")
    episodes, meta = double(drawn(run)), double(run.meta)
    trust = region(run, Trust(share=share))
    before, _ = trust.loss_and_divergence(meta, episodes)
    moved, losses = trust(meta, episodes)
    after, divergence = trust.loss_and_divergence(moved, episodes)
    assert float(losses.mean()) == pytest.approx(float(before))
    assert float(after) < float(before)
    assert 0 < float(divergence) <= 0.01


def test_where_no_try_fits_nothing_moves():
    run = started()
    episodes, meta = double(drawn(run)), double(run.meta)
    moved, _ = region(run, Trust(backtracks=0))(meta, episodes)
    assert all(torch.equal(moved[name], p) for name, p in meta.items())


@pytest.mark.parametrize("setup", ["maml", "emaml"])
def test_schedules_agree_on_a_step(setup):
    """From the same rollouts, in float64: the plain reference, and what runs. In float32 conjugate gradient, which
    leaves all but the largest curvatures to rounding, tells one order of summation from another."""
    found = {}
    for how in ("loop", "vmap", "traced"):
        run = started("navigation", setup, how, "tasks.fill=false")
        run.learner.model.double()
        episodes = double(drawn(started("navigation", setup, "vmap", "tasks.fill=false")))
        before = double(run.meta)
        meta, _, _ = run.meta_step(before, run.optimiser, episodes, 0, 0.0)
        found[how] = torch.cat([p.flatten() for p in meta.values()])
        assert not torch.equal(found[how], torch.cat([p.flatten() for p in before.values()]))
    torch.testing.assert_close(found["vmap"], found["loop"], atol=1e-6, rtol=0)
    torch.testing.assert_close(found["traced"], found["vmap"], atol=1e-12, rtol=0)


def test_recorded_actors_act_as_others_do():
    plain, recorded = drawn(started()), drawn(started(schedule="traced"))
    for one, other in zip(plain.query, recorded.query, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fill", [True, False])
def test_steps_on_rollouts_of_ever_new_lengths_are_not_recorded(monkeypatch, fill):
    recorded = []

    class Watched(execution.Recorded):
        def __init__(self, function, **options):
            super().__init__(function, **options)
            recorded.append(function.__name__)

    monkeypatch.setattr(execution, "Recorded", Watched)
    drawn(started("navigation", "maml", "traced", f"tasks.fill={str(fill).lower()}"))
    assert {"answer", "shared"} <= set(recorded)
    assert ("adapt" in recorded) is not fill


def test_tasks_without_actors_are_refused():
    with pytest.raises(MamlBenchError, match="is for reinforcement learning"):
        build(resolve("sinusoid-k10", preset="smoke", settings=["outer.optimiser=trpo"]), 0, "cpu", "vmap")


def test_chunks_are_refused():
    with pytest.raises(MamlBenchError, match="leave --chunk out"):
        build(resolve("navigation", preset="smoke"), 0, "cpu", "vmap", 2)


def test_the_step_is_a_body_of_the_outer_loop_without_state():
    run = started()
    assert run.optimiser is None
    _, state, losses = run.meta_step(run.meta, None, drawn(run), 0, 0.0)
    assert state is None
    assert losses.shape == (3,)


def test_several_steps_on_the_same_rollouts_are_several_steps():
    run = started("navigation", "promp")
    episodes = drawn(run)
    once = MetaStep(run.setup, run.learner, schedule="vmap")
    meta, state = run.meta, once.init(run.meta)
    for number in range(5):
        meta, state, _ = once(meta, state, episodes, number, 0.001)
    together, _, _ = run.meta_step(run.meta, run.optimiser, episodes, 0, 0.001)
    for name, p in meta.items():
        torch.testing.assert_close(together[name], p)


def test_the_actor_measures_its_parts():
    run, seen = started(), []

    def measure(name: str):
        seen.append(name)
        return nullcontext()

    run.tasks.sample("train", 0, 1, key=0, shape=run.recipe.train.shape, actor=run.episodes.actor(run.meta, measure))
    assert set(seen) == {"adapt", "simulate", "policy", "baseline"}
