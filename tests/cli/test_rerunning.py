"""`maml-bench compare --rerun`: two versions of the code repeat the runs of both sides, in turns."""

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import maml_bench
from maml_bench.cli import rerunning
from maml_bench.cli.rerunning import Code, Repeat, once
from maml_bench.errors import MamlBenchError
from maml_bench.record_files import load, load_all

VERSION = """
import json, sys
from pathlib import Path

arguments = sys.argv[1:]
results, seed = (arguments[arguments.index(name) + 1] for name in ("--results", "--seeds"))
record = json.loads(Path({template!r}).read_text())
record |= {{"seed": int(seed), "step_blocks_s": [{step_s}] * 40}}
folder = Path(results, "records/sinusoid/maml")
folder.mkdir(parents=True, exist_ok=True)
(folder / (seed + ".json")).write_text(json.dumps(record))
Path(__file__).with_name("arguments.json").write_text(json.dumps(arguments))
"""

NEITHER = "is neither a Python interpreter nor a folder with maml_bench in it"


@pytest.fixture
def maml(results):
    """The path of the maml record."""
    return next((results / "records/sinusoid/maml").iterdir()).resolve()


@pytest.fixture
def version(tmp_path, maml):
    """A checkout of a version whose steps take so long, or whose command is this text."""

    def make(step_s: float = 0.1, text: str = "") -> Path:
        package = tmp_path / f"version{len(list(tmp_path.iterdir()))}" / "maml_bench"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(text or VERSION.format(template=str(maml), step_s=step_s))
        return package.parent

    return make


def test_a_slower_version_is_worse(command, version):
    old, new = version(0.1), version(0.115)
    codes = ("--base-code", old, "--new-code", new)
    said = command("compare", "runs", "runs", "--rerun", *codes, "--json")
    assert said.code == 1
    (time,) = (f for f in json.loads(said.out)["findings"] if f["quantity"] == "outer_step_s")
    assert (time["verdict"], time["seeds"], time["difference"]) == ("worse", [0, 1, 2, 3, 4], pytest.approx(0.15))
    lines = said.err.splitlines()
    assert lines[0] == "run 1 of 1: sinusoid-k10 maml smoke, 5 times 12 steps of each version, in turns"
    assert lines[1:] == [f"  repeat {number} of 5: 100 ms and 115 ms" for number in range(1, 6)]


def test_equal_versions_are_the_same_and_scores_are_those_of_the_records(command, version):
    said = command("compare", "runs", "runs", "--rerun", "--base-code", version(), "--new-code", version(), "--strict")
    assert said.code == 0
    assert [line.split()[3] for line in said.out.splitlines()[2:] if line] == ["mse", "outer_step_s", "mse"]


def test_a_run_is_repeated_as_its_record_tells(command, version):
    old, new = version(), version()
    said = command(
        *("compare", "runs", "runs", "--rerun", "--base-code", old, "--new-code", new, "--repeats", 3, "--steps", 9)
    )
    assert said.code == 0
    arguments = json.loads((old / "maml_bench/arguments.json").read_text())
    assert arguments[:8] == ["run", "sinusoid-k10", "--preset", "smoke", "--setup", "maml", "--seeds", "2"]
    options = dict(zip(arguments[8:18:2], arguments[9:18:2], strict=True))
    assert (options["--budget"], options["--threads"], options["--device"]) == ("9steps", "1", "cpu")
    settings = [value for name, value in pairwise(arguments) if name == "--set"]
    test = 'protocol = "paper", split = "test", way = 1, shot = 5, query = 5, episodes = 2, inner_steps = [0]'
    assert settings == ["outer.steps=12", "outer.meta_batch=2", "validation.episodes=0", f"test=[{{{test}}}]"]


def test_this_version_really_repeats_a_run(maml, tmp_path):
    once(Repeat.of(load(maml), 8), [Code.at(None)], [tmp_path / "again"], seed=3)
    ((_, record),) = load_all(tmp_path / "again")
    assert (record.status, record.outer_steps, record.seed) == ("ok", 8, 3)
    assert record.evaluations[0].episodes == 2


@pytest.mark.parametrize("part", ["setup", "tasks", "network"])
def test_a_run_of_own_code_cannot_be_repeated(maml, part):
    record = load(maml)
    own = replace(record, recipe=record.recipe | {part: {"name": "mine", "sha256": "0" * 64}})
    with pytest.raises(MamlBenchError, match=f"because its {part} 'mine' is code of your own"):
        Repeat.of(own, 8)


def test_the_number_of_steps_is_that_of_ten_seconds(maml):
    record = load(maml)
    steps = {"count": 5000, "total": 10.0, "median": 0.002, "p05": 0.002, "p95": 0.002}
    long = replace(record, budget_steps=70_000, timing_s=record.timing_s | {"outer_step": steps})
    assert Repeat.of(long, None).steps == 5000
    assert Repeat.of(long, 700).steps == 700
    slow = replace(long, timing_s={"outer_step": steps | {"median": 3.0}})
    assert Repeat.of(slow, None).steps == rerunning.LEAST_STEPS


def test_a_version_is_an_interpreter_or_a_checkout(version, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    folder, python = Code.at(version()), Code.at(Path(sys.executable))
    assert folder.command("run").environment["PYTHONPATH"] == str(folder.folder)
    assert (folder.python, python.python) == (sys.executable, sys.executable)
    assert "PYTHONPATH" not in python.command("run").environment
    assert python.command("run").line[1:] == ["-P", "-m", "maml_bench", "run"]
    assert Code.at(None).folder == Path(maml_bench.__file__).parents[1]


def test_a_version_that_fails_is_named_with_its_reason(command, version):
    old, new = version(text="import sys; sys.exit(\"error: no setup 'maml'\")"), version()
    said = command("compare", "runs", "runs", "--rerun", "--base-code", old, "--new-code", new)
    assert said.code == 2
    assert said.err.splitlines()[-1] == (f"error: the version at {old} could not repeat sinusoid-k10: no setup 'maml'")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("runs runs --rerun", "--rerun needs two versions of the code: name the other one by --base-code"),
        ("runs runs --base-code .", "--base-code has no effect without --rerun"),
        ("runs runs --steps 9", "--steps has no effect without --rerun"),
        ("runs --setups maml,scratch --rerun", "--rerun has no effect with --setups"),
        ("runs runs --rerun --new-code runs", f"runs {NEITHER}"),
        ("runs runs --rerun --new-code env", f"env {NEITHER} (did you mean env/bin/python?)"),
        ("scratch scratch --rerun --new-code new", "scratch and scratch have no run with timed steps in common"),
    ],
)
def test_bad_input_is_one_sentence(command, results, version, arguments, sentence):
    version().rename("new")
    (results / "records/sinusoid/scratch").rename("found")
    Path("scratch/records").mkdir(parents=True)
    Path("found").rename("scratch/records/sinusoid")
    Path("env/bin").mkdir(parents=True)
    Path("env/bin/python").touch()
    said = command("compare", *arguments.split())
    assert said.code == 2
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
