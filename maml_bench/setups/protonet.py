"""Prototypical networks. Snell, Swersky & Zemel (2017), "Prototypical Networks for Few-shot Learning", NeurIPS,
arXiv:1703.05175, equations 1 and 2 and Algorithm 1."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_doc import Doc
from annotated_types import Gt
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.setups._shared.class_statistics import class_sums, one_hot
from maml_bench.types import Params


@dataclass(frozen=True)
class ProtoNet(Setup):
    """Each class is represented by the mean of its support embeddings; its logit is minus the squared distance from the
    query to this mean.

    Distances are Euclidean. ``scale`` multiplies the squared distances; the paper has no scale, which is 1.
    """

    scale: Annotated[float, Gt(0), Doc("Factor of the squared distances; 1 in the paper.")] = 1.0

    citation: ClassVar[str] = "Snell et al. 2017, arXiv:1703.05175"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        members = one_hot(support.y, learner.way, support.x)
        sums = class_sums(learner.embed(meta, support.x), members)
        return [{"prototypes": sums / members.sum(0).unsqueeze(-1)}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        z, c = learner.embed(meta, x), state["prototypes"]
        return self.scale * (2 * z @ c.mT - (z**2).sum(-1, keepdim=True) - (c**2).sum(-1))
