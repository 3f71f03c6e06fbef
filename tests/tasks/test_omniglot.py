"""Omniglot tasks on the real data."""

import numpy as np
import pytest
import torch

from maml_bench.data import splits, store
from maml_bench.errors import MamlBenchError
from maml_bench.tasks.omniglot import Omniglot
from maml_bench.types import Shape

pytestmark = [pytest.mark.real_data, pytest.mark.usefixtures("omniglot")]
SHAPE = Shape(5, 1, 1)


def test_images_are_binary_with_little_ink() -> None:
    episode = Omniglot().sample("train", 0, 100, key=1, shape=SHAPE)
    assert episode.support.x.unique().tolist() == [0.0, 1.0]
    assert 0.07 < float(episode.support.x.mean()) < 0.09


def test_grey_images_have_grey_levels() -> None:
    levels = Omniglot(images="grey28").sample("train", 0, 4, key=1, shape=SHAPE).support.x.unique()
    assert len(levels) > 20
    assert 0 <= float(levels.min()) < float(levels.max()) <= 1


@pytest.mark.parametrize("split", ["finn", "vinyals"])
def test_tasks_come_from_their_part_of_the_split(split: str) -> None:
    """Unturned images of 300 tasks are found among the part's own images, and none among the other parts'."""
    tasks = Omniglot(split=split, rotations="none")
    images = np.asarray(store.load("omniglot", "binary28")).reshape(1623, 20, -1)
    classes = store.manifest("omniglot").classes
    parts = splits.load_split("omniglot", split)
    known = {
        part: {image.tobytes() for c in splits.indices(parts, part, classes) for image in images[c]}
        for part in parts.parts
    }
    for part in parts.parts:
        drawn = tasks.sample(part, 0, 300, key=1, shape=SHAPE).support.x.flatten(0, 1)
        found = {image.numpy().tobytes() for image in (drawn * 255).round().byte().flatten(1)}
        assert found <= known[part]


def test_an_unknown_split_part_is_a_sentence() -> None:
    with pytest.raises(MamlBenchError, match="no split 'valid'"):
        Omniglot().sample("valid", 0, 1, key=0, shape=SHAPE)


@pytest.mark.parametrize(("network", "weights", "betas"), [("conv4", 111_749, 256), ("mlp", 246_597, 512)])
def test_networks_have_the_papers_sizes(network: str, weights: int, betas: int) -> None:
    """Parameter counts of maml.py (cbfinn/maml): 5-way, without and with the batch-norm offsets."""
    model = Omniglot(network=network).model(SHAPE, torch.Generator().manual_seed(0))
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert sum(n for name, n in sizes.items() if name.endswith("beta")) == betas
    assert sum(n for name, n in sizes.items() if not name.endswith("beta")) == weights


def test_fingerprint_names_data_and_split() -> None:
    found = Omniglot().fingerprint()
    assert found["fingerprint"] == store.manifest("omniglot").fingerprint
    assert found["split_sha256"] == splits.load_split("omniglot", "finn").sha256
