"""A linear layer whose derivatives of every order have the memory layout of its inputs, example after example.

If every task has its own weights, torch's second derivatives of a matrix product are transposed in memory: feature
after feature instead of example after example. Every elementwise operation between the two layouts then takes several
times as long. Three bilinear maps avoid this: the derivatives of each map are the other two.

Shapes: inputs ``x [..., S, I]``, outputs ``y [..., S, O]``, weights ``w [..., O, I]``, with equally many axes.
"""

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function


class Linear(nn.Linear):
    """Like torch's, for two-dimensional inputs ``[S, I]``."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Forward.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return found if self.bias is None else found + self.bias


class _Bilinear(Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)


class Forward(_Bilinear):
    """``y = x w'``."""

    @staticmethod
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return x @ w.mT

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        return _if(ctx, 0, Backward, y, w), _if(ctx, 1, Weights, y, x)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], x: Tensor, w: Tensor) -> tuple[Tensor, int]:
        return _over_examples(Forward, info.batch_size, in_dims, x, w)


class Backward(_Bilinear):
    """``x = y w``."""

    @staticmethod
    def forward(y: Tensor, w: Tensor) -> Tensor:
        return y @ w

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        y, w = ctx.saved_tensors
        return _if(ctx, 0, Forward, x, w), _if(ctx, 1, Weights, y, x)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], y: Tensor, w: Tensor) -> tuple[Tensor, int]:
        return _over_examples(Backward, info.batch_size, in_dims, y, w)


class Weights(_Bilinear):
    """``w = y' x``."""

    @staticmethod
    def forward(y: Tensor, x: Tensor) -> Tensor:
        return y.mT @ x

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, Tensor | None]:
        y, x = ctx.saved_tensors
        return _if(ctx, 0, Forward, x, w), _if(ctx, 1, Backward, y, w)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], y: Tensor, x: Tensor) -> tuple[Tensor, int]:
        y, x = (_first(info.batch_size, dim, t) for dim, t in zip(in_dims, (y, x), strict=True))
        return Weights.apply(y, x), 0  # type: ignore[no-untyped-call]


def _if(ctx: Any, place: int, which: type[Function], left: Tensor, right: Tensor) -> Tensor | None:
    return which.apply(left, right) if ctx.needs_input_grad[place] else None  # type: ignore[no-untyped-call]


def _first(size: int, dim: int | None, tensor: Tensor) -> Tensor:
    """``tensor`` with the mapped axis first; where it has none, it is expanded."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _over_examples(
    which: type[Function], size: int, in_dims: tuple[int | None, int | None], rows: Tensor, w: Tensor
) -> tuple[Tensor, int]:
    """A map over examples. If all share the weights, the mapped axis becomes more examples of one large product."""
    if in_dims[1] is not None:
        rows, w = (_first(size, dim, t) for dim, t in zip(in_dims, (rows, w), strict=True))
        return which.apply(rows, w), 0  # type: ignore[no-untyped-call]
    together = rows.movedim(in_dims[0] or 0, -3).flatten(-3, -2)
    found: Tensor = which.apply(together, w)  # type: ignore[no-untyped-call]
    return found.reshape(*found.shape[:-2], size, -1, found.shape[-1]), found.ndim - 2
