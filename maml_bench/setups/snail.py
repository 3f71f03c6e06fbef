"""Simple neural attentive meta-learner (SNAIL). Mishra, Rohaninejad, Chen & Abbeel (2018), "A Simple Neural Attentive
Meta-Learner", ICLR, arXiv:1707.03141, sections 3 and 4 and appendix A."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import AT_ONCE, WIDTH
from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared import snail_blocks
from maml_bench.setups._shared.class_statistics import one_hot
from maml_bench.setups._shared.own_parameters import beside, uniform
from maml_bench.setups._shared.snail_blocks import Attention, Block, temporal
from maml_bench.types import Params


@dataclass(frozen=True)
class SNAIL(Setup):
    """A network of causal attention and temporal convolutions reads the support and predicts the label of each query.

    At each position of the sequence it is given the embedding of an image (the input of the network's last layer) and
    its label. Each query is separately the last position, with zeros in the place of the label. The outer loss is that
    of the last position alone. The last layer of the network is not used.
    """

    length: Annotated[
        int, Ge(2), AT_ONCE, Doc("Longest sequence, the support and one query: N * K + 1 in the paper.")
    ] = 26
    filters: Annotated[int, Ge(1), WIDTH, Doc("Filters of each convolution.")] = 128
    shrink: Annotated[int, Ge(1), WIDTH, Doc("Divisor of the widths of the keys and values, 1 in the paper.")] = 1

    citation: ClassVar[str] = "Mishra et al. 2018, arXiv:1707.03141"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks for images: attention, temporal convolution, attention, temporal convolution, attention."""
        first, second, third = (
            Attention(max(1, keys // self.shrink), max(1, values // self.shrink))
            for keys, values in ((64, 32), (256, 128), (512, 256))
        )
        return first, *temporal(self.length, self.filters), second, *temporal(self.length, self.filters), third

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        theta = learner.initial()
        own, outputs = snail_blocks.init(self.blocks, "", self._inputs(learner, theta), generator)
        own |= {
            "answer.weight": uniform(learner.way, outputs, generator=generator),
            "answer.bias": torch.zeros(learner.way),
        }
        return beside(theta, "snail", own)

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        if len(support.y) >= self.length:
            raise MamlBenchError(
                f"the setup reads sequences of {self.length} examples, but a support of {len(support.y)} and one query "
                f"are {len(support.y) + 1}: set setup.length"
            )
        z = learner.embed(meta, support.x)
        labels = one_hot(support.y, len(meta["snail.answer.bias"]), z)
        past = snail_blocks.start(self.blocks, "snail.", self._inputs(learner, meta), z)
        return [snail_blocks.read(self.blocks, meta, "snail.", torch.cat([z, labels], dim=-1), past)[1]]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """Logits ``[examples, way]``; each input is separately the last position after the support."""
        z = learner.embed(meta, x)
        last = torch.cat([z, z.new_zeros(len(z), len(meta["snail.answer.bias"]))], dim=-1).unsqueeze(1)
        features, _ = snail_blocks.read(self.blocks, meta, "snail.", last, state)
        return F.linear(features[:, 0], meta["snail.answer.weight"], meta["snail.answer.bias"])

    def _inputs(self, learner: Learner, meta: Params) -> int:
        """Features of a position: those of the embedding, and one for each class."""
        head = meta[f"{learner.head}.weight"]
        return int(head.shape[1]) + len(meta.get("snail.answer.bias", head))
