"""The test tasks of the released MAML code: numpy seeded, then one uniform draw (test_maml_*.py of cbfinn/maml_rl)."""

import numpy as np
import numpy.typing as npt


def published_uniform(seed: int, low: float, high: float, tasks: int, numbers: int) -> npt.NDArray[np.float64]:
    """``[tasks, numbers]``: the first tasks of that draw are the same for any count."""
    return np.random.RandomState(seed).uniform(low, high, size=(tasks, numbers))
