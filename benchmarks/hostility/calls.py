"""Calls of the command line in this process, and the verdict on how one of them ended."""

import io
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from maml_bench import cli

Verdict = Literal["well", "traceback", "silent", "hang"]
SOFTWARE = 70
"""The exit code of an exception that nobody foresaw."""
RUNS = "runs"
"""The results folder of a case, below its working folder."""
RECIPE = "sinusoid-k10"
TINY = (
    "outer.steps=12",
    "outer.meta_batch=2",
    "validation.episodes=3",
    "validation.every=4",
    'test=[{protocol="paper", split="test", way=1, shot=5, query=5, episodes=6, inner_steps=[0, 1]}]',
)
RUN = ("run", RECIPE, "--preset", "smoke", "--threads", "1", "--no-report", *(w for s in TINY for w in ("--set", s)))
"""A run of a fraction of a second."""
NOWHERE = ("--device", "nowhere")
TAKEN = "no device 'nowhere'"
"""What a run says after it has taken all settings: it has no such device, so it never begins."""


@dataclass(frozen=True)
class Case:
    """One hostile input.

    ``arguments`` are those of ``maml-bench``, called in a folder of its own that holds ``files``, and a copy of the
    prepared results where ``results`` is true; ``links`` are symbolic links. ``refused`` says that the input is
    declared out of range, unknown or without effect: then an end with 0 is silent, and so is one of the sentences
    ``accepted``, which come only after the input was taken. ``damaged`` is a file whose path in the output says that
    it was read as if it were good.
    """

    name: str
    arguments: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    pipes: tuple[str, ...] = ()
    results: bool = False
    refused: bool = False
    accepted: tuple[str, ...] = ()
    damaged: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The kind of input: the first word of the name."""
        return self.name.split(" ", 1)[0]


@dataclass(frozen=True)
class Answer:
    """How a call ended: its exit code, what it wrote, the trace of an exception that left it, whether it was late."""

    code: int | None
    out: str = ""
    err: str = ""
    trace: str = ""
    late: bool = False


class Late(BaseException):
    """The time of a call is over."""


def judge(case: Case, answer: Answer) -> tuple[Verdict, str]:
    """The verdict on a case, and in a few words why."""
    if answer.late:
        return "hang", "the time was over"
    said = answer.out + answer.err
    if answer.trace or answer.code == SOFTWARE or "Traceback (most recent call last)" in said:
        last = (answer.trace or said).strip().splitlines() or [""]
        return "traceback", last[-1][:300]
    ended = answer.err.strip().splitlines()[-1][:300] if answer.err.strip() else ""
    if case.refused and (answer.code == 0 or any(sentence in answer.err for sentence in case.accepted)):
        return "silent", f"exit {answer.code}: {ended}"
    if case.damaged and answer.code == 0 and case.damaged in answer.out and case.damaged not in answer.err:
        return "silent", f"{case.damaged} was read as if it were good"
    return "well", f"exit {answer.code}: {ended}"


def run(case: Case, prepared: Path, limit_s: float) -> Answer:
    """Call the command line with a case, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        if case.results:
            shutil.copytree(prepared / RUNS, place / RUNS)
        for name, content in case.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        for name, target in case.links.items():
            (place / name).symlink_to(target)
        for name in case.pipes:
            os.mkfifo(place / name)
        with _surroundings(place, case.environment):
            return call(case.arguments, limit_s)


def call(arguments: tuple[str, ...], limit_s: float) -> Answer:
    """``maml-bench`` with these arguments, for at most ``limit_s`` seconds."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["maml-bench", *arguments]
    code: int | None = None
    trace, late = "", False
    handler = signal.signal(signal.SIGALRM, _stop)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            try:
                cli.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except Late:
        late = True
    except BaseException:
        trace = traceback.format_exc()
    finally:
        signal.signal(signal.SIGALRM, handler)
        sys.argv = before
    return Answer(code, out.getvalue(), err.getvalue(), trace, late)


def _stop(number: int, frame: Any) -> None:
    raise Late


@contextmanager
def _surroundings(place: Path, environment: dict[str, str]) -> Iterator[None]:
    """A working folder, a data home and a temporary folder of the case's own."""
    names = {"MAML_BENCH_MEMORY": "default", "MAML_BENCH_DATA": str(place / "home"), "COLUMNS": "160", **environment}
    before = {name: os.environ.get(name) for name in (*names, "MAML_BENCH_RESULTS")}
    folder, temporary, hook = Path.cwd(), tempfile.tempdir, sys.excepthook
    os.environ.update(names)
    os.environ.pop("MAML_BENCH_RESULTS", None)
    os.chdir(place)
    tempfile.tempdir = str(place)
    try:
        yield
    finally:
        os.chdir(folder)
        tempfile.tempdir, sys.excepthook = temporary, hook
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
