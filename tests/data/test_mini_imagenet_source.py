"""Adding mini-ImageNet: every layout gives the same arrays, originals are resized, interruptions change nothing."""

import threading
from collections.abc import Callable
from pathlib import Path

import mini_imagenet_factory as factory
import numpy as np
import pytest
from mini_imagenet_factory import EXAMPLES, PARTS, Files, add, jpeg

from maml_bench.data import splits, store
from maml_bench.data.sources import mini_imagenet


@pytest.mark.parametrize("layout", factory.LAYOUTS)
def test_every_layout_gives_the_same_data(home: Path, tmp_path: Path, photos: Files, layout: str) -> None:
    source, write = factory.LAYOUTS[layout]
    manifest = add(write(tmp_path / "copy", photos))
    assert manifest.source == source
    assert manifest.examples_per_class == EXAMPLES
    assert manifest.classes == tuple(sorted(sum(PARTS.values(), ())))
    for part, array in factory.expected(photos).items():
        assert manifest.classes_of(part) == tuple(sorted(PARTS[part]))
        np.testing.assert_array_equal(store.load("mini_imagenet", part), array)
        assert manifest.arrays[part].how.startswith("84x84 RGB as found, nothing resized or converted; examples in ")
    assert store.verify("mini-imagenet") == manifest


def test_clutter_is_passed_over(home: Path, tmp_path: Path, photos: Files) -> None:
    clutter = {
        "train/n00000001/._x.jpg": b"",
        "train/.DS_Store": b"",
        "val/readme.txt": b"",
        "train/n00000001/x.txt": b"",
    }
    factory.save(tmp_path / "copy", photos | clutter)
    (tmp_path / "copy" / "test" / "n00000004" / "thumbs").mkdir()
    plain = add(tmp_path / "copy").fingerprint
    assert add(factory.pack(tmp_path / "mini.tar", photos | clutter, photos | clutter)).fingerprint == plain


def ilsvrc(files: Files) -> Files:
    """Originals under their ILSVRC names, of many sizes, one of them grey, one CMYK, one 84x84 by chance."""
    found = {}
    for index, name in enumerate(files):
        split, wnid, file = name.split("/")
        size, mode = (90 + index, 120 - index), {3: "L", 8: "CMYK"}.get(index, "RGB")
        content = jpeg(index, (84, 84) if index == 5 else size, mode)
        found[f"{split}/{wnid}/{wnid}_{int(file[9:17])}.JPEG"] = content
    return found


@pytest.mark.parametrize("folders", [factory.flat, factory.by_class, lambda files: factory.by_class(files, "train/")])
def test_originals_are_resized_and_converted_and_the_manifest_counts_them(
    home: Path, tmp_path: Path, photos: Files, folders: Callable[[Files], Files]
) -> None:
    files = ilsvrc(photos)
    folder = factory.save(factory.csv_lists(tmp_path / "copy", files), folders(files))
    more = {name.replace("_", "_9"): b"not listed" for name in folders(files)}
    manifest = add(factory.save(folder, more))
    for part, array in factory.expected(files).items():
        np.testing.assert_array_equal(store.load("mini_imagenet", part), array)
    how = {part: info.how for part, info in manifest.arrays.items()}
    assert how["train"].startswith("14 of 15 resized to 84x84 by PIL's Lanczos filter, aspect ratio not kept (proc_")
    assert "; 1 CMYK and 1 grey converted to RGB; examples in order of file name" in how["train"]
    assert how["test"].startswith("10 of 10 resized")
    assert "converted" not in how["test"]


def test_progress_counts_images_then_bytes(home: Path, tmp_path: Path, photos: Files) -> None:
    seen: list[tuple[int, int, str]] = []
    add(factory.save(tmp_path / "copy", photos), progress=lambda *step: seen.append(step))
    assert seen[:7] == [(done, 35, "reading images") for done in range(5, 40, 5)]
    size = sum(path.stat().st_size for path in (home / "mini_imagenet").glob("*.npy"))
    assert seen[-1] == (size, size, "hashing")


@pytest.mark.parametrize("layout", ["folders", "tar.xz", "pickles"])
def test_an_interrupted_add_changes_nothing(home: Path, tmp_path: Path, photos: Files, layout: str) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        if done > 10:
            raise KeyboardInterrupt

    copy, threads = factory.LAYOUTS[layout][1](tmp_path / "copy", photos), threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        add(copy, progress=interrupt)
    assert not home.exists()
    old = add(copy)
    with pytest.raises(KeyboardInterrupt):
        add(copy, progress=interrupt)
    assert store.verify("mini_imagenet") == old
    assert [path.name for path in home.iterdir()] == ["mini_imagenet"]
    assert threading.active_count() == threads


@pytest.mark.real_data
@pytest.mark.usefixtures("mini_imagenet")
class TestRealMiniImagenet:
    """Facts counted once on the published images."""

    def test_shapes_and_classes(self) -> None:
        manifest, split = store.manifest("mini_imagenet"), splits.load_split("mini_imagenet", "ravi")
        assert {part: info.shape for part, info in manifest.arrays.items()} == {
            part: (count, 600, 3, 84, 84) for part, count in (("train", 64), ("validation", 16), ("test", 20))
        }
        for part, names in split.parts.items():
            assert manifest.classes_of(part) == tuple(sorted(names))
        assert len(set(manifest.classes)) == 100
        assert manifest.version == mini_imagenet.VERSION

    def test_channels_of_the_test_classes(self) -> None:
        """Means and standard deviations counted on the published files."""
        images = store.load("mini_imagenet", "test")
        counts = np.zeros((3, 256))
        for of_class in images:
            for channel in range(3):
                counts[channel] += np.bincount(of_class[:, channel].ravel(), minlength=256)
        levels = np.arange(256) / 255
        mean = counts @ levels / counts.sum(1)
        deviation = np.sqrt(counts @ levels**2 / counts.sum(1) - mean**2)
        np.testing.assert_allclose(mean, [0.4741, 0.4271, 0.3736], atol=5e-5)
        np.testing.assert_allclose(deviation, [0.2692, 0.2660, 0.2694], atol=5e-5)
