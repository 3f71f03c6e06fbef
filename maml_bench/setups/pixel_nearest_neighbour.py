"""Nearest neighbour on pixels. Vinyals, Blundell, Lillicrap, Kavukcuoglu & Wierstra (2016), "Matching Networks for One
Shot Learning", NeurIPS, arXiv:1606.04080, section 4.1: the baseline of raw pixels, the floor of every image table."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_doc import Doc
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.setups._shared.neighbours import Metric, greatest_similarity
from maml_bench.types import Params


@dataclass(frozen=True)
class PixelNearestNeighbour(Setup):
    """Give a query the label of the support image whose pixels are nearest; nothing is trained.

    The network is not used, and there are no inner steps.
    """

    metric: Annotated[Metric, Doc("Similarity of two images: cosine, or minus the squared distance.")] = "cosine"

    citation: ClassVar[str] = "Vinyals et al. 2016, arXiv:1606.04080, section 4.1"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.CLASSIFIES, Capability.OWN_NETWORK})
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return [{"x": support.x.flatten(1), "y": support.y}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        return greatest_similarity(x.flatten(1), state["x"], state["y"], learner.way, self.metric)
