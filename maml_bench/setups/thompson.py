"""Thompson sampling. Thompson (1933), "On the likelihood that one unknown probability exceeds another in view of the
evidence of two samples", doi:10.1093/biomet/25.3-4.285."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance
from maml_bench.setups._shared.counting import PullsArms, beta


@dataclass(frozen=True)
class Thompson(PullsArms):
    """Draw a probability for each arm from its Beta(1 + wins, 1 + losses) distribution, and pull the arm with the
    largest one. The prior Beta(1, 1) is the true distribution of independent arms."""

    citation: ClassVar[str] = "Thompson 1933, doi:10.1093/biomet/25.3-4.285"

    def index(self, learner: Learner, pulls: Tensor, wins: Tensor, chance: Chance) -> Tensor:
        return beta(wins, pulls - wins, chance)
