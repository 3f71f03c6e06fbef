"""The common part of the task distributions of reinforcement learning: rollouts of a policy in a batch of worlds (Finn
et al. 2017, section 5.3; batch_maml_polopt.py of cbfinn/maml_rl)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from torch import Generator, Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of
from maml_bench.declared import AT_ONCE, LAYERS, WIDTH, OfNetwork, When
from maml_bench.errors import Unstable
from maml_bench.record import Metric
from maml_bench.rl.actions import Actions
from maml_bench.rl.given import History, chance
from maml_bench.rl.policy import Policy
from maml_bench.rl.policy_losses import PolicyLosses
from maml_bench.rl.protocol import Acting, Actor
from maml_bench.rl.step_budget import FirstEnded, InTurn, StepBudget
from maml_bench.rl.trajectories import Trajectories, advantages, discounted, linear_baseline, packed, remaining, trials
from maml_bench.rl.world import MixedStage, Noise, Stage, Streams, World
from maml_bench.types import Episode, Params, Predict, Shape

Fill = Annotated[bool, Doc("Whether new episodes follow until there are as many steps as in full rollouts.")]
Activation = Annotated[Literal["relu", "tanh"], OfNetwork(), Doc("Activation of the hidden layers of the policy.")]
Hidden = Annotated[
    tuple[Annotated[int, Ge(1), WIDTH], ...],
    LAYERS,
    OfNetwork(),
    Doc("Widths of the hidden layers of the policy, from the first."),
]
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
class Control(PolicyLosses, ABC):
    """Base of these task distributions, which are frozen dataclasses with these fields, their own defaults where the
    papers differ, and further fields.

    ``horizon`` is the number of steps of a rollout. ``discount`` and ``trace`` (lambda) belong to the advantages.
    ``hidden`` are the widths of the policy, and ``context`` is the size of its context vector. ``reveal`` adds the task
    to the observations, and ``history`` adds the last action, the last reward, and whether an episode begins. Where
    episodes can end early, ``fill`` lets complete new episodes follow until there are as many steps as rollouts times
    the horizon, as in the released code; without it the number of rollouts is fixed. The episodes count in order or,
    with ``first_ended``, those that end first, except in training that is not mixed (see step_budget.py).

    With ``mixed``, training is plain policy gradients for one policy: every rollout has a task of its own, and so has
    every episode that follows another one. A training batch is then one task for the learner, ``[1, R, T]`` with the
    rollouts of all tasks. One baseline is fitted to them, and the advantages are standardised over all of them.
    Validation and test stay as they are.
    """

    horizon: Annotated[int, Ge(1), AT_ONCE, Doc("Steps of a rollout, at most.")] = 200
    discount: Annotated[float, Gt(0), Le(1), Doc("Discount of rewards.")] = 0.99
    trace: Annotated[float, Ge(0), Le(1), Doc("Lambda of generalised advantage estimation.")] = 1.0
    hidden: Hidden = (100, 100)
    context: Annotated[int, Ge(0), WIDTH, OfNetwork(), Doc("Size of the context vector of the policy, 0 for none.")] = 0
    reveal: Annotated[bool, Doc("Whether the agent observes the task.")] = False
    history: Annotated[
        bool, Doc("Whether the agent is told its last action, its last reward, and whether an episode begins.")
    ] = later(False)
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

    def longest(self) -> int:
        """The number of steps of a rollout, at most."""
        return self.horizon

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """The size of an observation, and the dimensions of an action (or the number of actions to choose from)."""

    def inputs(self) -> int:
        """The width of what an agent is given: the observation, and what the options add to it."""
        seen, actions = self.sizes()
        seen += self.draw("train", 0, 1, 0).shape[1] if self.reveal else 0
        return seen + actions + 2 if self.history else seen

    def outputs(self) -> int:
        """How many outputs of an agent describe the distribution of an action."""
        return self.actions.size(self.sizes()[1])

    @abstractmethod
    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """The parameters ``[B, P]`` of tasks ``first`` to ``first + count - 1`` of ``split``."""

    @abstractmethod
    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        """The worlds of the tasks at the start of ``rollouts`` rollouts each."""

    def model(self, shape: Shape, generator: Generator) -> Policy:
        """The policy for these observations and actions."""
        log_std = 0.0 if self.actions.spread else None
        return Policy(
            (self.inputs(), *self.hidden, self.sizes()[1]),
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
        rollouts after the last, or an empty list if that is 0. For an actor that remembers, the support is empty, and
        the query is ``shape.query`` trials of ``actor.steps`` + 1 rollouts (rl.trajectories.trials). Their advantages
        are standardised over all tasks together.

        Raises:
            Unstable: an observation or a reward is not finite.
        """
        if actor.remembers:
            counts = [shape.query] * (actor.steps + 1)
            path = self.path(split, first, count, key=key, rollouts=counts, actor=actor, device=device)
            with actor.measure("baseline"):
                whole = trials(path)
                if actor.expects_mean_reward:
                    whole = whole._replace(values=whole.values * remaining(whole.time, self.discount))
                return Episode([], self._judged_together(whole, expected=actor.expects))
        counts = [shape.shot] * max(1, actor.steps) + [shape.query]
        path = self.path(split, first, count, key=key, rollouts=counts, actor=actor, device=device)
        return Episode(path[: len(counts) - 1], path[-1] if shape.query else [])

    def path(
        self, split: str, first: int, count: int, *, key: int, rollouts: list[int], actor: Actor, device: str = "cpu"
    ) -> list[Trajectories]:
        """Rollouts after 0, 1, 2, ... inner steps, each step on the rollouts before it; a last 0 gives no rollouts. For
        an actor that remembers, they are the consecutive rollouts of trials."""
        mixed = self.mixed and split == "train"
        found: list[Trajectories] = []
        state: Params = {}
        history: History | None = None
        for step, number in enumerate(rollouts):
            if number:
                copies, begin, tasks = (1, first * number, count * number) if mixed else (number, first, count)
                shape = (1, tasks) if mixed else (tasks, copies)
                with actor.measure("adapt"):
                    state = actor.begin(found, state, shape)
                if self.history and not (history and actor.remembers):
                    history = History(self.actions, self.sizes()[1], shape, device)
                streams = Streams((key, self.name, split, step), begin, tasks, device)
                with actor.measure("simulate"):
                    stage = self._stage(split, key, streams, copies, mixed=mixed)
                budget = self._budget(in_order=split == "train" and not mixed)(*shape, self.longest(), device)
                batch, state = self._roll(stage, budget, actor, state, history, streams)
                with actor.measure("baseline"):
                    found.append(batch if actor.remembers else self._judged(batch))
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
        actor: Actor,
        state: Params,
        history: History | None,
        streams: Streams,
    ) -> tuple[Trajectories, Params]:
        """Rollouts whose advantages are not yet computed, and the state of the actor after them."""
        shape, measure = budget.on.shape, actor.measure
        draws = self.actions.draws(self.sizes()[1])
        noise = streams.words("actions", shape.numel() // streams.count * budget.longest * draws)
        noise = self.actions.from_words(noise).reshape(*shape, budget.longest, draws)
        luck = chance(streams, shape)
        seen, done, said, earned, expected = [], [], [], [], []
        with _one_thread():
            for t in range(budget.longest):
                on = budget.on
                with measure("policy"):
                    x = stage.observe()
                    seen.append(history.beside(x, budget.time) if history else x)
                    answer = actor.act(state, seen[-1], luck)
                    said.append(answer.outputs)
                    expected.append(torch.zeros_like(budget.time) if answer.values is None else answer.values)
                    done.append(self.actions.draw(said[-1], noise[:, :, t]))
                    if actor.remembers:
                        state = _where(on, answer.state, state)
                with measure("simulate"):
                    reward, ended = stage.act(done[-1])
                earned.append(reward * on)
                if history:
                    history.add(done[-1], earned[-1], on)
                again = budget.step(ended)
                if not self.fill:
                    continue
                if not budget.on.any():
                    break
                with measure("simulate"):
                    stage.follow(budget.on, again)
        with measure("baseline"):
            fields = [torch.stack(steps, 2) for steps in (seen, done, said, earned, expected)]
            still, since = budget.counted()
            if self.fill:
                fields, still, since = packed(fields, still, since)
            observations, acted, outputs, rewards, values = fields
            if not (observations.isfinite().all() and rewards.isfinite().all()):
                raise Unstable(f"{self.name}: an agent left the finite numbers (its actions or the physics exploded)")
            nothing = torch.zeros_like(values)
            return Trajectories(observations, acted, outputs, rewards, values, nothing, still, since), state

    def _judged(self, batch: Trajectories, *, expected: bool = False) -> Trajectories:
        """The rollouts with their advantages; their values are those that are ``expected``, or the linear baseline."""
        values, (rewards, mask, time) = batch.values, (batch.rewards, batch.mask, batch.time)
        if not expected:
            values = linear_baseline(batch.observations, discounted(rewards, self.discount, time), mask, time)
        gains = advantages(rewards, values * mask, mask, time, self.discount, self.trace)
        return batch._replace(values=values * mask, advantages=gains)

    def _judged_together(self, batch: Trajectories, *, expected: bool) -> Trajectories:
        """As `_judged`, with all tasks as one."""
        together = Trajectories(*(field.flatten(0, 1).unsqueeze(0) for field in batch))
        found = self._judged(together, expected=expected)
        return Trajectories(*(field.reshape(batch.mask.shape[:2] + field.shape[2:]) for field in found))

    def score(self, predict: Predict, batch: Trajectories) -> Tensor:
        """Mean undiscounted return of the rollouts; these are already collected, so ``predict`` is not used."""
        return returns(batch)

    def steps_in(self, episode: Episode) -> int:
        """The number of environment steps in the episode's rollouts, until they ended."""
        rolled = [*episode.support] + ([episode.query] if episode.query else [])
        return int(sum(batch.mask.sum() for batch in rolled))

    def best_scores(self, split: str, first: int, count: int, key: int) -> list[float]:
        """An empty list, because most families do not know the best expected score of a task."""
        return []

    def exhibit_path(self, path: list[Trajectories]) -> dict[str, Any] | None:
        """None, because most families have no figure."""
        return None

    def fingerprint(self) -> dict[str, Any] | None:
        """None, because tasks come from a formula."""
        return None


def _where(on: Tensor, new: Params, old: Params) -> Params:
    """``new`` where ``on [B, R]``, else ``old``."""
    if on.all():
        return new
    return {n: torch.where(on.reshape(*on.shape, *[1] * (p.ndim - 2)), p, old[n]) for n, p in new.items()}


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
