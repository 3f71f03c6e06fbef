"""A gated recurrent unit as pure functions of named parameters."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_bench.setups._shared.own_parameters import uniform
from maml_bench.types import Params


def gru_step(drive: Tensor, hidden: Tensor, weight: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """The state ``[..., H]`` after one step of a GRU (Cho et al. 2014). Its reset gate acts on the product of state and
    weight, so a step is one product.

    ``drive [..., 3 H]`` is the input's and the bias's part (reset, update, candidate), ``hidden [..., H]`` is the state
    before the step, ``weight [3 H, H]`` multiplies it, and ``activation`` is that of the candidate.
    """
    size = hidden.shape[-1]
    back, back_new = torch.split(F.linear(hidden, weight), [2 * size, size], dim=-1)
    gates, new = torch.split(drive, [2 * size, size], dim=-1)
    reset, update = torch.split((gates + back).sigmoid(), [size, size], dim=-1)
    return torch.lerp(hidden, activation(torch.addcmul(new, reset, back_new)), update)


def gru(inputs: int, size: int, generator: Generator) -> Params:
    """Initial parameters of a GRU of ``size`` units: ``input``, ``hidden`` and ``bias``, which is zero. Each of the
    three square blocks of ``hidden`` is orthogonal."""
    blocks = [torch.linalg.qr(torch.randn(size, size, generator=generator))[0] for _ in range(3)]
    return {
        "input": uniform(3 * size, inputs, generator=generator),
        "hidden": torch.cat(blocks),
        "bias": torch.zeros(3 * size),
    }
