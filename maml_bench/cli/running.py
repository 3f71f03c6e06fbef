"""``maml-bench run``: recipes x setups x seeds, with progress, resume and a table at the end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maml_bench.cli.executing import ExecutorName, ExecutorOptions, ExecutorSettings, Jobs, make
from maml_bench.cli.progress import budget_of, conclude, seeds_of
from maml_bench.cli.terminal import (
    RUNS,
    AsJson,
    Device,
    Network,
    Results,
    Settings,
    Tasks,
    Threads,
    recipe_names,
    setup_names,
)
from maml_bench.errors import MamlBenchError

if TYPE_CHECKING:
    from maml_bench.harness.recipe import Recipe


def run(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE...",
            help="Recipe names (see [cyan]maml-bench list recipes[/cyan]), or recipe files.",
            autocompletion=recipe_names,
        ),
    ],
    preset: Annotated[
        str,
        typer.Option(help="[cyan]smoke[/cyan] (seconds), [cyan]quick[/cyan] (minutes) or [cyan]paper[/cyan] (all)."),
    ] = "quick",
    setup: Annotated[
        list[str] | None,
        typer.Option(
            help="Setup by name, or a file such as ./mine.py; repeat for several. Default: the recipe's own.",
            autocompletion=setup_names,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds and ranges of seeds, such as 0-3 or 0,2,5-7.")] = "0",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Stored data set of yours to train and test on, for recipes such as images-5w1s; see "
            "[cyan]maml-bench data add[/cyan].",
        ),
    ] = None,
    test_data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another stored data set, whose test classes the tests are of.")
    ] = None,
    tasks: Tasks = None,
    network: Network = None,
    settings: Settings = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Tests to take: [cyan]paper[/cyan] (the recipe's own), [cyan]modern[/cyan] (classification: 15 "
            "queries, 1,000 tasks, selected by validation, with and without transduction); repeat for both. Default: "
            "paper, and modern at the end of --preset paper of classification. What a finished run lacks is taken from "
            "its weights."
        ),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    jobs: Jobs = None,
    executor: ExecutorName = "processes",
    executor_options: ExecutorOptions = None,
    executor_settings: ExecutorSettings = None,
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
            help="End early, at a checkpoint: training time per run in this segment (90s, 25m, 2h), or outer steps in "
            "all (10000steps). The same command continues from there."
        ),
    ] = None,
    continue_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE.ckpt",
            help="Go on from a checkpoint of another machine, torch, device or schedule: equal to rounding from there "
            "on, not to the bit. The record names every machine.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done, from the start.")] = False,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="Make tables and figures of the results folder at the end.")] = True,
) -> None:
    """Train and evaluate; every run leaves one record, and what is already there is not run again.

    Ctrl-C finishes the step and saves a checkpoint; the same command resumes. Trained weights lie below
    RESULTS/weights as safetensors files; [cyan]maml-bench evaluate[/cyan] scores them, and says what is in them.
    Started with [cyan]torchrun --nproc-per-node 2 -m maml_bench run[/cyan], two processes divide each meta-batch.

    Examples: [cyan]maml-bench run quickstart[/cyan] ·
    [cyan]maml-bench run omniglot-5w1s --setup maml --setup reptile --seeds 0,1,2[/cyan] ·
    [cyan]maml-bench run sinusoid-k10 --preset paper --budget 25m[/cyan] ·
    [cyan]maml-bench run images-5w1s --data birds --setup protonet --setup maml[/cyan] ·
    [cyan]maml-bench run sinusoid-k10 --seeds 0-7 --jobs 4[/cyan]
    """
    from maml_bench.api.running import plan
    from maml_bench.harness.layers import on_data

    named = [on_data(recipe, data, test_data) for recipe in recipes]
    changes = [*dict.fromkeys(change for _, of_recipe in named for change in of_recipe), *(settings or ())]
    planned = plan([recipe for recipe, _ in named], setup or [], preset, changes, tasks=tasks, network=network)
    _refuse_unknown(planned, protocol or [])
    numbers = seeds_of(seeds)
    budget_s, budget_steps = budget_of(budget)
    from maml_bench.harness.executors.job import Job
    from maml_bench.harness.executors.where import where
    from maml_bench.harness.run import Options

    place = where(executor, jobs, executor_options, executor_settings or ())
    if continue_from and len(planned) * len(numbers) > 1:
        raise MamlBenchError("--from goes on with one run: name one recipe, one setup and one seed")
    options = Options(
        results, device, threads, schedule, chunk, budget_s, budget_steps, force,
        protocols=tuple(protocol or ()), continue_from=continue_from,
    )  # fmt: skip
    again = "the same command without --force" if force else "the same command"
    finished = make(
        place,
        [Job(recipe, seed, options) for recipe in planned for seed in numbers],
        stop_at_error=not place.several,
        again=again,
    )
    if finished.records:
        conclude(results, finished.records, as_json=as_json, report=report)
    if place.several:
        finished.tell_failures()
    if finished.exit_code:
        raise typer.Exit(finished.exit_code)


def _refuse_unknown(planned: "list[Recipe]", protocols: list[str]) -> None:
    """Raise MamlBenchError where a recipe has no such protocol."""
    from maml_bench.harness.protocols import asked_tests

    for recipe in planned:
        asked_tests(recipe, protocols)
