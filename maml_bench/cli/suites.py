"""``maml-bench suite``: run all runs of a table, in pieces of any length, and report them."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maml_bench.cli.executing import ExecutorName, ExecutorOptions, ExecutorSettings, Jobs, make
from maml_bench.cli.progress import budget_of, make_report, seeds_of
from maml_bench.cli.terminal import (
    RUNS,
    AsJson,
    Device,
    Results,
    Threads,
    keeping,
    print_json,
    print_table,
    recipe_names,
    say,
    setup_names,
    suite_names,
)
from maml_bench.errors import MamlBenchError

if TYPE_CHECKING:
    from maml_bench.harness.suite import Standing


def suite(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SUITE", help="Suite by name; see [cyan]maml-bench list suites[/cyan].", autocompletion=suite_names
        ),
    ],
    preset: Annotated[
        str, typer.Option(help="[cyan]quick[/cyan] (hours) or [cyan]paper[/cyan] (the papers' budgets).")
    ] = "quick",
    setup: Annotated[
        list[str] | None, typer.Option(help="Only this setup; repeat for several.", autocompletion=setup_names)
    ] = None,
    recipe: Annotated[
        list[str] | None, typer.Option(help="Only this recipe; repeat for several.", autocompletion=recipe_names)
    ] = None,
    status: Annotated[
        bool,
        typer.Option(
            "--status",
            help="Run nothing; list which runs are done, running, begun, to do and failed. With --executor, a run "
            "counts as done where any machine has made it.",
        ),
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", hidden=True)] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Stop after this much training time in all, such as 9m or 2h; with --jobs, that of each process. The "
            "same command continues from there."
        ),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    jobs: Jobs = None,
    executor: ExecutorName = "processes",
    executor_options: ExecutorOptions = None,
    executor_settings: ExecutorSettings = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds and ranges of seeds, such as 0-3 or 0,2,5-7. Default: those of the suite.")
    ] = None,
    results: Results = RUNS,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="Make tables and figures of the results folder at the end.")] = True,
) -> None:
    """Run all runs of a table, one after the other or --jobs at a time, and report them. Finished runs are skipped.

    The runs come in the order of the suite; those that failed before come last. Ctrl-C finishes the current step and
    saves a checkpoint, and --budget stops at a checkpoint too. The same command continues from there.

    Examples: [cyan]maml-bench suite images --status[/cyan] · [cyan]maml-bench suite images --budget 9m[/cyan] ·
    [cyan]maml-bench suite table1 --jobs 8[/cyan]
    """
    from maml_bench.harness.executors.job import Job
    from maml_bench.harness.executors.where import where
    from maml_bench.harness.run import Options
    from maml_bench.harness.suite import entries, standings
    from maml_bench.record_files import record_paths

    if plan:
        raise MamlBenchError(f"suite has no option --plan; `maml-bench suite {name} --status` lists what is left")
    runs = entries(
        name, preset, setups=setup or (), recipes=recipe or (), seeds=() if seeds is None else seeds_of(seeds)
    )
    budget_s, budget_steps = budget_of(budget)
    if budget_steps is not None:
        raise MamlBenchError(f"--budget {budget!r} of a suite must be a time such as 90s, 25m or 2h")
    place = where(executor, jobs, executor_options, executor_settings or ())
    options = Options(results, device, threads)
    with keeping("all finished runs are kept; the same command continues from there"):
        found = standings(runs, options, machines=place.machines)
        if status:
            _show(found, name, preset, as_json)
            return
        possible = {
            number: Job(run.entry.recipe, run.entry.seed, options, run.train_s)
            for number, run in enumerate(found, 1)
            if run.state != "not possible" and not (place.machines and run.state == "done")
        }
        left = {id(job): number for number, job in possible.items() if found[number - 1].state != "done"}

        def announce(job: Job) -> str:
            return f"run {left[id(job)]} of {len(found)}: {job.title}" if id(job) in left else ""

        finished = make(place, list(possible.values()), announce=announce, tell_there=False, budget_s=budget_s)
        if as_json:
            from maml_bench.report.flat_rows import flat_rows

            print_json(flat_rows(finished.records, results))
        else:
            _print_scores(name, preset, results)
        if report and record_paths(results):
            make_report(results)
        finished.tell_failures()
        _sum_up(standings(runs, options, machines=place.machines), name, preset)
    if finished.exit_code:
        raise typer.Exit(finished.exit_code)


def _print_scores(name: str, preset: str, results: Path) -> None:
    """The suite's table of this preset, from all records below ``results``."""
    from maml_bench import suites
    from maml_bench.record_files import load_all
    from maml_bench.report.suite_tables import scores

    one = suites.suite(name)
    records = [record for _, record in load_all(results) if record.recipe["preset"] == preset]
    frame = scores(one, records)
    if frame.empty:
        return
    problems = {cell.column for cell in one.cells}
    alike = [column for column in frame.columns if column not in problems and frame[column].nunique() == 1]
    shared = [f"{column} {frame[column].iloc[0]}" for column in alike if column != "setup"]
    kept = [c for c in frame.columns if c == "setup" or (c not in alike and (frame[c] != "").any())]
    print_table(
        ", ".join([one.title, *shared]),
        kept,
        frame[kept].to_numpy().tolist(),
        heads=sum(column not in problems for column in kept),
    )


def _show(runs: "list[Standing]", name: str, preset: str, as_json: bool) -> None:
    """List the runs with their state, as a table or as JSON."""
    if as_json:
        rows = [
            {
                "recipe": run.entry.recipe.id,
                "setup": run.entry.recipe.setup["name"],
                "seed": run.entry.seed,
                "recipe_id": run.entry.recipe.recipe_id,
                "state": run.state,
                "step": run.step,
                "steps": run.steps,
                "train_s": run.train_s,
                "problem": run.problem,
                "path": run.path.as_posix(),
            }
            for run in runs
        ]
        print_json({"suite": name, "preset": preset, "runs": rows})
        return
    columns = ["recipe", "setup", "seed", "state", "outer steps"]
    table = [
        [
            *(run.entry.recipe.id, run.entry.recipe.setup["name"], str(run.entry.seed), run.state),
            f"{run.step:,} of {run.steps:,}",
        ]
        for run in runs
    ]
    print_table("", columns, table, right=("outer steps",))
    _sum_up(runs, name, preset)


def _sum_up(runs: "list[Standing]", name: str, preset: str) -> None:
    """Say in sentences how many runs are in which state, and why some are not possible."""
    counts = Counter(run.state for run in runs)
    others = "".join(f", {count} {state}" for state, count in counts.items() if state != "done")
    say(f"{name}, {preset} preset: {counts['done']} of {len(runs)} runs done{others}")
    problems: dict[str, list[str]] = {}
    for run in runs:
        if run.problem is not None:
            problems.setdefault(run.problem, []).append(run.entry.recipe.id)
    for problem, recipes in problems.items():
        names = ", ".join(dict.fromkeys(recipes))
        say(f"not possible here, {len(recipes)} run{'s' * (len(recipes) > 1)} of {names}: {problem}")
