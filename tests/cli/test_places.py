"""Places that cannot be written or read, and names that are hard to print: one sentence each, never a hang."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import maml_bench
from maml_bench.data.sources import omniglot
from maml_bench.report import build

from .conftest import RUN

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="files of Linux")


def loop(path):
    path.symlink_to(path)
    return path


def pipe(path):
    os.mkfifo(path)
    return path


def file(path):
    path.touch()
    return path


PLACES = {
    "proc": lambda path: Path("/proc/x"),
    "sys": lambda path: Path("/sys/x"),
    "loop": loop,
    "loop below": lambda path: loop(path) / "x",
    "long": lambda path: path.with_name(300 * "x"),
    "long below": lambda path: path / (300 * "x") / "y",
    "pipe": pipe,
    "file": file,
    "device": lambda path: Path("/dev/null"),
}
"""Results folders that cannot be: each is made at a path that does not exist."""


@LINUX
@pytest.mark.parametrize("place", PLACES)
def test_results_that_cannot_be_written_are_refused_before_the_training(command, tmp_path, place):
    results = PLACES[place](tmp_path / "place")
    said = command("run", "sinusoid-k10", *RUN, "--results", results)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: results cannot be written")
    assert said.err.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".ckpt", ".tmp")]


@LINUX
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "verb", [["records"], ["report"], ["show", "x"], ["suite", "table1", "--status"]], ids=" ".join
)
def test_reading_from_a_place_that_is_no_folder_ends_in_a_sentence(command, tmp_path, place, verb):
    said = command(*verb, "--results", PLACES[place](tmp_path / "place"))
    assert said.code in (0, 2, 74)
    assert said.err.startswith("error: ") == (said.code != 0)
    assert said.code or "no runs below" in said.err or "runs done" in said.err


@pytest.mark.parametrize("name", ["x[/b]y", "[red]x", "x\ny", "x\udcff", "ä ö", "-x"])
def test_a_folder_of_any_name_can_hold_results(command, results, name):
    try:
        results.rename(name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this system has no such names")
    assert command("records", "--results", f"./{name}").code == 0
    said = command("report", "--results", f"./{name}")
    assert said.code == 0
    assert len(list(Path(name, "tables").iterdir())) > 1
    if name.isprintable():
        assert name in said.err
    said = command("show", "nothing", "--results", f"./{name}")
    assert said.code == 2


@pytest.mark.parametrize("folder", ["tables", "figures"])
@pytest.mark.parametrize("make", [file, loop])
def test_a_file_in_place_of_a_folder_of_the_report_is_a_sentence(command, results, folder, make):
    make(results / folder)
    said = command("report")
    assert said.code == 74
    assert said.err.startswith(f"error: runs/{folder}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("number", [13, 28, 30])
def test_tables_that_cannot_be_written_are_a_sentence(command, results, monkeypatch, number):
    """Without access, on a full disk and on one that can be read only."""

    def refuse(*arguments, dir, **options):
        raise OSError(number, os.strerror(number), str(dir))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    said = command("report")
    assert (said.code, said.err) == (74, f"error: runs/tables cannot be written or read: {os.strerror(number)}\n")


def test_a_document_that_is_no_text_in_utf_8_is_a_sentence(command, results):
    Path("document.md").write_bytes(b"<!-- tables:begin -->\n\xff\n<!-- tables:end -->\n")
    said = command("report", "--into", "document.md")
    assert said.code == 2
    assert said.err == "error: document.md cannot be read: it is not text in UTF-8\n"
    os.mkfifo("pipe.md")
    assert "pipe.md cannot be read: It is no regular file" in command("report", "--into", "pipe.md").err


@pytest.mark.parametrize(
    "line",
    [
        ["show", "pipe"], ["evaluate", "sinusoid-k10", "--weights", "pipe"], ["run", "./pipe.toml"],
        ["run", "sinusoid-k10", *RUN, "--from", "pipe"], ["compare", "pipe", "pipe"],
    ],
    ids=lambda line: line[0],
)  # fmt: skip
def test_nobody_waits_for_a_pipe(command, line):
    os.mkfifo("pipe")
    os.mkfifo("pipe.toml")
    said = command(*line)
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("error: ")


def test_a_home_folder_that_nobody_knows_is_a_sentence(command, monkeypatch):
    monkeypatch.setenv("MAML_BENCH_DATA", "~nosuchuser/x")
    said = command("data", "list")
    assert (said.code, said.err) == (
        2,
        "error: MAML_BENCH_DATA is '~nosuchuser/x', but there is no home folder of that user\n",
    )


def test_weights_of_torch_say_how_to_convert_them(command):
    import torch

    torch.save({"w": torch.zeros(2)}, "mine.pt")
    said = command("evaluate", "sinusoid-k10", "--weights", "mine.pt")
    assert said.code == 2
    assert "weights mine.pt are a file of torch.save" in said.err
    exec(
        said.err.split("in Python: ")[1].replace(
            "import torch, safetensors.torch; ", "import torch, safetensors.torch\n"
        )
    )
    assert Path("mine.safetensors").is_file()
    assert "lack the tensor" in command("evaluate", "sinusoid-k10", "--weights", "mine.safetensors").err


@pytest.mark.skipif(
    shutil.which("setpriv") is None or os.geteuid() != 0, reason="only root can become somebody whom nobody knows"
)
@pytest.mark.parametrize(
    "line", [["records"], ["data", "list"], ["run", "sinusoid-k10", *RUN]], ids=lambda line: line[0]
)
def test_a_user_whom_nobody_knows_needs_no_home(line):
    """As in a container with a user number of its own. It may read the files of the tests."""
    known = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "MAML_BENCH_DATA")
    environment = {name: value for name, value in os.environ.items() if name not in known}
    environment |= {"PYTHONPATH": str(Path(maml_bench.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    somebody = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    somebody += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    done = subprocess.run(
        [*somebody, sys.executable, "-m", "maml_bench", *line],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    if line[0] == "data":
        assert done.returncode == 2
        assert "this user has no home folder: set XDG_CACHE_HOME" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
    assert not Path("~").exists()


def test_ctrl_c_says_what_is_kept(command, results, monkeypatch, tmp_path):
    def interrupt(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(omniglot, "add", interrupt)
    monkeypatch.setattr(build, "write_tables", interrupt)
    for line, kept in (
        (["data", "add", "omniglot", tmp_path], "nothing new is stored, and what was stored before stays as it was"),
        (["report"], "all records are kept, and each table and figure is whole; the same command makes them all"),
    ):
        said = command(*line)
        assert said.code == 130
        assert said.err.splitlines()[-1] == f"interrupted; {kept}"
    monkeypatch.setattr("maml_bench.harness.suite.standings", interrupt)
    said = command("suite", "table1")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "interrupted; all finished runs are kept; the same command continues from there"
