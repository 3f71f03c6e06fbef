"""Randomness by name: every stream is a hash of its name and the seed. Nobody sets a global seed.

The streams are init, train, validate, test, and statistics (the tasks that batch-norm's running statistics are taken
from). A setup that starts each test task from a network of its own has a stream "init of test task k" for each. No name
contains the setup, so all setups of one seed start from the same network where they share it and meet the same
episodes; test leaves out the seed too.
"""

import torch

from maml_bench.data.draws import key_of


def stream_key(stream: str, seed: int) -> int:
    """The 64-bit key of ``stream`` (init, train, validate, test, statistics) for ``seed``."""
    return key_of("maml-bench", stream) if stream == "test" else key_of("maml-bench", stream, seed)


def generator(stream: str, seed: int) -> torch.Generator:
    """A CPU generator for ``stream``: initial values are the same on every device."""
    return torch.Generator().manual_seed(stream_key(stream, seed) >> 1)
