"""Pieces that setups which read or compare the support share: labels as tensors, an LSTM cell, own parameters."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_bench.types import Params


def one_hot(labels: Tensor, way: int, like: Tensor) -> Tensor:
    """``[examples, way]`` of the dtype of ``like``: 1 where ``labels [examples]`` names the class, else 0.

    As torch's, but without a look at the values, which vmap and recordings do not allow.
    """
    return (labels.unsqueeze(-1) == torch.arange(way, device=labels.device)).to(like.dtype)


def class_sums(values: Tensor, members: Tensor) -> Tensor:
    """Sums ``[way, features]`` of ``values [examples, features]`` over the examples of each class, see `one_hot`."""
    return members.mT @ values


def lstm_step(drive: Tensor, hidden: Tensor, cell: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Output and cell ``[..., H]`` of one step of an LSTM (Hochreiter & Schmidhuber 1997, with forget gates).

    ``drive [..., 4 H]`` is what the input and the bias give to the gates (input, forget, output, candidate), ``hidden
    [..., R]`` what comes back from the last step, ``weight [4 H, R]``.
    """
    gates = drive + F.linear(hidden, weight)
    enter, keep, leave, new = gates.chunk(4, dim=-1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * cell.tanh(), cell


def lstm(prefix: str, inputs: int, recurrent: int, size: int, generator: Generator) -> Params:
    """Initial parameters of an LSTM of ``size`` units: ``<prefix>.input``, ``.hidden`` and ``.bias``, which is zero but
    for the forget gate, where it is one."""
    bias = torch.zeros(4 * size)
    bias[size : 2 * size] = 1
    return {
        f"{prefix}.input": uniform(4 * size, inputs, generator=generator),
        f"{prefix}.hidden": uniform(4 * size, recurrent, generator=generator),
        f"{prefix}.bias": bias,
    }


def beside(theta: Params, prefix: str, own: Params) -> Params:
    """A network's parameters ``theta``, and a setup's ``own`` as ``<prefix>.<name>``, of the same type."""
    like = next(iter(theta.values()))
    return theta | {f"{prefix}.{name}": p.to(like) for name, p in own.items()}


def uniform(*shape: int, generator: Generator) -> Tensor:
    """A weight drawn from the uniform distribution of +- 1 / sqrt(its last axis)."""
    return (2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(shape[-1])
