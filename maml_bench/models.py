"""The networks of the MAML paper (Finn et al. 2017, section 5 and appendix A), initialised as in its released code.

Normalisation layers use the statistics of the batch at hand, always. The last layer is called ``head``. Initial values
come from the generator that is passed in. Where the paper is silent the code decides (maml.py of cbfinn/maml).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init


class BatchNorm(nn.Module):
    """Batch normalisation by batch statistics with an offset ``beta`` and no scale, eps 1e-3 (tf.contrib's defaults).

    Input ``[examples, channels]`` or ``[examples, channels, H, W]``; statistics over all axes but the channels.
    """

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # The offset outside: torch cannot differentiate batch_norm twice with an offset alone (seen in 2.13).
        y = F.batch_norm(x, None, None, training=True, eps=self.eps)
        return y + self.beta.reshape(-1, *(1,) * (x.ndim - 2))


class MLP(nn.Module):
    """Fully connected network: linear, normalisation if asked for, ReLU, and a linear ``head``.

    Weights from a normal distribution of std 0.01 cut at two deviations, biases zero (maml.py 168-177). Input is
    flattened to ``[examples, sizes[0]]``.
    """

    def __init__(self, sizes: Sequence[int], *, normalise: bool, generator: Generator) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for fan_in, width in pairwise(sizes[:-1]):
            hidden += [_empty(nn.Linear, fan_in, width), *([BatchNorm(width)] if normalise else []), nn.ReLU()]
        self.body = nn.Sequential(nn.Flatten(), *hidden)
        self.head = _empty(nn.Linear, sizes[-2], sizes[-1])
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02, generator=generator)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalisation, ReLU, and a linear ``head`` (maml.py 185-225).

    ``downsample="stride"`` (Omniglot) halves by the convolution and averages the last map; ``"pool"`` (mini-ImageNet)
    halves by 2x2 max-pooling and flattens. Convolutions pad by one on each side; TensorFlow's SAME pads even sizes on
    one side only, so maps have equal sizes but are shifted. Convolution weights are Xavier uniform; the head is
    N(0, 1) after the average and Xavier after flattening; biases are zero.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        way: int,
        *,
        filters: int,
        downsample: str,
        normalise: bool,
        generator: Generator,
    ) -> None:
        super().__init__()
        stride = 2 if downsample == "stride" else 1
        blocks: list[nn.Module] = []
        for fan_in in (channels, filters, filters, filters):
            convolution = _empty(nn.Conv2d, fan_in, filters, 3, stride=stride, padding=1)
            nn.init.xavier_uniform_(convolution.weight, generator=generator)
            nn.init.zeros_(convolution.bias)
            blocks += [convolution, *([BatchNorm(filters)] if normalise else []), nn.ReLU()]
            if downsample == "pool":
                blocks.append(nn.MaxPool2d(2))
            size = math.ceil(size / 2) if downsample == "stride" else size // 2
        self.body = nn.Sequential(*blocks)
        self.average = downsample == "stride"
        self.head = _empty(nn.Linear, filters if self.average else filters * size * size, way)
        if self.average:
            nn.init.normal_(self.head.weight, generator=generator)
        else:
            nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        return self.head(maps.mean((-2, -1)) if self.average else maps.flatten(1))  # type: ignore[no-any-return]


def _empty(layer: Any, *sizes: int, **options: int) -> Any:
    """A layer of torch's whose parameters hold nothing yet, so that it draws nothing from the global generator."""
    return skip_init(layer, *sizes, **options)  # type: ignore[no-untyped-call]
