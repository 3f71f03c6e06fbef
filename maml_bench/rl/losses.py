"""Losses whose gradient is a policy gradient. At the policy that acted, only their second derivatives differ.

All are means over the steps of one task's rollouts, for ``outputs [R, T, O]`` of the policy.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from maml_bench.rl.actions import Actions
from maml_bench.rl.trajectories import Trajectories, discounted, spread

PolicyLoss = Callable[..., Tensor]
"""A function of (actions, outputs, rollouts of one task)."""


def likelihood(actions: Actions, outputs: Tensor, batch: Trajectories) -> Tensor:
    """-E[log pi(a) A] (maml_npo.py 98-102 of cbfinn/maml_rl). Its second derivative ignores that the policy also
    decides what it observes, so a meta-gradient through it is biased (Foerster et al. 2018; Rothfuss et al. 2019)."""
    return -mean(actions.log_prob(outputs, batch.actions) * batch.advantages, batch.mask)


def ratio(actions: Actions, outputs: Tensor, batch: Trajectories) -> Tensor:
    """-E[pi(a) / mu(a) A], where mu is the policy that acted: the outer loss of the paper. As an inner loss it is the
    low-variance curvature of ProMP (Rothfuss et al. 2019, section 5): its second derivative has the terms of single
    steps."""
    return -mean(_weight(actions, outputs, batch) * batch.advantages, batch.mask)


def clipped(actions: Actions, outputs: Tensor, batch: Trajectories, clip: float) -> Tensor:
    """As ``ratio``, but the ratio gains nothing beyond [1 - clip, 1 + clip] (Schulman et al. 2017, equation 7)."""
    weight = _weight(actions, outputs, batch)
    least = torch.minimum(weight * batch.advantages, weight.clamp(1 - clip, 1 + clip) * batch.advantages)
    return -mean(least, batch.mask)


def dice(actions: Actions, outputs: Tensor, batch: Trajectories, discount: float = 1.0) -> Tensor:
    """-E[sum over t of discount^t (box(actions up to t) r_t + (1 - box(a_t)) b_t)], where a box has the value 1
    and the derivative of a sum of log-probabilities. Derivatives of all orders are unbiased (Foerster et al. 2018, with
    their baseline). As in the other losses, it is a mean over steps, divided by the spread of the task's advantages.
    """
    log_prob = actions.log_prob(outputs, batch.actions)
    summed = log_prob.cumsum(-1)
    begins = torch.arange(batch.time.shape[-1], device=batch.time.device) - batch.time.long()
    summed = summed - (summed - log_prob).gather(-1, begins)  # without the steps before this episode
    together, alone = torch.exp(summed - summed.detach()), torch.exp(log_prob - log_prob.detach())
    share = discount**batch.time
    scale = spread(discounted(batch.rewards, discount, batch.time) - batch.values, batch.mask)
    return -mean(share * (together * batch.rewards + (1 - alone) * batch.values) / scale, batch.mask)


def credit(
    actions: Actions, outputs: Tensor, support: Trajectories, query: Trajectories, discount: float = 1.0
) -> Tensor:
    """E-MAML's additional term of the expected return (Stadie et al. 2018, equation 4): the log-likelihood ratio of the
    whole support times the mean return of the query. Like the other losses, it is divided by steps and spread."""
    before = actions.log_prob(support.behaviour, support.actions)
    likelier = ((actions.log_prob(outputs, support.actions) - before) * support.mask).sum()
    to_come = discounted(query.rewards, discount, query.time)
    begun = query.mask * (query.time == 0)
    earned, steps = mean(to_come, begun), query.mask.sum() / begun.sum()
    return likelier * earned / (steps * spread(to_come - query.values, query.mask).squeeze())


ESTIMATORS: dict[str, PolicyLoss] = {"likelihood": likelihood, "ratio": ratio, "dice": dice}


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps that count, where ``mask`` is 1."""
    return (values * mask).sum() / mask.sum()


def _weight(actions: Actions, outputs: Tensor, batch: Trajectories) -> Tensor:
    before = actions.log_prob(batch.behaviour, batch.actions)
    return torch.exp(actions.log_prob(outputs, batch.actions) - before)
