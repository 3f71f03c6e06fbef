"""Optimistic Thompson sampling. Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3.1, after May, Korda, Lee &
Leslie (2012), "Optimistic Bayesian Sampling in Contextual-Bandit Problems", JMLR 13."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance
from maml_bench.declared import AT_ONCE
from maml_bench.setups._shared.counting import PullsArms, beta


@dataclass(frozen=True)
class OptimisticThompson(PullsArms):
    """Draw the probabilities of all arms ``samples`` times as Thompson sampling does, and pull the arm that is the best
    one most often.

    Duan et al. say only that their variant "samples N times from the posterior, and takes the one with the highest
    probability". This reading gives their values for 10 pulls of 5 or 10 arms with N = 20, more for 100 pulls of 10
    arms, and less for 10 pulls of 50 arms. The largest of N numbers for each arm does not, nor
    does the rule of May et al., which takes the larger of one drawn number and the mean.
    """

    samples: Annotated[int, Ge(1), AT_ONCE, Doc("How many times the probabilities are drawn.")] = 20

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779, section 3.1"

    def index(self, learner: Learner, pulls: Tensor, wins: Tensor, chance: Chance) -> Tensor:
        votes = torch.zeros_like(pulls)
        for _ in range(self.samples):
            best = beta(wins, pulls - wins, chance).argmax(-1, keepdim=True)
            votes = votes.scatter_add(-1, best, torch.ones_like(best, dtype=votes.dtype))
        return votes
