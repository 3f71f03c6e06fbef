"""The way of a point to its goal before and after inner steps: a row per setup, a column per test task.

After Finn et al. (2017), figure 4: one rollout of each policy, from the origin.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maml_bench.report.figures import Selection
from maml_bench.report.style import canvas, heading, legend

SHOWN = {
    "0": ("#999999", "before adaptation"),
    "1": ("#0072B2", "after 1 inner step"),
    "3": ("#D55E00", "after 3 inner steps"),
}


def draw(selection: Selection) -> Figure | None:
    shown = {setup: exhibit["tasks"] for setup, exhibit in selection.exhibits("navigation").items()}
    if not shown:
        return None
    setups = list(shown)
    tasks = min(len(shown[setup]) for setup in setups)
    figure, panels = canvas(len(setups), tasks, 2.1, sharex="row", sharey="row")
    for place, axes in enumerate(panels):
        setup, task = setups[place // tasks], place % tasks
        _panel(axes, shown[setup][task])
        axes.set_title(f"{setup}, goal {task + 1}")
        axes.set_aspect("equal", "box")
        axes.set_xlabel("x" if place >= len(panels) - tasks else "")
        axes.set_ylabel("y" if task == 0 else "")
        axes.xaxis.set_major_locator(MaxNLocator(3))
    legend(figure, panels[0])
    seed = selection.groups[setups[0]].first.seed
    scale = "Each row has its own scale." if len(setups) > 1 else ""
    heading(figure, selection.title("one rollout to each goal", seed), scale, selection.rule())
    return figure


def _panel(axes: Axes, task: dict[str, Any]) -> None:
    for steps, (colour, name) in SHOWN.items():
        if steps in task["walks"]:
            x, y = ([place[i] for place in task["walks"][steps]] for i in (0, 1))
            axes.plot(x, y, color=colour, linewidth=1, label=name)
    axes.plot(*task["goal"], "*", color="#000000", markersize=9, label="goal", zorder=5)
