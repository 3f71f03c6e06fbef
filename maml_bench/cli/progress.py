"""What the verbs that train share: options in words, progress at the terminal, Ctrl-C, the sentence at a run's end."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from maml_bench.cli.terminal import console, keeping, print_json, print_table, say
from maml_bench.errors import MamlBenchError, shortened
from maml_bench.types import MOST_SEED

if TYPE_CHECKING:
    from maml_bench.harness.recipe import Recipe
    from maml_bench.record import Record

MOST_SEEDS = 1000
"""The longest range that `seeds_of` takes: a longer one is a slip of the keyboard."""
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def seeds_of(text: str) -> list[int]:
    """The seeds that ``--seeds`` names, each once: whole numbers and ranges such as ``0-3``, with commas between.

    Raises:
        MamlBenchError: a part is not a number or a range, a seed is above MOST_SEED, a range runs backwards, or it has
            more than MOST_SEEDS.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip(), re.ASCII)
        if match is None:
            raise MamlBenchError(
                f"--seeds {shortened(text)} must be whole numbers with commas between, such as 0,1,2, or ranges such "
                "as 0-3; no seed is negative"
            )
        digits = max(map(len, filter(None, match.groups())))
        if digits > len(str(MOST_SEED)) or max(int(number) for number in match.groups() if number) > MOST_SEED:
            raise MamlBenchError(f"--seeds {shortened(text)}: a seed is at most {MOST_SEED}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise MamlBenchError(f"--seeds {text!r}: the range {first}-{last} runs backwards; write {last}-{first}")
        if last - first >= MOST_SEEDS:
            raise MamlBenchError(
                f"--seeds {text!r}: the range {first}-{last} has {last - first + 1:,} seeds, but at most "
                f"{MOST_SEEDS:,} can be run with one command"
            )
        seeds |= dict.fromkeys(range(first, last + 1))
    return list(seeds)


def budget_of(text: str | None) -> tuple[float | None, int | None]:
    """(seconds, steps) of ``--budget``."""
    if text is None:
        return None, None
    match = re.fullmatch(r"([\d.]+)\s*(s|m|h|steps?)", text.strip())
    try:
        if match and match[2].startswith("step"):
            return None, int(match[1])
        if match:
            return float(match[1]) * _SECONDS[match[2]], None
    except ValueError:
        pass
    raise MamlBenchError(f"--budget {text!r} must be a time such as 90s, 25m or 2h, or steps such as 10000steps")


def in_a_line(recipe: "Recipe", seed: int, how: str, record: "Record", path: Path) -> str:
    """How a run ended, for the person at the terminal."""
    what = f"{recipe.id} {recipe.setup['name']} seed {seed}: "
    if record.status != "ok":
        return f"{what}{record.status}, {record.reason} ({path})"
    share = "" if record.budget_share == 1 else f" of {record.budget_steps:,}"
    return f"{what}{how}, {record.outer_steps:,}{share} steps in {record.train_s:,.1f} s of training ({path})"


def conclude(results: Path, finished: "list[tuple[Path, Record]]", *, as_json: bool, report: bool) -> None:
    """Print the scores of what was run, and make the report if it is wanted."""
    if as_json:
        from maml_bench.report.flat_rows import flat_rows

        print_json(flat_rows(finished, results))
    else:
        _print_scores([record for _, record in finished])
    if report:
        make_report(results)


def make_report(results: Path) -> None:
    """Tables and figures of everything below ``results``, and a sentence that says where they are."""
    from maml_bench.api.reading import report

    with keeping("all records are kept, and `maml-bench report` makes the tables and figures"):
        report(results)
    say(f"records: {results / 'records'}   tables: {results / 'tables'}   figures: {results / 'figures'}")


def _print_scores(records: "list[Record]") -> None:
    """Print one short table per task family, with its caption."""
    from maml_bench.report.tables import caption, summary

    for tasks in sorted({record.recipe["tasks"]["name"] for record in records}):
        family = [record for record in records if record.recipe["tasks"]["name"] == tasks]
        frame = summary(family)
        print_table("", list(frame.columns), frame.to_numpy().tolist())
        say(caption(family))


STOPPING = "stopping after this step; press Ctrl-C again to stop at once and lose what came after the last checkpoint"


KEPT = "finished runs and the last checkpoint are kept; the same command continues from there"


@contextmanager
def interruptible(stopping: str = STOPPING, kept: str = KEPT) -> Iterator[Any]:
    """Yield a function that tells whether Ctrl-C (or a termination) was asked for; a second one stops at once.

    ``stopping`` is said at the first, and ``kept`` at the second.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        try:
            say(stopping)
        except RuntimeError:  # the signal came within a sentence, where Python refuses another
            os.write(2, f"\n{stopping}\n".encode())

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with keeping(kept):
            yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bars:
    """The observer at the terminal: one bar per run with rate, loss, validation score and remaining time.

    Where standard error is no terminal, it prints a line at each tenth of the budget instead.
    """

    def __enter__(self) -> "Bars":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console(stderr=True)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[validation]}"),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=2,
            transient=True,
            disable=not self._live,
        )
        self._progress.start()
        self._task: Any = None
        self._tests: Any = None
        self._shown_s = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def live(self) -> bool:
        """Whether bars are shown, and not lines."""
        return self._live

    def beside(self, title: str) -> "Bars":
        """The observer of a run beside others. Its bar stands below theirs, and its sentences say whose they are."""
        other = copy(self)
        other._task = other._tests = None
        other._prefix = f"{title}: "
        return other

    def started(self, title: str, step: int, steps: int) -> None:
        self.done()  # the bar of a run that is begun again after its worker was killed
        self._title, self._steps, self._begun = title, steps, step
        self._task = self._progress.add_task(title, total=steps, completed=step, rate="", loss="", validation="")
        self._first_s = self._now()
        if not self._live:
            say(f"{title}: {steps - step:,} steps to go")

    def stepped(self, step: int, loss: float) -> None:
        now_s = self._now()
        if self._live and now_s - self._shown_s > 0.25:
            rate = (step - self._begun) / max(now_s - self._first_s, 1e-9)
            self._progress.update(self._task, completed=step, rate=f"{rate:,.1f} steps/s", loss=f"loss {loss:.4g}")
            self._shown_s = now_s

    def validated(self, step: int, mean: float) -> None:
        score = f"validation {mean:.4g}"
        if self._live:
            self._progress.update(self._task, validation=score)
        elif step and step * 10 // max(self._steps, 1) != self._tenth:
            rate = (step - self._begun) / max(self._now() - self._first_s, 1e-9)
            speed = f"{rate:,.1f} steps/s, {(self._steps - step) / rate:,.0f} s left"
            say(f"{self._title}: step {step:,} of {self._steps:,}, {score}, {speed}")
        self._tenth = step * 10 // max(self._steps, 1)

    def tested(self, tasks: int, of: int) -> None:
        if self._tests is None:
            self._tests = self._progress.add_task(f"{self._prefix}testing", total=of, rate="", loss="", validation="")
        self._progress.update(self._tests, completed=tasks)
        if tasks >= of:
            self._progress.remove_task(self._tests)
            self._tests = None

    def said(self, sentence: str) -> None:
        if self._live:
            self._progress.console.print(f"{self._prefix}{sentence}", markup=False)
        else:
            say(f"{self._prefix}{sentence}")

    def done(self) -> None:
        for task in (self._task, self._tests):
            if task is not None:
                self._progress.remove_task(task)
        self._task = self._tests = None

    def _now(self) -> float:
        from maml_bench.harness.clock import monotonic_s

        return monotonic_s()

    _tenth = 0
    _prefix = ""
