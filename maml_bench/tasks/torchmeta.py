"""Any data set of torchmeta, N-way K-shot classification. Deleu, Würfl, Samiei, Cohen & Bengio (2019), "Torchmeta: A
Meta-Learning library for PyTorch", arXiv:1909.06576.

The classes, their split and their examples are the defaults of torchmeta's helper function of that name, including its
class augmentations. The tasks are drawn here (see data.draws), because torchmeta's own choice of support and query
depends on Python's hash of strings (splitters.py 183-187 of tristandeleu/pytorch-meta).
"""

import hashlib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Generator, Tensor, nn

from maml_bench.checked import later
from maml_bench.classification import Classification, ImageNetwork, Joint, Normalisation, ResidualOptions
from maml_bench.data import store
from maml_bench.data.draws import Integers, choose, key_of, words_by_draw
from maml_bench.declared import WIDTH, OfNetwork, When
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.models import MLP, Conv
from maml_bench.resnet import Residual
from maml_bench.types import Batch, Episode, Shape

FOLDER = "MAML_BENCH_TORCHMETA"
INSTALL = (
    "python -m pip install --no-deps torchmeta==1.8.0 && "
    "python -m pip install torchvision h5py ordered-set tqdm requests"
)
KEPT_BYTES = 2**31
"""Examples of a part stay in memory as bytes if all of them need no more than this; else each is read when drawn."""

IMAGES = ("omniglot", "miniimagenet", "tieredimagenet", "cifar_fs", "fc100", "cub", "doublemnist", "triplemnist")
VECTORS = ("letter", "plants_texture", "plants_shape", "plants_margin", "bach")
CONV = Conv(32, downsample="pool", average=False)
_PARTS = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Torchmeta(Classification):
    """Tasks of N random classes of a part of a data set from one of torchmeta's helper functions (IMAGES, VECTORS).

    The data are in the folder of the variable MAML_BENCH_TORCHMETA, or else in ``torchmeta`` in the data folder. With
    ``download`` torchmeta may fetch them. Images are resized to ``size`` pixels a side, unless it is 0. The network is
    that of ``network`` for images, and the MAML paper's network without convolutions for vectors.
    """

    dataset: Annotated[str, Doc("Name of the helper function of torchmeta.")] = "omniglot"
    size: Annotated[int, Ge(0), WIDTH, Doc("Side in pixels that images are resized to, 0 to keep their size.")] = 0
    normalisation: Normalisation = "transductive"
    conv: Annotated[
        Conv,
        OfNetwork(),
        Doc("The options of `conv4`."),
        When("dataset", IMAGES, but=("context",)),
        When("network", ("conv4",), but=("context",)),
    ] = CONV
    joint: Joint = False
    network: Annotated[ImageNetwork, When("dataset", IMAGES)] = later("conv4")
    resnet: ResidualOptions = later(Residual())
    download: Annotated[bool, Doc("Whether torchmeta may download missing data.")] = later(False)

    name: ClassVar[str] = "torchmeta"

    def __post_init__(self) -> None:
        known = (*IMAGES, *VECTORS)
        if self.dataset not in known:
            raise MamlBenchError(
                f"torchmeta has no data set {self.dataset!r} to classify{nearest(self.dataset, known)}"
            )

    def model(self, shape: Shape, generator: Generator) -> nn.Module:
        """A network for examples of this data set and ``outputs(shape)`` classes."""
        one = self._part("train").example
        if one.ndim == 1:
            sizes = [len(one), 256, 128, 64, 64, self.outputs(shape)]
            return MLP(sizes, normalise=self.normalise(), generator=generator, context=self.conv.context)
        channels, height, width = one.shape
        if height != width:
            raise MamlBenchError(f"images of {self.dataset} have {height} x {width} pixels: choose a tasks.size")
        return self.image_network(channels, height, self.outputs(shape), generator)

    def outputs(self, shape: Shape) -> int:
        """Number of classes that the network predicts: those of a task, or with ``joint`` all training classes."""
        return len(self._part("train").counts) if self.joint else shape.way

    def sample(
        self,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        device: str = "cpu",
    ) -> Episode:
        """x ``[B, N * K, C, H, W]`` float32 in [0, 1] (vectors: ``[B, N * K, features]``, as they are) and labels
        ``[B, N * K]``; the query likewise with Q. Examples come in rounds of all classes in random order.

        Raises:
            MamlBenchError: ``shape`` asks for more classes or examples than there are, or the data cannot be read.
        """
        part = self._part(split)
        label, row, example = draw(
            part.counts, first, count, key=key_of(key, self.name, self.dataset, split), shape=shape
        )
        x = part.examples(row.reshape(-1), example.reshape(-1)).to(device)
        x = x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x
        x = x.view(count, -1, *x.shape[1:])
        y = torch.from_numpy(row if self.joint and split == "train" else label).to(device).view(count, -1)
        k = shape.way * shape.shot
        return Episode(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]))

    def fingerprint(self) -> dict[str, Any]:
        """Data set and version of torchmeta; for each part the numbers of classes and examples and a hash."""
        found: dict[str, Any] = {"name": f"torchmeta:{self.dataset}", "version": _module("torchmeta").__version__}
        for split in _PARTS:
            part = self._part(split)
            counts = {"classes": len(part.counts), "examples": int(part.counts.sum())}
            found[split] = {**counts, "fingerprint": part.fingerprint}
        return found

    def _part(self, split: str) -> "_Part":
        if split not in _PARTS:
            raise MamlBenchError(f"{self.name} has no split {split!r} (known: {', '.join(_PARTS)})")
        folder = os.environ.get(FOLDER) or store.data_home() / "torchmeta"
        return _load(Path(folder).expanduser(), self.dataset, _PARTS[split], self.size, self.download)


def draw(counts: Integers, first: int, count: int, *, key: int, shape: Shape) -> tuple[Integers, Integers, Integers]:
    """Labels, classes and examples, each int64 ``[count, K + Q, N]``, of the episodes from ``first`` on.

    ``counts`` are the numbers of examples of each class. The examples of a task are drawn without replacement.

    Raises:
        MamlBenchError: more classes or examples are asked for than there are.
    """
    way, rounds = shape.way, shape.shot + shape.query
    if not 1 <= way <= len(counts):
        raise MamlBenchError(f"way is {way}, but this split has {len(counts)} classes: choose 1 to {len(counts)}")
    if not 1 <= rounds <= counts.min():
        raise MamlBenchError(
            f"shot {shape.shot} and query {shape.query} need {rounds} examples of each class, but there are "
            f"{counts.min()} of one"
        )
    words = words_by_draw(key, first, count, way * (1 + 2 * rounds))
    of_class, of_example, of_order = np.split(words, np.cumsum([way, way * rounds]))
    row = choose(of_class, len(counts))
    example = choose(of_example.reshape(way, rounds, count).swapaxes(0, 1), counts[row])
    label = choose(of_order.reshape(rounds, way, count).swapaxes(0, 1), way).swapaxes(0, 1)
    found = (label, *(np.take_along_axis(a, label, axis=1) for a in (np.broadcast_to(row, example.shape), example)))
    label, row, example = (np.ascontiguousarray(a.transpose(2, 0, 1)) for a in found)
    return label, row, example


class _Part:
    """The classes of one part: their numbers of examples (``counts``), one example, and all examples read so far."""

    def __init__(self, classes: Sequence[Sequence[tuple[Any, Any]]], size: int) -> None:
        self._classes, self._size = classes, size
        self.counts = np.array([len(classes[row]) for row in range(len(classes))], dtype=np.int64)
        self.example = pixels(classes[0][0][0], size)
        self._first = np.cumsum(self.counts) - self.counts
        self._there = np.zeros(len(self.counts), dtype=bool)
        total = int(self.counts.sum())
        fits = total * self.example.nbytes <= KEPT_BYTES
        self._kept = self.example.new_empty(total, *self.example.shape) if fits else None

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits over the counts and the first example of every class."""
        digest = hashlib.sha256(self.counts.tobytes())
        for row in range(len(self.counts)):
            digest.update(self.read(row, 0).numpy().tobytes())
        return digest.hexdigest()[:12]

    def read(self, row: int, example: int) -> Tensor:
        """One example from torchmeta."""
        found = pixels(self._classes[row][example][0], self._size)
        if found.shape != self.example.shape:
            raise MamlBenchError(
                f"torchmeta gives examples of the shapes {tuple(self.example.shape)} and {tuple(found.shape)}: "
                "choose a tasks.size"
            )
        return found

    def examples(self, rows: Integers, examples: Integers) -> Tensor:
        """The examples ``[n, ...]`` of these classes; a class is read as a whole when it is first drawn, if all fit."""
        if self._kept is None:
            return torch.stack([self.read(*one) for one in zip(rows.tolist(), examples.tolist(), strict=True)])
        for row in np.unique(rows[~self._there[rows]]).tolist():
            for example in range(self.counts[row]):
                self._kept[self._first[row] + example] = self.read(row, example)
            self._there[row] = True
        return self._kept.index_select(0, torch.from_numpy(self._first[rows] + examples))


def pixels(x: Any, size: int = 0) -> Tensor:
    """An image (PIL, array or tensor) as uint8 ``[C, H, W]``, resized if ``size`` is not 0; a vector as float32.

    Float images are in [0, 1], as torchvision's ``ToTensor`` makes them. Others are not scaled by a guess.

    Raises:
        MamlBenchError: float images that are not in [0, 1].
    """
    if isinstance(x, Tensor):
        found = x
    else:
        array = np.array(x)
        found = torch.from_numpy(array.transpose(2, 0, 1).copy() if array.ndim == 3 else array)
    if found.ndim == 1:
        return found.to(torch.float32)
    found = found.unsqueeze(0) if found.ndim == 2 else found
    found = found.to(torch.float32) / 255 if found.dtype == torch.uint8 else found.to(torch.float32)
    if not bool(((found >= 0) & (found <= 1)).all()):  # before the resizing, which ends in [0, 1]
        raise MamlBenchError(
            f"torchmeta gives images with values from {float(found.min()):g} to {float(found.max()):g}, but float "
            "images must be in [0, 1]: leave out what shifts or scales them, or give bytes"
        )
    if size and found.shape[1:] != (size, size):
        found = F.interpolate(found.unsqueeze(0), (size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return (255 * found).round().to(torch.uint8)


@lru_cache(maxsize=6)
def _load(folder: Path, dataset: str, part: str, size: int, download: bool) -> _Part:
    helper = getattr(_module("torchmeta.datasets.helpers" + "_tabular" * (dataset in VECTORS)), dataset)
    try:
        classes = helper(str(folder), shots=1, ways=1, meta_split=part, download=download).dataset
    except (OSError, RuntimeError) as error:
        raise MamlBenchError(
            f"torchmeta finds no {dataset} in {folder} ({error}): set {FOLDER} to the folder that you give torchmeta, "
            "or let it download the data with --set tasks.download=true"
        ) from None
    return _Part(classes, size)


def _module(name: str) -> ModuleType:
    """A module of torchmeta. It imports two private functions that torchvision no longer has, so they are put back.

    Raises:
        MamlBenchError: torchmeta or one of its requirements is not installed or does not fit this torch.
    """
    try:
        utils = importlib.import_module("torchvision.datasets.utils")
        for gone in (_get_confirm_token, _save_response_content):
            if not hasattr(utils, gone.__name__):
                setattr(utils, gone.__name__, gone)
        return importlib.import_module(name)
    except ImportError as error:
        raise MamlBenchError(f"these tasks need torchmeta ({error}): {INSTALL}") from None
    except RuntimeError as error:
        raise MamlBenchError(
            f"the installed torchvision does not fit this torch ({error}): install its build"
        ) from None


def _get_confirm_token(response: Any) -> str | None:
    """The token that Google Drive asks for before it sends a large file."""
    return next((value for key, value in response.cookies.items() if key.startswith("download_warning")), None)


def _save_response_content(response: Any, destination: str, chunk_size: int = 2**15) -> None:
    """Write the body of a response to a file."""
    with Path(destination).open("wb") as file:
        for chunk in response.iter_content(chunk_size):
            file.write(chunk)
