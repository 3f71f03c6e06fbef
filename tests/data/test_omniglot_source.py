"""Adding Omniglot: every layout gives the same arrays, and each kind of bad input is told in one sentence."""

import re
import statistics
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maml_bench.data import store
from maml_bench.data.sources import omniglot
from maml_bench.errors import MamlBenchError

Files = dict[str, bytes]
Write = Callable[[Files], Path]
GREEK = "images_background/Greek/character01/0001_{:02d}.png"


def png(size: tuple[int, int], mode: str = "1") -> bytes:
    content = BytesIO()
    Image.new(mode, size, 1).save(content, "PNG")
    return content.getvalue()


def refused(path: Path, home: Path, pattern: str) -> None:
    """Adding ``path`` is refused in one sentence that fits ``pattern``, and nothing is stored."""
    with pytest.raises(MamlBenchError, match=pattern) as caught:
        omniglot.add(path)
    assert "\n" not in str(caught.value)
    assert not home.exists()


def test_arrays_classes_and_order(home: Path, files: Files, as_zips: Write) -> None:
    manifest = omniglot.add(as_zips(files))
    assert manifest.classes == (
        "background/Greek/character01",
        "background/Greek/character02",
        "background/Latin/character01",
        "evaluation/Tengwar/character01",
    )
    assert manifest.examples_per_class == 20
    assert set(manifest.arrays) == {"binary28", "grey28", "area28"}
    drawing = Image.open(BytesIO(files["images_background/Greek/character02/0002_03.png"]))
    binary, grey = (store.load("omniglot", name)[1, 2, 0] for name in ("binary28", "grey28"))
    # Nearest neighbour takes the pixel under each new pixel's centre: (i + 1/2) * 105 / 28, rounded down.
    centres = ((np.arange(28) + 0.5) * 105 / 28).astype(int)
    np.testing.assert_array_equal(binary, np.where(np.asarray(drawing)[np.ix_(centres, centres)], 0, 255))
    inverted = Image.fromarray(255 - np.asarray(drawing.convert("L")))
    np.testing.assert_array_equal(grey, np.asarray(inverted.resize((28, 28), Image.Resampling.BILINEAR)))
    assert set(np.unique(store.load("omniglot", "binary28"))) == {0, 255}
    assert len(np.unique(grey)) > 20
    # Pixels of 420x420 are quarters of those of the drawing, so each of 28x28 areas has 15x15 of them.
    fine = np.kron(~np.asarray(drawing), np.ones((4, 4))).reshape(28, 15, 28, 15).mean((1, 3))
    np.testing.assert_array_equal(store.load("omniglot", "area28")[1, 2, 0], np.floor(255 * fine + 0.5))


def test_full_size_only_when_asked_for(home: Path, files: Files, as_zips: Write) -> None:
    manifest = omniglot.add(as_zips(files), keep_105=True)
    assert manifest.arrays["full105"].shape == (4, 20, 1, 105, 105)
    drawing = np.asarray(Image.open(BytesIO(files[GREEK.format(4)])))
    np.testing.assert_array_equal(store.load("omniglot", "full105")[0, 3, 0] == 255, ~drawing)


def test_every_layout_gives_the_same_data(home: Path, files: Files, as_zips: Write, as_folders: Write) -> None:
    zips, folders = as_zips(files), as_folders(files)
    (folders / "images_background" / ".DS_Store").write_text("clutter")
    (folders / "images_background" / "Greek" / "character01" / "._0001_01.png").write_text("clutter")
    mixed = folders.parent / "mixed" / "omniglot-py"
    mixed.mkdir(parents=True)
    (mixed / "images_background").symlink_to(folders / "images_background")
    (mixed / "images_evaluation.zip").symlink_to(zips / "images_evaluation.zip")
    layouts = {
        zips: "two zips",
        zips / "images_evaluation.zip": "two zips",
        folders: "two folders",
        folders / "images_background": "two folders",
        mixed.parent: "a zip and a folder",
    }
    manifests = [omniglot.add(path) for path in layouts]
    assert [manifest.source for manifest in manifests] == list(layouts.values())
    assert len({manifest.fingerprint for manifest in manifests}) == 1


def test_progress_counts_drawings(home: Path, files: Files, as_zips: Write) -> None:
    seen: list[tuple[int, int, str]] = []
    omniglot.add(as_zips(files), progress=lambda *step: seen.append(step))
    assert seen == [(done, 80, "reading drawings") for done in (20, 40, 60, 80)]


def test_an_interrupted_add_changes_nothing(home: Path, files: Files, as_zips: Write) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        omniglot.add(as_zips(files), progress=interrupt)
    assert not home.exists()
    old = omniglot.add(as_zips(files))
    with pytest.raises(KeyboardInterrupt):
        omniglot.add(as_zips(files), progress=interrupt, keep_105=True)
    assert store.verify("omniglot") == old
    assert [path.name for path in home.iterdir()] == ["omniglot"]


def test_bad_input_leaves_old_data(home: Path, files: Files, as_zips: Write) -> None:
    old = omniglot.add(as_zips(files))
    del files[GREEK.format(1)]
    with pytest.raises(MamlBenchError, match="19 drawings"):
        omniglot.add(as_zips(files))
    assert store.verify("omniglot") == old


def test_paths_that_hold_no_omniglot(home: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", home, "nowhere does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", home, "empty holds neither images_background.zip")
    (tmp_path / "note.txt").write_text("no data")
    refused(tmp_path / "note.txt", home, r"note\.txt is neither images_background\.zip")


def test_one_zip_alone(home: Path, files: Files, as_zips: Write) -> None:
    folder = as_zips(files)
    (folder / "images_evaluation.zip").unlink()
    refused(folder, home, r"lacks images_evaluation\.zip")
    refused(folder / "images_background.zip", home, r"lacks images_evaluation\.zip")
    (folder / "images_evaluation.zip").mkdir()
    refused(folder, home, r"images_evaluation\.zip is a folder where a zip file should be")


@pytest.mark.parametrize("kept", [0, 30, 0.5, -1])
def test_a_truncated_zip(home: Path, files: Files, as_zips: Write, kept: float) -> None:
    path = as_zips(files) / "images_background.zip"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    refused(path, home, r"images_background\.zip is not a whole zip file")


def test_a_flipped_byte_in_a_zip(home: Path, files: Files, as_zips: Write) -> None:
    path = as_zips(files) / "images_background.zip"
    content = bytearray(path.read_bytes())
    content[content.index(files[GREEK.format(2)]) + 60] ^= 1
    path.write_bytes(content)
    refused(path, home, r"Greek/character01/0001_02\.png in .* is damaged")


@pytest.mark.parametrize(
    "name", ["../evil.png", "images_background/../../evil.png", "/evil.png", "..\\evil", "C:\\evil"]
)
def test_a_zip_that_points_outside_itself_is_not_read(
    home: Path, files: Files, as_zips: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = as_zips(files)
    with zipfile.ZipFile(folder / "images_evaluation.zip", "a") as archive:
        archive.writestr(name, b"evil")
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *args: pytest.fail("an entry was read"))
    refused(folder, home, "points outside it .* and was not read")


def test_a_zip_of_something_else(home: Path, files: Files, as_zips: Write) -> None:
    folder = as_zips(files)
    with zipfile.ZipFile(folder / "images_background.zip", "w") as archive:
        archive.writestr("holiday/beach.png", b"")
    refused(folder, home, "holds no drawings named images_background/<alphabet>")


def moved(files: Files, old: str, new: str) -> Files:
    return {name.replace(old, new): content for name, content in files.items()}


def without(files: Files, part: str) -> Files:
    return {name: content for name, content in files.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda files: without(files, "Latin"), r"images_background.* lacks the alphabet Latin$"),
        (lambda files: moved(files, "Latin", "Latn"), "lacks the alphabet Latin, but has Latn instead"),
        (
            lambda files: files | moved(files, "Latin", "Latn"),
            "has 'Latn', which is no alphabet of Omniglot .did you mean 'Latin'",
        ),
        (lambda files: without(files, "Greek/character02"), "Greek in .* lacks the character character02$"),
        (
            lambda files: files | moved(files, "character02", "character03"),
            "has 'character03', which is no character of Omniglot",
        ),
        (lambda files: without(files, "0002_20"), "Greek/character02 in .* has 19 drawings instead of 20"),
        (lambda files: files | {GREEK.format(21): png((105, 105))}, "Greek/character01 in .* has 21 drawings"),
        (lambda files: files | {GREEK.format(5): png((28, 28))}, r"0001_05\.png in .* is a 28x28 image of mode '1'"),
        (lambda files: files | {GREEK.format(5): png((105, 105), "L")}, "is a 105x105 image of mode 'L'"),
        (lambda files: files | {GREEK.format(5): b"not an image"}, r"0001_05\.png in .* is not a whole PNG image"),
        (lambda files: files | {GREEK.format(5): b""}, "is not a whole PNG image"),
        (lambda files: files | {GREEK.format(5): files[GREEK.format(5)][:-200]}, "is not a whole PNG image"),
        (
            lambda files: without(files, "0001_05") | {GREEK.format(5) + "/inside.png": b""},
            r"Greek/character01/0001_05\.png in .* is a folder where a drawing should be",
        ),
    ],
)
@pytest.mark.parametrize("layout", ["as_zips", "as_folders"])
def test_content_that_is_not_omniglot(
    home: Path,
    files: Files,
    request: pytest.FixtureRequest,
    layout: str,
    change: Callable[[Files], Files],
    pattern: str,
) -> None:
    refused(request.getfixturevalue(layout)(change(files)), home, pattern)


def test_an_empty_folder_for_a_drawing(home: Path, files: Files, as_folders: Write) -> None:
    folder = as_folders(files)
    (folder / GREEK.format(5)).unlink()
    (folder / GREEK.format(5)).mkdir()
    refused(folder, home, r"Greek/character01/0001_05\.png in .* is a folder where a drawing should be")


def test_an_unwritable_home(files: Files, as_zips: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "file" / "home"))
    with pytest.raises(
        MamlBenchError, match=re.escape(f"cannot write to the data folder {tmp_path / 'file' / 'home'}")
    ):
        omniglot.add(as_zips(files))


def test_the_shipped_table_counts_50_alphabets_and_1623_characters() -> None:
    table = omniglot.alphabets()
    assert {half: (len(counts), sum(counts.values())) for half, counts in table.items()} == {
        "background": (30, 964),
        "evaluation": (20, 659),
    }


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
class TestRealOmniglot:
    """Facts counted once on the published images."""

    def test_shape_and_content(self) -> None:
        manifest = store.verify("omniglot")
        assert len(manifest.classes) == len(set(manifest.classes)) == 1623
        images = store.load("omniglot", "binary28")
        assert images.shape == (1623, 20, 1, 28, 28)
        assert set(np.unique(images)) == {0, 255}
        assert round(float(images.mean()) / 255, 4) == 0.0805
        # Every drawing has ink and far more paper.
        ink = (images > 0).mean(axis=(2, 3, 4))
        assert 0 < ink.min() < ink.max() < 0.5

    def test_grey_images_carry_the_same_ink(self) -> None:
        grey, binary = (store.load("omniglot", name) for name in ("grey28", "binary28"))
        assert len(np.unique(grey[:10])) > 50
        assert abs(float(grey.mean()) - float(binary.mean())) < 0.1

    def test_loading_takes_less_than_50_ms(self) -> None:
        taken = []
        for _ in range(9):
            start = time.perf_counter()
            store.load("omniglot", "binary28")
            taken.append(time.perf_counter() - start)
        assert statistics.median(taken) < 0.05


def test_an_entry_that_is_there_twice_is_refused(home: Path, files: Files, as_zips: Write) -> None:
    place = as_zips(files)
    with zipfile.ZipFile(place / "images_background.zip", "a") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".png"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(name, archive.read(archive.namelist()[-1]))
    with pytest.raises(MamlBenchError, match=rf"has the entry '{name}' more than once and was not read"):
        omniglot.add(place)
