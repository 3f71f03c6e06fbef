"""Users' own images from the command line: add, list, verify, run, remove, and what is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maml_bench.cli import app
from maml_bench.data import store
from maml_bench.record_files import load
from tests.data import own_factory

QUICK = ("--preset", "smoke", "--setup", "protonet", "--set", "tasks.conv.filters=4", "--no-report")
FIFTEEN = {f"kind{number:02}": 17 + number % 3 for number in range(15)}


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    return own_factory.write(tmp_path / "pictures", FIFTEEN)


def add(command, name: str, folder: Path, *more: str):
    said = command("data", "add", name, folder, "--size", 16, "--parts", "5,5,5", *more)
    assert said.code == 0, said.err
    return said


def test_from_a_folder_to_a_record(command, birds, tmp_path):
    (birds / "kind00" / "notes.txt").write_text("x")
    said = add(command, "birds", birds)
    lines = [line for line in said.err.splitlines() if line]  # the bar leaves an empty one
    home = tmp_path / "home" / "birds"
    assert lines[0] == "warning: birds: ignored: 1 file that is no picture"
    assert re.fullmatch(
        rf"birds: 15 classes of 17 to 19 examples stored in {home} \(fingerprint [0-9a-f]{{12}}\)", lines[1]
    )
    assert lines[2] == f"the split (5 train, 5 validation, 5 test classes) is in {home / store.SPLIT}"
    assert lines[3] == "run it with `maml-bench run images-5w1s --data birds`"
    assert re.search(r"birds +15 +17 to 19 +test, train, validation +class folders", command("data", "list").out)
    row = json.loads(command("data", "list", "--json").out)[-1]
    assert {key: row[key] for key in ("name", "stored", "classes", "images", "images_per_class")} == {
        "name": "birds", "stored": True, "classes": 15, "images": 270, "images_per_class": [17, 19],
    }  # fmt: skip
    assert "birds: 15 classes, 3 arrays, all as in the manifest" in command("data", "verify", "birds").err
    said = command("run", "images-5w1s", "--data", "birds", *QUICK)
    assert said.code == 0, said.err
    assert "already there" in command("run", "images-5w1s:birds", *QUICK).err
    (record,) = map(load, Path("runs/records").rglob("*.json"))
    assert record.recipe["tasks"]["data"] == "birds"
    assert record.data["fingerprint"] == store.manifest("birds").fingerprint


@pytest.mark.parametrize(
    ("parts", "advice"),
    [
        ("5,5,5", ["run it with `maml-bench run images-5w1s --data birds`"]),
        ("0,0,15", ["test on it with `maml-bench run images-5w1s --data OTHER --test-data birds`"]),
        ("11,2,2", []),
    ],
)
def test_the_advice_after_data_add_fits_the_parts(command, birds, parts, advice):
    said = command("data", "add", "birds", birds, "--size", 16, "--parts", parts)
    assert said.code == 0, said.err
    assert [line for line in said.err.splitlines() if "maml-bench run" in line] == advice


def test_tests_on_another_data_set_name_both_in_the_record(command, birds, tmp_path):
    add(command, "birds", birds)
    add(command, "flowers", own_factory.write(tmp_path / "flowers", FIFTEEN, first=300))
    said = command("run", "images-5w1s", "--data", "birds", "--test-data", "flowers", *QUICK)
    assert said.code == 0, said.err
    (record,) = map(load, Path("runs/records").rglob("*.json"))
    assert (record.data["name"], record.data["test_data"]["name"]) == ("birds", "flowers")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["images-5w1s"], "these tasks need a data set of yours: add one with `maml-bench data add NAME FOLDER`"),
        (["images-5w1s", "--data", "brids"], "there is no data set 'brids'"),
        (
            ["sinusoid-k10", "--data", "birds"],
            "recipe 'sinusoid-k10' does not read --data; recipes that do: images-5w1s,",
        ),
    ],
)
def test_a_run_without_its_data_is_refused_in_one_sentence(command, arguments, sentence):
    said = command("run", *arguments, "--preset", "smoke")
    assert said.code == 2
    assert said.err.strip().splitlines()[-1].startswith(f"error: {sentence}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["omniglot", "--size", "20"], "--size is an option of your own images, not of omniglot"),
        (["mini-imagenet", "--allow-duplicates"], "--allow-duplicates is an option of your own images, not of mini-im"),
        (["birds", "--keep-105"], "--keep-105 is an option of omniglot, not of birds"),
        (["birds", "--colour", "blue"], "there is no colour 'blue' (known: grey, rgb)"),
        (["birds", "--parts", "1,2"], "the parts are '1,2', but must be three numbers"),
        (
            ["birds", "--parts", "9,9,9"],
            "the parts 9,9,9 need 27 classes with at least 2 images each, but there are 15",
        ),
        (
            ["birds", "--split", "x.json", "--seed", "0"],
            "the seed 0 has no effect, because the parts are given by",
        ),
        (
            ["birds", "--split", "x.json", "--parts", "5,5,5"],
            "a split is read from a file or drawn: name a split file or",
        ),
        (["a/b"], "the data set 'a/b' cannot be a part of a file name"),
        (["Omniglot"], "the name 'Omniglot' has a meaning of its own here"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_stored(command, birds, tmp_path, arguments, sentence):
    name, *options = arguments
    said = command("data", "add", name, birds, *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.strip().startswith(f"error: {sentence}")
    assert not (tmp_path / "home").exists()


def test_removing_asks_first(command, birds, monkeypatch):
    add(command, "birds", birds)
    place = store.place("birds")
    said = command("data", "remove", "birds")
    assert (said.code, said.err) == (2, f"error: {place} would be removed: say --yes to do so\n")
    monkeypatch.setattr("maml_bench.cli.data.at_a_terminal", lambda: True)
    assert CliRunner().invoke(app, ["data", "remove", "birds"], input="n\n").exit_code != 0
    assert place.exists()
    assert CliRunner().invoke(app, ["data", "remove", "birds"], input="y\n").exit_code == 0
    assert not place.exists()
    add(command, "birds", birds)
    said = command("data", "remove", "birds", "--yes")
    assert (said.code, said.err) == (0, f"birds: removed from {store.data_home()}\n")
    assert "there is no data set 'birds'" in command("data", "remove", "birds", "--yes").err


def test_ctrl_c_keeps_what_was_stored_before(command, birds, tmp_path):
    """A process that is interrupted while it reads: what was stored stays, and no leftover does."""
    add(command, "birds", birds)
    before = store.verify("birds")
    large = birds / "kind00" / "more0.png"
    own_factory.picture(500, 1500).save(large)
    for number in range(1, 100):  # many seconds of decoding, however late the signal comes
        shutil.copy(large, large.with_name(f"more{number}.png"))
    arguments = [sys.executable, "-m", "maml_bench", "data", "add", "birds", str(birds)]
    root = Path(own_factory.__file__).parents[2]
    process = subprocess.Popen(
        arguments, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE, text=True
    )
    while not list((tmp_path / "home").glob(".birds.*/*.npy")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert "interrupted; nothing new is stored, and what was stored before stays as it was" in said
    assert store.verify("birds") == before
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert "birds" in left
    assert left <= {"birds", ".decoded"}  # the pictures that were read are kept for the next call
