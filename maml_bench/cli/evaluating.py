"""``maml-bench evaluate``: weights from a file under a recipe's protocols."""

from pathlib import Path
from typing import Annotated, Any

import typer

from maml_bench.cli.exit_codes import ExitCode, of_records
from maml_bench.cli.progress import Bars, conclude, interruptible
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
    say,
    setup_names,
)


def evaluate(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="Recipe name; see [cyan]maml-bench list recipes[/cyan].", autocompletion=recipe_names
        ),
    ],
    weights: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE.safetensors",
            help="Weights to test; repeat for several, which are tested together (ensemble).",
        ),
    ],
    setup: Annotated[
        str | None,
        typer.Option(
            help="Setup that adapts them, by name or a file such as ./mine.py. Default: the one they say they are of, "
            "else the recipe's own.",
            autocompletion=setup_names,
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Tests to take: [cyan]paper[/cyan] (the recipe's own) or [cyan]modern[/cyan] (classification: 15 "
            "queries, 1,000 tasks, with and without transduction); repeat for both. Default: paper."
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Whose tests: [cyan]smoke[/cyan] (seconds), [cyan]quick[/cyan] or [cyan]paper[/cyan].")
    ] = "paper",
    normalisation: Annotated[
        str | None,
        typer.Option(
            help="Whose statistics batch-norm uses for the query: [cyan]transductive[/cyan] (the query's own), "
            "[cyan]support[/cyan], [cyan]one-by-one[/cyan] (each query with the support) or [cyan]running[/cyan] "
            "(fixed, means over training tasks). Default: the protocol's."
        ),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="Tasks to test on. Default: the protocol's.")] = None,
    tasks: Tasks = None,
    network: Network = None,
    settings: Settings = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the record, and of draws off the test split. Default: the weights'.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    schedule: Annotated[
        str, typer.Option(help="How tasks are taken: loop, vmap, traced, or auto (by network and budget).")
    ] = "auto",
    results: Results = RUNS,
    as_json: AsJson = False,
) -> None:
    """Score trained weights under a recipe's protocols, whoever trained them; prints a table and leaves a record.

    A file holds the initialisation that a setup adapts from, by the names of the network: [cyan]body.0.weight[/cyan]
    (convolutions are out, in, height, width; images channels first), [cyan]body.1.beta[/cyan] (batch-norm's offset),
    [cyan]head.weight[/cyan]; and what else the setup learns, such as [cyan]rate.head.weight[/cyan] (meta_sgd). What
    does not fit is told with the nearest name that does; docs/weights.md has the list. Runs leave such files below
    RESULTS/weights.

    The record says that the weights were given, with their SHA-256. Nothing is trained; Ctrl-C leaves no record.

    Examples: [cyan]maml-bench evaluate omniglot-5w1s --weights mine.safetensors[/cyan] ·
    [cyan]maml-bench evaluate omniglot-5w1s --weights mine.safetensors --protocol modern[/cyan] ·
    [cyan]maml-bench evaluate mini-imagenet-5w1s --weights mine.safetensors --setup anil --normalisation support
    --episodes 200[/cyan]
    """
    from maml_bench.harness.evaluate_weights import evaluate_weights, setup_of
    from maml_bench.harness.recipe import resolve
    from maml_bench.harness.run import Options
    from maml_bench.harness.weights import load

    files = [load(path) for path in weights]
    choices: dict[str, Any] = {"tasks": tasks, "network": network, "settings": settings or []}
    resolved = resolve(recipe, preset=preset, setup=setup or setup_of(files), **choices)
    mode = normalisation.replace("-", " ") if normalisation else None
    options = Options(results, device, threads, schedule, protocols=tuple(protocol or ()))
    with interruptible("stopping; nothing is written", "nothing is written") as interrupted, Bars() as bars:
        outcome = evaluate_weights(
            resolved, files, options, seed=seed, normalisation=mode, episodes=episodes,
            observer=bars, interrupted=interrupted,
        )  # fmt: skip
        bars.done()
    if outcome.record is None or outcome.path is None:
        raise typer.Exit(ExitCode.INTERRUPTED)
    record = outcome.record
    conclude(results, [(outcome.path, record)], as_json=as_json, report=False)
    ended = f"{record.status}, {record.reason}" if record.status != "ok" else "tested"
    say(f"{resolved.id} {resolved.setup['name']}, weights {record.weights_id}: {ended} ({outcome.path})")
    code = of_records([record])
    if code:
        raise typer.Exit(code)
