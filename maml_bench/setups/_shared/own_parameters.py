"""Meta-parameters that a setup has in addition to those of the network."""

import math

import torch
from torch import Generator, Tensor

from maml_bench.types import Params


def beside(theta: Params, prefix: str, own: Params) -> Params:
    """The network's parameters ``theta`` and the setup's ``own`` as ``<prefix>.<name>``, in the dtype of ``theta``."""
    like = next(iter(theta.values()))
    return theta | {f"{prefix}.{name}": p.to(like) for name, p in own.items()}


def uniform(*shape: int, generator: Generator) -> Tensor:
    """A weight drawn uniformly from [-b, b] with b = 1 / sqrt(length of its last axis)."""
    return (2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(shape[-1])
