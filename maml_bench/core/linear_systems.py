"""Linear systems: conjugate gradient on trees of named tensors, and a solver for the systems of ridge regression."""

from collections.abc import Callable

import torch
from torch import Tensor

from maml_bench.types import Params


def conjugate_gradient(apply: Callable[[Params], Params], target: Params, steps: int) -> tuple[Params, Params]:
    """An approximate solution x of ``apply(x) = target``, from zero (Hestenes & Stiefel 1952), and ``apply(x)``.

    ``apply`` is linear and symmetric. If it is positive definite, each step comes closer to the solution, and as many
    steps as there are distinct eigenvalues reach it. A step from an exact solution changes nothing.
    """
    x = {name: torch.zeros_like(b) for name, b in target.items()}
    residual = direction = target
    length = dot(residual, residual)
    for _ in range(steps):
        image = apply(direction)
        move = _ratio(length, dot(direction, image))
        x = {n: x[n] + move * d for n, d in direction.items()}
        residual = {n: r - move * image[n] for n, r in residual.items()}
        before, length = length, dot(residual, residual)
        turn = _ratio(length, before)
        direction = {n: r + turn * direction[n] for n, r in residual.items()}
    return x, {name: b - residual[name] for name, b in target.items()}


def dot(left: Params, right: Params) -> Tensor:
    """The inner product over the names of ``right``, a scalar."""
    return torch.stack([(left[name] * b).sum() for name, b in right.items()]).sum()


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """The quotient, 0 where the divisor is 0."""
    zero = under == 0
    return torch.where(zero, torch.zeros_like(over), over / torch.where(zero, torch.ones_like(under), under))


def solve(square: Tensor, right: Tensor) -> Tensor:
    """``square^-1 right`` for symmetric positive definite matrices ``[..., n, n]``, by Cholesky's factors.

    This is cheaper than torch.linalg.solve, which also breaks with several threads on batches of matrices wider than
    about 150 (pytorch#142815, seen with torch 2.13 and MKL 2024.2).
    """
    return torch.cholesky_solve(right, torch.linalg.cholesky(square))
