"""Conditional sequential generator with attention. Rezende, Mohamed, Danihelka, Gregor & Wierstra (2016), "One-Shot
Generalization in Deep Generative Models", ICML, arXiv:1603.05106, sections 3 and 4."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Le
from torch import Generator, Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import AT_ONCE, WIDTH
from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared.attention import NUMBERS, window
from maml_bench.setups._shared.bounds import (
    MOST_LATENT,
    divergence,
    importance_bound,
    log_bernoulli,
    normal_of,
    refuse_other_sizes,
)
from maml_bench.setups._shared.lstm import lstm, lstm_step
from maml_bench.setups._shared.noise import key_of_images, normal
from maml_bench.setups._shared.own_parameters import beside, uniform
from maml_bench.types import Batch, Episode, Params

PREFIX = "sequential"
SIDE = 28


class _Turn(NamedTuple):
    """What a turn leaves behind: the generator's output, its cell, and the canvas, each of ``m`` images."""

    hidden: Tensor
    cell: Tensor
    canvas: Tensor


@dataclass(frozen=True)
class SequentialGenerator(Setup):
    """An image is drawn in several turns. In each, a recurrent network looks at a part of each example, gets new latent
    variables, and adds a patch to a canvas, whose last state gives the probability of ink.

    Windows of attention (DRAW) choose the places to look at and to draw on. What is seen in the examples is averaged
    with weights that compare it with what the network has in mind; the paper shows one example only. The encoder looks
    at the image itself and at what the canvas lacks of it. The prior of a turn's latent variables depends on the
    turns before it and on the examples. The network of the tasks is not used.
    """

    turns: Annotated[int, Ge(1), Le(MOST_LATENT), Doc("Turns in which an image is drawn.")] = 8
    latent: Annotated[int, Ge(1), Le(MOST_LATENT), Doc("Latent variables of a turn.")] = 6
    units: Annotated[int, Ge(1), WIDTH, Doc("Units of the recurrent network and of each other layer.")] = 200
    size: Annotated[int, Ge(1), WIDTH, Doc("Side of the patches that are read and written, in pixels.")] = 7
    samples: Annotated[int, Ge(1), AT_ONCE, Doc("Importance samples an image in validation and test.")] = 1000

    citation: ClassVar[str] = "Rezende et al. 2016, arXiv:1603.05106"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.IS_DENSITY, Capability.OWN_NETWORK}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns * self.latent > MOST_LATENT:
            raise MamlBenchError(
                f"setup.turns * setup.latent is {self.turns * self.latent}, but an image has at most {MOST_LATENT} "
                "latent variables"
            )

    def init(self, learner: Learner, generator: Generator) -> Params:
        """The network's parameters and ``sequential.*``. Windows start on the whole image."""
        h, patch = self.units, self.size**2
        layers = {
            "seen": (h, patch),
            "wanted": (h, h),
            "prior": (2 * self.latent, 2 * h),
            "encoder": (h, 2 * patch + 2 * h),
            "posterior": (2 * self.latent, h),
            "patch": (patch, h),
        }
        own: Params = {}
        for name, shape in layers.items():
            own |= {
                f"{name}.weight": uniform(*shape, generator=generator),
                f"{name}.bias": torch.zeros(shape[0]),
            }
        for name in ("look", "study", "write"):
            own[f"{name}.weight"] = 0.1 * uniform(NUMBERS, h, generator=generator)
            own[f"{name}.bias"] = torch.zeros(NUMBERS)
        own["canvas"] = torch.full((SIDE, SIDE), -2.0)
        own |= lstm("network", self.latent + h, h, h, generator)
        return beside(learner.initial(), PREFIX, own)

    def adapt(self, learner: Learner, meta: Params, support: Batch, steps: int) -> list[Params]:
        refuse_other_sizes(support.x)
        return [{"images": support.x.squeeze(1), "weight": support.y}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """A lower bound of the log-density ``[n]``, in nats, of images ``x [n, 1, 28, 28]``, from ``samples`` of z."""
        refuse_other_sizes(x)
        return importance_bound(partial(self._weights, meta, state, x), x, self.turns * self.latent, self.samples)

    def draw(self, learner: Learner, meta: Params, state: Params, noise: Tensor) -> Tensor:
        numbers = normal_of(noise[:, 0], self.turns * self.latent)
        turn = self._start(meta, len(noise))
        for z in self._by_turn(numbers):
            glimpse = self._glimpse(meta, state, turn)
            mean, log_sd = self._prior(meta, turn, glimpse)
            turn = self._drawn(meta, turn, glimpse, mean + log_sd.exp() * z)
        return (noise[:, 1:] < turn.canvas.sigmoid().unsqueeze(1)).to(noise)

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        [state] = self.adapt(learner, meta, episode.support, 0)
        return learner.loss(partial(self.elbo, meta, state), episode.query)

    def elbo(self, meta: Params, state: Params, x: Tensor) -> Tensor:
        """The evidence lower bound ``[n]`` from one sample, with the exact divergence of every turn."""
        refuse_other_sizes(x)
        numbers = normal(key_of_images(x), 0, self.turns * self.latent, x)
        turn, costs = self._start(meta, len(x)), []
        for noise in self._by_turn(numbers):
            turn, posterior, prior = self._turn(meta, state, turn, x.squeeze(1), noise)
            costs.append(divergence(*posterior, *prior))
        return log_bernoulli(turn.canvas, x.squeeze(1)) - torch.stack(costs).sum(0)

    def _weights(self, meta: Params, state: Params, x: Tensor, noise: Tensor) -> Tensor:
        """Logarithms of the importance weights ``[n, s]`` of the samples that ``noise [n, s, latent]`` makes."""
        count = noise.shape[1]
        images = x.expand(-1, count, -1, -1).flatten(0, 1)
        turn, found = self._start(meta, len(images)), []
        for one in self._by_turn(noise.flatten(0, 1)):
            turn, (mean, log_sd), (prior_mean, prior_log_sd) = self._turn(meta, state, turn, images, one)
            apart = (mean + log_sd.exp() * one - prior_mean) * (-prior_log_sd).exp()
            found.append((one**2 / 2 + log_sd - apart**2 / 2 - prior_log_sd).sum(-1))
        return (log_bernoulli(turn.canvas, images) + torch.stack(found).sum(0)).reshape(-1, count)

    def _by_turn(self, numbers: Tensor) -> tuple[Tensor, ...]:
        """The numbers of each turn ``[m, latent]``, of all numbers ``[m, turns * latent]``."""
        return numbers.reshape(-1, self.turns, self.latent).unbind(1)

    def _start(self, meta: Params, count: int) -> _Turn:
        canvas = meta[f"{PREFIX}.canvas"].expand(count, -1, -1)
        nothing = canvas.new_zeros(count, self.units)
        return _Turn(nothing, nothing, canvas)

    def _turn(
        self, meta: Params, state: Params, turn: _Turn, images: Tensor, noise: Tensor
    ) -> tuple[_Turn, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The next turn of an encoder that sees ``images [m, 28, 28]``, with its posterior and the prior."""
        glimpse = self._glimpse(meta, state, turn)
        place = window(_linear(meta, "study", turn.hidden), self.size, SIDE)
        lacks = images - turn.canvas.sigmoid()
        patches = [place.read(part).flatten(1) for part in (images, lacks)]
        seen = F.elu(_linear(meta, "encoder", torch.cat([*patches, turn.hidden, glimpse], dim=-1)))
        mean, log_sd = _linear(meta, "posterior", seen).chunk(2, dim=-1)
        after = self._drawn(meta, turn, glimpse, mean + log_sd.exp() * noise)
        return after, (mean, log_sd), self._prior(meta, turn, glimpse)

    def _glimpse(self, meta: Params, state: Params, turn: _Turn) -> Tensor:
        """What a turn sees in the examples that count: ``[m, units]``, zeros where there are none."""
        place = window(_linear(meta, "look", turn.hidden), self.size, SIDE)
        examples = state["images"]
        patches = place.read(examples.unsqueeze(0)).flatten(2)
        seen = F.elu(_linear(meta, "seen", patches))
        match = (seen @ _linear(meta, "wanted", turn.hidden).unsqueeze(-1)).squeeze(-1) / math.sqrt(self.units)
        # The logistic function and not the exponential: no example need be there, and none outweighs all others.
        weight = match.sigmoid() * state["weight"]
        return (weight.unsqueeze(-1) * seen).sum(1) / (weight.sum(1, keepdim=True) + 1e-6)

    def _prior(self, meta: Params, turn: _Turn, glimpse: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_sd = _linear(meta, "prior", torch.cat([turn.hidden, glimpse], dim=-1)).chunk(2, dim=-1)
        return mean, log_sd

    def _drawn(self, meta: Params, turn: _Turn, glimpse: Tensor, z: Tensor) -> _Turn:
        """The recurrent network after latent variables ``z [m, latent]``, and the canvas with its patch."""
        network = {name: meta[f"{PREFIX}.network.{name}"] for name in ("input", "hidden", "bias")}
        drive = F.linear(torch.cat([z, glimpse], dim=-1), network["input"], network["bias"])
        hidden, cell = lstm_step(drive, turn.hidden, turn.cell, network["hidden"])
        place = window(_linear(meta, "write", hidden), self.size, SIDE)
        patch = _linear(meta, "patch", hidden).reshape(-1, self.size, self.size)
        return _Turn(hidden, cell, turn.canvas + place.write(patch))


def _linear(meta: Params, name: str, x: Tensor) -> Tensor:
    return F.linear(x, meta[f"{PREFIX}.{name}.weight"], meta[f"{PREFIX}.{name}.bias"])
