"""A small problem of reinforcement learning, as the harness builds it."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils import _pytree as pytree

from maml_bench.harness.build import begin
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run_state import Training
from maml_bench.types import Episode, Params


def started(
    recipe: str = "navigation", setup: str = "maml", schedule: str = "vmap", *settings: str, device: str = "cpu"
) -> Training:
    """The smoke preset of a recipe before its first step."""
    return begin(resolve(recipe, preset="smoke", setup=setup, settings=settings), 0, device, schedule)


def drawn(run: Training, count: int = 3, meta: Params | None = None) -> Episode:
    """Its first training episodes."""
    actor = run.body.actor(meta or run.meta, lambda name: nullcontext())
    return run.tasks.sample("train", 0, count, key=1, shape=run.recipe.train.shape, adapt=actor, device=run.device)


def double(tree: object) -> object:
    return pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, tree)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
