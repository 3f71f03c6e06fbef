"""Randomness by name: every stream is a hash of its name and the seed. Nothing here reads torch's global generators.

The streams are init, train, validate, test, and statistics (the tasks that batch-norm's running statistics are taken
from). A setup that starts each test task from a network of its own has a stream "init of test task k" for each. No name
contains the setup, so all setups of one seed start from the same network where they share it and meet the same
episodes; test leaves out the seed too.

A network with dropout, or a setup of a user, may draw from torch's global generators. `global_draws` gives each part of
a run a stream of its own for that, so that equal runs draw equal numbers, and continued ones too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from maml_bench.data.draws import key_of


def stream_key(stream: str, seed: int) -> int:
    """The 64-bit key of ``stream`` (init, train, validate, test, statistics) for ``seed``."""
    return key_of("maml-bench", stream) if stream == "test" else key_of("maml-bench", stream, seed)


def generator(stream: str, seed: int) -> torch.Generator:
    """A CPU generator for ``stream``: initial values are the same on every device."""
    return torch.Generator().manual_seed(stream_key(stream, seed) >> 1)


@contextmanager
def global_draws(stream: str, seed: int, device: str = "cpu") -> Iterator[None]:
    """Inside, torch's global generators are at the start of ``stream``; afterwards they are as they were before."""
    generators = [torch.default_generator]
    if device != "cpu":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        generators.append(torch.cuda.default_generators[torch.device(device).index or 0])
    states = [one.get_state() for one in generators]
    try:
        for one in generators:
            one.manual_seed(stream_key(stream, seed) >> 1)
        yield
    finally:
        for one, state in zip(generators, states, strict=True):
            one.set_state(state)
