"""``maml-bench compare``: two sets of records, or two methods of one set."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.terminal import AsJson, notices, print_json, print_table, put, say
from maml_bench.errors import MamlBenchError

if TYPE_CHECKING:
    from maml_bench.report.compare import Comparison, Finding
    from maml_bench.report.methods import Difference

REPEATS = 5
COLUMNS = (
    *("recipe", "setup", "preset", "quantity", "test", "steps", "seeds"),
    *("base", "new", "change", "interval", "smallest", "verdict", "why"),
)
METHOD_COLUMNS = ("recipe", "preset", "test", "metric", "steps", "seeds")


def compare(
    base: Annotated[
        str,
        typer.Argument(
            help="The results folder or record to compare with, or the word [cyan]reference[/cyan] for the reference "
            "records of maml-bench."
        ),
    ],
    new: Annotated[
        Path | None, typer.Argument(help="The results folder or record that may be better or worse.")
    ] = None,
    setups: Annotated[
        str | None,
        typer.Option(help="Compare these two setups of one folder instead, such as [cyan]maml,mine[/cyan]."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="With --setups: also draw the differences into this file (PDF, PNG, SVG).")
    ] = None,
    quality_threshold: Annotated[
        float | None, typer.Option(help="Smallest change of accuracy that counts. Default: 0.01, which is one point.")
    ] = None,
    relative_threshold: Annotated[
        float | None, typer.Option(help="Smallest relative change of other metrics that counts. Default: 0.10.")
    ] = None,
    time_threshold: Annotated[
        float | None, typer.Option(help="Smallest relative change of step time that counts. Default: 0.08.")
    ] = None,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare seconds of different machines too.")
    ] = False,
    rerun: Annotated[
        bool,
        typer.Option(
            "--rerun",
            help="Take step times anew: repeat the runs that both sides have by two versions of the code, in turns.",
        ),
    ] = False,
    base_code: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="With --rerun: the code of BASE, which is a Python interpreter that has it installed or a folder with "
            "maml_bench in it, such as a checkout. Default: this version.",
        ),
    ] = None,
    new_code: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With --rerun: the code of NEW, in the same way.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=3, help="With --rerun: how often each side repeats a run. Default: 5.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --rerun: outer steps of a repeat. Default: as many as take ten seconds, at least 200."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 if anything could not be compared or cannot be told.")
    ] = False,
    as_json: AsJson = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a Markdown table, such as for a pull request.")
    ] = False,
) -> None:
    """Compare the scores and the speed of two sets of records; exit 1 if anything is worse.

    A difference counts if its 95 % interval excludes zero and it is larger than a threshold. If the whole interval is
    within the threshold, the two are the same. Otherwise the data cannot tell, and the table says the smallest
    difference that they could have shown. Scores are paired over the same seeds and test tasks.

    Examples: [cyan]maml-bench compare reference runs[/cyan] ·
    [cyan]maml-bench compare runs --setups maml,mine[/cyan] ·
    [cyan]maml-bench compare runs runs --rerun --base-code ../old/.venv/bin/python[/cyan]
    """
    thresholds = {"quality": quality_threshold, "relative": relative_threshold, "time": time_threshold}
    given = {name: value for name, value in thresholds.items() if value is not None}
    if as_json and as_markdown:
        raise MamlBenchError("--json and --markdown are two forms of one answer: give one of them")
    only = {"base_code": base_code, "new_code": new_code, "repeats": repeats, "steps": steps}
    idle = [name for name, value in only.items() if value is not None and not rerun]
    if idle:
        raise MamlBenchError(f"--{idle[0].replace('_', '-')} has no effect without --rerun")
    if setups is not None:
        flags = {"across_machines": across_machines, "rerun": rerun, "strict": strict}
        gate = [*(f"{name}_threshold" for name in given), *(name for name, on in flags.items() if on)]
        if new is not None or gate:
            what = f"--{gate[0].replace('_', '-')}" if gate else f"a second folder ({new})"
            raise MamlBenchError(f"{what} has no effect with --setups, which compares two setups of one folder")
        _methods(base, setups, figure, as_json, as_markdown)
        return
    if rerun and base_code is None and new_code is None:
        raise MamlBenchError("--rerun needs two versions of the code: name the other one by --base-code or --new-code")
    if figure is not None:
        raise MamlBenchError("--figure needs --setups: it shows the differences of two setups")
    if new is None:
        raise MamlBenchError("give two folders to compare, or one folder and --setups with two setups")
    from maml_bench.report.compare import Rules
    from maml_bench.report.compare import compare as compare_records

    rules = Rules(**given, across_machines=across_machines)
    with notices() as skipped:
        if rerun:
            from maml_bench.cli.rerunning import Code, compare_again

            codes = Code.at(base_code), Code.at(new_code)
            found = compare_again(base, new, codes, rules, repeats=repeats or REPEATS, steps=steps)
        else:
            found = compare_records(base, new, rules)
    if as_json:
        print_json({"worse": found.worse, "findings": [asdict(finding) for finding in found.findings]})
    else:
        _print(found, base, new, as_markdown)
    code = ExitCode.BAD if found.worse else ExitCode.DONE if found.compared else ExitCode.WRONG_INPUT
    code = code or (ExitCode.INCOMPLETE if strict and (skipped or not found.complete) else ExitCode.DONE)
    if code:
        raise typer.Exit(code)


def _print(found: "Comparison", base: str, new: Path, as_markdown: bool) -> None:
    shown = [finding for finding in found.findings if finding.quantity != "recipe"]
    alone = [finding for finding in found.findings if finding.quantity == "recipe"]
    rows = [_row(finding) for finding in shown]
    title = f"{new} compared with {base}"
    if as_markdown:
        counts = Counter(finding.verdict for finding in shown)
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        _markdown(f"**{title}: {told or 'nothing to compare'}**", COLUMNS, rows)
    else:
        right, optional = ("base", "new", "change"), ("why", "interval", "smallest", "seeds")
        left_out = print_table(title, COLUMNS, rows, right=right, heads=3, optional=optional)
        for f in shown if "why" in left_out else ():
            if f.verdict != "same":
                say(f"{f.recipe}, {f.setup}, {f.preset}, {f.quantity}: {f.verdict}: {f.reason}")
    for side, place in (("base", base), ("new", new)):
        mine = [f"{f.recipe} {f.setup} {f.preset}" for f in alone if f.only == side]
        if mine:
            more = f" and {len(mine) - 3} others (--json lists them)" if len(mine) > 4 else ""
            say(f"only in {place}: {', '.join(mine[:3] if more else mine)}{more}")


def _row(f: "Finding") -> list[str]:
    from maml_bench.report.formats import scale

    times = 100 if f.quantity == "outer_step_s" else scale(f.quantity)
    per_cent = times == 100
    factor = scale(f.quantity)
    interval = f"{_signed(f.low, times)} to {_signed(f.high, times)}" if f.low is not None else "-"
    return [
        f.recipe,
        f.setup + (" (weights)" if f.kind == "evaluation" else ""),
        f.preset,
        f.quantity,
        f.shape or "-",
        "-" if f.inner_steps is None else str(f.inner_steps),
        " ".join(map(str, f.seeds)) or "-",
        _number(f.base, factor),
        _number(f.new, factor),
        _signed(f.difference, times) + (" %" if per_cent and f.difference is not None else ""),
        interval,
        _number(f.smallest, times),
        f.verdict,
        f.reason,
    ]


def _methods(folder: str, setups: str, figure: Path | None, as_json: bool, as_markdown: bool) -> None:
    from maml_bench.api.reading import differences
    from maml_bench.report.methods import draw

    names = [name.strip() for name in setups.split(",")]
    if len(names) != 2 or names[0] == names[1] or not all(names):
        raise MamlBenchError(f"--setups {setups!r} must name two different setups, such as maml,reptile")
    found = differences(folder, *names)
    if figure is not None:
        draw(found, figure)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        columns = (*METHOD_COLUMNS, *names, "difference", "interval", "better")
        rows = [_method_row(one) for one in found]
        title = f"{names[1]} compared with {names[0]}, on the same seeds and test tasks"
        if as_markdown:
            _markdown(f"**{title}**", columns, rows)
        else:
            print_table(
                title, columns, rows, right=(*names, "difference"), heads=2, optional=("steps", "seeds", "metric")
            )
        for one in found:
            if one.budgets[0] != one.budgets[1]:
                done = f"{names[0]} has done {one.budgets[0]:,} outer steps, {names[1]} {one.budgets[1]:,}"
                say(f"{one.recipe}, {one.preset}: {done}")


def _method_row(one: "Difference") -> list[str]:
    from maml_bench.report.formats import scale, unit

    times = scale(one.metric)
    steps = " and ".join(map(str, dict.fromkeys(one.inner_steps)))
    values = (_number(one.first, times), _number(one.second, times), _signed(one.difference, times))
    interval = f"{_signed(one.low, times)} to {_signed(one.high, times)}"
    seeds = " ".join(map(str, one.seeds))
    return [one.recipe, one.preset, one.shape, unit(one.metric), steps, seeds, *values, interval, one.better or "-"]


def _markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    import pandas

    from maml_bench.report.formats import markdown

    put(f"{title}\n\n{markdown(pandas.DataFrame(rows, columns=list(columns)))}\n")


def _number(value: float | None, times: float) -> str:
    return "-" if value is None else f"{value * times:.4g}"


def _signed(value: float | None, times: float) -> str:
    return "-" if value is None else f"{value * times:+.3g}"
