"""Setups that act by a memory. They take no gradient steps on a task: what they learn about it is in the memory, which
lives through all rollouts of the task.

A trial is what one memory lives through: the consecutive episodes of one task. All functions take any leading axes,
written ``[...]``, such as ``[B, R]`` for R parallel trials of B tasks.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.types import Params

Chance = Callable[[int], Tensor]
"""``chance(n)`` gives n random numbers in [0, 1) to each trial, ``[..., n]`` (float32); each call gives new ones."""


class Answer(NamedTuple):
    """What a learner answers to one observation.

    ``outputs [..., O]`` describe the distribution of its action (for a choice: logits), ``values [...]`` are the
    discounted rewards that it expects from now on (see ``Remembering.expects_mean_reward``), or None if it expects
    nothing, and ``state`` is what it acts from at the next step.
    """

    outputs: Tensor
    values: Tensor | None
    state: Params


class Given(NamedTuple):
    """What an agent is given before it acts: the observation ``[..., D]``, its last action ``[..., A]`` (for a choice,
    one entry is 1), its last reward ``[...]``, and ``begins [...]``, 1 at the first step of every episode, else 0. At
    the first step of a trial the last action and reward are zero.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    begins: Tensor

    @classmethod
    def of(cls, x: Tensor, actions: int) -> "Given":
        """The parts of an input ``x [..., D + A + 2]``, where A is the number ``actions``."""
        split = x.shape[-1] - actions - 2
        return cls(x[..., :split], x[..., split:-2], x[..., -2], x[..., -1])


@dataclass(frozen=True)
class Remembering(Setup):
    """Base of these setups. They define ``start`` and ``act``; those that are trained define ``predict`` too, which
    computes the same outputs for whole trials ``x [R, T, I]``.

    In training, a task has ``train.query`` trials of ``inner.steps`` + 1 rollouts each. At a test, the rollout after k
    "inner steps" is the one after k rollouts of experience.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.ACTS, Capability.ACTS_ONLY, Capability.REMEMBERS, Capability.OWN_NETWORK}
    )
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def start(self, learner: Learner, meta: Params, trials: tuple[int, ...]) -> Params:
        """The memory at the start of trials: named tensors with the leading axes ``trials``."""

    @abstractmethod
    def act(self, learner: Learner, meta: Params, memory: Params, x: Tensor, chance: Chance) -> Answer:
        """The answer to the inputs ``x [..., I]`` of one step (their parts are `Given`).

        ``chance`` is for agents that are not trained; learners draw their actions from their outputs alone.
        """

    def expects(self) -> bool:
        """Whether the answers have values."""
        return False

    def expects_mean_reward(self) -> bool:
        """Whether values are returns divided by the discounted number of steps that remain in the trial."""
        return False

    def longest(self) -> int | None:
        """The number of steps that the memory holds; None if there is no bound."""
        return None

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        """The meta-parameters, because nothing is adapted."""
        return [meta]
