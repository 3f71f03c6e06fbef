"""How commands end: one set of exit codes, a net under all verbs, and streams that cannot be written."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import maml_bench
from maml_bench import cli
from maml_bench.cli.exit_codes import ExitCode, of_records
from maml_bench.cli.net import SHOW_TRACE
from maml_bench.errors import MamlBenchError
from maml_bench.record_files import load_all

VERBS = [*cli.app.registered_commands, *cli.data.app.registered_commands]


def fault():
    raise ZeroDivisionError("a [/b]fault\nof two lines")


def homeless():
    raise MamlBenchError("no home")


def line_of(verb):
    """The words that call a verb without arguments."""
    name = verb.name or verb.callback.__name__
    return ["data", name] if verb in cli.data.app.registered_commands else [name]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(line_of(verb)))
def test_an_unforeseen_error_of_any_verb_is_one_sentence_and_its_trace_a_file(command, monkeypatch, tmp_path, verb):
    line = line_of(verb)
    monkeypatch.delenv(SHOW_TRACE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verb, "callback", fault)
    monkeypatch.setattr(verb, "name", line[-1])
    said = command(*line)
    assert (said.code, said.out) == (ExitCode.UNFORESEEN, "")
    [place] = (tmp_path / "cache" / "maml-bench" / "errors").iterdir()
    assert said.err == (
        f"error: maml-bench is at fault (ZeroDivisionError: a [/b]fault); the full trace is in {place}; please report "
        "this as an issue of the project with that file\n"
    )
    trace = place.read_text()
    assert "in fault\n" in trace
    assert "of two lines" in trace
    assert str(["maml-bench", *line]) in trace


def test_the_tests_see_every_unforeseen_error(command, monkeypatch):
    assert os.environ[SHOW_TRACE], "tests/conftest.py sets it"
    verb = next(verb for verb in VERBS if line_of(verb) == ["records"])
    monkeypatch.setattr(verb, "callback", fault)
    with pytest.raises(ZeroDivisionError):
        command("records")


@pytest.mark.parametrize("cache", ["a file", "no home"])
def test_without_a_cache_folder_the_trace_lies_in_the_temporary_folder(command, monkeypatch, tmp_path, cache):
    monkeypatch.delenv(SHOW_TRACE)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    if cache == "no home":
        monkeypatch.setattr(cli.net, "cache_home", homeless)
    monkeypatch.setattr(VERBS[0], "callback", fault)
    said = command(*line_of(VERBS[0]))
    assert said.code == ExitCode.UNFORESEEN
    assert len(list((tmp_path / "locks").glob("maml-bench-error-*.txt"))) == 1


def test_codes_stand_in_one_place():
    """No verb writes a number of its own as an exit code."""
    for file in (Path(maml_bench.__file__).parent / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "sys.exit"):
                assert not any(isinstance(argument, ast.Constant) for argument in node.args), file.name


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], ExitCode.DONE), (["ok"], ExitCode.DONE), (["ok", "diverged"], ExitCode.DIVERGED),
        (["diverged", "failed", "ok"], ExitCode.BAD),
    ],
)  # fmt: skip
def test_the_worst_status_decides(statuses, code):
    assert of_records(SimpleNamespace(status=status) for status in statuses) == code


@pytest.mark.parametrize("redirection", ["> /dev/full", "> /dev/full 2>&1", ">&-", ">&- 2>&-", "2>&-", "<&-", "| :"])
def test_streams_that_cannot_be_written_end_in_no_trace(results, redirection):
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1]), "MAML_BENCH_MEMORY": ""}
    line = f"'{sys.executable}' -m maml_bench records --json {redirection}; echo $? ${{PIPESTATUS[0]}} >> codes"
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True, timeout=60)
    code = int(Path("codes").read_text().split()[1])
    expected = {">": ExitCode.NOT_WRITTEN, "|": ExitCode.UNREAD}.get(redirection.split()[0], ExitCode.DONE)
    assert code == expected
    sentences = {
        "> /dev/full": "error: standard output cannot be written: No space left on device\n",
        ">&-": "standard output is closed, so nothing is printed there\n",
    }
    assert done.stderr == sentences.get(redirection, "")


def test_a_listing_ends_when_its_reader_has_what_it_wanted(results):
    """Before it has read all records: each of these takes a second."""
    code = (
        "import sys, time\nfrom maml_bench import cli, record_files\nsys.argv = ['maml-bench', 'records']\n"
        "real = record_files.load\n"
        "def slow(path):\n time.sleep(1)\n return real(path)\nrecord_files.load = slow\ncli.main()"
    )
    [path, *_] = (results / "records").rglob("*.json")
    for number in range(200):
        path.with_name(f"{number}.json").write_bytes(path.read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "runs\n"
        process.stdout.close()
        assert process.wait(timeout=60) == ExitCode.UNREAD


def test_a_training_goes_on_where_nobody_can_read_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1]), "MAML_BENCH_MEMORY": ""}
    line = f"'{sys.executable}' -m maml_bench run sinusoid-k10 --preset smoke --no-report >&- 2>&-"
    assert subprocess.run(["bash", "-c", line], env=environment, check=False, timeout=120).returncode == ExitCode.DONE
    assert [record.status for _, record in load_all(Path("runs"))] == ["ok"]
