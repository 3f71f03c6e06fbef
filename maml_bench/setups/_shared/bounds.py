"""Lower bounds of the log-density of images with latent variables, and what they are made of."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared.noise import key_of_images, normal

MOST_LATENT = 28**2
"""Most latent variables of an image: it is drawn from as many random numbers as it has pixels."""
AT_ONCE = 10
"""Samples of each image that are decoded together, an even number, so that their images stay in the cache."""


def importance_bound(weights: Callable[[Tensor], Tensor], x: Tensor, latent: int, samples: int) -> Tensor:
    """A lower bound of the log-density ``[n]`` of images ``x [n, ...]``, in nats (Burda, Grosse & Salakhutdinov 2016,
    arXiv:1509.00519, equation 8).

    ``weights`` gives the logarithms of the importance weights ``[n, s]`` of the latent variables that standard normal
    numbers ``[n, s, latent]`` make. There are ``samples`` of these an image, a function of the image (see `noise`).
    """
    key, parts = key_of_images(x), []
    for first in range(0, samples, AT_ONCE):
        count = min(AT_ONCE, samples - first)
        parts.append(weights(normal(key, first * latent, count * latent, x).reshape(-1, count, latent)))
    return torch.cat(parts, dim=1).logsumexp(1) - math.log(samples)


def refuse_other_sizes(x: Tensor, side: int = 28) -> None:
    """Raise MamlBenchError unless ``x`` is of black-and-white images ``[n, 1, side, side]``."""
    if x.shape[1:] != (1, side, side):
        raise MamlBenchError(
            f"the setup reads images of 1x{side}x{side}, but one here is {'x'.join(map(str, x.shape[1:]))}"
        )


def log_bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """The log-probability ``[n]`` of images ``x [n, ...]`` of zeros and ones."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def normal_of(uniform: Tensor, count: int) -> Tensor:
    """Standard normal numbers ``[n, count]`` from numbers ``[n, ...]`` that are uniform in [0, 1]."""
    factor = 1 - 1e-6  # keeps them finite
    return math.sqrt(2) * torch.erfinv((2 * uniform.flatten(1)[:, :count] - 1) * factor)


def divergence(mean: Tensor, log_sd: Tensor, prior_mean: Tensor, prior_log_sd: Tensor) -> Tensor:
    """The Kullback-Leibler divergence ``[n]`` of independent normal variables ``[n, latent]`` from their prior."""
    ratio = (2 * (log_sd - prior_log_sd)).exp() + ((mean - prior_mean) * (-prior_log_sd).exp()) ** 2
    return (prior_log_sd - log_sd + (ratio - 1) / 2).sum(-1)
