"""Gittins indices. Gittins (1979), "Bandit Processes and Dynamic Allocation Indices",
doi:10.1111/j.2517-6161.1979.tb01068.x."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Gt, Lt
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance
from maml_bench.setups._shared.counting import PullsArms, tables_of

LOOKAHEAD = 200
GRID = 201


@dataclass(frozen=True)
class Gittins(PullsArms):
    """Pull the arm with the largest Gittins index under the prior Beta(1, 1), which is the best rule where rewards are
    discounted and never end.

    Here they end, so ``discount`` is tuned for the number of pulls. Duan et al. take the best of several approximations
    for each number of pulls and arms, and do not say which.
    """

    discount: Annotated[float, Gt(0), Lt(1), Doc("Discount of the rewards that the index is made for.")] = 0.99

    citation: ClassVar[str] = "Gittins 1979, doi:10.1111/j.2517-6161.1979.tb01068.x"

    def index(self, learner: Learner, pulls: Tensor, wins: Tensor, chance: Chance) -> Tensor:
        most = int(pulls.sum(-1).max()) + 1
        size = max(tables_of(learner).longest(), 1 << (most - 1).bit_length())  # a trial may have several rollouts
        table = indices(size, self.discount).to(pulls)
        return table[wins.long(), (pulls - wins).long()]


@cache
def indices(pulls: int, discount: float) -> Tensor:
    """The index ``[pulls, pulls]`` (float64) of an arm by its wins and losses, of which there are fewer than ``pulls``.

    The index of an arm is the sure payment in each step for which it is as good to stop pulling it (Whittle 1980).
    For each of GRID payments, dynamic programming finds what pulling on is worth, and a line between two of them
    gives the index. It looks LOOKAHEAD pulls further than ``pulls``. There the arm counts as known: its mean is paid
    from then on.
    """
    sure = torch.linspace(0, 1, GRID, dtype=torch.float64)
    found = torch.zeros(pulls, pulls, dtype=torch.float64)
    value = torch.empty(0)
    for count in range(pulls + LOOKAHEAD, -1, -1):
        wins = torch.arange(count + 1, dtype=torch.float64)
        mean = ((1 + wins) / (2 + count)).unsqueeze(1)
        if count == pulls + LOOKAHEAD:
            value = torch.maximum(mean, sure)
            continue
        goes_on = (1 - discount) * mean + discount * (mean * value[1:] + (1 - mean) * value[:-1])
        value = torch.maximum(goes_on, sure)
        if count < pulls:
            gain = goes_on - sure
            last = (gain > 0).sum(1, keepdim=True).clamp(1, GRID - 1) - 1
            left, right = gain.gather(1, last), gain.gather(1, last + 1)
            share = (left / (left - right)).squeeze(1)
            found[wins.long(), count - wins.long()] = (last.squeeze(1) + share) / (GRID - 1)
    return found
