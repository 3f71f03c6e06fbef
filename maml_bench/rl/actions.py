"""Distributions of actions as functions of a policy's outputs. No other module knows what these outputs mean.

Outputs have the shape ``[..., size(actions)]``; everything is computed entry by entry and may be differentiated twice.
"""

import math

import torch
from torch import Tensor

LEAST_LOG_STD = math.log(1e-6)
"""The floor of the released MAML code (maml_minimal_gauss_mlp_policy.py of cbfinn/maml_rl)."""


class Gaussian:
    """Independent normal distributions; outputs are means, then the logarithms of standard deviations."""

    spread = True
    """Whether the policy has separate parameters for the standard deviation of actions."""

    def draws(self, actions: int) -> int:
        """How many random numbers one action of ``actions`` dimensions needs."""
        return actions

    def size(self, actions: int) -> int:
        """How many outputs a policy needs for ``actions`` dimensions (or for a choice between so many actions)."""
        return 2 * actions

    def from_words(self, words: Tensor) -> Tensor:
        """The noise for ``draw`` from 32-bit random words: standard normal numbers, by the inverse of the distribution
        function at the middles of 2^24 intervals."""
        normal: Tensor = torch.special.ndtri(((words >> 8).double() + 0.5) * 2.0**-24)
        return normal.float()

    def draw(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Actions from ``noise [..., draws]`` of `from_words`."""
        mean, log_std = _split(outputs)
        return torch.addcmul(mean, log_std.exp(), noise)

    def as_input(self, actions: Tensor, number: int) -> Tensor:
        """Actions as an agent is told them, ``[..., number]``: as they are, or one entry for each choice."""
        return actions

    def log_prob(self, outputs: Tensor, actions: Tensor) -> Tensor:
        """Log-density or log-probability ``[...]`` of the actions."""
        mean, log_std = _split(outputs)
        standard = (actions - mean) * torch.exp(-log_std)
        return -(0.5 * standard**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy ``[...]`` of the distributions, in nats."""
        _, log_std = _split(outputs)
        return (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def divergence(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) ``[...]``."""
        (mean, log_std), (mean2, log_std2) = _split(old), _split(new)
        spread = torch.exp(2 * (log_std - log_std2)) + (mean - mean2) ** 2 * torch.exp(-2 * log_std2)
        return (log_std2 - log_std + 0.5 * (spread - 1)).sum(-1)

    def metric(self, outputs: Tensor, tangent: Tensor) -> Tensor:
        """The second derivative of ``divergence(outputs, .)`` at ``outputs``, times ``tangent``: Fisher's metric."""
        _, log_std = _split(outputs)
        means, log_stds = tangent.chunk(2, -1)
        return torch.cat([means * torch.exp(-2 * log_std), 2 * log_stds], -1)


class Categorical:
    """One of several actions, int64 ``[...]``; outputs are logits. The methods are those of `Gaussian`."""

    spread = False

    def draws(self, actions: int) -> int:
        return 1

    def size(self, actions: int) -> int:
        return actions

    def from_words(self, words: Tensor) -> Tensor:
        """Numbers in [0, 1)."""
        return (words >> 8).to(torch.float32) * 2.0**-24

    def draw(self, outputs: Tensor, noise: Tensor) -> Tensor:
        below = outputs.softmax(-1).cumsum(-1)[..., :-1] <= noise
        return below.sum(-1)

    def as_input(self, actions: Tensor, number: int) -> Tensor:
        return torch.nn.functional.one_hot(actions, number).float()

    def log_prob(self, outputs: Tensor, actions: Tensor) -> Tensor:
        return outputs.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def entropy(self, outputs: Tensor) -> Tensor:
        log_share = outputs.log_softmax(-1)
        return -(log_share.exp() * log_share).sum(-1)

    def divergence(self, old: Tensor, new: Tensor) -> Tensor:
        log_old = old.log_softmax(-1)
        return (log_old.exp() * (log_old - new.log_softmax(-1))).sum(-1)

    def metric(self, outputs: Tensor, tangent: Tensor) -> Tensor:
        share = outputs.softmax(-1)
        return share * (tangent - (share * tangent).sum(-1, keepdim=True))


Actions = Gaussian | Categorical
"""The distribution of actions that a policy's outputs describe."""


def _split(outputs: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = outputs.chunk(2, -1)
    return mean, log_std.clamp(min=LEAST_LOG_STD)
