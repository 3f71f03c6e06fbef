"""``pytest benchmarks``: seconds of one meta-step by schedule and query count, and of sampling one meta-batch."""

from typing import Any

import pytest
import torch
from meta_step import build

from maml_bench.data.episodes import sample_images
from maml_bench.types import Shape


@pytest.mark.parametrize("query", [1, 15])
@pytest.mark.parametrize("schedule", ["vmap", "loop"])
def test_meta_step(benchmark: Any, schedule: str, query: int) -> None:
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.pedantic(build(schedule, query), rounds=7, warmup_rounds=1)


def test_sampler(benchmark: Any) -> None:
    """A meta-batch of 32 5-way 1-shot episodes from an array of Omniglot's size; images are made up."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 2, (1623, 20, 1, 28, 28), generator=generator, dtype=torch.uint8) * 255
    classes = torch.arange(1100).numpy()

    def sample() -> None:
        sample_images(images, classes, 0, 32, key=1, stream=("speed",), shape=Shape(5, 1, 1), rotations="per class")

    benchmark.pedantic(sample, rounds=30, warmup_rounds=2)
