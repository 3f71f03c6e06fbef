"""Trajectories of an agent, and the quantities of a policy gradient: returns, a baseline, advantages.

Shapes: B tasks, R rollouts, T steps. Where an episode ends early, either others follow, or the mask is zero from then
on and these steps do not count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maml_bench.core.linear_systems import solve

RIDGE = 1e-5


class Trajectories(NamedTuple):
    """Rollouts of one policy per task; inside one task there is no leading B.

    ``observations [B, R, T, I]`` are all that the agent was given, ``actions [B, R, T, A]`` (or int64 ``[B, R, T]`` of
    a choice), ``behaviour [B, R, T, O]`` the outputs of the policy that acted, ``rewards``, ``values`` (the returns
    that the baseline expects) and ``advantages`` (standardised over each task), all ``[B, R, T]``, and ``mask [B, R,
    T]``, 1 while the episode went on. ``time [B, R, T]`` is the number of steps since its episode began, and zero where
    the mask is zero.

    For agents with a memory, what is said of an episode holds of a trial once rollouts are joined (`trials`). Until
    then ``values`` are what the agent expected, if it expects anything, and ``advantages`` are zero.
    """

    observations: Tensor
    actions: Tensor
    behaviour: Tensor
    rewards: Tensor
    values: Tensor
    advantages: Tensor
    mask: Tensor
    time: Tensor


def trials(path: Sequence[Trajectories]) -> Trajectories:
    """The rollouts of a path, joined into trials ``[B, R, T]``: the r-th rollouts of a task follow each other. Steps
    that count come first, and ``time`` runs on through the trial."""
    whole = Trajectories(*(torch.cat(fields, 2) for fields in zip(*path, strict=True)))
    order = whole.mask.argsort(dim=2, descending=True, stable=True)
    b, r = (torch.arange(n, device=order.device) for n in order.shape[:2])
    found = Trajectories(*(field[b[:, None, None], r[:, None], order] for field in whole))
    return found._replace(time=torch.arange(order.shape[2], device=order.device) * found.mask)


def goes_on(time: Tensor) -> Tensor:
    """1 where the next step belongs to the same episode, else 0, ``[..., T]``."""
    return torch.cat([time[..., 1:] > time[..., :-1], torch.zeros_like(time[..., :1], dtype=torch.bool)], -1).to(time)


def discounted(rewards: Tensor, discount: float, time: Tensor) -> Tensor:
    """Discounted returns ``[..., T]``: the sum of discount^k times the reward k steps later in the episode."""
    found = torch.empty_like(rewards)
    later = torch.zeros_like(rewards[..., 0])
    share = discount * goes_on(time)
    for t in reversed(range(rewards.shape[-1])):
        later = rewards[..., t] + share[..., t] * later
        found[..., t] = later
    return found


def remaining(time: Tensor, discount: float) -> Tensor:
    """The discounted number of steps that remain in a trial ``[..., T]``, this one included: the return if every reward
    were 1 and no episode ended early. It depends on the time alone, so a value in this unit stays a baseline."""
    left = time.shape[-1] - time
    return left if discount == 1 else (1 - discount**left) / (1 - discount)


def linear_baseline(observations: Tensor, returns: Tensor, mask: Tensor, time: Tensor) -> Tensor:
    """Values ``[B, R, T]``: ``returns`` as a linear function of the observations, fitted to each task's own rollouts.

    Features are the observation cut to [-10, 10], its square, t/100 with its square and cube, and 1; the ridge is 1e-5
    (Duan et al. 2016, as in linear_feature_baseline.py of cbfinn/maml_rl). It is fitted in float64, on the same
    rollouts that it is then applied to, as in the paper (section 5.3).
    """
    cut = observations.clamp(-10, 10)
    t = (time / 100).to(observations.dtype)
    clock = torch.stack([t, t**2, t**3, torch.ones_like(t)], -1)
    features = (torch.cat([cut, cut**2, clock], -1) * mask.unsqueeze(-1)).flatten(1, 2).double()
    targets = (returns * mask).flatten(1, 2).unsqueeze(-1).double()
    square = features.mT @ features
    square.diagonal(dim1=-2, dim2=-1).add_(RIDGE)
    weights = solve(square, features.mT @ targets)
    fitted: Tensor = features @ weights
    return fitted.reshape(returns.shape).to(returns)


def advantages(rewards: Tensor, values: Tensor, mask: Tensor, time: Tensor, discount: float, trace: float) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16; ``trace`` is lambda), standardised per task.

    With lambda 1 they are the discounted returns minus the values. The standard deviation is the population's.
    """
    after = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    surprise = (rewards + discount * after * goes_on(time) - values) * mask
    return standardised(discounted(surprise, discount * trace, time), mask)


def standardised(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over each task's steps that count, and 0 elsewhere."""
    return (values - over_steps(values, mask)) / spread(values, mask) * mask


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation ``[B, 1, 1]`` over each task's steps that count."""
    return over_steps((values - over_steps(values, mask)) ** 2, mask).sqrt() + 1e-8


def over_steps(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over rollouts and steps that count, ``[..., 1, 1]``."""
    return (values * mask).sum((-2, -1), keepdim=True) / mask.sum((-2, -1), keepdim=True)


def packed(fields: Sequence[Tensor], mask: Tensor, time: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """All fields, their mask and the time, with the steps that count one after the other: ``[B, 1, T, ...]``. T is the
    largest number of steps that any task has."""
    flat = mask.flatten(1)
    counts = flat.sum(1)
    order = flat.argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
    within = torch.arange(order.shape[1], device=flat.device) < counts.unsqueeze(1)
    rows = torch.arange(len(flat), device=flat.device).unsqueeze(1)
    *found, clock = (field.flatten(1, 2)[rows, order].unsqueeze(1) for field in (*fields, time))
    still = within.unsqueeze(1).to(mask)
    return found, still, clock * still
