"""Adaptation to single sinusoids: the true curve, the predictions before and after inner steps, and the support.

After Finn et al. (2017), figure 2: meta-learned and pretrained networks side by side, one row per number of shots.
"""

from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maml_bench.report.figures import Selection
from maml_bench.report.style import canvas, heading, legend

_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#999999", "linestyle": (0, (1.2, 1.2))},
    {"color": "#56B4E9", "linestyle": (0, (5, 1.5))},
    {"color": "#0072B2", "linestyle": (0, ())},
    {"color": "#009E73", "linestyle": (0, (6, 1.5, 1.2, 1.5))},
)


def draw(selection: Selection) -> Figure | None:
    shown = {setup: exhibit["curves"] for setup, exhibit in selection.exhibits("sinusoid").items()}
    if not shown:
        return None
    setups = list(shown)
    shots = sorted({curve["shot"] for setup in setups for curve in shown[setup]})
    figure, panels = canvas(len(shots), len(setups), 1.55, sharex=True, sharey=True)
    for place, axes in enumerate(panels):
        shot, setup = shots[place // len(setups)], setups[place % len(setups)]
        for curve in (curve for curve in shown[setup] if curve["shot"] == shot):
            _panel(axes, curve)
        axes.set_title(f"{setup}, {shot} support points")
        if place % len(setups) == 0:
            axes.set_ylabel("y")
        if place >= len(panels) - len(setups):
            axes.set_xlabel("x")
    legend(figure, panels[0])
    seed = selection.groups[setups[0]].first.seed
    rule = "Each panel is one test task. The support points are all that the network sees of it."
    heading(figure, selection.title("adaptation to one sinusoid", seed), rule, selection.rule())
    return figure


def _panel(axes: Axes, curve: dict[str, Any]) -> None:
    axes.plot(curve["x"], curve["true"], color="#D55E00", linewidth=2.2, alpha=0.75, label="true function")
    for step, look in zip(sorted(map(int, curve["predictions"])), cycle(_LOOKS), strict=False):
        name = "before adaptation" if step == 0 else f"after {step} inner step{'s' if step > 1 else ''}"
        axes.plot(curve["x"], curve["predictions"][str(step)], label=name, **look)
    axes.plot(
        curve["support_x"], curve["support_y"], "^", color="#000000", markersize=5, label="support points", zorder=5
    )
