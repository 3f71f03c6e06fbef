"""The kernels of kernels.cpp, on a GPU those of gpu.py, as functions of tensors and as operators of torch. Layouts are
in differentiable.py.

As operators they are single nodes of a recording, and torch.compile leaves them as they are.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maml_bench.engine.torch_internals import has_no_memory
from maml_bench.native_code import library

SOURCE = Path(__file__).with_name("kernels.cpp")

LANES = 16
"""Channels must be a multiple of this: the widest vector of a supported machine, in floats."""

FEW = 8
"""Images of fewer channels than this have kernels of their own."""

BY_OPERATOR: dict[Any, Callable[..., Any]] = {}
"""Operator of torch to the function behind it, for calling it without torch's dispatcher."""

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_LIBRARY = torch.library.Library("maml_bench", "DEF")


def _operator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function an operator ``maml_bench::<name>`` too. On tensors without memory it gives shapes alone.

    The dispatcher calls the function itself. What ``torch.library.custom_op`` puts around it takes 17 microseconds a
    call (torch 2.13), which a compiled program pays at every kernel.
    """
    name = function.__name__
    _LIBRARY.define(name + torch.library.infer_schema(function, mutates_args=()))
    for place in ("CPU", "CUDA"):
        _LIBRARY.impl(name, function, place)
    torch.library.register_fake(f"maml_bench::{name}", function, lib=_LIBRARY)
    BY_OPERATOR[getattr(torch.ops.maml_bench, name).default] = function
    return function


@lru_cache(maxsize=4096)
def _sizes(*sizes: int) -> Any:
    return (ctypes.c_long * len(sizes))(*sizes)


@lru_cache(maxsize=32)
def _kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    function = getattr(library(SOURCE), f"{name}_{_SUFFIX.get(dtype, dtype)}", None)
    if function is None:
        raise TypeError(f"the kernels know float32 and float64, not {dtype}")
    function.restype = None
    return function


COUNTED = 2**31 - 1
"""Elements of a task that the kernels for GPUs can count; convolutions and their input's derivative go beyond."""
BEYOND = ("conv", "conv_input")


def refuse_uncounted(name: str, tasks: int, arguments: tuple[Any, ...]) -> None:
    """Raise ValueError where a kernel for GPUs would write astray."""
    most = max(a.numel() for a in arguments if isinstance(a, Tensor)) // tasks
    if name not in BEYOND and most > COUNTED:
        raise ValueError(
            f"{name} has {most:,} elements in one task, more than a GPU's kernels count: show it fewer images"
        )


@lru_cache(maxsize=32)
def _on_gpu(name: str, dtype: torch.dtype) -> Callable[..., None]:
    from maml_bench.engine.kernels import gpu

    if dtype != torch.float32:
        raise TypeError(f"the kernels for GPUs know float32, not {dtype}")
    return gpu.KERNELS[name]


def _call(name: str, sizes: tuple[int, ...], *arguments: Any) -> None:
    """Run a kernel on contiguous tensors; on those of a trace, which have shapes but no memory, do nothing."""
    first = next(a for a in arguments if isinstance(a, Tensor))
    if has_no_memory(first):
        return
    if first.is_cuda:
        refuse_uncounted(name, sizes[0], arguments)
        with torch.cuda.device(first.device):
            _on_gpu(name, first.dtype)(sizes, *arguments)
    else:
        _kernel(name, first.dtype)(_sizes(*sizes), *(_in_c(argument) for argument in arguments))


def _in_c(argument: Tensor | float | None) -> ctypes.c_void_p | ctypes.c_double:
    """The memory of a tensor, none for None, and a number as it is."""
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())


@_operator
def conv(x: Tensor, w: Tensor, stride: int) -> Tensor:
    x, w = x.contiguous(), w.contiguous()
    t, n, high, wide, i = x.shape
    y = x.new_empty(t, n, (high - 1) // stride + 1, (wide - 1) // stride + 1, w.shape[4])
    _call("conv", (t, n, high, wide, i, w.shape[4], stride), x, w, y)
    return y


@_operator
def conv_input(g: Tensor, w: Tensor, stride: int, high: int, wide: int) -> Tensor:
    channels = w.shape[3]
    w = torch.nn.functional.pad(w, (0, 0, 0, -channels % LANES))  # the kernel writes whole vectors of channels
    g, w = g.contiguous(), w.contiguous()
    t, n = g.shape[:2]
    d = g.new_empty(t, n, high, wide, w.shape[3])
    _call("conv_input", (t, n, high, wide, w.shape[3], w.shape[4], stride), g, w, d)
    return d if w.shape[3] == channels else d[..., :channels].contiguous()


@_operator
def conv_filter(x: Tensor, g: Tensor, stride: int) -> Tensor:
    x, g = x.contiguous(), g.contiguous()
    t, n, high, wide, i = x.shape
    d = x.new_empty(t, 3, 3, i, g.shape[4])
    _call("conv_filter", (t, n, high, wide, i, g.shape[4], stride), x, g, d)
    return d


@_operator
def norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, pool: bool) -> tuple[Tensor, Tensor, Tensor]:
    x, gamma, beta = x.contiguous(), gamma.contiguous(), beta.contiguous()
    t, n, high, wide, c = x.shape
    y = x.new_empty(t, n, high // 2, wide // 2, c) if pool else torch.empty_like(x)
    mean, r = torch.empty_like(gamma), torch.empty_like(gamma)
    _call("norm", (t, n, high, wide, c, pool), eps, x, gamma, beta, y, mean, r)
    return y, mean, r


@_operator
def norm_backward(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, r: Tensor, dy: Tensor, pool: bool, plus: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``plus``, of the shape of ``x``, is added to the first result."""
    x, gamma, *rest = (v.contiguous() for v in (x, gamma, beta, mean, r, dy))
    plus = plus if plus is None else plus.contiguous()
    found = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(gamma)
    _call("norm_backward", (*x.shape, pool), x, gamma, *rest, plus, *found)
    return found


@_operator
def first_layer(
    image: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, r: Tensor, dy: Tensor, pool: bool, stride: int,
    plus: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``conv_filter`` of ``image`` (of fewer than FEW channels) and the first result of ``norm_backward``, with its
    other two: what is between them is never in memory. On CPUs alone."""
    plus = plus if plus is None else plus.contiguous()
    image, x, gamma, *rest = (v.contiguous() for v in (image, x, gamma, beta, mean, r, dy))
    filters = x.new_empty(x.shape[0], 3, 3, image.shape[4], x.shape[4])
    found = filters, torch.empty_like(gamma), torch.empty_like(gamma)
    _call("first_layer", (*image.shape, x.shape[4], stride, pool), image, x, gamma, *rest, plus, *found)
    return found


@_operator
def norm_double(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, r: Tensor, dy: Tensor, u: Tensor, a: Tensor, b: Tensor,
    pool: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    x, gamma, *rest = (v.contiguous() for v in (x, gamma, beta, mean, r, dy, u, a, b))
    found = torch.empty_like(rest[3]), torch.empty_like(gamma), torch.empty_like(x)
    _call("norm_double", (*x.shape, pool), x, gamma, *rest, *found)
    return found


def sum_first(x: Tensor) -> Tensor:
    """Sum over the first axis. Fast where the other axes lie densely in memory, in any order, which is then kept."""
    if not _dense_rows(x):
        return x.sum(0)
    total = torch.empty_strided(x.shape[1:], x.stride()[1:], dtype=x.dtype)
    _call("sum_first", (x.shape[0], total.numel()), x, total)
    return total


def _dense_rows(x: Tensor) -> bool:
    """Whether the rows of a tensor follow each other in memory without a gap, and have none inside."""
    expected = 1
    for stride, size in sorted(zip(x.stride()[1:], x.shape[1:], strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return x.stride(0) == expected
