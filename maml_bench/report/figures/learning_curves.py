"""Validation score against outer steps, seconds of training and, in reinforcement learning, steps in the
environment."""

import numpy as np
from matplotlib.figure import Figure

from maml_bench.report.curves import mean_curve, seed_curves
from maml_bench.report.figures import Selection
from maml_bench.report.formats import scale
from maml_bench.report.style import FEW_SEEDS, amount_axis, canvas, heading, legend, score_axis

AXES = {"steps": "outer steps", "seconds": "training time (s)", "env_steps": "steps in the environment"}
"""The amounts of a curve that validation scores are drawn against."""


def draw(selection: Selection) -> Figure | None:
    """None if no setup was validated more than once. A setup that was validated once is a horizontal line."""
    curves = {setup: mean_curve(group) for setup, group in selection.groups.items()}
    curves = {setup: curve for setup, curve in curves.items() if np.isfinite(curve.mean).any()}
    if not any(len(curve.steps) > 1 for curve in curves.values()):
        return None
    metric, times = selection.metric, scale(selection.metric.name)
    acted = any(np.isfinite(curve.env_steps).all() for curve in curves.values())
    figure, panels = canvas(1, 3 if acted else 2, 2.5, sharey=True)
    seen: list[float] = []
    several = False
    for setup, curve in curves.items():
        look, label = selection.looks[setup], selection.label(setup)
        level, half = curve.mean * times, curve.ci95 * times
        seen += level[np.isfinite(level)].tolist()
        shown = [
            (axes, name)
            for axes, name in zip(panels, AXES, strict=False)
            if name != "seconds" or setup in selection.timed
        ]
        for axes, x in ((axes, getattr(curve, name)) for axes, name in shown):
            if len(x) == 1:
                axes.axhline(level[0], label=label, **look.level())
                continue
            axes.plot(x, level, label=label, **look.line(), markevery=max(1, len(x) // 8))
            axes.fill_between(x, level - half, level + half, color=look.color, alpha=0.15, linewidth=0)
        group = selection.groups[setup]
        for own in seed_curves(group) if 1 < len(group.seeds) <= FEW_SEEDS else ():
            several = True
            seen += (own.mean[np.isfinite(own.mean)] * times).tolist()
            for axes, name in shown:
                axes.plot(getattr(own, name), own.mean * times, **look.thin())
    for axes, words in zip(panels, AXES.values(), strict=False):
        amount_axis(axes, words)
    score_axis(panels[0], metric.name, seen)
    panels[0].set_ylabel(f"validation {panels[0].get_ylabel()}")
    legend(figure, panels[0])
    note = "bands: 95 % interval over validation tasks" + ("; thin: each seed" if several else "")
    heading(figure, selection.title("learning curves", f"{note}\n{selection.place()}"))
    return figure
