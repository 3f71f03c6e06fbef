"""Densities of black-and-white images with one vector of latent variables: their networks.

A variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) whose prior, encoder and decoder may be told
something about the task.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Le
from torch import Generator, Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import AT_ONCE, WIDTH
from maml_bench.setups._shared.bounds import (
    MOST_LATENT,
    divergence,
    importance_bound,
    log_bernoulli,
    normal_of,
    refuse_other_sizes,
)
from maml_bench.setups._shared.noise import key_of_images, normal
from maml_bench.setups._shared.own_parameters import beside
from maml_bench.types import Batch, Episode, Params

PREFIX = "vae"


@dataclass(frozen=True)
class LatentDensity(Setup):
    """Base of these setups. The encoder has two convolutions of 5x5 with stride 2 and a layer of ``units``, all with
    ELU; the decoder has two layers and two transposed convolutions of 4x4. Latent variables are normal and
    independent given what is known.

    A setup defines ``about``, what it knows of a task, as a vector. Noise is a function of the image (see `noise`). The
    network of the tasks is not used.
    """

    latent: Annotated[int, Ge(1), Le(MOST_LATENT), Doc("Number of latent variables.")] = 50
    units: Annotated[int, Ge(1), WIDTH, Doc("Units of the layers between images and latent variables.")] = 256
    filters: Annotated[
        int, Ge(1), WIDTH, Doc("Filters of the convolution next to the image; the other has twice as many.")
    ] = 32
    samples: Annotated[int, Ge(1), AT_ONCE, Doc("Importance samples an image in validation and test.")] = 1000

    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.IS_DENSITY, Capability.OWN_NETWORK}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def about(self, meta: Params, support: Batch) -> Tensor:
        """What the support says of the task, a vector."""

    def init(self, learner: Learner, generator: Generator) -> Params:
        """The network's parameters and ``vae.*``, uniform as in torch's own layers."""
        c, told = self.filters, self.told_units()
        flat = 2 * c * 7 * 7
        shapes = {
            "near": (c, 1, 5, 5),
            "far": (2 * c, c, 5, 5),
            "seen": (self.units, flat),
            "posterior": (2 * self.latent, self.units + told),
            "thought": (self.units, self.latent + told),
            "wide": (flat, self.units),
            "back": (2 * c, c, 4, 4),
            "image": (c, 1, 4, 4),
        } | self.own_shapes()
        own: Params = {}
        for name, shape in shapes.items():
            transposed = name in ("back", "image")
            fan_in = shape[0] * 4 if transposed else math.prod(shape[1:])  # each pixel is reached by 4 weights a map
            bound = 1 / math.sqrt(fan_in)
            own[f"{name}.weight"] = bound * (2 * torch.rand(shape, generator=generator) - 1)
            own[f"{name}.bias"] = torch.zeros(shape[1] if transposed else shape[0])
        return beside(learner.initial(), PREFIX, own)

    def told_units(self) -> int:
        """Length of what `about` returns."""
        return 0

    def own_shapes(self) -> dict[str, tuple[int, ...]]:
        """Weights that a setup has in addition."""
        return {}

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return [{"about": self.about(meta, support)}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """A lower bound of the log-density ``[n]``, in nats, of images ``x [n, 1, 28, 28]``, from ``samples`` of z."""
        about = state["about"]
        posterior = self._posterior(meta, self.features(meta, x), about)
        weights = partial(self._weights, meta, x, about, posterior)
        return importance_bound(weights, x, self.latent, self.samples)

    def draw(self, learner: Learner, meta: Params, state: Params, noise: Tensor) -> Tensor:
        mean, log_sd = self.prior(meta, state["about"])
        z = mean + log_sd.exp() * normal_of(noise[:, 0], self.latent)
        return (noise[:, 1:] < self.logits(meta, z, state["about"]).sigmoid()).to(noise)

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        [state] = self.adapt(learner, meta, episode.support, 0)
        return learner.loss(lambda x: self.elbo(meta, state["about"], x), episode.query)

    def elbo(self, meta: Params, about: Tensor, x: Tensor) -> Tensor:
        """The evidence lower bound ``[n]`` from one sample, with the exact divergence of posterior and prior."""
        posterior = mean, log_sd = self._posterior(meta, self.features(meta, x), about)
        z = _at(posterior, normal(key_of_images(x), 0, self.latent, x).unsqueeze(1)).squeeze(1)
        return log_bernoulli(self.logits(meta, z, about), x) - divergence(mean, log_sd, *self.prior(meta, about))

    def prior(self, meta: Params, about: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation ``[latent]`` of the latent variables of the task."""
        zero = about.new_zeros(self.latent)
        return zero, zero

    def features(self, meta: Params, x: Tensor) -> Tensor:
        """What the encoder sees in images ``x [n, 1, 28, 28]``: ``[n, units]``.

        Raises:
            MamlBenchError: the images have another size.
        """
        refuse_other_sizes(x)
        maps = x
        for name in ("near", "far"):
            weight, bias = layer(meta, name)
            maps = F.elu(F.conv2d(maps, weight, bias, stride=2, padding=2))
        return F.elu(F.linear(maps.flatten(1), *layer(meta, "seen")))

    def _posterior(self, meta: Params, features: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation ``[n, latent]`` of the latent variables of images."""
        given = torch.cat([features, about.expand(len(features), -1)], dim=-1)
        mean, log_sd = F.linear(given, *layer(meta, "posterior")).chunk(2, dim=-1)
        return mean, log_sd

    def _weights(
        self, meta: Params, x: Tensor, about: Tensor, posterior: tuple[Tensor, Tensor], noise: Tensor
    ) -> Tensor:
        """Logarithms of the importance weights ``[n, s]`` of the samples that ``noise [n, s, latent]`` makes."""
        z = _at(posterior, noise)
        logits = self.logits(meta, z.flatten(0, 1), about).reshape(*noise.shape[:2], *x.shape[1:])
        likelihood = log_bernoulli(logits.flatten(0, 1), x.unsqueeze(1).expand_as(logits).flatten(0, 1))
        mean, log_sd = self.prior(meta, about)
        apart = (z - mean) * (-log_sd).exp()
        of_prior = (-(apart**2) / 2 - log_sd).sum(-1)
        of_posterior = (-(noise**2) / 2 - posterior[1].unsqueeze(1)).sum(-1)
        return likelihood.reshape(noise.shape[:2]) + of_prior - of_posterior

    def logits(self, meta: Params, z: Tensor, about: Tensor) -> Tensor:
        """Logits ``[n, 1, 28, 28]`` of the pixels at latent variables ``z [n, latent]``."""
        given = torch.cat([z, about.expand(len(z), -1)], dim=-1)
        hidden = F.elu(F.linear(F.elu(F.linear(given, *layer(meta, "thought"))), *layer(meta, "wide")))
        maps = hidden.reshape(-1, 2 * self.filters, 7, 7)
        maps = F.elu(F.conv_transpose2d(maps, *layer(meta, "back"), stride=2, padding=1))
        return F.conv_transpose2d(maps, *layer(meta, "image"), stride=2, padding=1)


def layer(meta: Params, name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer ``name``."""
    return meta[f"{PREFIX}.{name}.weight"], meta[f"{PREFIX}.{name}.bias"]


def _at(posterior: tuple[Tensor, Tensor], noise: Tensor) -> Tensor:
    """Latent variables ``[n, s, latent]`` of the standard normal ``noise [n, s, latent]``."""
    mean, log_sd = (part.unsqueeze(1) for part in posterior)
    return mean + log_sd.exp() * noise
