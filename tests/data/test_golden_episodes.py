"""Drawn numbers and images that must never change, or records of earlier versions are of other episodes."""

import hashlib
import os

import numpy as np
import pytest
import torch
from torch import Tensor

from maml_bench.data import store
from maml_bench.data.draws import key_of, words
from maml_bench.data.episodes import draw_indices, sample_images
from maml_bench.tasks.mini_imagenet import MiniImagenet
from maml_bench.types import Shape

FAR = 2**33 + 5  # beyond 32 bits, and in the middle of every power-of-two block


def speckled(classes: int = 40, examples: int = 20) -> Tensor:
    """uint8 [class, example, 2, 6, 6]: all values occur, no two images are alike."""
    flat = np.arange(classes * examples * 72, dtype=np.uint64) * 2654435761 >> 9
    return torch.from_numpy(flat.astype(np.uint8).reshape(classes, examples, 2, 6, 6))


def digest(*tensors: Tensor) -> str:
    """The start of the sha256 of values, types and shapes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return found.hexdigest()[:16]


def test_words() -> None:
    assert digest(words(key_of("golden"), FAR, 37, 23)) == "8b00f8a3ebe2fd30"


@pytest.mark.parametrize(
    ("classes", "examples", "first", "count", "shape", "rotations", "expected"),
    [
        (1100, 20, 0, 64, Shape(5, 1, 1), "per class", "beb7bfc07c74926a"),
        (1100, 20, FAR, 33, Shape(20, 5, 1), "extra classes", "6f1d11063cad6f57"),
        (64, 600, 7, 9, Shape(5, 1, 15), "none", "a23bda1f9bdeb74a"),
        (40, 20, 2**32 - 3, 6, Shape(40, 10, 10), "per class", "fb97260febed3abc"),
        (3, 1, 0, 5, Shape(1, 0, 1), "none", "df1db44f32cf4ad9"),
    ],
)
def test_indices(
    classes: int, examples: int, first: int, count: int, shape: Shape, rotations: str, expected: str
) -> None:
    drawn = draw_indices(classes, examples, first, count, key=key_of("golden"), shape=shape, rotations=rotations)
    assert digest(*(torch.tensor(field).flatten(1) for field in drawn)) == expected


@pytest.mark.parametrize(
    ("first", "count", "shape", "rotations", "expected"),
    [
        (0, 64, Shape(5, 1, 1), "per class", "59d04054de224b9e"),
        (FAR, 5, Shape(20, 5, 1), "extra classes", "d2ac51649e2d88ca"),
        (1000, 50, Shape(5, 1, 15), "none", "2ef8fdad7ac2cddb"),
        (1000, 7, Shape(5, 0, 2), "per class", "f0c8dfea08b49c67"),
    ],
)
def test_images(first: int, count: int, shape: Shape, rotations: str, expected: str) -> None:
    classes = np.arange(39, 3, -1)
    episode = sample_images(
        speckled(), classes, first, count, key=3, stream=("golden", "train"), shape=shape, rotations=rotations
    )
    assert digest(*episode.support, *episode.query) == expected


@pytest.mark.real_data
@pytest.mark.usefixtures("mini_imagenet")
@pytest.mark.parametrize(
    ("split", "shape", "expected"),
    [
        ("train", Shape(5, 1, 15), "1145dafe8c8401f1"),
        ("validation", Shape(5, 5, 15), "cb92bf0d703bb7c0"),
        ("test", Shape(5, 1, 5), "687e779f4ac738de"),
    ],
)
def test_mini_imagenet(split: str, shape: Shape, expected: str) -> None:
    """As read from files named and sorted as Ravi & Larochelle have them."""
    known = store.manifest("mini_imagenet").fingerprint == "52b0b98ac95a"
    if not known and not os.environ.get("MAML_BENCH_REQUIRE_DATA"):
        pytest.skip("the stored mini-ImageNet has another order of examples, or was resized")
    episode = MiniImagenet().sample(split, FAR, 3, key=3, shape=shape)
    assert digest(*episode.support, *episode.query) == expected
