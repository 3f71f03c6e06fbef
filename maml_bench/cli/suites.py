"""``maml-bench suite``: a whole table planned, run in pieces of any length, and reported."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.progress import Bars, budget_of, in_a_line, interruptible, make_report, seeds_of
from maml_bench.cli.terminal import RUNS, AsJson, Device, Results, Threads, duration, print_json, print_table, say
from maml_bench.errors import MamlBenchError

if TYPE_CHECKING:
    from maml_bench.harness.run import Options
    from maml_bench.harness.suite import Entry, Plan
    from maml_bench.record import Record


def suite(
    name: Annotated[str, typer.Argument(metavar="SUITE", help="Suite by name; see [cyan]maml-bench list[/cyan].")],
    preset: Annotated[
        str, typer.Option(help="[cyan]quick[/cyan] (hours) or [cyan]paper[/cyan] (all of it).")
    ] = "quick",
    setup: Annotated[list[str] | None, typer.Option(help="Only this setup; repeat for several.")] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Only this recipe; repeat for several.")] = None,
    show_plan: Annotated[
        bool, typer.Option("--plan", help="Run nothing: show what is done, what is left and how long it will take.")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Time a few steps of whatever has no pace on this machine yet, keep that, show the plan."
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(help="End early: training time of this call, such as 9m or 2h. The same command goes on."),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2; default: the suite's.")] = None,
    results: Results = RUNS,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="Make tables and figures of the results folder at the end.")] = True,
) -> None:
    """Run a whole table, run after run, and report it; what is done is not run again.

    Runs come in the suite's order, the cheapest first within each part. Ctrl-C finishes the step and saves a
    checkpoint; --budget ends the call at one. The same command goes on from there.

    Examples: [cyan]maml-bench suite images --plan[/cyan] · [cyan]maml-bench suite images --budget 9m[/cyan]
    """
    from maml_bench.harness.run import Options
    from maml_bench.harness.suite import entries, plan
    from maml_bench.report.rows import rows

    work = entries(
        name, preset, setups=setup or (), recipes=recipe or (), seeds=() if seeds is None else seeds_of(seeds)
    )
    budget_s, budget_steps = budget_of(budget)
    if budget_steps is not None:
        raise MamlBenchError(f"--budget {budget!r} of a suite must be a time such as 90s, 25m or 2h")
    options = Options(results, device, threads)
    planned = plan(work, options)
    if measure:
        _measure(planned, options)
        planned = plan(work, options)
    if show_plan or measure:
        _show(planned, name, preset, as_json)
        return
    finished, wrong = _run(planned, options, budget_s)
    if as_json:
        print_json(rows(finished, results))
    else:
        _print_scores(name, preset, results)
    if report and any((results / "records").rglob("*.json")):
        make_report(results)
    _sum_up(plan(work, options), name, preset)
    if wrong or any(record.status == "failed" for _, record in finished):
        raise typer.Exit(1)


def _run(planned: "Plan", options: "Options", budget_s: float | None) -> "tuple[list[tuple[Path, Record]], int]":
    """Run what is open, one after the other; the records that came of it, and how many could not be made."""
    from maml_bench.harness import memory
    from maml_bench.harness.run import run as run_one

    finished: list[tuple[Path, Record]] = []
    wrong, spent_s = 0, 0.0
    with interruptible() as interrupted, Bars() as bars:
        for line in planned.lines:
            recipe, seed = line.entry.recipe, line.entry.seed
            left_s = None if budget_s is None else budget_s - spent_s
            if line.state == "not possible":
                continue
            if left_s is not None and spent_s > 0 and line.state != "done" and not line.fits(left_s):
                break  # but the first that is open is always begun, so that every call comes further
            memory.release()
            try:
                one = replace(options, budget_s=left_s)
                outcome = run_one(recipe, seed, one, observer=bars, interrupted=interrupted)
            except MamlBenchError as error:
                say(f"{line.entry.words}: {error}")
                wrong += 1
                continue
            finally:
                bars.done()
            if outcome.record is None or outcome.path is None:
                say(f"stopped at step {outcome.step:,}; the same command goes on from there")
                raise typer.Exit(130)
            if outcome.how != "already there":
                finished.append((outcome.path, outcome.record))
                spent_s += max(outcome.record.train_s - line.done_s, 0.0)
                say(in_a_line(recipe, seed, outcome.how, outcome.record, outcome.path))
            if interrupted():
                raise typer.Exit(130)
            if outcome.record.status == "ok" and not outcome.record.whole:
                break
    return finished, wrong


def _print_scores(name: str, preset: str, results: Path) -> None:
    """The suite's table of this preset, from all records below ``results``."""
    from maml_bench import suites
    from maml_bench.record import load_all
    from maml_bench.report.suites.tables import scores

    one = suites.suite(name)
    records = [record for _, record in load_all(results) if record.recipe["preset"] == preset]
    frame = scores(one, records, published=False)
    filled = [column for column in frame.columns if (frame[column] != "").any()]
    if len(frame):
        print_table(one.title, filled, frame[filled].to_numpy().tolist())


def _measure(planned: "Plan", options: "Options") -> None:
    """Time what has no pace yet, each kind of work once."""
    from maml_bench.harness import paces

    seen: set[str] = set()
    with interruptible() as interrupted:
        for line in planned.unmeasured:
            recipe = line.entry.recipe
            if recipe.recipe_id in seen:
                continue
            seen.add(recipe.recipe_id)
            try:
                pace = paces.measure(recipe, options)
            except Exception as error:
                say(f"{line.entry.words} cannot be measured: {type(error).__name__}: {error}")
                continue
            paces.save(options.results, pace)
            how = f"{pace.schedule}, {pace.threads} thread{'s' if pace.threads > 1 else ''}, {pace.device}"
            say(f"{recipe.id} {recipe.setup['name']}: {pace.step_s:.3g} s a step ({how})")
            if interrupted():
                raise typer.Exit(130)


def _show(planned: "Plan", name: str, preset: str, as_json: bool) -> None:
    if as_json:
        print_json({"suite": name, "preset": preset, **_plain(planned)})
        return
    rows = []
    for line in planned.lines:
        pace = line.pace
        rows.append(
            [
                line.entry.recipe.id,
                str(line.entry.recipe.setup["name"]),
                str(line.entry.seed),
                line.state,
                f"{line.step:,} of {line.steps:,}",
                f"{pace.step_s:.3g}" if pace else "-",
                pace.source if pace else "-",
                f"{pace.schedule}, {pace.threads}" if pace else "-",
                "-" if line.state in ("done", "not possible") else duration(line.left_s) if pace else "not measured",
            ]
        )
    columns = ["recipe", "setup", "seed", "state", "step", "s/step", "from", "schedule, threads", "left"]
    print_table("", columns, rows, right=("step", "s/step", "left"))
    _sum_up(planned, name, preset)


def _sum_up(planned: "Plan", name: str, preset: str) -> None:
    """In sentences: how much is done, what is left here and elsewhere, what is not possible."""
    done = sum(line.state == "done" for line in planned.lines)
    about = (
        f"{name}, {preset} preset, on {planned.machine} ({planned.device}): {done} of {len(planned.lines)} runs done"
    )
    if planned.open:
        about += f"; about {duration(planned.left_s)} left, {duration(planned.train_left_s)} of it training"
    if planned.unmeasured:
        about += f", and {len(planned.unmeasured)} runs without a pace yet (--measure times them)"
    say(about)
    for other in planned.elsewhere:
        part = (
            "" if other.measured == other.entries else f", as far as measured: {other.measured} of {other.entries} runs"
        )
        say(f"on {other.machine} ({other.name}, {other.device}), from the start: {duration(other.total_s)}{part}")
    if planned.open and not any(d.startswith("cuda") for d in (planned.device, *(o.device for o in planned.elsewhere))):
        say("on a GPU: not measured")
    problems: dict[str, list[Entry]] = {}
    for line in planned.lines:
        if line.problem is not None:
            problems.setdefault(line.problem, []).append(line.entry)
    for problem, those in problems.items():
        recipes = ", ".join(dict.fromkeys(entry.recipe.id for entry in those))
        say(f"not possible here, {len(those)} run{'s' if len(those) > 1 else ''} of {recipes}: {problem}")


def _plain(planned: "Plan") -> dict[str, Any]:
    """The plan as JSON-ready data: seconds, steps, and None for what is not known."""
    return {
        "machine": planned.machine,
        "device": planned.device,
        "entries": [
            {
                "recipe": line.entry.recipe.id,
                "setup": line.entry.recipe.setup["name"],
                "preset": line.entry.recipe.preset,
                "seed": line.entry.seed,
                "recipe_id": line.entry.recipe.recipe_id,
                "state": line.state,
                "step": line.step,
                "steps": line.steps,
                "train_s": line.done_s,
                "step_s": line.pace and line.pace.step_s,
                "threads": line.pace and line.pace.threads,
                "schedule": line.pace and line.pace.schedule,
                "pace_from": line.pace and line.pace.source,
                "train_left_s": line.train_left_s,
                "left_s": line.left_s,
                "problem": line.problem,
                "path": line.path.as_posix(),
            }
            for line in planned.lines
        ],
        "done": sum(line.state == "done" for line in planned.lines),
        "unmeasured": len(planned.unmeasured),
        "train_left_s": planned.train_left_s,
        "left_s": planned.left_s,
        "elsewhere": [vars(other) for other in planned.elsewhere],
    }
