"""``maml-bench run``: recipes x setups x seeds, with progress, resume and a table at the end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maml_bench.cli.exit_codes import ExitCode, of_records
from maml_bench.cli.progress import Bars, budget_of, conclude, in_a_line, interruptible, seeds_of
from maml_bench.cli.terminal import RUNS, AsJson, Device, Results, Settings, Threads, recipe_names, say, setup_names
from maml_bench.errors import MamlBenchError

if TYPE_CHECKING:
    from maml_bench.harness.recipe import Recipe
    from maml_bench.record import Record


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
            "all (10000steps). The same command goes on from there."
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

    Examples: [cyan]maml-bench run quickstart[/cyan] ·
    [cyan]maml-bench run omniglot-5w1s --setup maml --setup reptile --seeds 0,1,2[/cyan] ·
    [cyan]maml-bench run sinusoid-k10 --preset paper --budget 25m[/cyan] ·
    [cyan]maml-bench run images-5w1s --data birds --setup protonet --setup maml[/cyan]
    """
    from maml_bench.api import plan
    from maml_bench.harness.layers import on_data

    named = [on_data(recipe, data, test_data) for recipe in recipes]
    changes = dict.fromkeys(change for _, of_recipe in named for change in of_recipe)
    planned = plan([recipe for recipe, _ in named], setup or [], preset, [*changes, *(settings or ())])
    _refuse_unknown(planned, protocol or [])
    numbers = seeds_of(seeds)
    budget_s, budget_steps = budget_of(budget)
    from maml_bench.harness.run import Options
    from maml_bench.harness.run import run as run_one

    if continue_from and len(planned) * len(numbers) > 1:
        raise MamlBenchError("--from goes on with one run: name one recipe, one setup and one seed")
    options = Options(
        results, device, threads, schedule, chunk, budget_s, budget_steps, force,
        protocols=tuple(protocol or ()), continue_from=continue_from,
    )  # fmt: skip
    finished: list[tuple[Path, Record]] = []
    with interruptible() as interrupted, Bars() as bars:
        for recipe in planned:
            for seed in numbers:
                outcome = run_one(recipe, seed, options, observer=bars, interrupted=interrupted)
                bars.done()
                if outcome.record is None or outcome.path is None:
                    again = "the same command without --force" if force else "the same command"
                    say(f"stopped at step {outcome.step:,}; {again} goes on from there")
                    raise typer.Exit(ExitCode.INTERRUPTED)
                finished.append((outcome.path, outcome.record))
                say(in_a_line(recipe, seed, outcome.how, outcome.record, outcome.path))
                if interrupted():
                    raise typer.Exit(ExitCode.INTERRUPTED)
    conclude(results, finished, as_json=as_json, report=report)
    code = of_records(record for _, record in finished)
    if code:
        raise typer.Exit(code)


def _refuse_unknown(planned: "list[Recipe]", protocols: list[str]) -> None:
    """Raise MamlBenchError where a recipe has no such protocol."""
    from maml_bench.harness.protocols import asked_tests

    for recipe in planned:
        asked_tests(recipe, protocols)
