"""Meta-parameters that a setup keeps beside those of the network."""

import math

import torch
from torch import Generator, Tensor

from maml_bench.types import Params


def beside(theta: Params, prefix: str, own: Params) -> Params:
    """A network's parameters ``theta``, and a setup's ``own`` as ``<prefix>.<name>``, of the same type."""
    like = next(iter(theta.values()))
    return theta | {f"{prefix}.{name}": p.to(like) for name, p in own.items()}


def uniform(*shape: int, generator: Generator) -> Tensor:
    """A weight drawn from the uniform distribution of +- 1 / sqrt(its last axis)."""
    return (2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(shape[-1])
