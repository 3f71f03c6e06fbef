"""Upper confidence bounds (UCB1). Auer, Cesa-Bianchi & Fischer (2002), "Finite-time Analysis of the Multiarmed Bandit
Problem", doi:10.1023/A:1013689704352, as in Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3.1."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance
from maml_bench.declared import LARGE
from maml_bench.setups._shared.counting import PullsArms


@dataclass(frozen=True)
class UCB1(PullsArms):
    """Pull the arm whose mean could be the largest.

    With the wins s and the pulls n of an arm after t pulls in all, its index is
    (1 + s) / (2 + n) + ``width`` * sqrt(2 log(t + 2) / (n + 2)). Each arm starts with one success and one failure, as
    in Duan et al. They tune the width for each number of pulls and arms.
    """

    width: Annotated[float, Ge(0), LARGE, Doc("Factor of the width of the confidence interval.")] = 0.2

    citation: ClassVar[str] = "Auer et al. 2002, doi:10.1023/A:1013689704352"

    def index(self, learner: Learner, pulls: Tensor, wins: Tensor, chance: Chance) -> Tensor:
        known = (pulls.sum(-1, keepdim=True) + 2).log()
        return (1 + wins) / (2 + pulls) + self.width * math.sqrt(2) * (known / (2 + pulls)).sqrt()
