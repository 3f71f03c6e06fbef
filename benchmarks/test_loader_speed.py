"""``pytest benchmarks/test_loader_speed.py``: seconds of loading one meta-batch, and episodes per second beside them.

Arrays have the real sizes; their pixels are made up. Two rounds never load the same episodes.
"""

from functools import cache
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maml_bench.data.draws import key_of, words_by_draw
from maml_bench.data.episodes import draw_indices, sample_images
from maml_bench.types import Shape

OMNIGLOT, MINI = (1623, 20, 1, 28, 28), (64, 600, 3, 84, 84)
TRAINING_CLASSES = 1100


@cache
def images(size: tuple[int, ...], grey: bool) -> Tensor:
    """uint8 ``[class, example, C, H, W]``, black and white unless ``grey``."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    return drawn if grey else drawn.bitwise_and_(1).mul_(255)


def time(benchmark: Any, draw: Any, tasks: int, rounds: int) -> None:
    """Time ``draw(first)`` for one meta-batch of ``tasks`` episodes after the other."""
    first = count(step=tasks)
    benchmark.pedantic(lambda: draw(next(first)), rounds=rounds, warmup_rounds=5)
    benchmark.extra_info["episodes_per_s"] = tasks / benchmark.stats.stats.median


@pytest.mark.parametrize("rotations", ["none", "per class", "extra classes"])
@pytest.mark.parametrize("grey", [False, True], ids=["binary", "grey"])
@pytest.mark.parametrize("shape", [Shape(5, 1, 1), Shape(20, 5, 1)], ids=["5w1s", "20w5s"])
def test_omniglot(benchmark: Any, shape: Shape, grey: bool, rotations: Any) -> None:
    """Meta-batches of 32 episodes."""
    array, classes = images(OMNIGLOT, grey), np.arange(TRAINING_CLASSES)

    def draw(first: int) -> None:
        sample_images(array, classes, first, 32, key=1, stream=("speed",), shape=shape, rotations=rotations)

    time(benchmark, draw, tasks=32, rounds=200)


def test_mini(benchmark: Any) -> None:
    """Meta-batches of 4 episodes from an array of mini-ImageNet's size, 5-way 1-shot with 15 queries."""
    array, classes = images(MINI, True), np.arange(MINI[0])

    def draw(first: int) -> None:
        sample_images(array, classes, first, 4, key=1, stream=("speed",), shape=Shape(5, 1, 15))

    time(benchmark, draw, tasks=4, rounds=50)


def test_indices(benchmark: Any) -> None:
    """Indices alone, of 1,024 episodes: a block, drawn anew each time."""
    key = key_of("speed")

    def draw(first: int) -> None:
        draw_indices(TRAINING_CLASSES, OMNIGLOT[1], first, 1024, key=key, shape=Shape(5, 1, 1), rotations="per class")

    time(benchmark, draw, tasks=1024, rounds=50)


def test_words(benchmark: Any) -> None:
    """Random words alone, for the same episodes."""
    time(benchmark, lambda first: words_by_draw(1, first, 1024, 22), tasks=1024, rounds=50)
