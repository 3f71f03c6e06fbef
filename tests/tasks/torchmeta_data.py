"""Small data sets as torchmeta stores them, and a stand-in for torchmeta where it is not installed.

In CIFAR-FS every pixel of an example is (class, example, 10 * class + example), so that a drawn image says which it is.
"""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from maml_bench.tasks.torchmeta import FOLDER

PARTS = {"train": 8, "val": 6, "test": 7}
EXAMPLES = (20, 18, 23)
"""Classes differ in how many examples they have, in this order and again."""


def counts(part: str) -> list[int]:
    """Examples of each class of a part."""
    return [EXAMPLES[row % len(EXAMPLES)] for row in range(PARTS[part])]


def image(row: int, example: int) -> np.ndarray:
    """uint8 ``[32, 32, 3]`` of one colour, which names class and example."""
    return np.full((32, 32, 3), (row, example, 10 * row + example), dtype=np.uint8)


def write_cifar_fs(folder: Path) -> None:
    """CIFAR-FS as torchmeta's `CIFAR100ClassDataset` reads it: one HDF5 file, the labels of each part, the names."""
    import h5py

    root = folder / "cifar100"
    (root / "cifar-fs").mkdir(parents=True)
    with h5py.File(root / "data.hdf5", "w") as file:
        for part in PARTS:
            labels = [(part, f"class{row}") for row in range(PARTS[part])]
            (root / "cifar-fs" / f"{part}_labels.json").write_text(json.dumps(labels))
            for row, there in enumerate(counts(part)):
                file.create_dataset(f"{part}/class{row}", data=np.stack([image(row, e) for e in range(there)]))
    (root / "fine_names.json").write_text("{}")


def write_omniglot(folder: Path) -> None:
    """Omniglot as torchmeta's `OmniglotClassDataset` reads it, with noise for ink."""
    import h5py

    root, noise = folder / "omniglot", np.random.default_rng(0)
    root.mkdir(parents=True)
    with h5py.File(root / "data.hdf5", "w") as file:
        for part in PARTS:
            labels = [("images_background", part, f"character{row:02}") for row in range(PARTS[part])]
            (root / f"vinyals_{part}_labels.json").write_text(json.dumps(labels))
            for label in labels:
                ink = noise.integers(0, 2, (20, 105, 105), dtype=np.uint8) * 255
                file.create_dataset("/".join(label), data=ink)


def write_letter(folder: Path) -> None:
    """Letter as torchmeta's `LetterClassDataset` reads it: 16 numbers an example, of which the first two say which."""
    import h5py

    root = folder / "letter"
    root.mkdir(parents=True)
    for part in PARTS:
        (root / f"{part}_labels.json").write_text(json.dumps([f"class{row}" for row in range(PARTS[part])]))
        with h5py.File(root / f"{part}_data.hdf5", "w") as file:
            for row, there in enumerate(counts(part)):
                data = np.zeros((there, 16))
                data[:, 0], data[:, 1] = row, np.arange(there)
                file.create_dataset(f"datasets/class{row}", data=data)


def real(write: Callable[[Path], None], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchmeta itself on data of ``write``; without it the test skips."""
    if importlib.util.find_spec("torchmeta") is None or importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchmeta is not installed: tox -e torchmeta")
    declare_operators()
    write(folder)
    monkeypatch.setenv(FOLDER, str(folder))


def declare_operators() -> None:
    """Let torchvision be imported where its compiled operators do not load, as with a build for another device."""
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class Examples:
    """What a `ClassDataset` of torchmeta gives for one class: pairs of an image in [0, 1] and a target."""

    def __init__(self, row: int, there: int) -> None:
        self._row, self._there = row, there

    def __len__(self) -> int:
        return self._there

    def __getitem__(self, example: int) -> tuple[torch.Tensor, Any]:
        pixels = torch.from_numpy(image(self._row, example)).permute(2, 0, 1).float() / 255
        return pixels, ("coarse", f"class{self._row}")


class Classes:
    """What the helpers of torchmeta return, as far as the interface of `CombinationMetaDataset` is used."""

    def __init__(self, part: str) -> None:
        self.dataset = [Examples(row, there) for row, there in enumerate(counts(part))]


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules with the names of torchmeta's that know CIFAR-FS alone."""

    def cifar_fs(folder: str, shots: int, ways: int, *, meta_split: str, download: bool) -> Classes:
        if not Path(folder).is_dir():
            raise RuntimeError("CIFAR100 integrity check failed")
        return Classes(meta_split)

    names = ("torchvision", "torchvision.datasets", "torchvision.datasets.utils")
    names += ("torchmeta", "torchmeta.datasets", "torchmeta.datasets.helpers")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchmeta"].__version__ = "1.8.0"  # type: ignore[attr-defined]
    sys.modules["torchmeta.datasets.helpers"].cifar_fs = cifar_fs  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    monkeypatch.setenv(FOLDER, str(folder))
