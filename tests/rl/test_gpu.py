"""Rollouts and trust regions where there is a GPU; elsewhere it cannot be seen."""

import pytest
import torch
from torch.utils import _pytree as pytree

from maml_bench.rl.trajectories import Trajectories
from tests.rl.conftest import double, drawn, started

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

FIRST = 20
"""Steps over which rounding has not yet grown; bodies with contacts are chaotic."""


def on(device, tree):
    return pytree.tree_map(lambda t: t.to(device), tree)


def first_steps(batch: Trajectories) -> Trajectories:
    return Trajectories(*(field[:, :, :FIRST].cpu() for field in batch))


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
@pytest.mark.parametrize("recipe", ["navigation", "cheetah-dir", "ant-vel"])
def test_the_same_happens_as_on_the_cpu(recipe, schedule):
    if recipe != "navigation":
        pytest.importorskip("mujoco")
    here, there = drawn(started(recipe)), drawn(started(recipe, "maml", schedule, device="cuda"))
    assert there.query.observations.is_cuda
    seen, exact = first_steps(there.support[0]), first_steps(here.support[0])
    for field in ("observations", "actions", "behaviour", "rewards", "mask", "time"):
        torch.testing.assert_close(getattr(seen, field), getattr(exact, field), atol=1e-3, rtol=1e-3)
    assert there.query.rewards.isfinite().all()


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("setup", ["maml", "emaml"])
def test_a_trust_region_step_is_that_of_the_cpu(setup, share):
    """From the same rollouts, in float64."""
    episodes, found = double(drawn(started("navigation", setup))), {}
    for device in ("cpu", "cuda"):
        run = started("navigation", setup, "vmap", f"outer.trust.share={share}", device=device)
        run.learner.model.double()
        before = double(run.meta)
        meta, _, losses = run.meta_step(before, run.optimiser, on(device, episodes), 0, 0.0)
        assert losses.device.type == device
        found[device] = torch.cat([p.flatten() for p in meta.values()]).cpu()
        assert not torch.equal(found[device], torch.cat([p.flatten() for p in before.values()]).cpu())
    torch.testing.assert_close(found["cuda"], found["cpu"], atol=1e-6, rtol=0)
