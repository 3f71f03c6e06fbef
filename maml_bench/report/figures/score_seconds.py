"""Final test score against seconds of training, one point per setup."""

import math
from statistics import median

from matplotlib.figure import Figure

from maml_bench.report.aggregate import Group, Score, in_words
from maml_bench.report.figures import Selection
from maml_bench.report.formats import scale
from maml_bench.report.statistics import INTERVAL
from maml_bench.report.style import amount_axis, canvas, heading, legend, log_ticks, score_axis
from maml_bench.report.training_time import training_time

WIDE = 30  # the axis of seconds is logarithmic if the longest training takes this many times the shortest


def draw(selection: Selection) -> Figure | None:
    """None unless two setups that were trained in one place have a score. A setup that does not train is a horizontal
    line.

    The test is the one that has the way and shot of training, else the first one; after the inner steps that have a
    published value, else after those of validation, else after the last. Vertical bars are the 95 % interval,
    horizontal bars the range over the seeds. A note names the setups whose machine was shared, and says what their
    seconds are (`training_time`)."""
    finals = {setup: score for setup in selection.timed if (score := _final(selection.groups[setup]))}
    finals = {setup: score for setup, score in finals.items() if math.isfinite(score.mean)}
    if len(finals) < 2 or not any(selection.groups[setup].first.train_s for setup in finals):
        return None
    times = scale(selection.metric.name)
    spent: list[float] = []
    kinds: dict[str, list[str]] = {}
    figure, (axes,) = canvas(1, 1, 2.6)
    for setup, score in finals.items():
        look, label = selection.looks[setup], selection.label(setup)
        found = [training_time(record) for record in selection.groups[setup].records]
        seconds = [time.seconds for time in found]
        spent += [second for second in seconds if second > 0]
        for kind in sorted({time.kind for time in found} - {"measured"}):
            kinds.setdefault(kind, []).append(setup)
        if not selection.groups[setup].first.budget_steps:
            axes.axhline(score.mean * times, label=label, **look.level())
            continue
        x = median(seconds)
        axes.errorbar(
            x,
            score.mean * times,
            xerr=[[x - min(seconds)], [max(seconds) - x]] if len(seconds) > 1 else None,
            yerr=score.ci95 * times,
            **look.point(),
            elinewidth=1,
            capsize=2,
            label=label,
        )
    evaluation = next(iter(finals.values())).evaluation
    score_axis(axes, selection.metric.name, [score.mean * times for score in finals.values()])
    axes.set_ylabel(f"test {axes.get_ylabel()}")
    amount_axis(axes, "training time (s)")
    if max(spent) > WIDE * min(spent):
        axes.set_xscale("log")
        axes.set_xlim(min(spent) / 1.5, max(spent) * 1.5)
        log_ticks(axes.xaxis, spent, dense=30)
    legend(figure, axes)
    what = f"{in_words(evaluation.way, evaluation.shot)} score and training time"
    notes = [f"vertical bars: {INTERVAL}; horizontal bars: range over seeds", selection.place()]
    notes += [f"time of a shared machine, {kind}: {', '.join(setups)}" for kind, setups in kinds.items()]
    heading(figure, selection.title(what, "\n".join(notes)))
    return figure


def _final(group: Group) -> Score | None:
    scores = list(group.scores())
    train = group.first.recipe["train"]
    like = [s for s in scores if (s.evaluation.way, s.evaluation.shot) == (train["way"], train["shot"])] or scores
    mine = [score for score in like if score.evaluation == like[0].evaluation]
    return max(
        mine, key=lambda s: (s.published is not None, s.inner_steps == group.own_steps, s.inner_steps), default=None
    )
