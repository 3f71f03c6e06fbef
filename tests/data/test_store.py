"""The store: what is written can be loaded and verified, damage is named, and a failed write changes nothing."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maml_bench.data import store
from maml_bench.data.disk import ArrayFile
from maml_bench.errors import MamlBenchError
from maml_bench.files import locked
from tests.conftest import with_each_bit_changed

CLASSES = ["a", "b", "c"]


def write(fill: int = 7, version: int = 1) -> store.Manifest:
    arrays = {
        "x": (np.full((3, 2, 1, 4, 4), fill, np.uint8), "filled"),
        "y": (np.zeros((3, 2, 1, 2, 2), np.uint8), "0"),
    }
    return store.write("omniglot", version=version, source="two zips", classes=CLASSES, arrays=arrays)


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_home_is_the_environment_variable_or_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path))
    assert store.data_home() == tmp_path
    monkeypatch.delenv("MAML_BENCH_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.data_home().parts[-2:] == ("maml-bench", "data")


def test_what_is_written_is_loaded(home: Path) -> None:
    written = write()
    assert store.manifest("omniglot") == written
    assert store.stored() == [written]
    assert written.classes == ("a", "b", "c")
    assert written.examples_per_class == 2
    assert written.arrays["x"].shape == (3, 2, 1, 4, 4)
    loaded = store.load("omniglot", "x")
    assert isinstance(loaded, np.memmap)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, 7)
    assert everything_below(home) == ["omniglot", "omniglot/manifest.json", "omniglot/x.npy", "omniglot/y.npy"]


def test_the_map_serves_torch_without_a_warning_and_never_writes_back(home: Path) -> None:
    write()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(store.load("omniglot", "x")).fill_(9)
    np.testing.assert_array_equal(store.load("omniglot", "x"), 7)


def test_the_fingerprint_follows_content_and_classes(home: Path) -> None:
    first, other = write(1), write(2)
    assert first.fingerprint == write(1).fingerprint
    assert len({first.fingerprint, other.fingerprint}) == 2
    renamed = store.Manifest(**{**vars(first), "classes": ("a", "b", "d")})
    assert renamed.fingerprint != first.fingerprint


def draft(own: dict[str, list[str]] | None = None) -> store.Manifest:
    """Two arrays of two classes, filled backwards."""
    with store.drafting("mini_imagenet") as new:
        for key in ("x", "y"):
            file = new.array(key, (2, 3, 1, 2, 2))
            for index in (1, 0):
                file.fill(index, np.full((3, 1, 2, 2), 10 * index, np.uint8))
        classes = sorted({label for labels in own.values() for label in labels}) if own else ["a", "b"]
        how = {"x": "by hand", "y": "by hand"}
        return new.finish(version=1, source="nowhere", classes=classes, how=how, own=own)


def test_arrays_may_have_classes_of_their_own(home: Path) -> None:
    written = draft({"x": ["c", "a"], "y": ["b", "d"]})
    assert store.manifest("mini-imagenet") == store.manifest("mini_imagenet") == written
    assert written.classes == ("a", "b", "c", "d")
    assert [written.classes_of(array) for array in "xy"] == [("c", "a"), ("b", "d")]
    assert store.verify("mini-imagenet") == written
    np.testing.assert_array_equal(store.load("mini_imagenet", "x")[:, 0, 0, 0, 0], [0, 10])
    prints = [draft(own).fingerprint for own in (None, {"x": ["a", "c"], "y": ["b", "d"]}, {"y": ["b", "d"]})]
    assert len({written.fingerprint, *prints}) == 4


def test_files_and_manifests_are_as_they_always_were(home: Path) -> None:
    """Records carry the fingerprint: a data set without classes of its own is written byte by byte as numpy has it."""
    manifest, array = write(7), np.full((3, 2, 1, 4, 4), 7, np.uint8)
    np.save(home / "again.npy", array)
    assert (home / "omniglot" / "x.npy").read_bytes() == (home / "again.npy").read_bytes()
    stored = json.loads((home / "omniglot" / "manifest.json").read_text())
    assert set(stored["arrays"]["x"]) == {"shape", "dtype", "sha256", "how"}
    assert manifest.classes_of("x") == ("a", "b", "c")
    assert manifest.fingerprint == "afff9b1d6c43"


def test_rows_of_a_new_array_fit_and_are_all_filled_once(home: Path) -> None:
    home.mkdir()
    row, file = np.zeros((3, 4), np.uint8), ArrayFile(home / "z.npy", (2, 3, 4))
    file.fill(1, row)
    with pytest.raises(AssertionError, match=r"rows \{0\} were never filled"):
        file.finish()
    with pytest.raises(KeyError):
        file.fill(1, row)
    file.fill(0, iter(row + 1))
    assert len(file.finish()) == 64
    np.testing.assert_array_equal(np.load(file.path), [row + 1, row])


@pytest.mark.parametrize("row", [np.zeros((2, 4), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((3, 3), np.uint8)])
def test_rows_of_another_shape_are_refused(home: Path, row: np.ndarray) -> None:
    home.mkdir()
    file = ArrayFile(home / "z.npy", (2, 3, 4))
    with pytest.raises((AssertionError, ValueError)):
        file.fill(0, row)


@pytest.mark.parametrize("call", [lambda: store.load("omniglot", "x"), lambda: store.verify("omniglot")])
def test_nothing_stored(home: Path, call) -> None:
    assert store.stored() == []
    with pytest.raises(
        MamlBenchError, match=r"omniglot is not stored in .*data add omniglot PATH.*data download omniglot"
    ):
        call()
    assert not home.exists()


def test_what_has_no_download_advises_none(home: Path) -> None:
    with pytest.raises(MamlBenchError, match=r"mini-imagenet is not stored in .*data add mini-imagenet PATH`$"):
        store.load("mini_imagenet", "train")


def test_unknown_names_suggest_the_nearest(home: Path) -> None:
    with pytest.raises(MamlBenchError, match="did you mean 'omniglot'"):
        store.load("omniglto", "x")
    write()
    with pytest.raises(MamlBenchError, match=r"without the array 'z' .*; to store it again, add your copy with `"):
        store.load("omniglot", "z")


def test_arrays_that_a_store_may_lack_do_not_count_in_the_fingerprint(home: Path) -> None:
    before = write().fingerprint
    images = np.zeros((3, 2, 1, 4, 4), np.uint8)
    for name, counts in (("area28", False), ("full105", False), ("other", True)):
        manifest = write()
        info = store.ArrayInfo(images.shape, "uint8", "0" * 64, "by hand")
        more = replace(manifest, arrays=manifest.arrays | {name: info})
        assert (more.fingerprint != before) == counts


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"arrays": {"x": {}}}', "\xff"])
def test_an_unreadable_manifest(home: Path, text: str) -> None:
    write()
    (home / "omniglot" / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(MamlBenchError, match=r"manifest\.json cannot be read as a manifest"):
        store.load("omniglot", "x")


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (2, "a newer")])
def test_another_version_is_refused(home: Path, version: int, age: str) -> None:
    write(version=version)
    with pytest.raises(MamlBenchError, match=f"stored by {age} maml-bench"):
        store.load("omniglot", "x")


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "gone", "other shape", "other dtype"])
def test_a_file_that_does_not_fit_its_manifest(home: Path, damage: str) -> None:
    write()
    path = home / "omniglot" / "x.npy"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "other shape":
        np.save(path, np.zeros((3, 2, 1, 4, 2), np.uint8))
    elif damage == "other dtype":
        np.save(path, np.zeros((3, 2, 1, 4, 4), np.int8))
    else:
        path.write_bytes({"cut": content[:-1], "longer": content + b"0", "empty": b""}[damage])
    with pytest.raises(MamlBenchError, match=r"x\.npy is missing or does not fit its manifest"):
        store.load("omniglot", "x")


def test_verify_reads_every_byte(home: Path) -> None:
    written, seen = write(), []
    assert store.verify("omniglot", lambda done, total, what: seen.append((done, total, what))) == written
    assert seen[0][2] == "verifying omniglot x"
    path = home / "omniglot" / "y.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MamlBenchError, match=r"y\.npy differs from what was stored"):
        store.verify("omniglot")


def test_verify_progress_ends_at_its_total(home: Path) -> None:
    write()
    seen: list[tuple[int, int]] = []
    store.verify("omniglot", lambda done, total, what: seen.append((done, total)))
    size = sum((home / "omniglot" / f"{array}.npy").stat().st_size for array in "xy")
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


def test_verify_counts_classes(home: Path) -> None:
    write()
    path = home / "omniglot" / "manifest.json"
    content = json.loads(path.read_text())
    content["classes"].pop()
    del content["checksum"]
    path.write_text(json.dumps(content))
    with pytest.raises(MamlBenchError, match="does not hold the classes"):
        store.verify("omniglot")


def test_verify_counts_an_arrays_own_classes(home: Path) -> None:
    draft({"x": ["a", "b"], "y": ["c", "d"]})
    path = home / "mini_imagenet" / "manifest.json"
    content = json.loads(path.read_text())
    content["arrays"]["y"]["classes"].pop()
    del content["checksum"]
    path.write_text(json.dumps(content))
    with pytest.raises(MamlBenchError, match=r"y\.npy does not hold the classes"):
        store.verify("mini_imagenet")


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_a_broken_write_leaves_no_trace(home: Path, monkeypatch: pytest.MonkeyPatch, exception) -> None:
    fill = ArrayFile.fill

    def fail(self: ArrayFile, index: int, row: store.Array) -> None:
        if (self.path.name, index) == ("y.npy", 1):
            raise exception
        fill(self, index, row)

    monkeypatch.setattr(ArrayFile, "fill", fail)
    with pytest.raises(exception):
        write()
    assert not home.exists()
    home.mkdir()
    with pytest.raises(exception):
        write()
    assert everything_below(home) == []


def test_a_broken_replacement_leaves_the_old_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write(1)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target.name == "omniglot" and (self / "x.npy").read_bytes()[-1] == 2:  # the new data on their way in
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        write(2)
    assert store.verify("omniglot") == old
    assert everything_below(home) == ["omniglot", "omniglot/manifest.json", "omniglot/x.npy", "omniglot/y.npy"]


def test_a_replacement_drops_old_arrays_and_what_a_crash_left(home: Path) -> None:
    write(1)
    (home / ".omniglot.0123abcd").mkdir()
    array = np.zeros((3, 2, 1, 4, 4), np.uint8)
    store.write("omniglot", version=1, source="two zips", classes=CLASSES, arrays={"x": (array, "zeros")})
    assert everything_below(home) == ["omniglot", "omniglot/manifest.json", "omniglot/x.npy"]


def test_an_open_map_outlives_a_replacement(home: Path) -> None:
    write(1)
    before = store.load("omniglot", "x")
    write(2)
    np.testing.assert_array_equal(before, 1)
    np.testing.assert_array_equal(store.load("omniglot", "x"), 2)


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "file" / "home"))  # permission bits would not stop root
    with pytest.raises(MamlBenchError, match=r"cannot write to the data folder .*Not a directory.*MAML_BENCH_DATA"):
        write()
    assert everything_below(tmp_path / "file") == []
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(MamlBenchError, match="is not stored in"):
        store.load("omniglot", "x")


def test_a_full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("48 requested and 0 written")

    monkeypatch.setattr(ArrayFile, "fill", full)
    with pytest.raises(MamlBenchError, match="the disk may be full"):
        write()
    assert not home.exists()


def test_a_second_writer_is_kept_apart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_WAIT_S", 0)
    old = write(1)
    with locked(home, ""), pytest.raises(MamlBenchError, match="another process is writing"):
        write(2)
    assert store.verify("omniglot") == old


@pytest.mark.parametrize("name", ["x.npy", "manifest.json"])
def test_stored_data_with_any_bit_changed_are_refused(home: Path, name: str) -> None:
    write()
    for _ in with_each_bit_changed(home / "omniglot" / name):
        with pytest.raises(MamlBenchError, match=r"to store (it|omniglot) again, add your copy with"):
            store.load("omniglot", "x")


def test_a_manifest_without_a_checksum_is_an_older_one_and_is_read(home: Path) -> None:
    written = write()
    path = home / "omniglot" / "manifest.json"
    content = json.loads(path.read_text())
    assert len(content.pop("checksum")) == 64
    path.write_text(json.dumps(content))
    assert store.manifest("omniglot") == written
    np.testing.assert_array_equal(store.load("omniglot", "x"), 7)
