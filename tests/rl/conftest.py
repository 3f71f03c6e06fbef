"""A small problem of reinforcement learning, as the harness builds it."""

import pytest
import torch
from torch.utils import _pytree as pytree

from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run_state import RunState
from maml_bench.types import Episode, Params


def started(
    recipe: str = "navigation", setup: str = "maml", schedule: str = "vmap", *settings: str, device: str = "cpu"
) -> RunState:
    """The smoke preset of a recipe before its first step."""
    return build(resolve(recipe, preset="smoke", setup=setup, settings=settings), 0, device, schedule)


def drawn(run: RunState, count: int = 3, meta: Params | None = None) -> Episode:
    """Its first training episodes."""
    actor = run.episodes.actor(meta or run.meta)
    return run.tasks.sample("train", 0, count, key=1, shape=run.recipe.train.shape, actor=actor, device=run.device)


def double(tree: object) -> object:
    return pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, tree)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
