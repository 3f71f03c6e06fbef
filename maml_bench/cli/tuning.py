"""``maml-bench tune``: search for values of keys on validation, then run the best of them with all tests."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.executing import Finished
from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.progress import Bars, conclude, in_a_line, interruptible, make_report, seeds_of
from maml_bench.cli.terminal import (
    RUNS,
    AsJson,
    Device,
    Network,
    Results,
    Tasks,
    Threads,
    print_json,
    print_table,
    recipe_names,
    say,
    setup_names,
)
from maml_bench.types import MOST_SEED

if TYPE_CHECKING:
    from maml_bench.harness.run import Options
    from maml_bench.harness.search import Search
    from maml_bench.harness.search_plan import Plan
    from maml_bench.harness.tuning import Tuning

MOST_TRIALS = 1000


def tune(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe name, or a recipe file.", autocompletion=recipe_names),
    ],
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=RANGE",
            help="A key to search: a range such as inner.rate=0.001..0.1, or on a logarithmic scale "
            "inner.rate=0.001..0.1:log, or choices such as outer.decay=constant|cosine (in quotation marks, for the "
            "shell). KEY=VALUE fixes a key. Repeat for several.",
        ),
    ],
    setup: Annotated[
        list[str] | None,
        typer.Option(
            help="Setup by name, or a file such as ./mine.py. Repeat for several, each of which gets as many trials. "
            "Default: the recipe's first.",
            autocompletion=setup_names,
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=MOST_TRIALS, help="Trials of each setup. With more than before, a search goes on.")
    ] = 20,
    trial_steps: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Outer steps of a trial. Default: those of the recipe, which the best always gets."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="smoke, quick or paper.")] = "quick",
    seeds: Annotated[
        str, typer.Option(help="Seeds with which the best values are run at the end, such as 0-3 or 0,2,5-7.")
    ] = "0",
    search_seed: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_SEED, help="Seed of the search: of the values that are tried, and of each trial's training."
        ),
    ] = 0,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Stored data set of yours, for recipes such as images-5w1s."),
    ] = None,
    test_data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another stored data set, whose test classes the tests are of.")
    ] = None,
    tasks: Tasks = None,
    network: Network = None,
    device: Device = "cpu",
    threads: Threads = None,
    results: Results = RUNS,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Begin an interrupted trial and the runs at the end from the start. Finished trials always stay.",
        ),
    ] = False,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="Make tables and figures of the results folder at the end.")] = True,
) -> None:
    """Search for values of keys on validation alone, then run the best ones with all tests.

    A trial trains the recipe with some values and takes no test. Its score is the best one of its learning curve. The
    records of the best values state how many trials there were and what their neighbours scored, so tables call them
    tuned. All trials stay in one file below RESULTS/tuning. Ctrl-C saves a checkpoint, and the same command continues.

    Examples: [cyan]maml-bench tune sinusoid-k10 --set inner.rate=0.001..0.1:log[/cyan] ·
    [cyan]maml-bench tune omniglot-5w1s --setup maml --setup reptile --set outer.rate=1e-4..1e-2:log --set
    inner.steps=1..5 --trials 40 --seeds 1-3[/cyan]
    """
    from maml_bench.harness.layers import on_data
    from maml_bench.harness.recipe import default_setups
    from maml_bench.harness.run import Options
    from maml_bench.harness.search_plan import plans

    named, of_data = on_data(recipe, data, test_data)
    numbers = seeds_of(seeds)
    planned = plans(
        named, setup or default_setups(named)[:1], [*of_data, *settings], trials,
        preset=preset, seed=search_seed, trial_steps=trial_steps, tasks=tasks, network=network,
        device=device,
    )  # fmt: skip
    finished, tunings = _made(planned, numbers, Options(results, device, threads, force=force))
    searches = [tuning.search for tuning in tunings]
    if as_json:
        from maml_bench.report.flat_rows import flat_rows

        found = [{**asdict(search), "winner": search.winner and search.winner.number} for search in searches]
        print_json({"searches": found, "runs": flat_rows(finished.records, results)})
    else:
        for search in searches:
            _print_trials(search)
    for tuning in tunings:
        _tell_edges(tuning)
    if finished.records and not as_json:
        conclude(results, finished.records, as_json=False, report=report)
    elif finished.records and report:
        make_report(results)
    without = [search for search in searches if search.winner is None]
    code = finished.exit_code
    if without and code != ExitCode.BAD:
        failed = any(trial.status == "failed" for search in without for trial in search.trials)
        code = ExitCode.BAD if failed else ExitCode.DIVERGED
    if code:
        raise typer.Exit(code)


def _made(plans: "Sequence[Plan]", seeds: Sequence[int], options: "Options") -> "tuple[Finished, list[Tuning]]":
    """Make all searches and the runs of the winners, and say how each trial and each run ended.

    Raises:
        typer.Exit: the command was interrupted.
    """
    from maml_bench.harness.tuning import tune as steps_of

    finished, tunings = Finished(), list["Tuning"]()
    with interruptible() as interrupted, Bars() as bars:
        watch = _OfTrial(bars)
        for tuning, outcome in steps_of(plans, seeds, options, watch, bars, interrupted):
            bars.done()
            search, plan = tuning.search, tuning.plan
            if outcome is not None:
                if outcome.record is None or outcome.path is None:
                    seed = seeds[len(tuning.records)]
                    _stop(bars, f"{search.title} seed {seed}: stopped at step {outcome.step:,}", options)
                else:
                    finished.records.append((outcome.path, outcome.record))
                    recipe, seed = plan.with_values(tuning.best or {}), outcome.record.seed
                    bars.said(in_a_line(recipe, seed, outcome.how, outcome.record, outcome.path))
            elif not tunings or tunings[-1] is not tuning:
                tunings.append(tuning)
                watch.begins(search, plan.trials)
            else:
                watch.ended(search, plan.trials)
        bars.done()
        for tuning in tunings:
            done, wanted = len(tuning.search.done), tuning.plan.trials
            if done < wanted:
                _stop(bars, f"{tuning.search.title}: stopped with {done} of {wanted} trials", options)
    return finished, tunings


@dataclass
class _OfTrial:
    """The observer of trials. A bar shows each of them with the best score so far; without bars, nothing is said of its
    steps."""

    bars: Bars
    title: str = ""
    begun_s: float = 0.0
    before: int = 0

    def begins(self, search: "Search", of: int) -> None:
        """A search begins, or goes on from the trials that are there."""
        from maml_bench.harness.clock import monotonic_s

        self.begun_s, self.before = monotonic_s(), len(search.done)
        if self.before:
            self.bars.said(f"{search.title}: {self.before} trials are there already")
        self._name(search, of)

    def ended(self, search: "Search", of: int) -> None:
        """Say how the last trial ended, and how long the others will take."""
        from maml_bench.harness.clock import monotonic_s

        left, made = of - len(search.done), len(search.done) - self.before
        left_s = (monotonic_s() - self.begun_s) / made * left
        self.bars.said(_line(search, of) + (f"; about {left_s:,.0f} s left" if left else ""))
        self._name(search, of)

    def _name(self, search: "Search", of: int) -> None:
        """Say with the bar of the next trial which one it is."""
        best = f", best {search.winner.validation:.4g}" if search.winner else ""
        self.title = f"{search.title} trial {len(search.done) + 1} of {of}{best}"

    def started(self, title: str, step: int, steps: int) -> None:
        if self.bars.live:
            self.bars.started(self.title, step, steps)

    def stepped(self, step: int, loss: float) -> None:
        if self.bars.live:
            self.bars.stepped(step, loss)

    def validated(self, step: int, mean: float) -> None:
        if self.bars.live:
            self.bars.validated(step, mean)

    def tested(self, tasks: int, of: int) -> None:
        """A trial has no tests."""

    def said(self, sentence: str) -> None:
        self.bars.said(f"{self.title}: {sentence}")


def _stop(bars: Bars, sentence: str, options: "Options") -> None:
    """Say where the command stopped, and end it."""
    again = "the same command without --force" if options.force else "the same command"
    bars.said(f"{sentence}; {again} continues from there")
    raise typer.Exit(ExitCode.INTERRUPTED)


def _line(search: "Search", of: int) -> str:
    """How the last trial ended, and which one is the best so far."""
    from maml_bench.harness.search_space import settings_of

    trial, best = search.done[-1], search.winner
    lost = f" ({trial.nonfinite:,} tasks not finite)" if trial.nonfinite else ""
    scored = trial.validation is not None
    ended = f"validation {trial.validation:.4g}{lost}" if scored else f"{trial.status}, {trial.reason}"
    so_far = "" if best is None else " (the best so far)" if best is trial else f" (best so far: {best.validation:.4g})"
    return f"{search.title} trial {trial.number} of {of}: {', '.join(settings_of(trial.values))}: {ended}{so_far}"


def _print_trials(search: "Search") -> None:
    """Print the table of all trials, the best first."""
    from maml_bench.harness.search_space import settings_of

    keys = [one.partition("=")[0] for one in search.space]
    lost = ["not finite"] * any(trial.nonfinite for trial in search.done)
    rows = [
        [
            str(trial.number),
            *(one.partition("=")[2] for one in settings_of(trial.values)),
            _short(trial.validation),
            *(str(trial.nonfinite) for _ in lost),
            *(_short(value) for value in (trial.step, trial.status, trial.train_s)),
        ]
        for trial in search.ranked
    ]
    print_table(
        f"{search.title}, {search.preset} preset: {len(search.done)} trials of {search.outer_steps:,} outer steps",
        ["trial", *keys, f"validation {search.metric.name}", *lost, "at step", "status", "seconds"],
        rows,
        right=["trial", f"validation {search.metric.name}", *lost, "at step", "seconds"],
        heads=1 + len(keys),
        optional=("seconds", "at step"),
    )


def _tell_edges(tuning: "Tuning") -> None:
    """Say which of the best values are at an edge of their range."""
    from maml_bench.harness.search_space import settings_of

    for one in tuning.at_edge:
        [value] = settings_of({one.key: (tuning.best or {})[one.key]})
        say(f"{tuning.search.title}: the best value, {value}, is at the edge of the range {one.text}: widen the range")


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
