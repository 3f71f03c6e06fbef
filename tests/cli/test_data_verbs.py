"""``maml-bench data``: with nothing stored, with a miniature stored, and with bad input."""

import json

import numpy as np
import pytest

from maml_bench.data import store
from maml_bench.data.sources import omniglot


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
    assert json.loads(command("data", "list", "--json").out)[0] == {
        "name": "omniglot", "stored": False, "fingerprint": None, "classes": None, "arrays": [],
    }  # fmt: skip
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
    assert json.loads(command("data", "list", "--json").out)[0] == {
        "name": "omniglot", "stored": True, "fingerprint": manifest.fingerprint, "classes": 2, "arrays": arrays,
    }  # fmt: skip
    assert "2 x 3" in command("data", "list").out
    for name in ([], ["omniglot"]):
        said = command("data", "verify", *name)
        assert f"omniglot: 2 classes, {len(arrays)} arrays, all as in the manifest" in said.err


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
        (["add", "omniglto", "."], "there is no data set 'omniglto' (did you mean 'omniglot'?)"),
        (["download", "omniglto"], "there is no data set 'omniglto'"),
        (["verify", "omniglto"], "there is no data set 'omniglto'"),
        (["verify", "omniglot"], "omniglot is not stored in "),
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
