"""The common part of the task distributions of reinforcement learning: rollouts of a policy in a batch of worlds, and
the losses of policy gradients (Finn et al. 2017, section 5.3; batch_maml_polopt.py, maml_npo.py of cbfinn/maml_rl)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Generator, Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of
from maml_bench.declared import When
from maml_bench.errors import MamlBenchError, Unstable, nearest
from maml_bench.record import Metric
from maml_bench.rl import losses
from maml_bench.rl.actions import Actions
from maml_bench.rl.policy import Policy
from maml_bench.rl.protocol import Acting, Actor
from maml_bench.rl.step_budget import FirstEnded, InTurn, StepBudget
from maml_bench.rl.trajectories import Trajectories, advantages, discounted, linear_baseline, packed
from maml_bench.rl.world import MixedStage, Noise, Stage, Streams, World
from maml_bench.types import Episode, Predict, Shape

Fill = Annotated[bool, Doc("Whether new episodes follow until there are as many steps as in full rollouts.")]
Activation = Annotated[Literal["relu", "tanh"], Doc("Activation of the hidden layers of the policy.")]
First = Annotated[
    bool,
    When("fill"),
    Doc("Whether validation, test and mixed training count the episodes that end first, not the first ones in order."),
]
Mixed = Annotated[
    bool,
    Doc("Whether training rollouts have a task each, with one baseline and one scale of advantages for all of them."),
]


@dataclass(frozen=True)
class Control(ABC):
    """Base of these task distributions, which are frozen dataclasses with these fields, their own defaults where the
    papers differ, and further fields.

    ``horizon`` is the number of steps of a rollout. ``discount`` and ``trace`` (lambda) belong to the advantages.
    ``hidden`` are the widths of the policy, and ``context`` is the size of its context vector. ``reveal`` adds the task
    to the observations. Where episodes can end early, ``fill`` lets complete new episodes follow until there are as
    many steps as rollouts times the horizon, as in the released code; without it the number of rollouts is fixed. The
    episodes count in order or, with ``first_ended``, those that end first, except in training that is not mixed (see
    step_budget.py).

    With ``mixed``, training is plain policy gradients for one policy: every rollout has a task of its own, and so has
    every episode that follows another one. A training batch is then one task for the learner, ``[1, R, T]`` with the
    rollouts of all tasks. One baseline is fitted to them, and the advantages are standardised over all of them.
    Validation and test stay as they are.
    """

    horizon: Annotated[int, Ge(1), Doc("Steps of a rollout, at most.")] = 200
    discount: Annotated[float, Gt(0), Le(1), Doc("Discount of rewards.")] = 0.99
    trace: Annotated[float, Ge(0), Le(1), Doc("Lambda of generalised advantage estimation.")] = 1.0
    hidden: Annotated[tuple[int, ...], Doc("Widths of the hidden layers of the policy.")] = (100, 100)
    context: Annotated[int, Ge(0), Doc("Size of the context vector of the policy, 0 for none.")] = 0
    reveal: Annotated[bool, Doc("Whether the agent observes the task.")] = False
    mixed: Mixed = later(False)
    normalisation: Annotated[Literal["none"], Doc("The policy has no normalisation.")] = "none"

    name: ClassVar[str]
    version: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("return")
    activation = "relu"
    fill = False
    first_ended = False
    actions: ClassVar[Actions]

    def lengths_vary(self) -> bool:
        """Whether the rollouts of a task differ in length from one draw to the next."""
        return self.fill

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """The size of an observation, and the dimensions of an action (or the number of actions to choose from)."""

    @abstractmethod
    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """The parameters ``[B, P]`` of tasks ``first`` to ``first + count - 1`` of ``split``."""

    @abstractmethod
    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        """The worlds of the tasks at the start of ``rollouts`` rollouts each."""

    def model(self, shape: Shape, generator: Generator) -> Policy:
        """The policy for these observations and actions."""
        seen, actions = self.sizes()
        seen += self.draw("train", 0, 1, 0).shape[1] if self.reveal else 0
        log_std = 0.0 if self.actions.spread else None
        return Policy(
            (seen, *self.hidden, actions),
            log_std=log_std,
            context=self.context,
            tanh=self.activation == "tanh",
            generator=generator,
        )

    def sample(
        self,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        actor: Actor,
        device: str = "cpu",
    ) -> Episode:
        """Support: a list of ``shape.shot`` rollouts before each of the actor's inner steps; query: ``shape.query``
        rollouts after the last, or an empty list if that is 0.

        Raises:
            Unstable: an observation or a reward is not finite.
        """
        counts = [shape.shot] * max(1, actor.steps) + [shape.query]
        path = self.path(split, first, count, key=key, rollouts=counts, actor=actor, device=device)
        return Episode(path[: len(counts) - 1], path[-1] if shape.query else [])

    def path(
        self, split: str, first: int, count: int, *, key: int, rollouts: list[int], actor: Actor, device: str = "cpu"
    ) -> list[Trajectories]:
        """Rollouts after 0, 1, 2, ... inner steps, each step on the rollouts before it; a last 0 gives no rollouts."""
        mixed = self.mixed and split == "train"
        found: list[Trajectories] = []
        for step, number in enumerate(rollouts):
            if number:
                with actor.measure("adapt"):
                    policies = actor.policies(found)
                copies, begin, tasks = (1, first * number, count * number) if mixed else (number, first, count)
                streams = Streams((key, self.name, split, step), begin, tasks, device)
                with actor.measure("simulate"):
                    stage = self._stage(split, key, streams, copies, mixed=mixed)
                shape = (1, tasks) if mixed else (tasks, copies)
                budget = self._budget(in_order=split == "train" and not mixed)(*shape, self.horizon, device)
                found.append(self._roll(stage, budget, partial(actor.outputs, policies), streams, actor.measure))
        return found

    def _stage(self, split: str, key: int, streams: Streams, copies: int, *, mixed: bool) -> Stage:
        """The worlds of the tasks of ``streams``, with so many copies each, at the start of their rollouts."""

        def draw(key: int) -> Tensor:
            return self.draw(split, streams.first, streams.count, key).to(streams.device)

        tasks = draw(key)
        world = self.start(tasks, copies, streams.words)
        if not mixed:
            return Stage(world, tasks, reveal=self.reveal)
        return MixedStage(world, tasks, reveal=self.reveal, more=lambda time: draw(key_of(key, "more", time)))

    def _budget(self, *, in_order: bool) -> type[StepBudget]:
        """``in_order`` holds for the training of MAML, whose released code runs the episodes of a task in turn."""
        if not self.fill:
            return StepBudget
        return FirstEnded if self.first_ended and not in_order else InTurn

    def _roll(
        self,
        stage: Stage,
        budget: StepBudget,
        answer: Callable[[Tensor], Tensor],
        streams: Streams,
        measure: Callable[[str], AbstractContextManager[None]],
    ) -> Trajectories:
        shape = budget.on.shape
        draws = self.actions.draws(self.sizes()[1])
        chance = streams.words("actions", shape.numel() // streams.count * budget.longest * draws)
        chance = self.actions.from_words(chance).reshape(*shape, budget.longest, draws)
        seen, done, said, earned = [], [], [], []
        with _one_thread():
            for t in range(budget.longest):
                with measure("policy"):
                    seen.append(stage.observe())
                    said.append(answer(seen[-1]))
                    done.append(self.actions.draw(said[-1], chance[:, :, t]))
                with measure("simulate"):
                    reward, ended = stage.act(done[-1])
                earned.append(reward * budget.on)
                again = budget.step(ended)
                if not self.fill:
                    continue
                if not budget.on.any():
                    break
                with measure("simulate"):
                    stage.follow(budget.on, again)
        with measure("baseline"):
            fields = [torch.stack(steps, 2) for steps in (seen, done, said, earned)]
            still, since = budget.counted()
            if self.fill:
                fields, still, since = packed(fields, still, since)
            observations, acted, outputs, rewards = fields
            if not (observations.isfinite().all() and rewards.isfinite().all()):
                raise Unstable(f"{self.name}: an agent left the finite numbers (its actions or the physics exploded)")
            values = linear_baseline(observations, discounted(rewards, self.discount, since), still, since) * still
            gains = advantages(rewards, values, still, since, self.discount, self.trace)
            return Trajectories(observations, acted, outputs, rewards, values, gains, still, since)

    def estimate(self, estimator: str) -> Callable[[Predict, Trajectories], Tensor]:
        """The loss ``estimator`` of `losses.ESTIMATORS`, for one task's rollouts.

        Raises:
            MamlBenchError: there is no such loss.
        """
        if estimator not in losses.ESTIMATORS:
            raise MamlBenchError(f"no policy loss {estimator!r}{nearest(estimator, losses.ESTIMATORS)}")
        loss = losses.ESTIMATORS[estimator]
        more = {"discount": self.discount} if loss is losses.dice else {}
        return lambda predict, batch: loss(self.actions, predict(batch.observations), batch, **more)

    def loss(self, predict: Predict, batch: Trajectories) -> Tensor:
        """The paper's inner loss: minus the mean of log-probability times advantage."""
        return self.estimate("likelihood")(predict, batch)

    def outer_loss(self, predict: Predict, batch: Trajectories) -> Tensor:
        """The paper's outer loss: minus the mean of the advantages times the likelihood ratios of the actions."""
        return self.estimate("ratio")(predict, batch)

    def credit(self, predict: Predict, support: Trajectories, query: Trajectories) -> Tensor:
        """`losses.credit` of one task, which E-MAML's outer loss subtracts from MAML's."""
        return losses.credit(self.actions, predict(support.observations), support, query, self.discount)

    def clipped(self, predict: Predict, batch: Trajectories, clip: float) -> Tensor:
        """`losses.clipped` of one task: ProMP's outer loss."""
        return losses.clipped(self.actions, predict(batch.observations), batch, clip)

    def answers(self, predict: Predict, batch: Trajectories) -> Tensor:
        """The outputs for all observations."""
        return predict(batch.observations)

    def part(self, batch: Trajectories, share: float) -> Trajectories:
        """The first rollouts of every task, or its first steps where rollouts are packed into one row."""
        if batch.mask.shape[1] == 1:
            return Trajectories(*(field[:, :, : math.ceil(share * field.shape[2])] for field in batch))
        return Trajectories(*(field[:, : math.ceil(share * field.shape[1])] for field in batch))

    def divergence(self, outputs: Tensor, batch: Trajectories) -> Tensor:
        """Mean KL(policy that acted || policy with ``outputs``) of one task."""
        return losses.mean(self.actions.divergence(batch.behaviour, outputs), batch.mask)

    def curvature(self, tangent: Tensor, batch: Trajectories) -> Tensor:
        """The second derivative of ``divergence`` at the outputs of the policy that acted, times ``tangent``."""
        weight = batch.mask / batch.mask.sum((-2, -1), keepdim=True)
        return self.actions.metric(batch.behaviour, tangent) * weight.unsqueeze(-1)

    def score(self, predict: Predict, batch: Trajectories) -> Tensor:
        """Mean undiscounted return of the rollouts; these are already collected, so ``predict`` is not used."""
        return returns(batch)

    def steps_in(self, episode: Episode) -> int:
        """The number of environment steps in the episode's rollouts, until they ended."""
        rolled = [*episode.support] + ([episode.query] if episode.query else [])
        return int(sum(batch.mask.sum() for batch in rolled))

    def exhibit_path(self, path: list[Trajectories]) -> dict[str, Any] | None:
        """None, because most families have no figure."""
        return None

    def fingerprint(self) -> dict[str, Any] | None:
        """None, because tasks come from a formula."""
        return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's threads wait for work by spinning for some milliseconds, which would take the cores from the physics. The
    policy of one step is too small to gain from them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def returns(batch: Trajectories) -> Tensor:
    """Mean undiscounted return over episodes, ``[B]`` (a scalar inside one task)."""
    episodes = (batch.mask * (batch.time == 0)).sum((-2, -1))
    return (batch.rewards * batch.mask).sum((-2, -1)) / episodes


if TYPE_CHECKING:

    def _acting(tasks: Control) -> Acting:
        """The type checker holds that these families offer the whole protocol."""
        return tasks
