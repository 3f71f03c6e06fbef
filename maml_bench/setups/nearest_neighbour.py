"""Nearest neighbour. Ravi & Larochelle (2017), "Optimization as a Model for Few-Shot Learning", ICLR, OpenReview
rJY0-Kcll, section 5: the baseline that the MAML paper quotes in Table 1."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_doc import Doc
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.setups._shared.classifier import Classifier
from maml_bench.setups._shared.neighbours import Metric, greatest_similarity
from maml_bench.types import Params


@dataclass(frozen=True)
class NearestNeighbour(Classifier):
    """Train one classifier of all training classes; at test, give a query the label of its nearest support embedding.

    The embedding of an example is the input of the classifier's last layer. The released code uses ``cosine``
    similarity (nearest-neighbor.lua of twitter-research/meta-learning-lstm); ``euclidean`` is minus the squared
    distance. The logit of a class is the greatest similarity of any of its examples. There are no inner steps.
    """

    metric: Annotated[Metric, Doc("Similarity of two embeddings: cosine, or minus the squared distance.")] = "cosine"

    citation: ClassVar[str] = "Ravi & Larochelle 2017, OpenReview rJY0-Kcll, section 5"
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return [{"z": learner.embed(meta, support.x), "y": support.y}]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        return greatest_similarity(learner.embed(meta, x), state["z"], state["y"], learner.way, self.metric)
