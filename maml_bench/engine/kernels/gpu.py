"""The kernels of kernels.cpp on a GPU, in Triton: the same functions on the same layouts, in float32.

Convolutions are matrix products whose operands are gathered while they are multiplied: a row is a pixel, a column a tap
of the filter and a channel. As in torch's own convolutions, factors are rounded to TF32 unless
``torch.backends.cudnn.allow_tf32`` is off. Normalisation takes two kernels each way: one for partial sums over a share
of the pixels, one that adds them up and applies the result (the formulas stand in normalisation.h). Sums are taken in
a fixed order, so that equal inputs give equal outputs.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from maml_bench.engine.kernels import triton_kernels
from maml_bench.engine.kernels.operators import COUNTED

ELEMENTS = 2048
"""Of a tile in a kernel of normalisation."""
PROGRAMS = 64
"""That share the pixels of a task there."""
WANTED = 512
"""Programs that keep a GPU busy."""


def _power(number: int, least: int, most: int) -> int:
    """The next power of two, within bounds that are such."""
    return max(least, min(most, triton.next_power_of_2(number)))


def precision() -> str:
    """How factors of convolutions are rounded, in Triton's words."""
    return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"


def _run_conv(sizes: tuple[int, ...], x: Tensor, w: Tensor, y: Tensor, *, back: bool) -> None:
    t, _, high, wide, i, o, stride = sizes
    k, columns = (o, i) if back else (i, o)
    pixels = y.numel() // t // columns
    rows = 128 if t * pixels > 128 * WANTED else 64
    width, depth = _power(columns, 16, 64), _power(9 * k if k < 16 else k, 16, 64)
    grid = (triton.cdiv(pixels, rows), t, triton.cdiv(columns, width))
    large = max(x.numel(), y.numel()) // t > COUNTED
    triton_kernels.conv[grid](x, w, y, pixels, high, wide, i, o, stride, back, rows, depth, width, precision(), large)


def conv(sizes: tuple[int, ...], x: Tensor, w: Tensor, y: Tensor) -> None:
    """As conv of kernels.cpp."""
    _run_conv(sizes, x, w, y, back=False)


def conv_input(sizes: tuple[int, ...], g: Tensor, w: Tensor, d: Tensor) -> None:
    """As conv_input of kernels.cpp."""
    _run_conv(sizes, g, w, d, back=True)


def conv_filter(sizes: tuple[int, ...], x: Tensor, g: Tensor, d: Tensor) -> None:
    """As conv_filter of kernels.cpp."""
    t, _, high, wide, i, o, stride = sizes
    pixels = g.numel() // t // o
    rows, width, deep = _power(9 * i if i < 16 else i, 16, 64), _power(o, 16, 64), 64
    blocks = triton.cdiv(9 * i, rows) * triton.cdiv(o, width)
    splits = _power(min(WANTED // (t * blocks), triton.cdiv(pixels, 2 * deep)), 1, 64)
    part = d.new_empty(splits, t, 9 * i, o) if splits > 1 else d
    triton_kernels.conv_filter[blocks, splits, t](
        x, g, part, t, pixels, high, wide, i, o, stride, splits, rows, deep, width, precision()
    )
    if splits > 1:
        torch.sum(part, 0, out=d.view(t, 9 * i, o))


def _tiles(sizes: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """Cells of a task, cells and channels of a tile, blocks of channels, and shares of the partial sums."""
    _, n, high, wide, c, pool = sizes
    cells = n * (-(-high // 2) * -(-wide // 2) if pool else high * wide)
    channels = _power(c, 16, 64)
    tile = ELEMENTS // (channels * (4 if pool else 1))
    return cells, tile, channels, triton.cdiv(c, channels), _power(triton.cdiv(cells, 4 * tile), 1, 32)


def norm(
    sizes: tuple[int, ...], eps: float, x: Tensor, gamma: Tensor, beta: Tensor, y: Tensor, mean: Tensor, r: Tensor
) -> None:
    """As norm of kernels.cpp."""
    t, n, high, wide, c, pool = sizes
    pixels = n * high * wide
    cells, tile, channels, blocks, splits = _tiles(sizes)
    part = x.new_empty(t, splits, 2, c)
    triton_kernels.norm_sums[splits, t, blocks](x, part, pixels, c, splits, ELEMENTS // channels, channels)
    programs = min(PROGRAMS, triton.cdiv(cells, tile))
    triton_kernels.norm[programs, t, blocks](
        x, gamma, beta, y, mean, r, part, cells, pixels, eps, high, wide, c, bool(pool), splits, tile, channels
    )


def norm_backward(sizes: tuple[int, ...], *tensors: Any) -> None:
    """As norm_backward of kernels.cpp."""
    x, gamma, beta, mean, r, dy, plus, dx, dgamma, dbeta = tensors
    _run_backward(sizes, (x, gamma, beta, mean, r, dy), (x, gamma, gamma), (dy, dx, dgamma, dbeta), double=False)
    if plus is not None:
        dx += plus


def norm_double(sizes: tuple[int, ...], *tensors: Tensor) -> None:
    """As norm_double of kernels.cpp."""
    ddy, dgamma, dx = tensors[9:]
    _run_backward(sizes, tensors[:6], tensors[6:9], (ddy, dx, dgamma, dgamma), double=True)


def _run_backward(
    sizes: tuple[int, ...],
    given: tuple[Tensor, ...],
    directions: tuple[Tensor, ...],
    found: tuple[Tensor, ...],
    *,
    double: bool,
) -> None:
    t, n, high, wide, c, pool = sizes
    pixels = n * high * wide
    cells, tile, channels, blocks, splits = _tiles(sizes)
    part = given[0].new_empty(t, splits, 5 if double else 2, c)
    shape = (cells, pixels, high, wide, c, bool(pool), double, splits, tile, channels)
    triton_kernels.backward_sums[splits, t, blocks](*given, directions[0], part, *shape)
    programs = min(PROGRAMS, triton.cdiv(cells, tile))
    triton_kernels.backward[programs, t, blocks](*given, *directions, *found, part, *shape)


KERNELS: dict[str, Callable[..., Any]] = {
    kernel.__name__: kernel for kernel in (conv, conv_input, conv_filter, norm, norm_backward, norm_double)
}
