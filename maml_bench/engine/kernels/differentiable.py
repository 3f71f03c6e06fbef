"""Convolution blocks for many tasks at once, as functions that can be differentiated twice and mapped by vmap.

Maps are ``[T, N, H, W, C]`` (task, image, row, column, channel), filters ``[T, 3, 3, I, O]``, scale and offset
``[T, C]``; a leading axis of 1 stands for what all tasks share. Channels are a multiple of LANES, those of the images
excepted. The kernels are in kernels.cpp; here are their derivatives, each made of the same few kernels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maml_bench.engine.kernels import operators  # noqa: F401  (defines the operators)
from maml_bench.types import Params

_ops = torch.ops.maml_bench


def _mapped(function: Callable[..., Any], info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
    """The rule for vmap: fold the mapped axis into the tasks; what is neither mapped nor per task stays shared."""
    size = info.batch_size
    pairs = list(zip(arguments, in_dims, strict=True))
    front = [a if d is None or not isinstance(a, Tensor) else a.movedim(d, 0) for a, d in pairs]
    tasks = max(a.shape[0 if d is None else 1] for a, (_, d) in zip(front, pairs, strict=True) if isinstance(a, Tensor))
    folded = []
    for a, (_, d) in zip(front, pairs, strict=True):
        if not isinstance(a, Tensor) or (d is None and a.shape[0] == 1):
            folded.append(a)
        else:
            rest = a.shape[1:] if d is None else a.shape[2:]
            folded.append(a.expand(size, tasks, *rest).reshape(size * tasks, *rest))
    found = function(*folded)
    if isinstance(found, Tensor):
        return found.reshape(size, tasks, *found.shape[1:]), 0
    return tuple(f.reshape(size, tasks, *f.shape[1:]) for f in found), (0,) * len(found)


def conv(x: Tensor, w: Tensor, stride: int) -> Tensor:
    """3x3 convolution, padding 1. Filters that all tasks share see the tasks as one long list of images."""
    if w.shape[0] == 1 and x.shape[0] > 1:
        y: Tensor = _Conv.apply(x.reshape(1, -1, *x.shape[2:]), w, stride)
        return y.reshape(*x.shape[:2], *y.shape[2:])
    return _Conv.apply(x.expand(w.shape[0], *x.shape[1:]), w, stride)


def conv_input(g: Tensor, w: Tensor, stride: int, high: int, wide: int) -> Tensor:
    """Derivative of ``conv`` in its input of ``high`` rows and ``wide`` columns, from that of its output, ``g``."""
    if w.shape[0] == 1 and g.shape[0] > 1:
        d: Tensor = _ConvInput.apply(g.reshape(1, -1, *g.shape[2:]), w, stride, high, wide)
        return d.reshape(*g.shape[:2], *d.shape[2:])
    return _ConvInput.apply(g.expand(w.shape[0], *g.shape[1:]), w, stride, high, wide)


def conv_filter(x: Tensor, g: Tensor, stride: int) -> Tensor:
    """Derivative of ``conv`` in each task's filters."""
    tasks = max(x.shape[0], g.shape[0])
    return _ConvFilter.apply(x.expand(tasks, *x.shape[1:]), g.expand(tasks, *g.shape[1:]), stride)


def _full(x: Tensor, *shared: Tensor) -> tuple[Tensor, ...]:
    """Everything once per task of ``x``."""
    return tuple(s.expand(x.shape[0], *s.shape[1:]) for s in shared)


def _norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, pool: bool) -> tuple[Tensor, Tensor, Tensor]:
    return _Norm.apply(x, *_full(x, gamma, beta), eps, pool)


def _norm_backward(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _NormBackward.apply(x, *_full(x, *rest[:-1]), rest[-1])


def _norm_double(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _NormDouble.apply(x, *_full(x, *rest[:-1]), rest[-1])


def norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, *, pool: bool = False) -> Tensor:
    """ReLU of batch normalisation by each task's own statistics, then 2x2 max-pooling if ``pool``."""
    return _norm(x, gamma, beta, eps, pool)[0]


class _Kernel(torch.autograd.Function):
    """A kernel that keeps its tensors for its derivative, and its numbers as ``ctx.numbers``."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
        ctx.numbers = [value for value in inputs if not isinstance(value, Tensor)]


class _Conv(_Kernel):
    forward = staticmethod(_ops.conv)
    vmap = staticmethod(partial(_mapped, conv))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x, w), (stride,) = ctx.saved_tensors, ctx.numbers
        dx = conv_input(g, w, stride, x.shape[2], x.shape[3]) if ctx.needs_input_grad[0] else None
        return dx, conv_filter(x, g, stride) if ctx.needs_input_grad[1] else None, None


class _ConvInput(_Kernel):
    forward = staticmethod(_ops.conv_input)
    vmap = staticmethod(partial(_mapped, conv_input))

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        (g, w), (stride, *_) = ctx.saved_tensors, ctx.numbers
        dg = conv(u, w, stride) if ctx.needs_input_grad[0] else None
        return dg, conv_filter(u, g, stride) if ctx.needs_input_grad[1] else None, None, None, None


class _ConvFilter(_Kernel):
    forward = staticmethod(_ops.conv_filter)
    vmap = staticmethod(partial(_mapped, conv_filter))

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        (x, g), (stride,) = ctx.saved_tensors, ctx.numbers
        dx = conv_input(g, u, stride, x.shape[2], x.shape[3]) if ctx.needs_input_grad[0] else None
        return dx, conv(x, u, stride) if ctx.needs_input_grad[1] else None, None


class _Norm(_Kernel):
    forward = staticmethod(_ops.norm)
    vmap = staticmethod(partial(_mapped, _norm))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, gamma, beta, _, ctx.pool = inputs
        _, mean, r = output
        ctx.mark_non_differentiable(mean, r)
        ctx.save_for_backward(x, gamma, beta, mean, r)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> Any:
        return *_NormBackward.apply(*ctx.saved_tensors, dy, ctx.pool), None, None


class _NormBackward(_Kernel):
    forward = staticmethod(_ops.norm_backward)
    vmap = staticmethod(partial(_mapped, _norm_backward))

    @staticmethod
    def backward(ctx: Any, u: Tensor, a: Tensor, b: Tensor) -> Any:
        ddy, dgamma, dx = _NormDouble.apply(*ctx.saved_tensors, u, a, b, *ctx.numbers)
        return dx, dgamma, None, None, None, ddy, None


class _NormDouble(_Kernel):
    """Nothing is kept: two derivatives are all there are."""

    forward = staticmethod(_ops.norm_double)
    vmap = staticmethod(partial(_mapped, _norm_double))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError("the kernels for batch normalisation have no third derivative")


def innermost(params: Params) -> Params:
    """The same values, with filters ``[O, I, 3, 3]`` lying in memory as the kernels read them: no copy at each use."""
    return {
        name: p.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1) if p.ndim == 4 else p for name, p in params.items()
    }
