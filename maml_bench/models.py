"""The networks of the MAML paper (Finn et al. 2017, section 5 and appendix A), initialised as in its released code, and
their variants in other papers.

Normalisation layers use the statistics of the batch at hand, unless a test asks for others (core/normalisation.py). The
last layer is called ``head``. Initial values come from the generator that is passed in. Where the paper is silent the
code decides (maml.py of cbfinn/maml).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from maml_bench.core.normalisation import normalised
from maml_bench.declared import LARGE, LAYERS, WIDTH, When
from maml_bench.errors import MamlBenchError

Normalise = Literal["batch", "group", "none"]
GROUPS = 8


class BatchNorm(nn.Module):
    """Batch normalisation by batch statistics with an offset ``beta`` and, with ``affine``, a scale ``gamma``.

    Without the scale and with eps 1e-3 it is the layer of the MAML paper, which used tf.contrib's defaults. Input is
    ``[examples, channels]`` or ``[examples, channels, H, W]``; statistics are taken over all axes except the channels.
    A test can ask for those of another batch, see core.normalisation.
    """

    gamma: nn.Parameter | None

    def __init__(self, channels: int, eps: float = 1e-3, *, affine: bool = False) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_parameter("gamma", nn.Parameter(torch.ones(channels)) if affine else None)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Scale and offset are outside: torch cannot differentiate batch_norm twice with only an offset (seen in 2.13).
        y = normalised(self, x, self.eps)
        shape = (-1, *(1,) * (x.ndim - 2))
        if self.gamma is not None:
            y = y * self.gamma.reshape(shape)
        return y + self.beta.reshape(shape)


class Film(nn.Module):
    """A context vector that scales and shifts feature maps ``[examples, C, H, W]`` (Perez et al. 2018; CAVIA, Zintgraf
    et al. 2019, section 4): maps * gamma + beta. Both are linear in ``context [size]``, which starts at zero."""

    def __init__(self, size: int, channels: int, generator: Generator) -> None:
        super().__init__()
        self.context = nn.Parameter(torch.zeros(size))
        self.linear = empty(nn.Linear, size, 2 * channels)
        bound = 1 / math.sqrt(size)  # torch's own initialisation of a linear layer, which the CAVIA code keeps
        for p in self.linear.parameters():
            nn.init.uniform_(p, -bound, bound, generator=generator)

    def forward(self, maps: Tensor) -> Tensor:
        gamma, beta = self.linear(self.context).reshape(2, -1, 1, 1)
        return torch.addcmul(beta, maps, gamma)


class ContextInput(nn.Module):
    """Adds the free parameters ``context`` to every input as further channels or features; they start at zero."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape
        self.context = nn.Parameter(torch.zeros(*shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.context.expand(x.shape[0], *self.shape)], dim=1)


@torch.no_grad()
def _fill_truncated_normal(weight: Tensor, std: float, generator: Generator) -> None:
    """Fill a tensor with normal values, and draw those beyond two standard deviations again.

    ``nn.init.trunc_normal_`` of torch 2.13 draws in this way too. That of torch 2.11 draws in another way, so that the
    same seed would give other initial values there.
    """
    bound = weight.new_tensor(2 * std)
    values = torch.empty_like(weight).normal_(0, std, generator=generator)
    while (outside := values.abs() > bound).any():
        values = torch.where(outside, torch.empty_like(values).normal_(0, std, generator=generator), values)
    weight.copy_(values)


class MLP(nn.Module):
    """Fully connected network: linear, normalisation if asked for, ReLU, and a linear ``head``.

    Weights come from a normal distribution of standard deviation 0.01, cut at two deviations; biases are zero (maml.py
    168-177). The input is flattened to ``[examples, sizes[0]]``, and ``context`` free parameters are added to it.
    """

    def __init__(self, sizes: Sequence[int], *, normalise: Normalise, generator: Generator, context: int = 0) -> None:
        super().__init__()
        hidden: list[nn.Module] = [ContextInput(context)] if context else []
        sizes = (sizes[0] + context, *sizes[1:])
        for fan_in, width in pairwise(sizes[:-1]):
            hidden += [empty(nn.Linear, fan_in, width), *normalisation(normalise, width), nn.ReLU()]
        self.body = nn.Sequential(nn.Flatten(), *hidden)
        self.head = empty(nn.Linear, sizes[-2], sizes[-1])
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                _fill_truncated_normal(layer.weight, 0.01, generator)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Conv:
    """The options of the network of four blocks. The defaults are those of the MAML paper on Omniglot.

    Other papers set ``widths`` (R2-D2), ``halvings`` to 2 (relation networks), ``leak`` to 0.01 (MAML++), or a
    ``context`` at ``film`` (CAVIA) or at the ``input`` (appendix of the MAML paper).
    """

    filters: Annotated[int, Ge(1), WIDTH, When("widths", ((),)), Doc("Filters of every block.")] = 64
    widths: Annotated[
        tuple[Annotated[int, Ge(1), WIDTH], ...],
        LAYERS,
        Doc("Filters of each of the four blocks, instead of `filters`."),
    ] = ()
    downsample: Annotated[
        Literal["stride", "pool"],
        Doc("How a block halves its maps: by the stride of the convolution, or by 2x2 max-pooling."),
    ] = "stride"
    halvings: Annotated[int, Ge(0), Le(4), Doc("How many blocks halve their maps, counted from the first.")] = 4
    average: Annotated[bool, Doc("Whether the last map is averaged; otherwise it is flattened.")] = True
    affine: Annotated[bool, Doc("Whether batch-norm has a scale as well as an offset.")] = False
    eps: Annotated[float, Gt(0), LARGE, Doc("Number that is added to the variance in batch-norm.")] = 1e-3
    leak: Annotated[float, Ge(0), LARGE, Doc("Slope of the ReLU below zero.")] = 0.0
    context: Annotated[int, Ge(0), WIDTH, Doc("Size of a context vector, 0 for none.")] = 0
    context_at: Annotated[
        Literal["film", "input"],
        When("context"),
        Doc("Whether the context scales and shifts the third block, or is added to the input as further planes."),
    ] = "film"

    def __post_init__(self) -> None:
        if len(self.widths) not in (0, 4):
            raise MamlBenchError(f"conv.widths is {list(self.widths)}, but must have one entry for each of four blocks")

    def channels(self) -> tuple[int, ...]:
        """Output channels of each block."""
        return self.widths or (self.filters,) * 4


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalisation, ReLU and perhaps max-pooling, and a linear ``head`` (maml.py
    185-225).

    Convolutions pad by one on each side. TensorFlow's SAME pads even sizes only on one side, so its maps have the same
    size but are shifted. Convolution weights are Xavier uniform; the head's are N(0, 1) after an average and Xavier
    uniform after flattening; biases are zero.
    """

    def __init__(
        self, channels: int, size: int, way: int, conv: Conv = Conv(), *, normalise: Normalise, generator: Generator
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        if conv.context and conv.context_at == "input":
            blocks.append(ContextInput(conv.context, size, size))
            channels += conv.context
        for number, (fan_in, width) in enumerate(pairwise((channels, *conv.channels()))):
            halve = number < conv.halvings
            stride = 2 if halve and conv.downsample == "stride" else 1
            convolution = empty(nn.Conv2d, fan_in, width, 3, stride=stride, padding=1)
            nn.init.xavier_uniform_(convolution.weight, generator=generator)
            nn.init.zeros_(convolution.bias)
            blocks += [convolution, *normalisation(normalise, width, conv.eps, conv.affine)]
            if conv.context and conv.context_at == "film" and number == 2:
                blocks.append(Film(conv.context, width, generator))
            blocks.append(nn.LeakyReLU(conv.leak) if conv.leak else nn.ReLU())
            if halve and conv.downsample == "pool":
                blocks.append(nn.MaxPool2d(2))
            if halve:
                size = math.ceil(size / 2) if conv.downsample == "stride" else size // 2
        self.body = nn.Sequential(*blocks)
        self.average = conv.average
        self.head = empty(nn.Linear, width if self.average else width * size * size, way)
        if self.average:
            nn.init.normal_(self.head.weight, generator=generator)
        else:
            nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        return self.head(maps.mean((-2, -1)) if self.average else maps.flatten(1))  # type: ignore[no-any-return]


class CausalConvolution(nn.Module):
    """A convolution ``[n, C, H, W] -> [n, F, H, W]`` of which each pixel sees only the pixels before it in reading
    order, and with ``itself`` also itself (van den Oord et al. 2016, arXiv:1601.06759, section 3.4)."""

    mask: Tensor

    def __init__(self, channels: int, filters: int, size: int, *, itself: bool, generator: Generator) -> None:
        super().__init__()
        self.reach = size // 2
        mask = torch.ones(1, 1, self.reach + 1, size)
        mask[..., -1, self.reach + itself :] = 0
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(torch.empty(filters, channels, self.reach + 1, size))
        bound = math.sqrt(3 / (channels * float(mask.sum())))
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        self.bias = nn.Parameter(torch.zeros(filters))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.reach, self.reach, self.reach, 0))
        return F.conv2d(padded, self.weight * self.mask, self.bias)


class Autoregressive(nn.Module):
    """The log-density of black-and-white images, pixel after pixel in reading order, with free parameters that all
    pixels see (PixelCNN, van den Oord et al. 2016, arXiv:1601.06759; the free parameters are ours).

    A causal convolution of 7x7 without the pixel itself, ``layers`` residual blocks of SiLU and 3x3 causal convolution,
    and a linear ``head`` for each pixel. The free parameters ``context [planes, H, W]`` start at zero; two ordinary
    convolutions of 5x5, with a SiLU between them, add them to the maps. A gradient step on the context can write what
    the examples of a task look like into it.
    """

    def __init__(self, side: int, filters: int, layers: int, planes: int, generator: Generator) -> None:
        super().__init__()
        self.first = CausalConvolution(1, filters, 7, itself=False, generator=generator)
        blocks = [CausalConvolution(filters, filters, 3, itself=True, generator=generator) for _ in range(layers)]
        self.body = nn.Sequential(*blocks)
        self.above = self.first.reach + sum(block.reach for block in blocks)  # rows that a pixel sees above its own
        self.head = empty(nn.Conv2d, filters, 1, 1)
        self.planes = planes
        shown: list[Any] = [self.head]
        if planes:
            self.context = nn.Parameter(torch.zeros(planes, side, side))
            into, onto = (empty(nn.Conv2d, size, filters, 5, padding=2) for size in (planes, filters))
            self.into, self.onto = into, onto
            shown += [into, onto]
        for layer in shown:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, *, draw: bool = False) -> Tensor:
        """The log-density ``[n]``, in nats, of images ``x [n, 1, H, W]`` of zeros and ones.

        With ``draw``, x are numbers that are uniform in [0, 1], and the images ``[n, 1, H, W]`` that they make are
        returned: a pixel is 1 where its number is below its probability.
        """
        if draw:
            return self._drawn(x)
        logits = self.logits(x, self.shown(x))
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)

    def shown(self, x: Tensor) -> Tensor:
        """What the context adds to the maps, ``[1, filters or 1, H, W]``."""
        if not self.planes:
            return x.new_zeros(1, 1, *x.shape[2:])
        return self.onto(_silu(self.into(self.context.unsqueeze(0))))  # type: ignore[no-any-return]

    def logits(self, x: Tensor, shown: Tensor) -> Tensor:
        maps = self.first(x) + shown
        for layer in self.body:
            maps = maps + layer(_silu(maps))
        return self.head(_silu(maps))  # type: ignore[no-any-return]

    def _drawn(self, uniform: Tensor) -> Tensor:
        x, shown = torch.zeros_like(uniform), self.shown(uniform)
        for row in range(x.shape[2]):
            seen = slice(max(0, row - self.above), row + 1)
            for column in range(x.shape[3]):
                ink = self.logits(x[:, :, seen], shown[:, :, seen])[:, :, -1, column].sigmoid()
                x[:, :, row, column] = (uniform[:, :, row, column] < ink).to(x)
        return x


def _silu(x: Tensor) -> Tensor:
    """Smooth, and its slope at zero is not zero, so that a context of zeros has a gradient."""
    return x * x.sigmoid()


def normalisation(kind: Normalise, channels: int, eps: float = 1e-3, affine: bool = False) -> list[nn.Module]:
    """The layers that normalise maps of so many channels: one, or none."""
    if kind == "batch":
        return [BatchNorm(channels, eps, affine=affine)]
    return [nn.GroupNorm(GROUPS, channels)] if kind == "group" else []


def empty(layer: Any, *sizes: int, **options: int) -> Any:
    """A torch layer with uninitialised parameters, so that it draws nothing from the global generator."""
    return skip_init(layer, *sizes, **options)  # type: ignore[no-untyped-call]
