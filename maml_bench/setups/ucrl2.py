"""Upper confidence reinforcement learning (UCRL2). Jaksch, Ortner & Auer (2010), "Near-optimal Regret Bounds for
Reinforcement Learning", JMLR 11, as in Duan et al. (2016), "RL^2", arXiv:1611.02779, section 3.2."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.memory import Chance, Given
from maml_bench.declared import LARGE
from maml_bench.setups._shared.counting import Planning, mean_leads, mean_rewards, tables_of
from maml_bench.types import Params


@dataclass(frozen=True)
class UCRL2(Planning):
    """In each episode, follow the best policy of the most favourable process that is likely enough.

    After t steps, a mean reward of an action that was taken n times may be larger by
    ``width`` * sqrt(7 log(2 S A (t + 1)) / (2 max(1, n))), and its transition probabilities may differ by
    ``width`` * sqrt(14 S log(2 A (t + 1)) / max(1, n)) in all (section 3.1 of the paper, with delta = 1). The paper has
    the width 1, which is made for a proof. The centres are the means under the prior, and the plan is made anew in each
    episode.
    """

    width: Annotated[float, Ge(0), LARGE, Doc("Factor of the width of the confidence intervals.")] = 0.05

    citation: ClassVar[str] = "Jaksch et al. 2010, JMLR 11; Duan et al. 2016, arXiv:1611.02779, section 3.2"
    families: ClassVar[frozenset[str]] = frozenset({"mdp"})

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        pulls = memory["pulls"]
        states, actions = pulls.shape[-2:]
        time, count = pulls.sum((-2, -1), keepdim=True) + 1, pulls.clamp(min=1)
        rewards = mean_rewards(learner, memory)
        rewards = rewards + self.width * (3.5 * (2 * states * actions * time).log() / count).sqrt()
        room = self.width * (14 * states * (2 * actions * time).log() / count).sqrt()
        leads, found = mean_leads(memory), [rewards]
        for _ in range(tables_of(learner).episode() - 1):
            value, order = found[-1].max(-1).values.sort(-1, descending=True)
            found.append(rewards + (favourable(leads, order, room) * value[..., None, None, :]).sum(-1))
        return torch.stack(found[::-1], -3)


def favourable(leads: Tensor, order: Tensor, room: Tensor) -> Tensor:
    """The transition probabilities ``[..., S, A, S]`` that lead to the first states of ``order [..., S]`` as often as
    possible, and differ by at most ``room [..., S, A]`` in all from ``leads``; the last axis is in that order."""
    sorted_ = leads.gather(-1, order[..., None, None, :].expand(leads.shape))
    up_to = (sorted_.cumsum(-1) + room.unsqueeze(-1) / 2).clamp(max=1)
    return torch.diff(up_to, dim=-1, prepend=torch.zeros_like(up_to[..., :1]))
