"""``maml-bench run``: recipes x setups x seeds, with progress, resume and a table at the end."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.terminal import RUNS, AsJson, Results, console, print_json, print_table, say
from maml_bench.errors import MamlBenchError

if TYPE_CHECKING:
    from maml_bench.harness.recipe import Recipe
    from maml_bench.record import Record

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def run(
    recipes: Annotated[
        list[str], typer.Argument(metavar="RECIPE...", help="Recipe ids; see [cyan]maml-bench list[/cyan].")
    ],
    preset: Annotated[
        str,
        typer.Option(help="[cyan]smoke[/cyan] (seconds), [cyan]quick[/cyan] (minutes) or [cyan]paper[/cyan] (all)."),
    ] = "quick",
    setup: Annotated[
        list[str] | None,
        typer.Option(help="Setup by name, or a file such as ./mine.py; repeat for several. Default: the recipe's own."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe, such as inner.rate=0.05; repeat for several."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; default: all cores, one for tiny tasks.")
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(help="How a meta-step runs: loop, vmap, traced, compiled, or auto (by network and budget)."),
    ] = "auto",
    chunk: Annotated[
        int | None, typer.Option(min=1, help="Tasks differentiated at once: fewer need less memory. Default: all.")
    ] = None,
    results: Results = RUNS,
    budget: Annotated[
        str | None,
        typer.Option(
            help="End early, at a checkpoint: training time per run in this sitting (90s, 25m, 2h), or outer steps in "
            "all (10000steps). The same command goes on from there."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done, from the start.")] = False,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="Make tables and figures of the results folder at the end.")] = True,
) -> None:
    """Train and evaluate; every run leaves one record, and what is already there is not run again.

    Ctrl-C finishes the step and saves a checkpoint; the same command resumes.

    Examples: [cyan]maml-bench run quickstart[/cyan] ·
    [cyan]maml-bench run omniglot-5w1s --setup maml --setup reptile --seeds 0,1,2[/cyan] ·
    [cyan]maml-bench run sinusoid-k10 --preset paper --budget 25m[/cyan]
    """
    planned = _plan(recipes, preset, setup or [], settings or [])
    numbers = _seeds(seeds)
    budget_s, budget_steps = _budget(budget)
    from maml_bench.harness.run import Options
    from maml_bench.harness.run import run as run_one

    options = Options(results, device, threads, schedule, chunk, budget_s, budget_steps, force)
    finished: list[tuple[Path, Record]] = []
    with _interruptible() as interrupted, _Bars() as bars:
        for recipe in planned:
            for seed in numbers:
                outcome = run_one(recipe, seed, options, observer=bars, interrupted=interrupted)
                bars.done()
                if outcome.record is None or outcome.path is None:
                    again = "the same command without --force" if force else "the same command"
                    say(f"stopped at step {outcome.step:,}; {again} goes on from there")
                    raise typer.Exit(130)
                finished.append((outcome.path, outcome.record))
                say(_in_a_line(recipe, seed, outcome.how, outcome.record, outcome.path))
                if interrupted():
                    raise typer.Exit(130)
    _conclude(results, finished, as_json=as_json, report=report)
    if any(record.status == "failed" for _, record in finished):
        raise typer.Exit(1)


def _plan(names: list[str], preset: str, setups: list[str], settings: list[str]) -> "list[Recipe]":
    """All recipes resolved before the first one runs, so that a typing error costs nothing."""
    from maml_bench.harness.recipe import default_setups, resolve

    return [
        resolve(name, preset=preset, setup=setup, settings=settings)
        for name in names
        for setup in (setups or default_setups(name))
    ]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise MamlBenchError(f"--seeds {text!r} must be whole numbers with commas between, such as 0,1,2") from None


def _budget(text: str | None) -> tuple[float | None, int | None]:
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


def _in_a_line(recipe: "Recipe", seed: int, how: str, record: "Record", path: Path) -> str:
    what = f"{recipe.id} {recipe.setup['name']} seed {seed}: "
    if record.status != "ok":
        return f"{what}{record.status}, {record.reason} ({path})"
    share = "" if record.budget_share == 1 else f" of {record.budget_steps:,}"
    return f"{what}{how}, {record.outer_steps:,}{share} steps in {record.train_s:,.1f} s of training ({path})"


def _conclude(results: Path, finished: "list[tuple[Path, Record]]", *, as_json: bool, report: bool) -> None:
    if as_json:
        from maml_bench.report.rows import rows

        print_json(rows(finished, results))
    else:
        _print_scores([record for _, record in finished])
    if report:
        from maml_bench.report.build import build

        build(results)
        say(f"records: {results / 'records'}   tables: {results / 'tables'}   figures: {results / 'figures'}")


def _print_scores(records: "list[Record]") -> None:
    """One short table per task family: score ± interval, and in brackets the published value."""
    from maml_bench.report.tables import numbers, summary, unit

    for tasks in sorted({record.recipe["tasks"]["name"] for record in records}):
        family = [record for record in records if record.recipe["tasks"]["name"] == tasks]
        frame = summary(family)
        print_table("", list(frame.columns), frame.to_numpy().tolist())
        sources = "; ".join(sorted(numbers(family)["source"].dropna().unique()))
        published = f"; in brackets the published value: {sources}" if sources else ""
        say(f"{unit(family[0].metric.name)}: mean ± 95 % interval over test tasks{published}")


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Yield a function that tells whether Ctrl-C (or a termination) was asked for; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping after this step; press Ctrl-C again to stop at once and lose what came after the last checkpoint")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bars:
    """The observer at the terminal: one bar per run with rate, loss, validation score and remaining time."""

    def __enter__(self) -> "_Bars":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console(stderr=True)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
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
        self._shown_s = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, title: str, step: int, steps: int) -> None:
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
        if self._live:
            self._progress.update(self._task, validation=f"validation {mean:.4g}")
        elif step and step * 10 // max(self._steps, 1) != self._tenth:
            rate = (step - self._begun) / max(self._now() - self._first_s, 1e-9)
            pace = f"{rate:,.1f} steps/s, {(self._steps - step) / rate:,.0f} s left"
            say(f"{self._title}: step {step:,} of {self._steps:,}, validation {mean:.4g}, {pace}")
        self._tenth = step * 10 // max(self._steps, 1)

    def said(self, sentence: str) -> None:
        if self._live:
            self._progress.console.print(sentence, markup=False)
        else:
            say(sentence)

    def done(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def _now(self) -> float:
        from maml_bench.harness.clock import monotonic_s

        return monotonic_s()

    _tenth = 0
