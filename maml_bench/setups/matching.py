"""Matching networks. Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra (2016), "Matching Networks for One Shot
Learning", NeurIPS, arXiv:1606.04080, section 2.1 and appendix A."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Gt
from torch import Tensor

from maml_bench.checked import later
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import AT_ONCE, LARGE, When
from maml_bench.setups._shared.class_statistics import one_hot
from maml_bench.setups._shared.lstm import lstm, lstm_step
from maml_bench.setups._shared.own_parameters import beside
from maml_bench.types import Params


@dataclass(frozen=True)
class MatchingNet(Setup):
    """Class probabilities are an average of the support labels, weighted by a softmax over cosine similarities.

    Outputs are logarithms of class probabilities, so cross-entropy is the negative log-likelihood. The paper's
    embeddings f (of queries) and g (of the support) share the network. With ``full_context`` both depend on the whole
    support (section 2.1.2): g reads it with an LSTM in each direction, in the random order of the episode, and f takes
    ``reads`` steps of an LSTM that attends to it. The paper does not give ``reads``; 3 is the value in the rerun of
    Ravi & Larochelle (matching-net.lua of twitter-research/meta-learning-lstm).
    """

    full_context: Annotated[bool, Doc("Whether embeddings depend on the whole support.")] = False
    reads: Annotated[int, Ge(0), AT_ONCE, When("full_context"), Doc("Steps of the LSTM that reads the support.")] = 3
    scale: Annotated[float, Gt(0), LARGE, Doc("Factor of the cosine similarities; 1 in the paper.")] = later(1.0)

    citation: ClassVar[str] = "Vinyals et al. 2016, arXiv:1606.04080"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        theta = learner.initial()
        if self.full_context:
            size = theta[f"{learner.head}.weight"].shape[1]
            for name, recurrent in (("forwards", size), ("backwards", size), ("reading", 2 * size)):
                theta = beside(theta, "matching", lstm(name, size, recurrent, size, generator))
        return theta

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        z = learner.embed(meta, support.x)
        if self.full_context:
            backwards = _sequence(meta, "matching.backwards", z.flip(0)).flip(0)
            z = z + _sequence(meta, "matching.forwards", z) + backwards
        return [{"g": z, "members": one_hot(support.y, learner.way, z)}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        z, g = learner.embed(meta, x), state["g"]
        if self.full_context:
            z = self._read(meta, z, g)
        attention = (self.scale * F.normalize(z, dim=-1) @ F.normalize(g, dim=-1).mT).softmax(-1)
        return (attention @ state["members"]).log()

    def _read(self, meta: Params, z: Tensor, g: Tensor) -> Tensor:
        """Equations 3 to 6 of the appendix. The state starts at zero, so the first read is the mean of ``g``."""
        drive = _drive(meta, "matching.reading", z)
        h = cell = torch.zeros_like(z)
        for _ in range(self.reads):
            read = (h @ g.mT).softmax(-1) @ g
            h, cell = lstm_step(drive, torch.cat([h, read], dim=-1), cell, meta["matching.reading.hidden"])
            h = h + z
        return h


def _drive(meta: Params, name: str, x: Tensor) -> Tensor:
    return F.linear(x, meta[f"{name}.input"], meta[f"{name}.bias"])


def _sequence(meta: Params, name: str, x: Tensor) -> Tensor:
    """Outputs ``[length, size]`` of an LSTM that reads ``x [length, size]`` from the start."""
    hidden = cell = torch.zeros_like(x[:1])
    outputs = []
    for drive in _drive(meta, name, x).unsqueeze(1):
        hidden, cell = lstm_step(drive, hidden, cell, meta[f"{name}.hidden"])
        outputs.append(hidden)
    return torch.cat(outputs)
