"""The bridge to torchmeta: under torchmeta itself where it is installed, and always under a stand-in for it."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import Tensor

from maml_bench.core.setup import Capability
from maml_bench.data.draws import key_of
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.registry import build_setup, build_tasks
from maml_bench.tasks import torchmeta
from maml_bench.tasks.torchmeta import Torchmeta, draw, pixels
from maml_bench.types import Batch, Episode, Shape
from tests.tasks.torchmeta_data import PARTS, counts, real, stand_in, write_cifar_fs, write_letter, write_omniglot

SHAPE = Shape(5, 2, 3)


@pytest.fixture(params=["stand-in", "torchmeta"])
def cifar_fs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torchmeta:
    """Tasks of the small CIFAR-FS."""
    if request.param == "torchmeta":
        real(write_cifar_fs, tmp_path / "data", monkeypatch)
    else:
        stand_in(tmp_path / "data", monkeypatch)
    return Torchmeta("cifar_fs")


def seen(batch: Batch) -> tuple[Tensor, Tensor]:
    """Classes and examples ``[B, n]`` that the images of CIFAR-FS name."""
    colours = (255 * batch.x[..., 0, 0]).round().long()
    assert torch.equal(colours[..., 2], 10 * colours[..., 0] + colours[..., 1])
    return colours[..., 0], colours[..., 1]


def equal(one: Episode, other: Episode) -> bool:
    return all(
        torch.equal(a, b) for mine, theirs in zip(one, other, strict=True) for a, b in zip(mine, theirs, strict=True)
    )


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_episode_is_classes_of_the_part_with_examples_of_their_own(cifar_fs: Torchmeta, part: str) -> None:
    episode = cifar_fs.sample(part, 0, 40, key=1, shape=SHAPE)
    assert episode.support.x.shape == (40, 10, 3, 32, 32)
    assert episode.query.x.shape == (40, 15, 3, 32, 32)
    assert episode.support.x.dtype == torch.float32
    assert episode.support.y.dtype == torch.int64
    there = counts({"train": "train", "validation": "val", "test": "test"}[part])
    kinds, examples = (torch.cat(pair, 1) for pair in zip(seen(episode.support), seen(episode.query), strict=True))
    labels = torch.cat([episode.support.y, episode.query.y], 1)
    assert kinds.max() == len(there) - 1
    for kind, example, label in zip(kinds, examples, labels, strict=True):
        assert all(round.sort().values.tolist() == [0, 1, 2, 3, 4] for round in label.split(5))
        assert len({*zip(kind.tolist(), label.tolist(), strict=True)}) == len(kind.unique()) == 5
        assert len({*zip(kind.tolist(), example.tolist(), strict=True)}) == 25
        assert all(e < there[k] for k, e in zip(kind.tolist(), example.tolist(), strict=True))


def test_an_episode_does_not_depend_on_those_around_it(cifar_fs: Torchmeta) -> None:
    many = cifar_fs.sample("train", 3, 6, key=7, shape=SHAPE)
    for number in (8, 3, 5):
        one = cifar_fs.sample("train", number, 1, key=7, shape=SHAPE)
        assert equal(one, Episode(*(Batch(*(t[number - 3 : number - 2] for t in batch)) for batch in many)))
    assert not equal(many, cifar_fs.sample("train", 3, 6, key=8, shape=SHAPE))
    assert not equal(many, cifar_fs.sample("train", 4, 6, key=7, shape=SHAPE))


def test_what_does_not_fit_the_memory_is_read_when_it_is_drawn(
    cifar_fs: Torchmeta, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cifar_fs.sample("train", 0, 5, key=1, shape=SHAPE)
    torchmeta._load.cache_clear()
    monkeypatch.setattr(torchmeta, "KEPT_BYTES", sum(counts("train")) * 32 * 32 * 3 - 1)
    assert cifar_fs._part("train")._kept is None
    assert equal(expected, cifar_fs.sample("train", 0, 5, key=1, shape=SHAPE))


def test_joint_labels_are_classes_in_training_alone(cifar_fs: Torchmeta) -> None:
    joint = Torchmeta("cifar_fs", joint=True)
    plain, episode = (tasks.sample("train", 0, 9, key=1, shape=SHAPE) for tasks in (cifar_fs, joint))
    assert torch.equal(episode.query.x, plain.query.x)
    assert torch.equal(episode.support.y, seen(episode.support)[0])
    assert equal(*(tasks.sample("test", 0, 9, key=1, shape=SHAPE) for tasks in (cifar_fs, joint)))
    network = joint.model(SHAPE, torch.Generator().manual_seed(0))
    assert network(episode.support.x[0]).shape == (10, PARTS["train"])


def test_images_can_be_resized_and_networks_follow(cifar_fs: Torchmeta) -> None:
    tasks = Torchmeta("cifar_fs", size=16)
    x = tasks.sample("test", 0, 2, key=0, shape=SHAPE).query.x
    assert x.shape == (2, 15, 3, 16, 16)
    torch.testing.assert_close(x, cifar_fs.sample("test", 0, 2, key=0, shape=SHAPE).query.x[..., :16, :16])
    network = tasks.model(SHAPE, torch.Generator().manual_seed(0))
    assert (network.head.in_features, network(x[0]).shape) == (32, (15, 5))


def test_a_fingerprint_says_which_data_they_are(cifar_fs: Torchmeta, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cifar_fs.fingerprint()
    assert (before["name"], before["version"]) == ("torchmeta:cifar_fs", "1.8.0")
    assert {part: (before[part]["classes"], before[part]["examples"]) for part in ("train", "validation", "test")} == {
        "train": (8, sum(counts("train"))), "validation": (6, sum(counts("val"))), "test": (7, sum(counts("test"))),
    }  # fmt: skip
    assert json.loads(json.dumps(before)) == before
    torchmeta._load.cache_clear()
    monkeypatch.setattr(torchmeta, "pixels", lambda x, size: pixels(1 - x, size))
    after = cifar_fs.fingerprint()
    assert after["train"]["fingerprint"] != before["train"]["fingerprint"]


@pytest.mark.parametrize(
    ("split", "shape", "sentence"),
    [
        ("val", SHAPE, "torchmeta has no split 'val'"),
        ("validation", Shape(7, 1, 1), "way is 7, but this split has 6 classes: choose 1 to 6"),
        ("train", Shape(2, 5, 14), "shot 5 and query 14 need 19 examples of each class, but there are 18 of one"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(cifar_fs: Torchmeta, split: str, shape: Shape, sentence: str) -> None:
    with pytest.raises(MamlBenchError, match=sentence):
        cifar_fs.sample(split, 0, 1, key=0, shape=shape)


def test_data_that_are_not_there_are_a_sentence(cifar_fs: Torchmeta, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(torchmeta.FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(MamlBenchError, match=r"finds no cifar_fs in .*nowhere.*tasks\.download=true"):
        cifar_fs.sample("train", 0, 1, key=0, shape=SHAPE)


def test_a_run_from_the_command_lines_name_to_the_record(cifar_fs: Torchmeta, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("maml_bench.harness.machine.convolution_gflops", lambda device="cpu": 100.0)
    recipe = resolve("torchmeta:cifar_fs", preset="smoke")
    outcome = run(recipe, 0, Options(tmp_path / "runs", threads=1))
    assert outcome.record is not None
    assert (outcome.record.status, outcome.record.reason) == ("ok", None)
    assert outcome.record.recipe["tasks"]["dataset"] == "cifar_fs"
    assert outcome.record.data == cifar_fs.fingerprint()
    assert outcome.path is not None
    assert outcome.path.name.startswith("torchmeta-cifar_fs-smoke-")


def test_images_are_what_torchmeta_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Omniglot at 28 pixels, with three turns of each character as further classes."""
    real(write_omniglot, tmp_path, monkeypatch)
    tasks = Torchmeta("omniglot", joint=True)
    theirs = importlib.import_module("torchmeta.datasets.helpers").omniglot(str(tmp_path), 1, 5, meta_split="train")
    assert tasks.outputs(SHAPE) == len(theirs.dataset) == 4 * PARTS["train"]
    episode = tasks.sample("train", 0, 6, key=0, shape=SHAPE)
    for x, row in zip(episode.query.x.flatten(0, 1), episode.query.y.flatten().tolist(), strict=True):
        assert any(torch.equal(x, image) for image, _ in theirs.dataset[row])


def test_vectors_meet_a_network_without_convolutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letter: the features of each example name its class and itself."""
    real(write_letter, tmp_path, monkeypatch)
    tasks = Torchmeta("letter")
    episode = tasks.sample("validation", 0, 4, key=0, shape=SHAPE)
    assert episode.query.x.shape == (4, 15, 16)
    kinds, examples = episode.query.x[..., 0], episode.query.x[..., 1]
    assert kinds.max() == PARTS["val"] - 1
    assert 10 < examples.max() < max(counts("val"))
    assert all(
        len({*zip(kind.tolist(), y.tolist(), strict=True)}) == 5 for kind, y in zip(kinds, episode.query.y, strict=True)
    )
    assert tasks.model(SHAPE, torch.Generator().manual_seed(0))(episode.query.x[0]).shape == (15, 5)


def test_unequal_classes_are_drawn_whole_and_evenly() -> None:
    """Three classes of 2, 3 and 7 examples: each is in two of three tasks of two, its examples equally often."""
    sizes = np.array([2, 3, 7])
    label, row, example = draw(sizes, 0, 30_000, key=key_of("x"), shape=Shape(2, 1, 1))
    assert label.shape == row.shape == example.shape == (30_000, 2, 2)
    assert (example[:, 0] != example[:, 1])[row[:, 0] == row[:, 1]].all()
    for kind, size in enumerate(sizes):
        assert (row[:, 0] == kind).any(1).mean() == pytest.approx(2 / 3, abs=0.015)
        drawn = np.bincount(example[row == kind], minlength=size)
        assert len(drawn) == size
        assert np.abs(drawn / drawn.mean() - 1).max() < 0.06


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_stay_as_they_are(dtype: torch.dtype) -> None:
    assert torch.equal(pixels(torch.tensor([-3.0, 0.5], dtype=dtype)), torch.tensor([-3.0, 0.5]))
    assert torch.equal(pixels(np.array([1, 2])), torch.tensor([1.0, 2.0]))


def test_images_of_any_kind_become_bytes() -> None:
    from PIL import Image

    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for image in (grey, torch.from_numpy(grey), Image.fromarray(grey), torch.from_numpy(grey)[None].double() / 255):
        assert torch.equal(pixels(image), torch.from_numpy(grey)[None])
    colour = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert torch.equal(pixels(Image.fromarray(colour))[2], torch.from_numpy(colour[..., 2].copy()))
    with pytest.raises(MamlBenchError, match=r"values from 1.5 to 1.5"):
        pixels(torch.full((1, 2, 2), 1.5))


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("torchmeta:cifarfs", "torchmeta has no data set 'cifarfs' to classify (did you mean 'cifar_fs'?)"),
        ("torchmta:cifar_fs", "no recipe 'torchmta:cifar_fs'"),
        ("sinusoid-k10:cub", "no recipe 'sinusoid-k10:cub'"),
        ("torchmeta:", "no recipe 'torchmeta:' (did you mean 'torchmeta'?)"),
    ],
)
def test_a_wrong_name_is_a_sentence(recipe: str, sentence: str) -> None:
    with pytest.raises(MamlBenchError) as caught:
        resolve(recipe, preset="smoke")
    assert sentence in str(caught.value)


def test_a_recipe_is_filled_by_what_follows_the_colon() -> None:
    """It needs no torchmeta to be resolved; --set still lies over it."""
    plain, filled = resolve("torchmeta", preset="quick"), resolve("torchmeta:cub", preset="quick")
    assert (plain.id, plain.tasks["dataset"]) == ("torchmeta", "omniglot")
    assert (filled.id, filled.tasks["dataset"]) == ("torchmeta-cub", "cub")
    assert plain.recipe_id != filled.recipe_id
    assert filled.recipe_id == resolve("torchmeta", preset="quick", settings=["tasks.dataset=cub"]).recipe_id
    assert "download" not in filled.tasks
    joint = resolve("torchmeta:fc100", preset="smoke", setup="baseline", settings=["tasks.size=16"])
    assert (joint.tasks["joint"], joint.tasks["size"]) == (True, 16)
    assert Capability.TRAINS_JOINTLY in build_setup(joint.setup, "test").capabilities
    assert isinstance(build_tasks(joint.tasks, "test"), Torchmeta)


def test_without_torchmeta_a_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchvision", "torchvision.datasets.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MamlBenchError, match=r"need torchmeta .*pip install --no-deps torchmeta==1\.8\.0") as caught:
        Torchmeta("cub").sample("train", 0, 1, key=0, shape=SHAPE)
    assert "\n" not in str(caught.value)


def test_functions_that_torchvision_dropped_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "data", monkeypatch)
    Torchmeta("cifar_fs").fingerprint()
    utils = sys.modules["torchvision.datasets.utils"]

    class Response:
        cookies = MappingProxyType({"a": "1", "download_warning_x": "yes"})

        def iter_content(self, size: int) -> Iterator[bytes]:
            yield from (b"abc", b"", b"de")

    assert utils._get_confirm_token(Response()) == "yes"  # type: ignore[attr-defined]
    utils._save_response_content(Response(), str(tmp_path / "file"))  # type: ignore[attr-defined]
    assert (tmp_path / "file").read_bytes() == b"abcde"


@pytest.mark.parametrize("size", [0, 6, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float_images_in_0_to_1_are_the_images_of_bytes(dtype: torch.dtype, size: int) -> None:
    """As a tensor ``[C, H, W]``, as an array ``[H, W, C]``, and with and without resizing."""
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 6, 6), dtype=np.uint8))
    expected, floats = pixels(image, size), image.to(dtype) / 255
    assert torch.equal(pixels(floats, size), expected)
    assert torch.equal(pixels(floats.permute(1, 2, 0).numpy(), size), expected)


@pytest.mark.parametrize("size", [0, 6, 3])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x, "from 0 to 255"),
        (lambda x: x / 255 - 0.5, "from -0.5 to 0.5"),
        (lambda x: torch.where(x == 7, torch.nan, x / 255), "from nan to nan"),
        (lambda x: x.long(), "from 0 to 255"),
    ],
)
def test_other_float_images_are_a_sentence_whether_they_are_resized_or_not(change, words: str, size: int) -> None:
    """Resizing ends in [0, 1], so it made images of 0 to 255 white without a word."""
    image = change(torch.arange(256.0).reshape(1, 16, 16))
    with pytest.raises(MamlBenchError) as told:
        pixels(image, size)
    assert str(told.value) == (
        f"torchmeta gives images with values {words}, but float images must be in [0, 1]: leave out what shifts or "
        "scales them, or give bytes"
    )


@pytest.mark.parametrize("scale", [1, 255])
def test_a_data_set_that_gives_floats_gives_the_tasks_of_its_bytes_or_is_refused(
    cifar_fs: Torchmeta, monkeypatch: pytest.MonkeyPatch, scale: int
) -> None:
    expected = cifar_fs.sample("train", 0, 2, key=1, shape=SHAPE)

    class Floats:
        """A class of torchmeta whose images went through a transform to floats."""

        def __init__(self, images) -> None:
            self._images = images

        def __len__(self) -> int:
            return len(self._images)

        def __getitem__(self, example: int):
            image, label = self._images[example]
            return pixels(image).float() / 255 * scale, label

    class AllFloats(torchmeta._Part):
        def __init__(self, classes, size: int) -> None:
            super().__init__([Floats(classes[row]) for row in range(len(classes))], size)

    torchmeta._load.cache_clear()
    monkeypatch.setattr(torchmeta, "_Part", AllFloats)
    if scale == 1:
        assert equal(expected, cifar_fs.sample("train", 0, 2, key=1, shape=SHAPE))
    else:
        with pytest.raises(MamlBenchError, match=r"values from 0 to .*, but float images must be in \[0, 1\]"):
            cifar_fs.sample("train", 0, 2, key=1, shape=SHAPE)
