"""``maml-bench new`` writes files that run at once and keep every contract."""

import shlex
from pathlib import Path

import pytest

from maml_bench.cli.starting import KINDS
from maml_bench.record_files import load_all


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_runs_and_keeps_every_contract(command, kind):
    said = command("new", kind, "two_waves")
    assert said.code == 0
    file = Path(f"two_waves{Path(KINDS[kind]).suffix}")
    assert said.err.startswith(f"wrote {file}; this runs it: maml-bench run ")
    text = file.read_text()
    old = Path(KINDS[kind]).stem
    assert old not in text
    words = shlex.split(said.err.partition("this runs it: maml-bench ")[2])
    assert command(*words, "--no-report", "--threads", "1").code == 0
    assert all(record.status == "ok" for _, record in load_all(Path("runs")))
    checked = command("check", *(["./two_waves.py:TwoWaves"] if kind == "network" else [f"./{file}"]))
    assert checked.code == 0
    assert "fails" not in checked.out
    assert "not checked" not in checked.out
    again = command("new", kind, "two_waves")
    assert (again.code, again.err) == (2, f"error: {file} is there already: take another name, or remove it\n")
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["setpu", "x"], "'setpu' is nothing to start (did you mean 'setup'?)"),
        (["setup", "maml"], "'maml' is the name of a setup of this package: take another one"),
        (["recipe", "quickstart"], "'quickstart' is the name of a recipe of this package"),
        (["tasks", "../x"], "the name '../x' cannot be a part of a file name"),
        (["tasks", "two waves"], "the name 'two waves' must be letters, digits and '_'"),
    ],
)
def test_what_cannot_be_started_is_a_sentence(command, words, sentence):
    said = command("new", *words)
    assert said.code == 2
    assert said.err.startswith(f"error: {sentence}")
    assert not list(Path().iterdir())
