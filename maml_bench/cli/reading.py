"""The verbs that read records: records, show, report."""

import gc
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.terminal import (
    RUNS,
    AsJson,
    Results,
    end_if_unread,
    keeping,
    notices,
    print_json,
    print_paragraphs,
    print_table,
    print_title,
    put,
    say,
)

if TYPE_CHECKING:
    from maml_bench.record import Record


def records(
    kind: Annotated[
        str,
        typer.Option(
            help="[cyan]runs[/cyan] (training and evaluation), [cyan]speed[/cyan] (races against other libraries) or "
            "[cyan]growth[/cyan] (the cost of a step as its problem grows)."
        ),
    ] = "runs",
    results: Results = RUNS,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 if a file is skipped because it is no record.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List records, one row per record and test result. With --json, pandas.read_json reads them as they are."""
    with notices() as told:
        _records(kind, results, as_json)
    if strict and told:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _records(kind: str, results: Path, as_json: bool) -> None:
    """Print the records of one kind."""
    from maml_bench.errors import MamlBenchError, nearest
    from maml_bench.report.flat_rows import flat_rows

    kinds = ("runs", "speed", "growth")
    if kind not in kinds:
        raise MamlBenchError(f"--kind {kind!r} is not a kind of record{nearest(kind, kinds)}")
    if kind != "runs":
        _speed(kind, results, as_json)
        return
    from maml_bench.harness.own_budget import read_records

    # The collector would look through all rows again and again, and finds nothing: they refer to nothing in circles.
    gc.set_threshold(100_000, 50, 50)
    found: list[dict[str, Any]] = []
    for one in read_records(results):
        if not found and not as_json:
            print_title(str(results))  # before all are read, since `head` may want no more
        found += flat_rows([one], results)
        end_if_unread()
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"no runs below {results}; `maml-bench run quickstart` makes some")
        return
    columns = (
        *("recipe", "setup", "preset", "seed", "status", "protocol", "normalisation", "checkpoint", "shot"),
        *("inner_steps", "mean", "ci95", "published"),
        *(name for name in ("tuned", "own_values_won") if any(row[name] for row in found)),
        "path",
    )
    print_table(
        "",
        columns,
        [[_short(row[column]) for column in columns] for row in found],
        right=("seed", "shot", "inner_steps", "mean", "ci95", "published", "tuned", "own_values_won"),
        heads=4,
        optional=("path", "checkpoint", "normalisation", "published", "protocol"),
    )
    put("\n")


def _speed(kind: str, results: Path, as_json: bool) -> None:
    """Print the speed records of one kind: flat rows, or a table per race or axis."""
    from maml_bench.report.speed import rows as speed
    from maml_bench.report.speed.tables import block, growth, surroundings

    found, points = speed.load(results), speed.load_growth(results)
    if as_json:
        print_json([speed.flat(row) for row in found] if kind == "speed" else points)
        return
    if kind == "speed":
        frames = [(f"{bench}: {surroundings(race)}", block(race)) for (bench, _), race in speed.races(found).items()]
    else:
        frames = list(growth(points))
    for title, frame in frames:
        numbers = [name for name in frame.columns if name not in ("library", "torch", "memory", "schedule")]
        print_table(
            title,
            list(frame.columns),
            frame.to_numpy().tolist(),
            right=numbers,
            optional=("torch", "gradient error", "machine share"),
        )
    if not frames:
        say(f"no {kind} records below {results}")


def show(
    record: Annotated[
        str,
        typer.Argument(
            metavar="RECORD",
            help="A record: its path, the name of its file, or parts with slashes between that fit one record alone, "
            "such as sinusoid-k10/maml/seed1 or the first digits of a recipe's id.",
        ),
    ],
    results: Results = RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one record: what was run on which machine, its scores, and how long it took.

    Example: [cyan]maml-bench show omniglot-5w1s-mlp-text/maml/paper/seed1 --results results[/cyan]
    """
    from maml_bench.cli.record_search import find_record
    from maml_bench.record_files import load
    from maml_bench.report.flat_rows import normalisation

    path = find_record(results, record)
    found = load(path)
    if as_json:
        print_json(asdict(found))
        return
    print_paragraphs(str(path), list(_facts(found).items()))
    print_table(
        "Scores (a task is way/shot/query)",
        [
            *("protocol", "split", "task", "normalisation", "checkpoint", "steps", found.metric.name),
            *("ci95", "diverged", "episodes"),
        ],
        [
            [
                e.protocol, e.split, f"{e.way}/{e.shot}/{e.query}", normalisation(found, e) or "-",
                " ".join([e.checkpoint, *map(str, e.checkpoint_steps)]), str(p.inner_steps), _short(p.mean),
                _short(p.ci95), str(p.diverged_episodes), str(e.episodes),
            ]
            for e in found.evaluations
            for p in e.points
        ],
        optional=("diverged", "split", "episodes"),
    )  # fmt: skip
    if found.trace:
        put(f"Trace\n{found.trace}\n")
    print_table(
        "Seconds",
        ["bucket", "total", "count", "median", "p05", "p95"],
        [
            [name, *(_short(s[key]) for key in ("total", "count", "median", "p05", "p95"))]
            for name, s in found.timing_s.items()
        ],
    )


def report(
    results: Results = RUNS,
    into: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also put the summary tables into this Markdown file, between its marks tables:begin and tables:end. "
            "If the first mark names task families, only theirs. Repeat for several files."
        ),
    ] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Also write the tables in LaTeX, for the package booktabs.")
    ] = False,
    setups: Annotated[
        str | None,
        typer.Option(
            help="The tables show these setups alone, such as [cyan]maml,reptile[/cyan]. Other files of an earlier "
            "report stay as they are."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="The tables in Markdown and LaTeX have these columns, such as [cyan]setup,score,seeds[/cyan]. A CSV "
            "file always has all of its own."
        ),
    ] = None,
) -> None:
    """Make all tables (Markdown, CSV, LaTeX if asked), all figures (PDF, PNG) and report.html from the records.

    Open report.html in a browser to sort, filter and trace every result. It needs no network.
    """
    from maml_bench.api.reading import report as make
    from maml_bench.cli.terminal import console
    from maml_bench.report.writing import include

    chosen = {"setups": _names("--setups", setups), "columns": _names("--columns", columns)}
    kept = "all records are kept, and each table and figure is whole; the same command makes them all"
    with keeping(kept), console(stderr=True).status("reading records") as status:
        made = make(results, lambda what: status.update(what), tex=latex, **chosen)
        for document in into or []:
            include(results, document)
    speed = f" and {made.speed} rows of speed" if made.speed else ""
    removed = f"; removed {len(made.removed)} old files that this report does not make" if made.removed else ""
    say(
        f"{made.records} records{speed}: {len(made.tables)} tables in {results / 'tables'}, "
        f"{len(made.figures)} figures in {results / 'figures'}{f', {made.page}' if made.page else ''}{removed}"
    )


def _names(option: str, text: str | None) -> tuple[str, ...]:
    """The names with commas between that an option has, each once."""
    from maml_bench.errors import MamlBenchError

    names = [] if text is None else [name.strip() for name in text.split(",")]
    if not all(names):
        raise MamlBenchError(f"{option} {text!r} must be names with commas between, such as --setups maml,reptile")
    return tuple(dict.fromkeys(names))


def _facts(record: "Record") -> dict[str, str]:
    from maml_bench.report.flat_rows import searches_in_words
    from maml_bench.report.training_time import steps_per_s, training_time

    time = training_time(record)
    done = f"{record.outer_steps:,} of {record.budget_steps:,} outer steps"
    return {
        "recipe": f"{record.recipe['id']} ({record.recipe['preset']}, {record.recipe_id}): {record.recipe['title']}",
        "setup": ", ".join(f"{k} {v}" if k != "name" else str(v) for k, v in record.recipe["setup"].items()),
        **{
            f"own {part}": f"{code['name']}, SHA-256 {code['sha256']}"
            for part in ("tasks", "network")
            if "sha256" in (code := record.recipe.get(part) or {})
        },
        **{f"tuned {i}": told for i, told in enumerate(searches_in_words(record), 1)},
        "status": record.status + (f": {record.reason}" if record.reason else ""),
        "budget": done + (f" in {record.segments} segments" if record.segments > 1 else ""),
        "seed": str(record.seed),
        **{f"weights {i}": f"{w['file']}, SHA-256 {w['sha256']}" for i, w in enumerate(record.weights, 1)},
        "training": f"{time.seconds:,.1f} s ({time.kind}), {_short(steps_per_s(record))} steps/s, "
        f"schedule {record.schedule}",
        "peak memory": f"{record.peak_memory_bytes / 2**20:,.0f} MiB, {record.memory}",
        "machine": f"{record.machine_id}: " + ", ".join(f"{k} {v}" for k, v in record.machine.items()),
        "device": f"{record.devices}, {record.threads} threads, {record.machine_gflops:,.0f} GFLOP/s in convolutions",
        "software": ", ".join(f"{k} {v}" for k, v in record.software.items()),
        "commit": f"{record.commit or 'unknown'}{' with changes' if record.dirty else ''}",
        "started": record.started_at,
        **{
            f"continued {i}": f"from {left['machine']} after {left['outer_steps']:,} steps ({left['device']}, "
            f"{left['threads']} threads, {_processes(left)}schedule {left['schedule']}, torch {left['torch']}, "
            f"commit {left['commit'] or 'unknown'})"
            for i, left in enumerate(record.earlier, 1)
        },
    }


def _processes(left: dict[str, Any]) -> str:
    """How many processes trained in an earlier segment; nothing for one."""
    count = left.get("processes", 1)
    return f"{count} processes, " if count > 1 else ""


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
