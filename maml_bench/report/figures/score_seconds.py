"""Final test score against seconds of training, one point per setup."""

import math
from statistics import median

from matplotlib.figure import Figure

from maml_bench.report.aggregate import Group, Score, in_words
from maml_bench.report.figures import Selection
from maml_bench.report.formats import scale
from maml_bench.report.statistics import INTERVAL
from maml_bench.report.style import (
    MANY_LINES,
    WIDE,
    amount_axis,
    canvas,
    heading,
    legend,
    log_ticks,
    score_axis,
)
from maml_bench.report.training_time import training_time

SHARED = {"undisturbed steps": "that of undisturbed steps", "upper bound": "an upper bound"}
"""What the time of a run is that shared its machine (`training_time`)."""


def draw(selection: Selection) -> Figure | None:
    """None unless two setups that were trained on one machine have a score. A setup that does not train is a horizontal
    line.

    The test is the one that has the way and shot of training, else the first one; after the inner steps that have a
    published value, else after those of validation, else after the last. Vertical bars are the 95 % interval,
    horizontal bars the range over the seeds. The caption names the setups whose machine was shared, and says what their
    seconds are (`training_time`)."""
    finals = {setup: score for setup in selection.timed if (score := _final(selection.groups[setup]))}
    finals = {setup: score for setup, score in finals.items() if math.isfinite(score.mean)}
    if sum(selection.groups[setup].first.train_s > 0 for setup in finals) < 2:
        return None
    times = scale(selection.metric.name)
    spent: list[float] = []
    kinds: dict[str, list[str]] = {}
    figure, (axes,) = canvas(1, 1, 2.6, full=len(finals) > MANY_LINES)
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
    score_axis(axes, selection.metric, [score.mean * times for score in finals.values()])
    axes.set_ylabel(f"test {axes.get_ylabel()}")
    amount_axis(axes, "training time (s)")
    if max(spent) > WIDE * min(spent):
        axes.set_xscale("log")
        axes.set_xlim(min(spent) / 1.5, max(spent) * 1.5)
        log_ticks(axes.xaxis, spent, dense=30)
    legend(figure, axes, ordered=True)
    heading(
        figure,
        selection.title(f"{in_words(evaluation.way, evaluation.shot)} score and time"),
        f"Vertical bars are a {INTERVAL}; horizontal bars are the range over seeds.",
        selection.place(),
        *(
            f"These shared their machine; their time is {SHARED[kind]}: {', '.join(who)}."
            for kind, who in kinds.items()
        ),
        selection.rule(),
    )
    return figure


def _final(group: Group) -> Score | None:
    scores = list(group.scores())
    train = group.first.recipe["train"]
    like = [s for s in scores if (s.evaluation.way, s.evaluation.shot) == (train["way"], train["shot"])] or scores
    mine = [score for score in like if score.evaluation == like[0].evaluation]
    return max(
        mine, key=lambda s: (s.published is not None, s.inner_steps == group.own_steps, s.inner_steps), default=None
    )
