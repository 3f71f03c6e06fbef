"""A long short-term memory cell as pure functions of named parameters."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_bench.setups._shared.own_parameters import uniform
from maml_bench.types import Params


def lstm_step(drive: Tensor, hidden: Tensor, cell: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Output and cell ``[..., H]`` of one step of an LSTM (Hochreiter & Schmidhuber 1997, with forget gates).

    ``drive [..., 4 H]`` is the input's and the bias's part of the gates (input, forget, output, candidate). ``hidden
    [..., R]`` is what the last step feeds back, and ``weight [4 H, R]`` multiplies it.
    """
    size = cell.shape[-1]
    gates, new = torch.split(drive + F.linear(hidden, weight), [3 * size, size], dim=-1)
    enter, keep, leave = torch.split(gates.sigmoid(), [size, size, size], dim=-1)
    cell = keep * cell + enter * new.tanh()
    return leave * cell.tanh(), cell


def lstm(prefix: str, inputs: int, recurrent: int, size: int, generator: Generator) -> Params:
    """Initial parameters of an LSTM of ``size`` units: ``<prefix>.input``, ``.hidden`` and ``.bias``. The bias is one
    for the forget gate and zero for the others."""
    bias = torch.zeros(4 * size)
    bias[size : 2 * size] = 1
    return {
        f"{prefix}.input": uniform(4 * size, inputs, generator=generator),
        f"{prefix}.hidden": uniform(4 * size, recurrent, generator=generator),
        f"{prefix}.bias": bias,
    }
