"""Copies that are not mini-ImageNet, or not whole: each is refused in one sentence, and nothing is stored."""

import errno
import pickle
import re
import shutil
import sys
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import mini_imagenet_factory as factory
import numpy as np
import pytest
from mini_imagenet_factory import LAYOUTS, Files, add, archives, jpeg
from PIL import Image

from maml_bench.data import store
from maml_bench.data.disk import ArrayFile
from maml_bench.errors import MamlBenchError

FIRST = "train/n00000001/n0000000100000000.jpg"


def refused(path: Path, home: Path, pattern: str) -> None:
    """Adding ``path`` is refused in one sentence that fits ``pattern``; nothing is stored, no thread goes on."""
    threads = threading.active_count()
    with pytest.raises(MamlBenchError, match=pattern) as caught:
        add(path)
    assert "\n" not in str(caught.value)
    assert not home.exists()
    assert threading.active_count() == threads


def png(mode: str) -> bytes:
    content = BytesIO()
    Image.new(mode, (84, 84)).save(content, "PNG")
    return content.getvalue()


def test_a_full_disk(home: Path, tmp_path: Path, photos: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ArrayFile, "fill", full)
    refused(factory.save(tmp_path / "copy", photos), home, r"cannot write to the data folder .*No space left")


def moved(files: Files, old: str, new: str) -> Files:
    return {name.replace(old, new): content for name, content in files.items()}


def without(files: Files, part: str) -> Files:
    return {name: content for name, content in files.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda f: without(f, "n00000004"), r"lacks 1 of the 7 classes of mini-ImageNet: n00000004$"),
        (lambda f: without(f, "val/"), r"lacks 2 of the 7 classes of mini-ImageNet: n00000002, n00000005$"),
        (lambda f: without(f, FIRST), r"has 4 images of n00000001 instead of 5$"),
        (lambda f: f | {FIRST.replace("00.jpg", "01.jpg"): f[FIRST]}, "(has 6|has more than 5) images of n00000001"),
        (lambda f: f | moved(f, "n00000004", "n00000009"), "has n00000009, which is no class of mini-ImageNet"),
        (
            lambda f: moved(f, "val/n00000005", "test/n00000005"),
            "has n00000005 in test, but it is a validation class of Ravi & Larochelle's split",
        ),
        (
            lambda f: f | {n.replace("val/", "test/"): c for n, c in f.items() if "n00000005" in n},
            # it is out of place by itself, whichever of the two archives is read first
            "has n00000005 in test, but it is a validation class of Ravi & Larochelle's split",
        ),
        (lambda f: f | {FIRST: b"not an image"}, r"n0000000100000000\.jpg.* is not a whole JPEG image"),
        (lambda f: f | {FIRST: b""}, r"n0000000100000000\.jpg.* is not a whole JPEG image"),
        (lambda f: f | {FIRST: f[FIRST][:-2000]}, r"n0000000100000000\.jpg.* is not a whole JPEG image"),
        (
            lambda f: f | {FIRST: jpeg(1, (80, 84))},
            r"1 of 35 images are not 84x84, as only originals may be: .*0100000000\.jpg.* is 80x84 of mode 'RGB'",
        ),
        (
            lambda f: f | {FIRST: jpeg(1, mode="L")},
            r"1 of 35 images are not RGB, as only originals may be: .*n0000000100000000\.jpg.* is 84x84 of mode 'L'",
        ),
        (lambda f: f | {FIRST: png("RGBA")}, r"n0000000100000000\.jpg.* has mode 'RGBA'; images must be RGB"),
        (lambda f: f | {FIRST: jpeg(1, mode="CMYK")}, "1 of 35 images are not RGB, .* is 84x84 of mode 'CMYK'"),
    ],
)
@pytest.mark.parametrize("layout", ["folders", "tar"])
def test_content_that_is_not_mini_imagenet(
    home: Path, tmp_path: Path, photos: Files, layout: str, change: Callable[[Files], Files], pattern: str
) -> None:
    refused(LAYOUTS[layout][1](tmp_path / "copy", change(photos)), home, pattern)


def test_bad_input_leaves_old_data(home: Path, tmp_path: Path, photos: Files) -> None:
    old = add(factory.save(tmp_path / "copy", photos))
    (tmp_path / "copy" / FIRST).write_bytes(b"")
    with pytest.raises(MamlBenchError, match="is not a whole JPEG image"):
        add(tmp_path / "copy")
    assert store.verify("mini_imagenet") == old


@pytest.mark.parametrize("end", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("kept", [0, 30, 0.5, -20])
def test_a_truncated_archive(home: Path, tmp_path: Path, photos: Files, end: str, kept: float) -> None:
    folder = archives(tmp_path / "copy", photos, end)
    path = folder / f"train-2{end}"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    if (end, kept) == (".tar", -20):  # nothing but padding is gone
        assert add(folder).source == "4 tar archives"
        return
    refused(folder, home, rf"train-2{re.escape(end)} is not a whole tar archive")


@pytest.mark.parametrize("end", [".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("place", [0.3, 0.9, -6])
def test_a_flipped_byte_in_an_archive(home: Path, tmp_path: Path, photos: Files, end: str, place: float) -> None:
    folder = archives(tmp_path / "copy", photos, end)
    content = bytearray((folder / f"val{end}").read_bytes())
    content[int(place * len(content)) if place > 0 else int(place)] ^= 4
    (folder / f"val{end}").write_bytes(content)
    refused(folder, home, rf"val{re.escape(end)} is not a whole tar archive|is not a whole JPEG image")


def test_a_class_in_two_archives(home: Path, tmp_path: Path, photos: Files) -> None:
    """The two places are named in the order of their names, whichever archive is read first."""
    folder = archives(tmp_path / "copy", photos, ".tar")
    shutil.copy(folder / "train-2.tar", folder / "train-0.tar")
    refused(folder, home, r"n0000000\d is there twice: in \S* in \S*train-0\.tar and again in \S* in \S*train-2\.tar$")


def test_an_archive_of_something_else(home: Path, tmp_path: Path, photos: Files) -> None:
    name = "mini-imagenet-cache-train.pkl"
    refused(factory.pack(tmp_path / "a.tar.gz", [name], {name: b""}), home, f"holds {name}: extract it, then name the")
    refused(factory.pack(tmp_path / "b.tar", ["beach.jpg"], {"beach.jpg": b""}), home, "lacks 7 of the 7 classes")


def test_an_archive_is_never_unpacked(home: Path, tmp_path: Path, photos: Files) -> None:
    evil = {"../../evil/train/n00000001/evil.jpg": jpeg(1)}
    files = without(photos, FIRST) | evil
    add(factory.pack(tmp_path / "deep" / "er" / "mini.tar", files, files))
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda at: (at / "val.csv").unlink(), r"copy lacks val\.csv$"),
        (
            lambda at: (at / "val.csv").write_text("a,b\n1,2\n"),
            r"val\.csv is no list with the columns filename and label",
        ),
        (lambda at: (at / "val.csv").write_text("filename,label\nx.jpg\n"), r"val\.csv is no list with the columns"),
        (
            lambda at: (at / "val.csv").write_bytes((at / "test.csv").read_bytes()),
            r"n0000000\d stands in val\.csv and again in test\.csv",
        ),
        (
            lambda at: (at / "images" / "n0000000500000000.jpg").unlink(),
            r"lacks 1 of the 5 images of n00000005 in val\.csv, n0000000500000000\.jpg for one",
        ),
        (lambda at: (at / "images").rename(at / "pictures"), "holds lists, but none of the images that they name"),
        (
            lambda at: (at / "val.csv").write_text((at / "val.csv").read_text() + "n0000000500000000.jpg,n00000005\n"),
            r"val\.csv of .* has n0000000500000000\.jpg twice",
        ),
    ],
)
def test_lists_that_do_not_fit(
    home: Path, tmp_path: Path, photos: Files, change: Callable[[Path], object], pattern: str
) -> None:
    folder = LAYOUTS["images with lists"][1](tmp_path / "copy", photos)
    change(folder)
    refused(folder, home, pattern)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda d: d.pop("class_dict"), r"val\.pkl has not the arrays image_data and class_dict"),
        (lambda d: d.update(image_data=[1]), r"val\.pkl has not the arrays image_data and class_dict"),
        (lambda d: d.update(class_dict={"n00000002": ["a"]}), r"val\.pkl has not the arrays image_data and class_dict"),
        (lambda d: d.update(image_data=d["image_data"] / 255), r"is float64 \[10, 84, 84, 3\] instead of uint8 \["),
        (lambda d: d.update(image_data=d["image_data"][:, ::2]), r"is uint8 \[10, 42, 84, 3\] instead of uint8 \["),
        (
            lambda d: d["class_dict"]["n00000002"].__setitem__(0, 9),
            "names an image twice, or one that is not in image_",
        ),
        (
            lambda d: d["class_dict"]["n00000002"].__setitem__(0, 10),
            "names an image twice, or one that is not in image_",
        ),
        (lambda d: d["class_dict"]["n00000002"].pop(), r"val\.pkl has 4 images of n00000002 instead of 5"),
        (lambda d: d["class_dict"].pop("n00000002"), r"lacks 1 of the 7 classes of mini-ImageNet: n00000002"),
    ],
)
def test_pickles_that_do_not_fit(
    home: Path, tmp_path: Path, photos: Files, change: Callable[[dict[str, Any]], object], pattern: str
) -> None:
    path = factory.pickles(tmp_path / "copy", photos, 5) / "mini-imagenet-cache-val.pkl"
    content = pickle.loads(path.read_bytes())
    change(content)
    path.write_bytes(pickle.dumps(content))
    refused(path, home, pattern)


def test_a_missing_pickle(home: Path, tmp_path: Path, photos: Files) -> None:
    folder = factory.pickles(tmp_path / "copy", photos, 5)
    (folder / "mini-imagenet-cache-test.pkl").unlink()
    refused(folder, home, r"copy lacks mini-imagenet-cache-test\.pkl$")


def test_hdf5_of_another_size(home: Path, tmp_path: Path, photos: Files) -> None:
    folder = factory.hdf5(tmp_path / "copy", photos)
    with h5py.File(folder / "val_data.hdf5", "a") as file:
        del file["datasets"]["n00000002"]
        file["datasets"]["n00000002"] = np.zeros((5, 80, 84, 3), np.uint8)
    refused(
        folder, home, r"n00000002 in .*val_data\.hdf5 is uint8 \[5, 80, 84, 3\] instead of uint8 \[images, 84, 84, 3\]"
    )


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda at: (at / "test_data.hdf5").unlink(), r"lacks test_data\.hdf5"),
        (lambda at: (at / "test_data.hdf5").write_bytes(b"no HDF5"), r"test_data\.hdf5 or its labels cannot be read"),
        (lambda at: (at / "test_labels.json").write_text("[1]"), r"test_labels\.json does not name the classes"),
        (lambda at: (at / "test_labels.json").write_text("{"), r"test_data\.hdf5 or its labels cannot be read"),
    ],
)
def test_hdf5_that_does_not_fit(
    home: Path, tmp_path: Path, photos: Files, change: Callable[[Path], object], pattern: str
) -> None:
    folder = factory.hdf5(tmp_path / "copy", photos)
    change(folder)
    refused(folder, home, pattern)


def test_hdf5_without_h5py(home: Path, tmp_path: Path, photos: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = factory.hdf5(tmp_path / "copy", photos)
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(folder, home, "read with h5py, which is not installed: `python -m pip install h5py`")


def test_paths_that_hold_no_mini_imagenet(home: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", home, "nowhere does not exist; name a folder with train, val and test")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", home, "empty does not hold mini-ImageNet in a known layout; name a folder with")
    (tmp_path / "note.txt").write_text("no data")
    refused(tmp_path / "note.txt", home, r"note\.txt is no file of mini-ImageNet; name a folder")
