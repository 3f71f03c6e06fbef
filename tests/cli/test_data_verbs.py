"""``maml-bench data``: with nothing stored, with a miniature stored, and with bad input."""

import json
import re
import time
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from maml_bench.cli import terminal
from maml_bench.data import store
from maml_bench.data.sources import mini_imagenet, omniglot


@pytest.fixture
def source(monkeypatch):
    """Omniglot's source, replaced by one that stores two classes of three one-pixel drawings."""

    def put(progress, keep_105):
        images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1)
        arrays = {"tiny": (images, "by hand"), **({"large": (images, "by hand")} if keep_105 else {})}
        progress(1, 2, "drawings")
        return store.write("omniglot", version=omniglot.VERSION, source="two zips", classes=("a", "b"), arrays=arrays)

    monkeypatch.setattr(omniglot, "add", lambda path, *, progress, keep_105=False: put(progress, keep_105))
    monkeypatch.setattr(omniglot, "download", lambda *, progress, keep_105=False: put(progress, keep_105))


def test_nothing_is_stored(command, tmp_path):
    said = command("data", "list")
    assert said.code == 0
    assert "not stored" in said.out
    assert json.loads(command("data", "list", "--json").out) == [
        {
            **{"name": name, "stored": False, "fingerprint": None, "classes": None, "images": None},
            **{"images_per_class": None, "arrays": []},
        }
        for name in ("mini-imagenet", "omniglot")
    ]
    said = command("data", "verify")
    assert (said.code, said.out) == (2, "")
    home = tmp_path / "home"
    assert said.err == f"error: nothing is stored in {home}: add data with `maml-bench data add NAME PATH`\n"
    assert not home.exists()


@pytest.mark.parametrize(
    ("verb", "arrays"),
    [(["add", "omniglot", "."], ["tiny"]), (["download", "omniglot", "--keep-105"], ["large", "tiny"])],
)
def test_what_was_put_is_listed_and_verified(command, source, tmp_path, verb, arrays):
    said = command("data", *verb)
    assert said.code == 0
    manifest = store.manifest("omniglot")
    assert f"2 classes of 3 examples stored in {tmp_path / 'home' / 'omniglot'} (fingerprint " in said.err
    assert json.loads(command("data", "list", "--json").out)[1] == {
        "name": "omniglot", "stored": True, "fingerprint": manifest.fingerprint, "classes": 2, "images": 6,
        "images_per_class": [3, 3], "arrays": arrays,
    }  # fmt: skip
    assert re.search(r"omniglot +2 +3 +", command("data", "list").out)
    for name in ([], ["omniglot"]):
        said = command("data", "verify", *name)
        assert f"omniglot: 2 classes, {len(arrays)} arrays, all as in the manifest" in said.err


@pytest.mark.parametrize("name", ["mini-imagenet", "mini_imagenet"])
def test_names_with_hyphen_and_underscore_are_one(command, monkeypatch, tmp_path, name):
    def put(path, *, progress):
        with store.drafting("mini_imagenet") as draft:
            for part in ("train", "test"):
                file = draft.array(part, (2, 3, 1, 1, 1))
                for index in range(2):
                    file.fill(index, np.zeros((3, 1, 1, 1), np.uint8))
            own = {"train": ["a", "b"], "test": ["c", "d"]}
            return draft.finish(
                version=mini_imagenet.VERSION, source="folders", classes="abcd", own=own, progress=progress,
                how={"train": "by hand", "test": "by hand"},
            )  # fmt: skip

    monkeypatch.setattr(mini_imagenet, "add", put)
    said = command("data", "add", name, ".")
    assert f"mini-imagenet: 4 classes of 3 examples stored in {tmp_path / 'home' / 'mini_imagenet'} " in said.err
    said = command("data", "verify", name)
    assert "mini-imagenet: 4 classes, 2 arrays, all as in the manifest" in said.err
    assert json.loads(command("data", "list", "--json").out)[0]["name"] == "mini-imagenet"
    assert "mini-imagenet" in command("data", "list").out


def test_progress_tells_rate_and_remaining_time(monkeypatch):
    written = StringIO()
    monkeypatch.setattr(terminal, "console", lambda **_: Console(file=written, force_terminal=True, width=120))
    with terminal.counting("adding") as show:
        for done in range(0, 60, 10):
            show(done, 100, "images")
            time.sleep(0.01)
    shown = written.getvalue()
    assert "adding: images" in shown
    assert re.search(r"50/100.*\d/s.*0:00:0\d", shown)


def test_damaged_data_fail_to_verify(command, source, tmp_path):
    command("data", "add", "omniglot", ".")
    file = tmp_path / "home" / "omniglot" / "tiny.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    said = command("data", "verify")
    assert said.code == 2
    assert "tiny.npy differs from what was stored" in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["add", "omniglto", "."],
            ". holds no pictures in class folders; it must hold a folder for each class, with ",
        ),
        (["download", "omniglto"], "there is no data set 'omniglto'"),
        (["verify", "omniglto"], "there is no data set 'omniglto'"),
        (["verify", "omniglot"], "omniglot is not stored in "),
        (["verify", "mini_imagenet"], "mini-imagenet is not stored in "),
        (
            ["add", "mini-imagnet", "nowhere"],
            "nowhere does not exist; name a folder of class folders, or a CSV file (did you",
        ),
        (["add", "mini-imagenet", "nowhere"], "nowhere does not exist; name a folder with "),
        (["add", "mini-imagenet", "--keep-105", "."], "--keep-105 is an option of omniglot, not of mini-imagenet"),
        (["download", "mini-imagenet"], "mini-imagenet has no public home to download it from; add your copy with "),
        (["add", "omniglot", "nowhere"], ""),
        (["add", "omniglot", "."], ""),
    ],
)
def test_bad_input_is_one_sentence_and_stores_nothing(command, tmp_path, arguments, sentence):
    said = command("data", *arguments)
    assert (said.code, said.out.strip()) == (2, "")
    assert said.err.strip().startswith(f"error: {sentence}")
    assert len(said.err.strip().splitlines()) == 1
    assert not (tmp_path / "home").exists()
