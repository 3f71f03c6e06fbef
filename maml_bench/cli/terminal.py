"""How the command line speaks: results on standard output, everything else on standard error."""

import json
import os
import select
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.table import layout
from maml_bench.errors import CannotWrite, Notice

if TYPE_CHECKING:
    from rich.console import Console

Results = Annotated[
    Path,
    typer.Option(
        "--results",
        envvar="MAML_BENCH_RESULTS",
        help="Folder of records, tables and figures. The project's reference results lie in [cyan]results[/cyan].",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as inner.rate=0.05; repeat for several."),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="Another family of tasks: by name, or a file such as ./waves.py. Its options start from its own defaults."
    ),
]
Network = Annotated[
    str | None,
    typer.Option(help="Another network: by a name that the tasks know, or in a file, such as ./net.py:Net."),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; default: all cores, one for tiny tasks.")]
RUNS = Path("runs")


def recipe_names(incomplete: str) -> list[str]:
    """The recipes whose name begins so, for the completion of a shell."""
    from maml_bench.harness.recipe_files import load_files

    return [name for name in load_files() if name.startswith(incomplete)]


def setup_names(incomplete: str) -> list[str]:
    """The setups whose name begins so, for the completion of a shell."""
    from maml_bench.harness.catalogue import names_in

    return [name for name in names_in("setups") if name.startswith(incomplete)]


def suite_names(incomplete: str) -> list[str]:
    """The suites whose name begins so, for the completion of a shell."""
    from maml_bench import suites

    return [name for name in suites.suite_names() if name.startswith(incomplete)]


def console(*, stderr: bool = False) -> "Console":
    """A console of the terminal's width, or wide enough for any table where output goes to a file."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 160
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def say(sentence: str) -> None:
    """A sentence for the person at the terminal. Nothing ends because nobody can read it."""
    try:
        console(stderr=True).print(sentence, markup=False, soft_wrap=True)
    except OSError:
        _give_up(sys.stderr)


def say_error(sentence: str) -> None:
    """What went wrong, in one sentence."""
    from rich.text import Text

    try:
        console(stderr=True).print(Text.assemble(("error: ", "bold red"), sentence), soft_wrap=True)
    except OSError:
        _give_up(sys.stderr)


@contextmanager
def notices() -> Iterator[list[str]]:
    """Say every `Notice` of the block as a sentence, once; yield the list of them."""
    said: list[str] = []
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, Notice):
                usual(message, category, *place, **more)
            elif str(message) not in said:
                said.append(str(message))
                say(f"warning: {message}")

        warnings.simplefilter("always", Notice)
        warnings.showwarning = show
        yield said


@contextmanager
def keeping(kept: str) -> Iterator[None]:
    """On Ctrl-C in the block, say what is kept and exit.

    Raises:
        typer.Exit: the block was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; {kept}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def put(text: str) -> None:
    """Write ``text`` to standard output at once.

    Raises:
        typer.Exit: nobody reads it any more.
        CannotWrite: it cannot be written, such as to a file on a full disk.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
        raise typer.Exit(ExitCode.UNREAD) from None
    except OSError as error:
        _give_up(sys.stdout)
        raise CannotWrite(f"standard output cannot be written: {error.strerror}") from None


def end_if_unread() -> None:
    """End the command where standard output is a pipe that nobody reads any more (POSIX).

    Raises:
        typer.Exit: nobody does.
    """
    if not hasattr(select, "poll"):
        return
    asked = select.poll()
    with suppress(OSError, ValueError):
        asked.register(sys.stdout.fileno(), 0)
    if any(event & select.POLLERR for _, event in asked.poll(0)):
        _give_up(sys.stdout)
        raise typer.Exit(ExitCode.UNREAD)


def _give_up(stream: TextIO) -> None:
    """Lead a standard stream nowhere. Python ends with code 120 if it cannot write what is left of it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_STREAMS = ("stdin", "stdout", "stderr")


def open_streams() -> None:
    """Make every standard stream one that can be written.

    A stream that was closed by whoever started the program leads nowhere from now on. Otherwise the next file that is
    opened would take its number, and get what libraries print. Characters that a stream cannot take are escaped.
    """
    closed = [number for number, name in enumerate(_STREAMS) if getattr(sys, name) is None]
    for number in closed:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
        setattr(sys, _STREAMS[number], os.fdopen(number, "w" if number else "r", encoding="utf-8"))
    if 1 in closed:
        say("standard output is closed, so nothing is printed there")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """``value`` as JSON on standard output."""
    put(json.dumps(value, indent=1, allow_nan=False) + "\n")


def print_paragraphs(title: str, entries: Sequence[tuple[str, str]]) -> None:
    """Print a title, and below it names with texts that are wrapped beside them, on standard output."""
    width = min(shutil.get_terminal_size().columns, 100)
    indent = min(max(len(name) for name, _ in entries), 24) + 4
    lines = [title]
    for name, text in entries:
        words = fill(
            text, width, initial_indent=" " * indent, subsequent_indent=" " * indent, break_on_hyphens=False,
            break_long_words=False,
        )  # fmt: skip
        start = f"  {name:<{indent - 2}}"
        lines += [start + words[indent:]] if len(start) == indent else [start.rstrip(), words]
    put("".join(f"{line}\n" for line in [*lines, ""]))


def print_title(title: str) -> None:
    """Print the line above a table, on several lines where it is wider than the terminal."""
    limit = _width()
    put("".join(f"{line}\n" for line in ([title] if limit is None else wrap(title, limit))))


def _width() -> int | None:
    """The columns of the terminal; None where output goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    heads: int = 0,
    optional: Sequence[str] = (),
) -> list[str]:
    """Print a table on standard output, fitted to the width of a terminal as `table.layout` says.

    Returns the names of the columns that were left out, which is said on standard error too.
    """
    limit = _width()
    lines, left_out = layout(columns, rows, right=right, heads=heads, optional=optional, limit=limit)
    if title:
        print_title(title)
        lines += [""]
    put("".join(f"{line}\n" for line in lines))
    if left_out:
        say(f"left out to fit the width of the terminal: {', '.join(left_out)}")
    return left_out


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar driven by calls (done, total, what), with rate and remaining time."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    counts = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    times = (TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*counts, *times, console=console(stderr=True), refresh_per_second=4, transient=True) as progress:
        task = progress.add_task(title, total=None, rate="")

        def show(done: int, total: int, what: str) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:,.{0 if speed >= 10 else 2}f}/s" if speed else ""
            progress.update(task, completed=done, total=total, description=f"{title}: {what}", rate=rate)

        yield show
