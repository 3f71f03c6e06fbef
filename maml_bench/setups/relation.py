"""Relation networks. Sung, Yang, Zhang, Xiang, Torr & Hospedales (2018), "Learning to Compare: Relation Network for
Few-Shot Learning", CVPR, arXiv:1711.06025, section 3."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import normalised
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import WIDTH
from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared.class_statistics import class_sums, one_hot
from maml_bench.setups._shared.own_parameters import beside
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class RelationNet(Setup):
    """A second network compares the feature maps of a query and a class, and scores from 0 to 1 how well they match.

    The maps of a class are the sum of its support maps. The relation module is given the maps of class and query
    stacked along the channels. It has two blocks of 3x3 convolution, batch-norm, ReLU and 2x2 max-pooling, and two
    linear layers (figures 2 and 3). The loss is the mean squared error between scores and one-hot labels. The
    network's last map must have ``filters`` channels and be flattened. Batch-norm inside the module takes the
    statistics of all pairs at hand unless a test asks for others.
    """

    filters: Annotated[
        int, Ge(1), WIDTH, Doc("Filters of the relation module, and channels of the last map of the network.")
    ] = 64
    hidden: Annotated[int, Ge(1), WIDTH, Doc("Units between the two linear layers of the relation module.")] = 8
    start: Annotated[
        Literal["he", "xavier"],
        Doc("Initial convolutions of the network: normal as in the released code (He et al. 2015), or as in MAML."),
    ] = "he"

    citation: ClassVar[str] = "Sung et al. 2018, arXiv:1711.06025"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        """The network's parameters and ``relation.*``, drawn as in the released code (weights_init there).

        Raises:
            MamlBenchError: the network's last layer is not given ``filters`` square maps that can be halved twice.
        """
        theta = learner.initial()
        side = _side(theta[f"{learner.head}.weight"].shape[1], self.filters)
        own = {}
        for block, fan_in in enumerate((2 * self.filters, self.filters)):
            own[f"{block}.weight"] = _he((self.filters, fan_in, 3, 3), generator)
            own[f"{block}.gamma"], own[f"{block}.beta"] = torch.ones(self.filters), torch.zeros(self.filters)
        for layer, (fan_in, size) in enumerate(((self.filters * (side // 4) ** 2, self.hidden), (self.hidden, 1))):
            own[f"linear{layer}.weight"] = 0.01 * torch.randn(size, fan_in, generator=generator)
            own[f"linear{layer}.bias"] = torch.ones(size)
        if self.start == "he":
            theta |= {name: _he(tuple(p.shape), generator).to(p) for name, p in theta.items() if p.dim() == 4}
        return beside(theta, "relation", own)

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        members = one_hot(support.y, learner.way, support.x)
        return [{"classes": self._maps(class_sums(learner.embed(meta, support.x), members))}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """Scores ``[examples, way]``. The first convolution of two stacked maps is the sum of a convolution of each,
        so it runs once for each class and query and not for each pair."""
        classes, queries = state["classes"], self._maps(learner.embed(meta, x))
        of_class, of_query = meta["relation.0.weight"].chunk(2, dim=1)
        first, second = F.conv2d(classes, of_class, padding=1), F.conv2d(queries, of_query, padding=1)
        way = len(classes)
        pairs = _rest(meta, 0, (second.unsqueeze(1) + first).flatten(0, 1), way)
        pairs = _rest(meta, 1, F.conv2d(pairs, meta["relation.1.weight"], padding=1), way)
        inner = F.linear(pairs.flatten(1), meta["relation.linear0.weight"], meta["relation.linear0.bias"]).relu()
        score = F.linear(inner, meta["relation.linear1.weight"], meta["relation.linear1.bias"]).sigmoid()
        return score.reshape(len(queries), way)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The scores, which are no logits, in proportion."""
        return outputs / outputs.sum(-1, keepdim=True)

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        [state] = self.adapt(learner, meta, episode.support, 0)
        scores = self.predict(learner, meta, state, episode.query.x)
        return F.mse_loss(scores, one_hot(episode.query.y, learner.way, scores))

    def _maps(self, z: Tensor) -> Tensor:
        side = _side(z.shape[-1], self.filters)
        return z.reshape(-1, self.filters, side, side)


def _rest(meta: Params, block: int, maps: Tensor, way: int) -> Tensor:
    """A block after its convolution, which needs no bias before batch-norm; each example has ``way`` pairs."""
    gamma, beta = (meta[f"relation.{block}.{name}"].reshape(-1, 1, 1) for name in ("gamma", "beta"))
    maps = normalised(f"relation.{block}", maps, 1e-5, rows=way) * gamma + beta
    return F.max_pool2d(maps.relu(), 2)


def _he(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Convolutions ``[out, in, height, width]`` with variance 2 / (out * height * width)."""
    out, _, height, width = shape
    return math.sqrt(2 / (out * height * width)) * torch.randn(shape, generator=generator)


def _side(features: int, filters: int) -> int:
    """The side of ``filters`` square maps that were flattened to ``features``."""
    side = math.isqrt(features // filters)
    if side < 4 or features != filters * side**2:
        raise MamlBenchError(
            f"the relation module compares {filters} square maps of at least 4x4, but the network's last layer is "
            f"given {features} features: use tasks.conv with filters = {filters}, halvings = 2 and average = false"
        )
    return side
