"""Prototypical networks. Snell, Swersky & Zemel (2017), "Prototypical Networks for Few-shot Learning", NeurIPS,
arXiv:1703.05175, equations 1 and 2 and Algorithm 1."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Gt
from torch import Tensor

from maml_bench.checked import later
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import LARGE
from maml_bench.setups._shared.class_statistics import class_sums, one_hot
from maml_bench.types import Batch, Episode, Params


@dataclass(frozen=True)
class ProtoNet(Setup):
    """Each class is represented by the mean of its support embeddings; its logit is minus the squared distance from the
    query to this mean.

    Distances are Euclidean. ``scale`` multiplies the squared distances; the paper has no scale, which is 1. In training
    the released code passes support and query through the network as one batch, so batch normalisation sees both
    (protonet.py of jakesnell/prototypical-networks). At test each is normalised as the test says.
    """

    scale: Annotated[float, Gt(0), LARGE, Doc("Factor of the squared distances; 1 in the paper.")] = 1.0
    training_batches: Annotated[
        Literal["separate", "one"], Doc("Whether support and query are two batches or one, to normalise in training.")
    ] = later("separate")

    citation: ClassVar[str] = "Snell et al. 2017, arXiv:1703.05175"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return [{"prototypes": _class_means(learner, support, learner.embed(meta, support.x))}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        return self._logits(learner.embed(meta, x), state["prototypes"])

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        if self.training_batches == "separate":
            return super().loss(learner, meta, episode)
        support, query = episode
        embeddings = learner.embed(meta, torch.cat([support.x, query.x]))
        shown, asked = embeddings[: len(support.x)], embeddings[len(support.x) :]
        return learner.loss(lambda x: self._logits(asked, _class_means(learner, support, shown)), query)

    def _logits(self, z: Tensor, prototypes: Tensor) -> Tensor:
        return self.scale * (2 * z @ prototypes.mT - (z**2).sum(-1, keepdim=True) - (prototypes**2).sum(-1))


def _class_means(learner: Learner, support: Batch, z: Tensor) -> Tensor:
    """The mean of the embeddings ``z [examples, features]`` of each class, ``[way, features]``."""
    members = one_hot(support.y, learner.way, support.x)
    return class_sums(z, members) / members.sum(0).unsqueeze(-1)
