"""Fine-tuning. Ravi & Larochelle (2017), "Optimization as a Model for Few-Shot Learning", ICLR, OpenReview rJY0-Kcll,
section 5: the baseline that the MAML paper quotes in Table 1."""

from dataclasses import dataclass
from typing import Any, ClassVar

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS
from maml_bench.setups._shared.classifier import Classifier, new_head
from maml_bench.types import Params


@dataclass(frozen=True)
class FineTuning(Classifier):
    """Train one classifier of all training classes; at test, replace its last layer and train the whole network.

    The new layer starts at zero, so the first step changes only this layer. Each step uses the whole support. The
    released code starts the layer at random and takes one example at a time (pre-trained-SGD.lua of
    twitter-research/meta-learning-lstm).
    """

    citation: ClassVar[str] = "Ravi & Larochelle 2017, OpenReview rJY0-Kcll, section 5"
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS - {"steps"}

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta | new_head(learner, meta), support, learner.inner.rule(), steps)
