"""The grey levels of the real drawings, from which generation samples black and white."""

import numpy as np
import pytest

from maml_bench.data import store


def entropy(grey: np.ndarray) -> float:
    """The mean entropy of the sampling, in nats an image: the least that any density can score."""
    ink = grey.reshape(-1, 28 * 28).astype(np.float64) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        of_pixel = -ink * np.log(ink) - (1 - ink) * np.log1p(-ink)
    return float(np.nan_to_num(of_pixel).sum(1).mean())


@pytest.mark.real_data
@pytest.mark.parametrize(("alphabets", "count", "nats"), [("background/", 964, 45), ("evaluation/", 659, 48)])
def test_the_sampling_costs_what_the_page_of_the_family_says(omniglot_generation, alphabets, count, nats):
    names = omniglot_generation.classes_of("area28")
    rows = [row for row, name in enumerate(names) if name.startswith(alphabets)]
    assert len(rows) == count
    assert round(entropy(store.load("omniglot", "area28")[rows])) == nats
