"""ResNet-12, the residual network that papers on few-shot classification report since 2018.

Four blocks of three 3x3 convolutions with 64, 160, 320 and 640 filters, as in MetaOptNet (Lee et al. 2019,
arXiv:1904.03758, section 4.1, and models/ResNet12_embedding.py of kjunelee/MetaOptNet). Without the last layer it has
12,424,320 parameters on colour images, as the code of DeepEMD counts for the same network (Zhang et al. 2020,
arXiv:2003.06777). DropBlock and dropout, which these papers add in training, are left out.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Generator, Tensor, nn

from maml_bench.declared import LARGE, LAYERS, WIDTH
from maml_bench.errors import MamlBenchError
from maml_bench.models import Normalise, empty, normalisation

EPS = 1e-5
"""What torch's layer adds to the variance, and so the released code."""


@dataclass(frozen=True)
class Residual:
    """The options of ResNet-12. The defaults are those of MetaOptNet."""

    widths: Annotated[tuple[Annotated[int, Ge(1), WIDTH], ...], LAYERS, Doc("Filters of each of the four blocks.")] = (
        64,
        160,
        320,
        640,
    )
    leak: Annotated[float, Ge(0), LARGE, Doc("Slope of the ReLU below zero.")] = 0.1

    def __post_init__(self) -> None:
        if len(self.widths) != 4:
            raise MamlBenchError(
                f"resnet.widths is {list(self.widths)}, but must have one entry for each of four blocks"
            )


class Block(nn.Module):
    """Three convolutions of 3x3, each with normalisation, beside one of 1x1; leaky ReLU, and 2x2 max-pooling.

    Convolutions have no bias. The leaky ReLU comes after the first and the second convolution and after the sum.
    """

    def __init__(self, channels: int, width: int, leak: float, *, normalise: Normalise, generator: Generator) -> None:
        super().__init__()

        def convolution(fan_in: int, size: int) -> nn.Sequential:
            layer = empty(nn.Conv2d, fan_in, width, size, padding=size // 2, bias=False)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="leaky_relu", generator=generator)
            return nn.Sequential(layer, *normalisation(normalise, width, EPS, affine=True))

        self.first, self.second = convolution(channels, 3), convolution(width, 3)
        self.third, self.shortcut = convolution(width, 3), convolution(channels, 1)
        self.leak = leak

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(x), self.leak)
        y = self.third(F.leaky_relu(self.second(y), self.leak))
        return F.max_pool2d(F.leaky_relu(y + self.shortcut(x), self.leak), 2)


class ResNet12(nn.Module):
    """Four `Block`s, the mean over the last map, and a linear ``head``.

    Images have at least 16 pixels a side, because each block halves them. Convolution weights are normal with the
    variance of He et al. (2015) by their outputs, as in the released code; the head's are Xavier uniform, which is our
    choice, because there the last layer is a solver.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        way: int,
        options: Residual = Residual(),
        *,
        normalise: Normalise,
        generator: Generator,
    ) -> None:
        super().__init__()
        if size < 16:
            raise MamlBenchError(f"resnet12 needs images of at least 16 pixels a side, and these have {size}")
        widths = (channels, *options.widths)
        blocks = [Block(*pair, options.leak, normalise=normalise, generator=generator) for pair in pairwise(widths)]
        self.body = nn.Sequential(*blocks)
        self.head = empty(nn.Linear, options.widths[-1], way)
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((-2, -1)))  # type: ignore[no-any-return]
