"""How many times longer other libraries take to load an episode than ours."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from maml_bench.report.figures.speed_ratios import draw_ratios
from maml_bench.report.speed.rows import Race


def draw_speed(rows: Sequence[Race]) -> Figure | None:
    """None unless some library other than ours finished a race of loaders."""
    loaders = [row for row in rows if row.loads]
    return draw_ratios(loaders, "time to load an episode over that of maml-bench")
