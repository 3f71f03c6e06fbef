"""Compare two methods on the same seeds and test tasks: the difference of their scores with its interval."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import atomic_path
from maml_bench.record import Record
from maml_bench.report.aggregate import Group, Score, shape_in_words, shape_of
from maml_bench.report.formats import scale, unit
from maml_bench.report.pairing import Pair, match
from maml_bench.report.statistics import INTERVAL, paired
from maml_bench.report.style import STYLE, WIDTH, canvas


@dataclass(frozen=True)
class Difference:
    """The scores of two methods on one test, and the difference second - first with the ends of its 95 % interval.

    Scores are in the units of ``metric``. Each method is scored after its own number of inner steps.
    ``better`` is the setup with the better score if the interval excludes zero. ``budgets`` are the outer steps done.
    """

    recipe: str
    preset: str
    shape: str
    metric: str
    setups: tuple[str, str]
    inner_steps: tuple[int, int]
    budgets: tuple[int, int]
    seeds: tuple[int, ...]
    tasks: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    better: str | None


def compare_methods(records: Iterable[Record], first: str, second: str) -> list[Difference]:
    """All tests on which both setups have records of the same recipe, preset and seeds, paired over the test tasks.

    The interval is over seeds if at least three are shared, else over test tasks (`statistics.paired`). Of several
    records of a seed, the one of the same machine as the other method's is preferred.

    Raises:
        MamlBenchError: a setup has no record, or the two have no test in common.
    """
    well = [record for record in records if record.status == "ok"]
    names = sorted({_setup(record) for record in well})
    for name in (first, second):
        if name not in names:
            raise MamlBenchError(f"no record of setup {name!r} that ended well{nearest(name, names)}")
    one, other = ([record for record in well if _setup(record) == name] for name in (first, second))
    found = [
        difference
        for both in match(one, other, _problem)
        for difference in _differences(list({new.seed: (old, new) for old, new in both.pairs}.values()))
    ]
    if not found:
        raise MamlBenchError(f"{first} and {second} have no recipe, preset, seed and test in common")
    return found


def draw(differences: list[Difference], path: Path) -> None:
    """Draw the differences into a file, in the format that its name ends with.

    Raises:
        MamlBenchError: the name ends with no format that can be drawn, or the file cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        figure = figure_of(differences)
        formats = figure.canvas.get_supported_filetypes()
        suffix = path.suffix.removeprefix(".")
        if suffix not in formats:
            raise MamlBenchError(
                f"a figure cannot be written as {path.name}: the name must end with .pdf, .png or .svg"
            )
        try:
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=suffix)
        except OSError as error:
            raise MamlBenchError(f"{path} cannot be written: {error.strerror}") from error


def figure_of(differences: list[Difference]) -> Figure:
    """A figure with a panel for each metric: every difference with its interval, beside a line at zero."""
    metrics = list(dict.fromkeys(one.metric for one in differences))
    most = max(sum(one.metric == metric for one in differences) for metric in metrics)
    figure, panels = canvas(len(metrics), 1, 0.5 + 0.28 * most)
    figure.set_figwidth(WIDTH)
    for axes, metric in zip(panels, metrics, strict=True):
        mine = [one for one in differences if one.metric == metric][::-1]
        times = scale(metric)
        for place, one in enumerate(mine):
            ends = [[(one.difference - one.low) * times], [(one.high - one.difference) * times]]
            axes.errorbar(
                [one.difference * times], [place], xerr=ends, fmt="o", color="#0072B2", capsize=2, elinewidth=1
            )
        axes.axvline(0, color="#555555", linewidth=0.8)
        axes.set_yticks(range(len(mine)), [f"{one.recipe}, {one.preset}, {one.shape}" for one in mine])
        axes.set_ylim(-0.6, len(mine) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        first, second = mine[0].setups
        axes.set_xlabel(f"{unit(metric)}: {second} minus {first}")
    figure.suptitle(f"{INTERVAL[0].upper()}{INTERVAL[1:]}", fontsize=8)
    return figure


def _setup(record: Record) -> str:
    return str(record.recipe["setup"]["name"])


def _problem(record: Record) -> tuple[Any, ...]:
    """What two records of different methods must have in common."""
    return record.recipe["id"], record.recipe["preset"], record.kind, record.task_version, str(record.data)


def _differences(pairs: list[Pair]) -> Iterable[Difference]:
    if not pairs:
        return
    first, second = (Group(tuple(side)) for side in zip(*pairs, strict=True))
    scores = {shape_of(score.evaluation)[:-1]: score for score in first.headlines()}
    for score in second.headlines():
        other = scores.get(shape_of(score.evaluation)[:-1])
        if other is not None and math.isfinite(paired(other.values, score.values).low):
            yield _difference(first, second, other, score)


def _difference(first: Group, second: Group, a: Score, b: Score) -> Difference:
    metric = first.first.metric
    change = paired(a.values, b.values)
    good = (change.value > 0) == metric.higher_is_better
    return Difference(
        recipe=first.recipe,
        preset=first.preset,
        shape=shape_in_words(b.evaluation),
        metric=metric.name,
        setups=(first.setup, second.setup),
        inner_steps=(a.inner_steps, b.inner_steps),
        budgets=(first.first.outer_steps, second.first.outer_steps),
        seeds=second.seeds,
        tasks=b.values.shape[1],
        first=a.mean,
        second=b.mean,
        difference=change.value,
        low=change.low,
        high=change.high,
        better=(second.setup if good else first.setup) if change.excludes(0.0) else None,
    )
