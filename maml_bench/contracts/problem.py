"""A small problem that contracts are checked on, built as the harness builds a run."""

from typing import NamedTuple

import torch

from maml_bench import registry
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Setup
from maml_bench.harness.build import build
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.seeding import stream_key
from maml_bench.trees import tree_map
from maml_bench.types import Episode, Params, TaskDistribution


class Problem(NamedTuple):
    """A recipe with what it is made of, meta-parameters at their start, and two training tasks."""

    recipe: Recipe
    tasks: TaskDistribution
    setup: Setup
    learner: Learner
    meta: Params
    episodes: Episode


def built(recipe: Recipe, dtype: torch.dtype = torch.float64) -> Problem:
    """The problem of ``recipe`` with all real numbers of type ``dtype``.

    Raises:
        MamlBenchError: as harness.build.build.
    """
    setup = registry.build_setup(recipe.setup, "check")
    tasks = registry.build_tasks(recipe.tasks, "check")
    run = build(recipe, 0, "cpu", "vmap")
    run.learner.model.to(dtype)
    meta = {name: p.to(dtype) for name, p in run.meta.items()}
    single = {name: p.float() for name, p in meta.items()}
    key = stream_key("train", 0)
    drawn = build(recipe, 0, "cpu", "vmap").episodes.draw(single, "train", 0, 2, key=key, shape=recipe.train.shape)
    return Problem(recipe, tasks, setup, run.learner, meta, in_type(drawn, dtype))


def in_type(episodes: Episode, dtype: torch.dtype = torch.float64) -> Episode:
    """The same episodes with all real numbers of type ``dtype``."""
    found: Episode = tree_map(lambda t: t.to(dtype) if t.is_floating_point() else t, episodes)
    return found
