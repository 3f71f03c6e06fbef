"""The iteration that ours is raced against: the same physics, the same gradient, the same trust region step."""

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from benchmarks.peers.checks import relative_error
from benchmarks.torch_port import Cheetah, Plane, Port
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.trees import tree_map

SMALL = ("tasks.horizon=12", "train.shot=4", "train.query=4", "outer.meta_batch=3")
FULL_LENGTH = ("tasks.stop=false", "tasks.fill=false")
WORLDS = {"cheetah-dir": (Cheetah, ()), "navigation": (Plane, FULL_LENGTH)}


def made(recipe: str, *settings: str):
    make, more = WORLDS[recipe]
    run = build(resolve(recipe, preset="paper", settings=(*SMALL, *more, *settings)), 0, "cpu", "vmap")
    return run, Port(run, make)


def drawn(run):
    return run.episodes.draw(run.meta, "train", 0, 3, key=0, shape=run.recipe.train.shape)


def arrays(params):
    return {name: p.detach().numpy() for name, p in params.items()}


@pytest.mark.parametrize("recipe", WORLDS)
def test_the_environments_have_our_rules(recipe):
    """From our start, under our actions, they show and pay what ours do."""
    run, _ = made(recipe)
    episodes = drawn(run)
    batch, tasks = episodes.support[0], run.tasks.draw("train", 0, 3, 0)
    for task in range(3):
        environment = WORLDS[recipe][0]()
        environment.task = tasks[task].double().numpy() if recipe == "navigation" else float(tasks[task])
        environment.reset(seed=0)
        if recipe == "cheetah-dir":
            first = batch.observations[task, 0, 0].double().numpy()
            environment.set_state(np.concatenate([[0.0], first[:8]]), first[8:17])
        for t in range(12):
            seen, reward, *_ = environment.step(batch.actions[task, 0, t].clamp(-1, 1).numpy())
            assert reward == pytest.approx(float(batch.rewards[task, 0, t]), abs=2e-3)
            if t < 11:
                expected = batch.observations[task, 0, t + 1].numpy()
                # Our observations leave out where the body is along its way, which its centre of mass tells.
                rest = np.r_[0:17, 18:20] if recipe == "cheetah-dir" else slice(None)
                np.testing.assert_allclose(seen[rest], expected[rest], atol=2e-3)


@pytest.mark.parametrize("recipe", WORLDS)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_trust_region_step_is_ours(recipe, share):
    """In float64, where ten iterations of conjugate gradient keep more than rounding."""
    run, port = made(recipe, f"outer.trust.share={share}")
    meta, episodes = (tree_map(lambda t: t.double(), tree) for tree in (run.meta, drawn(run)))
    gradient, _ = run.meta_step.gradient(meta, episodes)
    assert relative_error(arrays(port.gradient(meta, episodes)), arrays(gradient)) < 1e-9
    ours, *_ = run.meta_step(meta, None, episodes, 0, 0.0)
    theirs = port.step(meta, episodes)
    moves = [{name: p - meta[name] for name, p in end.items()} for end in (theirs, ours)]
    assert max(float(move.abs().max()) for move in moves[1].values()) > 1e-4
    assert relative_error(*(arrays(move) for move in moves)) < 1e-5


@pytest.mark.parametrize("recipe", WORLDS)
def test_an_iteration_collects_whole_rollouts_and_stays_in_the_trust_region(recipe):
    run, port = made(recipe)
    with torch.random.fork_rng(devices=[]):
        moved, episodes = port.iteration(3)
    assert episodes.query.observations.shape[:3] == (3, 4, 12)
    assert run.tasks.steps_in(episodes) == 2 * 3 * 4 * 12
    assert any(not torch.equal(p, run.meta[name]) for name, p in moved.items())
    _, divergence = port.terms({n: p.requires_grad_() for n, p in moved.items()}, episodes, graph=False)
    assert 0 < float(divergence.detach()) <= run.recipe.outer.trust.bound
