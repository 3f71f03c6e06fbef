"""Trust region policy optimisation as an outer step (Schulman et al. 2015; conjugate_gradient_optimizer.py of
cbfinn/maml_rl): the longest step along the natural gradient that a bound on the divergence allows.

The divergence is between the policies that acted and those that the new meta-parameters would adapt to, so its
curvature goes through the inner loop. At the policies that acted, its first derivative is zero and the second is
exactly J' F J, where J is the derivative of the adapted outputs and F the metric of their distribution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from maml_bench.core import outer
from maml_bench.core.learner import Learner
from maml_bench.core.linear_systems import conjugate_gradient, dot
from maml_bench.core.setup import OverTasks, Setup
from maml_bench.declared import AT_ONCE, LARGE
from maml_bench.engine.execution import Execution
from maml_bench.rl.protocol import Geometry
from maml_bench.types import Episode, Params, Predict

Product = Callable[[Params], Params]


@dataclass(frozen=True)
class Trust:
    """How a step is found. The gradient and the line search use all rollouts, whatever ``share`` is."""

    bound: Annotated[float, Gt(0), LARGE, Doc("Bound of the mean divergence from the policies that acted.")] = 0.01
    damping: Annotated[float, Ge(0), LARGE, Doc("Multiple of the identity that is added to the curvature.")] = 1e-5
    iterations: Annotated[int, Ge(1), AT_ONCE, Doc("Iterations of conjugate gradient for the direction.")] = 10
    backtracks: Annotated[
        int, Ge(0), AT_ONCE, Doc("Lengths that the line search tries before it gives up the step.")
    ] = 15
    shrink: Annotated[float, Gt(0), Lt(1), Doc("Factor from one length of the line search to the next.")] = 0.8
    share: Annotated[
        float,
        Gt(0),
        Le(1),
        Doc("Share of the rollouts that the curvature is computed from (TRPO paper, appendix C.1)."),
    ] = 1.0


class TrustRegionStep:
    """The body of the outer loop, as engine.meta_step.MetaStep: no state goes from step to step, and no rate is read.

    Args:
        setup: the method.
        learner: the policy and its losses.
        geometry: the methods of the tasks on outputs of policies.
        trust: the size of the step and how it is found.
        schedule: one of engine.execution.SCHEDULES. ``loop`` is the plain reference.
        device: where the tensors will be.
    """

    def __init__(
        self,
        setup: Setup,
        learner: Learner,
        geometry: Geometry,
        trust: Trust,
        *,
        schedule: str = "vmap",
        device: str = "cpu",
    ) -> None:
        self.execution = Execution(learner, schedule, device)
        in_parts = self.execution.mapping == "vmap" and device == "cpu"
        over_tasks = outer.in_parts if in_parts else self.execution.over_tasks
        self._step = TrustRegion(setup, self.execution.learner, geometry, trust, over_tasks, plain=schedule == "loop")

    def init(self, meta: Params) -> None:
        """None, because there is no state."""

    def __call__(
        self, meta: Params, state: None, episodes: Episode, number: int, rate: float
    ) -> tuple[Params, None, Tensor]:
        """Meta-parameters after the step, and the outer losses ``[B]`` before it."""
        meta, losses = self._step(meta, episodes)
        return meta, None, losses

    def gradient(self, meta: Params, episodes: Episode, number: int = 0) -> tuple[Params, Tensor]:
        """The meta-gradient, and the outer losses ``[B]``."""
        return self._step.gradient(meta, episodes)


class TrustRegion:
    """``step(meta, episodes) -> (meta, losses before the step)``.

    Args:
        plain: for every product, differentiate the divergence twice from the start. This is the reference.
    """

    def __init__(
        self, setup: Setup, learner: Learner, geometry: Geometry, trust: Trust, over_tasks: OverTasks, *, plain: bool
    ) -> None:
        self._setup, self._learner, self._geometry, self._trust = setup, learner, geometry, trust
        self._over_tasks, self._plain = over_tasks, plain

    def __call__(self, meta: Params, episodes: Episode) -> tuple[Params, Tensor]:
        trust = self._trust
        gradient, losses, states = self._gradient(meta, episodes)
        apply = self.product(meta, episodes, states)
        direction, bent = conjugate_gradient(apply, gradient, trust.iterations)
        length = dot(direction, bent)
        reach = torch.sqrt(2 * trust.bound / length)
        if not bool(torch.isfinite(reach)):
            return meta, losses
        for tries in range(trust.backtracks):
            far = reach * trust.shrink**tries
            candidate = {name: p - far * direction[name] for name, p in meta.items()}
            loss, divergence = self.loss_and_divergence(candidate, episodes)
            if bool(loss < losses.mean()) and bool(divergence <= trust.bound):
                return candidate, losses
        return meta, losses

    def loss_and_divergence(self, meta: Params, episodes: Episode) -> tuple[Tensor, Tensor]:
        """Mean outer loss, and mean divergence from the policies that acted."""
        with torch.no_grad():
            losses, divergences = self._over_tasks(lambda episode: self._loss_and_divergence(meta, episode), episodes)
        return losses.mean(), divergences.mean()

    def product(self, meta: Params, episodes: Episode, states: Params | None = None) -> Product:
        """A function that multiplies a vector of named tensors by the damped curvature of the mean divergence.

        ``states`` are the states of all tasks from `Setup.outer_problem`, if they are already known.
        """
        apply = self._from_the_start(meta, episodes) if self._plain else self._kept(meta, episodes, states)
        return lambda v: {n: torch.add(h, v[n], alpha=self._trust.damping) for n, h in apply(v).items()}

    def gradient(self, meta: Params, episodes: Episode) -> tuple[Params, Tensor]:
        """The meta-gradient, and the outer losses ``[B]``."""
        return self._setup.gradient(self._learner, meta, episodes, self._over_tasks)

    def _gradient(self, meta: Params, episodes: Episode) -> tuple[Params, Tensor, Params | None]:
        """The meta-gradient, the outer losses, and the states of the tasks if the setup has the default loss."""
        setup = type(self._setup)
        if setup.loss is not Setup.loss or setup.gradient is not Setup.gradient:
            return *self._setup.gradient(self._learner, meta, episodes, self._over_tasks), None

        def loss(meta: Params, episode: Episode) -> tuple[Tensor, Params]:
            state, batch = self._setup.outer_problem(self._learner, meta, episode)
            return self._learner.outer_loss(self._predict(meta, state), batch), state

        def mean_loss(meta: Params) -> tuple[Tensor, tuple[Tensor, Params]]:
            losses, states = self._over_tasks(partial(loss, meta), episodes)
            return losses.mean(), (losses.detach(), states)

        gradient, (losses, states) = torch.func.grad(mean_loss, has_aux=True)(meta)
        return gradient, losses, states

    def _loss_and_divergence(self, meta: Params, episode: Episode) -> tuple[Tensor, Tensor]:
        """Outer loss and divergence of one task; with the default loss both share one adaptation and one pass."""
        if type(self._setup).loss is not Setup.loss:
            return self._setup.loss(self._learner, meta, episode), self._divergence(meta, episode)
        state, batch = self._setup.outer_problem(self._learner, meta, episode)
        outputs = self._geometry.answers(self._predict(meta, state), batch)
        loss = self._learner.outer_loss(lambda x: outputs, batch)  # these outputs are for the whole batch
        return loss, self._geometry.divergence(outputs, batch)

    def _divergence(self, meta: Params, episode: Episode) -> Tensor:
        state, batch = self._setup.outer_problem(self._learner, meta, episode)
        return self._geometry.divergence(self._geometry.answers(self._predict(meta, state), batch), batch)

    def _predict(self, meta: Params, state: Params) -> Predict:
        return lambda x: self._setup.predict(self._learner, meta, state, x)

    def _from_the_start(self, meta: Params, episodes: Episode) -> Product:
        def mean(meta: Params) -> Tensor:
            divergences: Tensor = self._over_tasks(lambda e: self._divergence(meta, e), episodes)
            return divergences.mean()

        def apply(v: Params) -> Params:
            (product,) = torch.func.vjp(torch.func.grad(mean), meta)[1](v)
            return product  # type: ignore[no-any-return]

        return apply

    def _kept(self, meta: Params, episodes: Episode, states: Params | None) -> Product:
        """One forward pass is kept for all products; a product is J' F J v."""
        if states is None:
            with torch.no_grad():
                states = self._over_tasks(lambda e: self._setup.outer_problem(self._learner, meta, e)[0], episodes)

        def answers(meta: Params, task: tuple[Episode, Params]) -> tuple[Tensor, Any]:
            episode, exact = task
            state, batch = self._setup.outer_problem(self._learner, meta, episode)
            # The value of the state comes from the whole support, its derivative from a share of it.
            state = {name: exact[name] + (p - p.detach()) for name, p in state.items()}
            return self._geometry.answers(self._predict(meta, state), batch), batch

        def all_answers(meta: Params) -> Any:
            return self._over_tasks(partial(answers, meta), (self._some(episodes), states))

        outputs, pull, batch = torch.func.vjp(all_answers, meta, has_aux=True)  # type: ignore[misc]
        # J' times a cotangent is linear in the cotangent, so its transposed derivative times v is J v.
        push = torch.func.vjp(lambda cotangent: pull(cotangent)[0], torch.zeros_like(outputs))[1]

        def apply(v: Params) -> Params:
            (forward,) = push(v)
            bent = torch.vmap(self._geometry.curvature)(forward, batch) / len(outputs)
            (product,) = pull(bent)
            return product  # type: ignore[no-any-return]

        return apply

    def _some(self, episodes: Episode) -> Episode:
        if self._trust.share >= 1:
            return episodes
        share = self._trust.share
        support = [self._geometry.part(batch, share) for batch in episodes.support]
        query = episodes.query  # an empty list for setups that train without a query
        return Episode(support, self._geometry.part(query, share) if len(query) else query)
