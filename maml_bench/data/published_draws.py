"""The draws of released evaluation code, which seeded numpy's legacy generator: the test tasks are exactly theirs."""

import numpy as np
import numpy.typing as npt


def published_generator(seed: int) -> np.random.RandomState:
    """Numpy's legacy generator with that seed, as after ``np.random.seed(seed)``."""
    return np.random.RandomState(seed)


def published_uniform(seed: int, low: float, high: float, tasks: int, numbers: int) -> npt.NDArray[np.float64]:
    """``[tasks, numbers]`` between the bounds; the first tasks are the same for any number of tasks.

    test_maml_*.py of cbfinn/maml_rl seed numpy and then make one uniform draw.
    """
    return published_generator(seed).uniform(low, high, size=(tasks, numbers))
