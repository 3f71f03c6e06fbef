"""Optimistic posterior sampling (OPSRL). Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3.2, after Osband & Van
Roy (2016), "Why is Posterior Sampling Better than Optimism for Reinforcement Learning?", arXiv:1607.00215."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance, Given
from maml_bench.declared import AT_ONCE
from maml_bench.setups._shared.counting import Planning, backups, sampled, tables_of
from maml_bench.types import Params


@dataclass(frozen=True)
class OPSRL(Planning):
    """At the start of each episode, draw ``samples`` processes as posterior sampling does, and take the action that the
    best policies of most of them take.

    Duan et al. do not define their variant. This one is what their bandits' variant is for processes (see
    optimistic_thompson). With 5 processes it comes nearer to their values than the most optimistic value among the
    processes does.
    """

    samples: Annotated[int, Ge(1), AT_ONCE, Doc("How many processes are drawn for an episode.")] = 5

    citation: ClassVar[str] = "Duan et al. 2016, arXiv:1611.02779, section 3.2"
    families: ClassVar[frozenset[str]] = frozenset({"mdp"})

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        votes = torch.zeros_like(memory["plan"])
        for _ in range(self.samples):
            best = backups(*sampled(learner, memory, chance), tables_of(learner).episode()).argmax(-1)
            votes += torch.nn.functional.one_hot(best, votes.shape[-1])
        return votes
