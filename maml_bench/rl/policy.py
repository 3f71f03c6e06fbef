"""The policy networks of the MAML paper (Finn et al. 2017, section 5.3 and appendix A.2) and their variants."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from maml_bench.models import ContextInput, empty
from maml_bench.rl.linear import Linear


class Policy(nn.Module):
    """Fully connected: hidden layers with ReLU or ``tanh`` and a linear ``head``; weights Xavier uniform, biases zero.

    Inputs are observations ``[..., sizes[0]]``. With ``log_std``, outputs ``[..., 2 * sizes[-1]]`` are means and
    logarithms of standard deviations. The latter are parameters that start at ``log_std`` and are the same for all
    observations. Without it, outputs are those of the head. ``context`` free parameters are added to each observation.
    """

    log_std: nn.Parameter | None

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        log_std: float | None = 0.0,
        context: int = 0,
        tanh: bool = False,
        generator: Generator,
    ) -> None:
        super().__init__()
        hidden: list[nn.Module] = [ContextInput(context)] if context else []
        sizes = (sizes[0] + context, *sizes[1:])
        for fan_in, width in pairwise(sizes[:-1]):
            hidden += [empty(Linear, fan_in, width), nn.Tanh() if tanh else nn.ReLU()]
        self.body = nn.Sequential(*hidden)
        self.head = empty(Linear, sizes[-2], sizes[-1])
        for layer in self.modules():
            if isinstance(layer, Linear):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
        start = None if log_std is None else nn.Parameter(torch.full((sizes[-1],), log_std))
        self.register_parameter("log_std", start)

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.head(self.body(x.flatten(0, -2))).unflatten(0, x.shape[:-1])
        if self.log_std is None:
            return outputs  # type: ignore[no-any-return]
        return torch.cat([outputs, self.log_std.expand_as(outputs)], -1)
