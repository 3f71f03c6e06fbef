"""Agents that count: what the classical rules for bandits and tabular processes are made of.

Shapes: S states, A actions, H steps of an episode. A bandit has one state, and its episodes have one step. ``[...]``
are the axes of the trials.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, cast

import torch
from annotated_doc import Doc
from scipy.special import gammaincinv
from torch import Tensor

from maml_bench.core.learner import Learner, PolicyTerms
from maml_bench.core.memory import Answer, Chance, Given, Remembering
from maml_bench.types import Params

NEVER = -1e9
"""The logit of an action that is not taken."""


class Tables(PolicyTerms, Protocol):
    """What these agents ask of a family: see rl.trials.Trials."""

    prior: tuple[float, float]

    def episode(self) -> int: ...

    def longest(self) -> int: ...

    def tables(self, tasks: Tensor) -> tuple[Tensor, Tensor]: ...


def tables_of(learner: Learner) -> Tables:
    """The family of the tasks, for its prior and its sizes."""
    return cast(Tables, learner.acting)


@dataclass(frozen=True)
class Counting(Remembering):
    """Base of these setups, which define ``logits``. Nothing is trained, and the network is not used.

    The memory holds the state ``at [..., S]`` (one-hot) that the agent was in, how often it took each action ``pulls
    [..., S, A]``, and the rewards ``paid [..., S, A]`` that this brought.
    """

    families: ClassVar[frozenset[str]] = frozenset({"bandit", "mdp", "two_step"})

    def start(self, learner: Learner, meta: Params, trials: tuple[int, ...]) -> Params:
        states, actions = learner.acting.sizes()
        some = next(iter(meta.values()))
        zeros = some.new_zeros(*trials, states, actions)
        return {"at": zeros[..., 0], "pulls": zeros, "paid": zeros}

    def act(self, learner: Learner, meta: Params, memory: Params, x: Tensor, chance: Chance) -> Answer:
        states, actions = learner.acting.sizes()
        given = Given.of(x, actions)
        memory = self.add(learner, memory, given, given.observation[..., :states], chance)
        return Answer(self.logits(learner, memory, chance), None, memory)

    def add(self, learner: Learner, memory: Params, given: Given, seen: Tensor, chance: Chance) -> Params:
        """The memory with the last step; ``seen [..., S]`` is the state that the agent is in now."""
        pair = memory["at"].unsqueeze(-1) * given.action.unsqueeze(-2)
        paid = memory["paid"] + pair * given.reward[..., None, None]
        return {**memory, "at": seen, "pulls": memory["pulls"] + pair, "paid": paid}

    @abstractmethod
    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        """The logits ``[..., A]`` of the actions."""


@dataclass(frozen=True)
class PullsArms(Counting):
    """Base of the rules for bandits, which define ``index``: the arm with the largest index is pulled."""

    families: ClassVar[frozenset[str]] = frozenset({"bandit"})

    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        return only(self.index(learner, memory["pulls"][..., 0, :], memory["paid"][..., 0, :], chance))

    @abstractmethod
    def index(self, learner: Learner, pulls: Tensor, wins: Tensor, chance: Chance) -> Tensor:
        """The index ``[..., A]`` of each arm, which paid in ``wins [..., A]`` of its ``pulls [..., A]``."""


@dataclass(frozen=True)
class Planning(Counting):
    """Base of the rules that plan at the start of every episode and define ``plan``.

    The memory also holds how often each action led to each state, ``leads [..., S, A, S]``, and the ``plan [..., H, S,
    A]`` of the episode: the value of each action in its first, second, ... step from now.
    """

    def start(self, learner: Learner, meta: Params, trials: tuple[int, ...]) -> Params:
        memory = super().start(learner, meta, trials)
        zeros, steps = memory["pulls"], tables_of(learner).episode()
        leads = zeros.unsqueeze(-1).repeat(*[1] * zeros.ndim, zeros.shape[-2])
        return {**memory, "leads": leads, "plan": torch.stack([zeros] * steps, -3)}

    def add(self, learner: Learner, memory: Params, given: Given, seen: Tensor, chance: Chance) -> Params:
        pair = memory["at"].unsqueeze(-1) * given.action.unsqueeze(-2)
        goes_on = (1 - given.begins)[..., None, None, None]
        leads = memory["leads"] + goes_on * pair.unsqueeze(-1) * seen[..., None, None, :]
        memory = {**super().add(learner, memory, given, seen, chance), "leads": leads}
        begins = given.begins[..., None, None, None] if tables_of(learner).episode() > 1 else torch.ones_like(goes_on)
        rest = torch.cat([memory["plan"][..., 1:, :, :], memory["plan"][..., :1, :, :]], -3)
        if begins.any():
            rest = torch.where(begins > 0, self.plan(learner, memory, given, chance), rest)
        return {**memory, "plan": rest}

    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        values = (memory["at"].unsqueeze(-2) @ memory["plan"][..., 0, :, :]).squeeze(-2)
        return only(values)

    @abstractmethod
    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        """The plan of the episode that begins."""


@dataclass(frozen=True)
class Estimating(Planning):
    """Base of the greedy rules: take the actions that are best if the task is as it is estimated to be.

    The mean reward of an arm is (1 + wins) / (2 + pulls), which is the mean under a Beta(1, 1) prior. For processes the
    estimate is the most likely one under the prior of random processes, and it changes once in an episode. Arms are
    often equally good, and then it matters which is taken: random ones explore more. The published values are those of
    the first one.
    """

    ties: Annotated[Literal["first", "random"], Doc("Which of equally good actions is taken.")] = "first"

    def plan(self, learner: Learner, memory: Params, given: Given, chance: Chance) -> Tensor:
        return backups(mean_rewards(learner, memory), likely_leads(memory), tables_of(learner).episode())

    def logits(self, learner: Learner, memory: Params, chance: Chance) -> Tensor:
        best = super().logits(learner, memory, chance)
        if self.ties == "random":
            return best
        actions = torch.arange(best.shape[-1], device=best.device)
        return torch.where(actions == best.argmax(-1, keepdim=True), best, NEVER)


def only(values: Tensor) -> Tensor:
    """Logits with which the action of the largest of ``values [..., A]`` is taken; one of them is drawn where several
    are equal."""
    return torch.where(values == values.amax(-1, keepdim=True), 0.0, NEVER)


def backups(rewards: Tensor, leads: Tensor, steps: int) -> Tensor:
    """Dynamic programming (Bellman 1957): the values ``[..., H, S, A]`` of the actions, where ``steps`` = H and the
    best actions follow, for mean ``rewards [..., S, A]`` and transition probabilities ``leads [..., S, A, S]``."""
    found = [rewards]
    for _ in range(steps - 1):
        value = found[-1].max(-1).values
        found.append(rewards + (leads @ value[..., None, :, None]).squeeze(-1))
    return torch.stack(found[::-1], -3)


def mean_rewards(learner: Learner, memory: Params) -> Tensor:
    """The mean of the rewards ``[..., S, A]`` after what was seen, under the prior of the family: a Beta(1, 1) for the
    arms of a bandit, a normal distribution with mean and variance 1 for the rewards of a process."""
    mean, weight = tables_of(learner).prior
    return (mean * weight + memory["paid"]) / (weight + memory["pulls"])


def mean_leads(memory: Params) -> Tensor:
    """The mean transition probabilities ``[..., S, A, S]`` after what was seen, under a flat Dirichlet prior."""
    seen = 1 + memory["leads"]
    return seen / seen.sum(-1, keepdim=True)


def likely_leads(memory: Params) -> Tensor:
    """The most likely transition probabilities ``[..., S, A, S]`` under a flat Dirichlet prior: the shares in what was
    seen. They are equal where nothing was."""
    seen = memory["leads"]
    total = seen.sum(-1, keepdim=True)
    return torch.where(total > 0, seen / total.clamp(min=1), 1 / seen.shape[-1])


def normal(chance: Tensor) -> Tensor:
    """Standard normal numbers from uniform numbers in [0, 1) with steps of 2^-24."""
    found: Tensor = torch.special.ndtri((chance + 2.0**-25).clamp(max=1 - 2.0**-24))
    return found


def gamma(shape: Tensor, chance: Chance) -> Tensor:
    """Numbers from gamma distributions of ``shape [..., n]``, at least 1, and scale 1.

    It is the rejection of Marsaglia & Tsang (2000), "A simple method for generating gamma variables", which accepts at
    least 95 % of the numbers. The others come from the inverse of the distribution function, which would be slow for
    all, and so do numbers of shape 1, for which it is a logarithm.
    """
    z, u, rest = chance(3 * shape.shape[-1]).to(shape).chunk(3, -1)
    z, third = normal(z), shape - 1 / 3
    v = (1 + z / (3 * third.sqrt())).clamp(min=1e-6) ** 3
    found = torch.where(shape == 1, -(1 - rest).log(), third * v)
    rejected = (u.log() >= 0.5 * z**2 + third * (1 - v + v.log())) & (shape != 1)
    inverse = gammaincinv(shape[rejected].cpu().numpy(), rest[rejected].cpu().numpy())
    found[rejected] = torch.as_tensor(inverse).to(found)
    return found


def beta(wins: Tensor, losses: Tensor, chance: Chance) -> Tensor:
    """Numbers from the Beta(1 + ``wins``, 1 + ``losses``) distributions, ``[..., n]``."""
    both = gamma(torch.cat([1 + wins, 1 + losses], -1), chance)
    first, second = both.chunk(2, -1)
    return first / (first + second)


def sampled(learner: Learner, memory: Params, chance: Chance) -> tuple[Tensor, Tensor]:
    """Mean rewards and transition probabilities of a process drawn from the distribution of those that fit what was
    seen, under the prior of random processes."""
    pulls, leads = memory["pulls"], memory["leads"]
    _, weight = tables_of(learner).prior
    noise = normal(chance(pulls.shape[-2] * pulls.shape[-1]).to(pulls)).reshape(pulls.shape)
    drawn = gamma((1 + leads).flatten(-3), chance).reshape(leads.shape)
    rewards = mean_rewards(learner, memory) + noise / (weight + pulls).sqrt()
    return rewards, drawn / drawn.sum(-1, keepdim=True)
