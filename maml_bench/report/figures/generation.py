"""What a density draws after examples: a row for each setup and number of examples, with the examples beside the draws.

After Rezende et al. (2016), figures 8 to 10.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maml_bench.report.figures import Selection
from maml_bench.report.style import canvas, heading

GAP = 2
"""White pixels between images."""


def draw(selection: Selection) -> Figure | None:
    shown = selection.all_exhibits("generation")
    if not shown:
        return None
    rows = [(setup, exhibit["side"], row) for setup, exhibit in shown.items() for row in exhibit["rows"]]
    figure, panels = canvas(len(rows), 2, 0.55, width_ratios=(3, 2))
    for place, (setup, side, row) in enumerate(rows):
        [drawn] = row["drawn"].values()  # after the inner steps of training, where the setup takes any
        examples, draws = panels[2 * place : 2 * place + 2]
        _panel(examples, row["support"], side, f"{row['shot']} example{'s' * (row['shot'] != 1)}")
        _panel(draws, drawn, side, setup)
    seed = selection.groups[next(iter(shown))].first.seed
    heading(figure, selection.title("examples of a test character, and images drawn after them", seed=seed))
    return figure


def _panel(axes: Axes, images: list[str], side: int, title: str) -> None:
    """Black ink on white, the images side by side; nothing where there are none."""
    axes.set_title(title, loc="left")
    axes.axis("off")
    if images:
        axes.imshow(strip(images, side), cmap="gray_r", vmin=0, vmax=1, interpolation="none")
        axes.set_anchor("W")


def strip(images: list[str], side: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Images of hexadecimal digits beside each other: ``[side, ...]``, ink is 1."""
    found = np.zeros((side, len(images) * (side + GAP) - GAP))
    for place, image in enumerate(images):
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(image), dtype=np.uint8))[: side**2]
        found[:, place * (side + GAP) : place * (side + GAP) + side] = bits.reshape(side, side)
    return found
