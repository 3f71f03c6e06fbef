"""Validation score against outer steps, seconds of training and, in reinforcement learning, steps in the
environment."""

import numpy as np
from matplotlib.figure import Figure

from maml_bench.report.curves import mean_curve, seed_curves
from maml_bench.report.figures import Selection
from maml_bench.report.formats import scale
from maml_bench.report.style import (
    FEW_LINES,
    FEW_SEEDS,
    MANY_LINES,
    amount_axis,
    canvas,
    heading,
    legend,
    score_axis,
)

AXES = {"steps": "outer steps", "seconds": "training time (s)", "env_steps": "steps in the environment"}
"""The amounts of a curve that validation scores are drawn against."""


def draw(selection: Selection) -> Figure | None:
    """None if no setup was validated more than once.

    A setup without training is a horizontal line, and one that was validated once a single mark. There is no panel of
    seconds where no setup was trained on one machine.
    """
    curves = {setup: mean_curve(group) for setup, group in selection.groups.items()}
    curves = {setup: curve for setup, curve in curves.items() if np.isfinite(curve.mean).any()}
    if not any(len(curve.steps) > 1 for curve in curves.values()):
        return None
    metric, times = selection.metric, scale(selection.metric.name)
    trained = [setup for setup in curves if selection.groups[setup].first.budget_steps]
    acted = any(np.isfinite(curve.env_steps).all() for curve in curves.values())
    timed = any(setup in selection.timed for setup in trained)
    names = [name for name, there in zip(AXES, (True, timed, acted), strict=True) if there]
    figure, panels = canvas(1, len(names), 3.4 if len(curves) > MANY_LINES else 2.5, full=True, sharey=True)
    seen: list[float] = []
    several = False
    banded = len(curves) <= FEW_LINES
    for setup, curve in curves.items():
        look, label = selection.looks[setup], selection.label(setup)
        level, half = curve.mean * times, curve.ci95 * times
        seen += level[np.isfinite(level)].tolist()
        shown = [
            (axes, name)
            for axes, name in zip(panels, names, strict=True)
            if name != "seconds" or setup in selection.timed
        ]
        for axes, x in ((axes, getattr(curve, name)) for axes, name in shown):
            if setup not in trained:
                axes.axhline(level[0], label=label, **look.level())
                continue
            axes.plot(x, level, label=label, **look.line(), markevery=max(1, len(x) // 8))
            if banded:
                axes.fill_between(x, level - half, level + half, color=look.color, alpha=0.15, linewidth=0)
        group = selection.groups[setup]
        for own in seed_curves(group) if 1 < len(group.seeds) <= FEW_SEEDS else ():
            several = True
            seen += (own.mean[np.isfinite(own.mean)] * times).tolist()
            for axes, name in shown:
                axes.plot(getattr(own, name), own.mean * times, **look.thin())
    for axes, name in zip(panels, names, strict=True):
        mine = [setup for setup in trained if name != "seconds" or setup in selection.timed]
        amount_axis(axes, AXES[name], [getattr(curves[setup], name)[-1] for setup in mine])
    score_axis(panels[0], metric, seen)
    panels[0].set_ylabel(f"validation {panels[0].get_ylabel()}")
    legend(figure, *panels, ordered=True)
    heading(
        figure,
        selection.title("learning curves"),
        "Bands are 95 % intervals over the validation tasks." if banded else "",
        "Thin lines are the seeds." if several else "",
        "Horizontal lines are setups without training." if len(trained) < len(curves) else "",
        selection.place(),
        selection.rule(),
    )
    return figure
