"""The inner loop: k differentiable gradient steps on the support set. The repository has no other.

Finn et al. (2017), Algorithm 1, lines 5-6; everything that varies between methods (the rule, the order of the
derivative, which parameters move, what the support is) is an argument.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from maml_bench.types import Params

Loss = Callable[[Params, Any], Tensor]
"""Parameters and one batch to a scalar."""


class Update(Protocol):
    """An inner rule. ``state`` is whatever the rule carries from step to step: a tree of tensors, or None."""

    def init(self, params: Params) -> Any:
        """The state before the first step."""
        ...

    def __call__(self, step: int | Tensor, params: Params, grads: Params, state: Any) -> tuple[Params, Any]:
        """New parameters and state; must be differentiable in all three trees."""
        ...


@runtime_checkable
class ReadsLoss(Protocol):
    """An inner rule that depends on the loss too."""

    def given(self, loss: Tensor) -> Update:
        """The rule for a step from parameters with this loss on the batch of the step."""
        ...


@dataclass(frozen=True)
class SGD:
    """theta - rate * gradient. ``rate`` is one number (a tensor where it varies from step to step of a recorded
    program), or named tensors that broadcast to the parameters (Meta-SGD). If ``later`` is given, it
    replaces a number after the first step."""

    rate: float | Tensor | Params
    later: float | None = None

    def init(self, params: Params) -> None:
        return None

    def __call__(self, step: int | Tensor, params: Params, grads: Params, state: None) -> tuple[Params, None]:
        if isinstance(self.rate, dict):
            rates = self.rate
            return {name: p - rates[name] * grads[name] for name, p in params.items()}, None
        if isinstance(self.rate, Tensor):
            return {name: p - self.rate * grads[name] for name, p in params.items()}, None
        rate = self.later if step and self.later is not None else self.rate
        # One operation instead of two, which would each read the adapted weights of every task.
        return {name: torch.sub(p, grads[name], alpha=rate) for name, p in params.items()}, None


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1). Its two moments start at zero for every task. Reptile uses beta1 = 0.

    Its derivative is not finite where an entry of the gradient is exactly zero, so use it only where no derivative is
    taken. It is the outer optimiser too; ``rate`` and the number of the step are then tensors.
    """

    rate: float | Tensor
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, params: Params) -> tuple[Params, Params]:
        return _zeros(params), _zeros(params)

    def __call__(
        self, step: int | Tensor, params: Params, grads: Params, state: tuple[Params, Params]
    ) -> tuple[Params, tuple[Params, Params]]:
        first = {n: self.beta1 * m + (1 - self.beta1) * grads[n] for n, m in state[0].items()}
        second = {n: self.beta2 * v + (1 - self.beta2) * grads[n] ** 2 for n, v in state[1].items()}
        unbias1, unbias2 = 1 - self.beta1 ** (step + 1), 1 - self.beta2 ** (step + 1)
        moved = {
            n: p - self.rate * (first[n] / unbias1) / ((second[n] / unbias2).sqrt() + self.eps)
            for n, p in params.items()
        }
        return moved, (first, second)


@dataclass(frozen=True)
class RMSProp:
    """RMSProp with momentum (Graves 2013, arXiv:1308.0850, section 4, without its centring) as in torch.optim.RMSprop.

    ``smoothing`` is the decay of the mean square of the gradient. As with `Adam`, take no derivative of it.
    """

    rate: float | Tensor
    smoothing: float = 0.95
    momentum: float = 0.9
    eps: float = 1e-8

    def init(self, params: Params) -> tuple[Params, Params]:
        return _zeros(params), _zeros(params)

    def __call__(
        self, step: int | Tensor, params: Params, grads: Params, state: tuple[Params, Params]
    ) -> tuple[Params, tuple[Params, Params]]:
        square = {n: self.smoothing * v + (1 - self.smoothing) * grads[n] ** 2 for n, v in state[0].items()}
        velocity = {n: self.momentum * m + grads[n] / (square[n].sqrt() + self.eps) for n, m in state[1].items()}
        return {n: p - self.rate * velocity[n] for n, p in params.items()}, (square, velocity)


def _zeros(params: Params) -> Params:
    return {name: torch.zeros_like(p) for name, p in params.items()}


@dataclass(frozen=True)
class Momentum:
    """SGD with momentum, dampening and weight decay as in torch.optim.SGD: the velocity starts at the first
    gradient, undamped, and ``decay`` times the parameters is added to their gradient."""

    rate: float
    momentum: float = 0.9
    dampening: float = 0.0
    decay: float = 0.0

    def init(self, params: Params) -> None:
        return None

    def __call__(
        self, step: int | Tensor, params: Params, grads: Params, state: Params | None
    ) -> tuple[Params, Params]:
        grads = {n: torch.add(g, params[n], alpha=self.decay) for n, g in grads.items()}
        if state is not None:
            grads = {n: self.momentum * state[n] + (1 - self.dampening) * g for n, g in grads.items()}
        return {n: torch.sub(p, grads[n], alpha=self.rate) for n, p in params.items()}, grads


@dataclass(frozen=True)
class Proximal:
    """Applies ``rule`` to the loss plus strength / 2 * |theta - theta_0|^2, where theta_0 are the parameters before the
    first step (iMAML, Rajeswaran et al. 2019, equation 3)."""

    rule: Update
    strength: float

    def init(self, params: Params) -> tuple[Params, Any]:
        return params, self.rule.init(params)

    def __call__(
        self, step: int | Tensor, params: Params, grads: Params, state: tuple[Params, Any]
    ) -> tuple[Params, tuple[Params, Any]]:
        start, carried = state
        pulled = {n: torch.add(g, params[n] - start[n], alpha=self.strength) for n, g in grads.items()}
        params, carried = self.rule(step, params, pulled, carried)
        return params, (start, carried)


@dataclass(frozen=True)
class Clipped:
    """Applies ``rule`` to the gradient, made shorter where its length over all parameters is above ``norm`` (Pascanu et
    al. 2013, arXiv:1211.5063, Algorithm 1). The derivative goes through the length too."""

    rule: Update
    norm: float

    def init(self, params: Params) -> Any:
        return self.rule.init(params)

    def __call__(self, step: int | Tensor, params: Params, grads: Params, state: Any) -> tuple[Params, Any]:
        square = torch.stack([(g**2).sum() for g in grads.values()]).sum()
        # The clamp is below the root, so that a gradient of zero has a derivative.
        share = self.norm / square.clamp(min=self.norm**2).sqrt()
        return self.rule(step, params, {n: share * g for n, g in grads.items()}, state)


def adapt(
    loss: Loss,
    params: Params,
    support: Any | list[Any],
    update: Update,
    steps: int,
    *,
    first_order: bool = False,
    only: Callable[[str], bool] | None = None,
    trajectory: bool | Collection[int] = False,
) -> Any:
    """Take ``steps`` gradient steps on ``support``, starting from ``params``; pure and differentiable in ``params``.

    Args:
        loss: scalar loss of (parameters, batch) for one task.
        params: all parameters that ``loss`` reads.
        support: one batch, or a list of batches that the steps go through in turn (and again from the start).
        update: the inner rule.
        steps: number of gradient steps, 0 or more.
        first_order: treat each gradient as a constant of the outer derivative (the paper's first-order approximation,
            section 5.2). The gradient is taken at detached parameters, so no second-order graph is built.
        only: which parameter names move; the others stay as they are at every step. Default: all.
        trajectory: return the parameters after 0, 1, ..., ``steps`` steps as a list instead of only the last ones. If
            it names numbers of steps, only the parameters after these and the last ones are kept in memory, and the
            list has empty dictionaries in the other places.

    Returns:
        Parameters with the names of ``params``, or the list of ``steps + 1`` such trees.
    """
    moving = {name: p for name, p in params.items() if only is None or only(name)}
    fixed = {name: p for name, p in params.items() if name not in moving}
    state = update.init(moving)
    kept = steps_kept(trajectory, steps)
    path = [params if 0 in kept else {}]
    for step in range(steps):
        batch = batch_at(support, step)
        at, around = (_detached(moving), _detached(fixed)) if first_order else (moving, fixed)
        if isinstance(update, ReadsLoss):
            grads, value = torch.func.grad_and_value(_at(loss, around, batch))(at)
            moving, state = update.given(value)(step, moving, grads, state)
        else:
            grads = torch.func.grad(_at(loss, around, batch))(at)
            moving, state = update(step, moving, grads, state)
        path.append({**fixed, **moving} if step + 1 in kept else {})
    return path[-1] if trajectory is False else path


def steps_kept(trajectory: bool | Collection[int], steps: int) -> Collection[int]:
    """The numbers of steps after which `adapt` keeps the parameters. The last ones are always kept."""
    return range(steps + 1) if trajectory is True else {*(trajectory or ()), steps}


def batch_at(support: Any | list[Any], step: int) -> Any:
    """The batch that inner step ``step`` is taken on."""
    return support[step % len(support)] if isinstance(support, list) else support


def _at(loss: Loss, fixed: Params, batch: Any) -> Callable[[Params], Tensor]:
    return lambda moving: loss({**fixed, **moving}, batch)


def _detached(params: Params) -> Params:
    return {name: p.detach() for name, p in params.items()}
