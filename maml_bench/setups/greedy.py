"""Greedy actions. Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3: a baseline without exploration."""

from dataclasses import dataclass
from typing import ClassVar

from maml_bench.setups._shared.counting import Estimating


@dataclass(frozen=True)
class Greedy(Estimating):
    """Take the actions that are best if the task is as it is estimated to be: the arm with the largest mean, or the
    best policy of the most likely process."""

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779, section 3"
