"""An interrupted ``data add`` goes on from the pictures that it has read."""

import os
import signal
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from own_factory import SIZES, write

from maml_bench.data import own, store
from maml_bench.data.kept_pictures import KeptPictures, place_of
from maml_bench.data.preparation import Preparation, Prepared
from maml_bench.errors import MamlBenchError

SMALL = Preparation(8)
PICTURES = sum(SIZES.values())


@pytest.fixture
def birds(tmp_path: Path, home: Path) -> Path:
    return write(tmp_path / "birds", SIZES)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded."""
    found: list[Path] = []
    plain = Preparation.prepared

    def prepared(self: Preparation, picture: Path, what: str | None = None) -> Prepared:
        found.append(picture)
        return plain(self, picture, what)

    monkeypatch.setattr(Preparation, "prepared", prepared)
    return found


def add(source: Path, how: Preparation = SMALL, **options: object) -> list[str]:
    """Store ``source`` and return what was told about continuing."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        own.add("birds", source, how=how, parts=(2, 1, 2), **options)  # type: ignore[arg-type]
    return [str(one.message) for one in told if "already" in str(one.message)]


def interrupted_after(count: int, birds: Path, **options: object) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done == count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(birds, progress=stop, **options)


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.place("birds").iterdir()}


def test_what_was_read_is_not_decoded_again_and_the_store_is_the_same(birds, opened):
    assert add(birds) == []
    expected = contents()
    store.remove("birds")
    opened.clear()
    interrupted_after(9, birds)
    read = set(opened)
    assert len(read) >= 9
    opened.clear()
    (told,) = add(birds)
    assert told == f"birds: an earlier call had already read {len(read)} of the pictures"
    assert len(opened) == PICTURES - len(read)
    assert not read & set(opened)
    assert contents() == expected
    assert not place_of(store.data_home(), "birds").parent.exists()


def test_pictures_before_a_damaged_one_are_kept(birds, opened):
    damaged = birds / "dog" / "002.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    with pytest.raises(MamlBenchError, match=r"002\.png"):
        add(birds)
    damaged.write_bytes(whole)
    read = set(opened) - {damaged}
    opened.clear()
    assert len(add(birds)) == 1
    assert not read & set(opened)


@pytest.mark.parametrize("change", ["content", "preparation"])
def test_what_has_changed_is_decoded_again(birds, opened, change):
    interrupted_after(9, birds)
    how = SMALL
    if change == "content":
        for path in birds.rglob("*.png"):
            path.write_bytes(path.read_bytes() + b"\0")
    else:
        how = Preparation(9)
    opened.clear()
    assert add(birds, how) == []
    assert len(opened) == PICTURES


def test_a_killed_process_leaves_what_it_has_read(birds):
    script = f"""
import os, signal, warnings
from maml_bench.data import own
from maml_bench.data.preparation import Preparation
def stop(done, total, what):
    if done == 9:
        os.kill(os.getpid(), signal.SIGKILL)
own.add("birds", {str(birds)!r}, how=Preparation(8), parts=(2, 1, 2), progress=stop)
"""
    ended = subprocess.run([sys.executable, "-c", script], env=os.environ | {"MAML_BENCH_DATA": str(store.data_home())})
    assert ended.returncode == -signal.SIGKILL
    (told,) = add(birds)
    assert int(told.split()[-4]) >= 9
    assert store.verify("birds")
    assert [path.name for path in store.data_home().iterdir()] == ["birds"]


@pytest.mark.parametrize("damage", ["no database", "other bytes"])
def test_a_damaged_file_of_kept_pictures_is_not_believed(birds, opened, damage):
    interrupted_after(9, birds)
    path = place_of(store.data_home(), "birds")
    if damage == "no database":
        path.write_bytes(b"not SQLite" * 1000)
    else:
        with sqlite3.connect(path) as file:
            file.execute("UPDATE pictures SET pixels = zeroblob(192)")
        file.close()
    opened.clear()
    assert add(birds) == []
    assert len(opened) == PICTURES


def test_a_full_disk_ends_the_keeping_alone(tmp_path, monkeypatch):
    kept = KeptPictures(tmp_path / "birds.sqlite3", SMALL)
    file = tmp_path / "a.png"
    file.write_bytes(b"a")
    picture = Prepared(np.zeros((3, 8, 8), np.uint8), ())
    kept.put(file, picture)
    assert kept.get(file) is not None
    kept._file.execute("PRAGMA max_page_count = 1")
    for number in range(200):
        other = tmp_path / f"{number}.png"
        other.write_bytes(b"b")
        kept.put(other, picture)
    assert kept.get(file) is None
    assert not (tmp_path / "birds.sqlite3").exists()


def test_removing_a_data_set_removes_what_was_kept_for_it(birds):
    add(birds)
    interrupted_after(9, birds, how=Preparation(9))
    assert place_of(store.data_home(), "birds").exists()
    store.remove("birds")
    assert list(store.data_home().iterdir()) == []
