"""One iteration of MAML-TRPO as users of torch and gymnasium write it, to race against.

One task after the other: rollouts in a vector of gymnasium's environments, an inner step by autograd, rollouts again.
Then a trust region step as in examples/rl/maml_trpo.py of learn2learn: the graph of the divergence is kept, and each
product with the curvature is one more backward pass through its gradient. Rules, settings, the baseline and conjugate
gradient are those of maml-bench. Episodes have full length.
"""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from torch import Tensor

from maml_bench.core.linear_systems import conjugate_gradient, dot
from maml_bench.core.outer import take
from maml_bench.harness.run_state import RunState
from maml_bench.rl.actions import LEAST_LOG_STD, Gaussian
from maml_bench.rl.trajectories import Trajectories, advantages, discounted, linear_baseline
from maml_bench.types import Episode, Params

HIDDEN = ("body.0", "body.2")
"""The hidden layers of the policy."""


class Cheetah(HalfCheetahEnv):
    """The half-cheetah with rllab's rules (see maml_bench.rl.locomotion); ``task`` is the direction."""

    def __init__(self) -> None:
        super().__init__(frame_skip=1, ctrl_cost_weight=0.05)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (20,))
        self.task = 1.0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.do_simulation(action, self.frame_skip)
        seen = self._get_obs()
        reward = self.task * self.data.subtree_linvel[0, 0] - self.control_cost(action)
        return seen, float(reward), False, False, {}

    def reset_model(self) -> np.ndarray:
        normal = self.np_random.standard_normal
        self.set_state(self.init_qpos + 0.01 * normal(self.model.nq), 0.1 * normal(self.model.nv))
        return self._get_obs()

    def _get_obs(self) -> np.ndarray:
        """With the centre of mass, which MuJoCo computes anew for the state after the step."""
        for compute in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_comVel, mujoco.mj_subtreeVel):
            compute(self.model, self.data)
        return np.concatenate([super()._get_obs(), self.data.subtree_com[0]])


class Plane(gymnasium.Env):
    """2D navigation without an end at the goal; ``task`` is the goal."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self) -> None:
        self.task = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = np.zeros(2)
        return self.at, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at = self.at + 0.1 * action
        return self.at, -float(np.sqrt(((self.at - self.task) ** 2).sum())), False, False, {}


class Port:
    """Iterations of ``run``'s recipe at its meta-parameters, in vectors of environments that ``make`` makes."""

    def __init__(self, run: RunState, make: Callable[[], gymnasium.Env]) -> None:
        self.run, self.actions, self.trust = run, Gaussian(), run.recipe.outer.trust
        self.rate = run.recipe.inner.rate
        shape = run.recipe.train.shape
        if shape.shot != shape.query:
            raise ValueError("one vector serves support and query, so both need as many rollouts")
        self.environments = gymnasium.vector.SyncVectorEnv([make] * shape.shot)

    def iteration(self, tasks: int) -> tuple[Params, Episode]:
        """The meta-parameters after one iteration on ``tasks`` training tasks, and its episodes."""
        drawn = self.run.tasks.draw("train", 0, tasks, 0)
        supports, queries = [], []
        for task in drawn:
            support = self.collect(self.run.meta, task)
            inside = take(support, 0)
            adapted = self.adapted(_leaves(self.run.meta), inside, second_order=False)
            supports.append(support)
            queries.append(self.collect({name: p.detach() for name, p in adapted.items()}, task))
        episodes = Episode([_stacked(supports)], _stacked(queries))
        return self.step(self.run.meta, episodes), episodes

    @torch.no_grad()
    def collect(self, params: Params, task: Tensor) -> Trajectories:
        """Rollouts ``[1, R, T]`` of the policy with ``params`` in one task."""
        value = task.double().numpy() if len(task) > 1 else float(task)
        self.environments.set_attr("task", [value] * self.environments.num_envs)
        now, _ = self.environments.reset()
        seen, done, said, earned = [], [], [], []
        for _ in range(self.run.tasks.longest()):
            seen.append(torch.from_numpy(np.asarray(now, dtype=np.float32)))
            said.append(policy(params, seen[-1]))
            mean, log_std = said[-1].chunk(2, -1)
            done.append(torch.normal(mean, log_std.exp()))
            now, reward, *_ = self.environments.step(done[-1].clamp(-1, 1).numpy())
            earned.append(torch.from_numpy(reward).float())
        observations, acted, outputs, rewards = (
            torch.stack(steps, 1).unsqueeze(0) for steps in (seen, done, said, earned)
        )
        mask, time = torch.ones_like(rewards), torch.arange(rewards.shape[2]).expand_as(rewards).float()
        family = self.run.tasks
        values = linear_baseline(observations, discounted(rewards, family.discount, time), mask, time)
        gains = advantages(rewards, values, mask, time, family.discount, family.trace)
        return Trajectories(observations, acted, outputs, rewards, values, gains, mask, time)

    def adapted(self, params: Params, support: Trajectories, *, second_order: bool) -> Params:
        """The parameters after one inner step on one task's rollouts."""
        likely = self.actions.log_prob(policy(params, support.observations), support.actions)
        grads = torch.autograd.grad(
            -(likely * support.advantages).mean(), list(params.values()), create_graph=second_order
        )
        return {name: p - self.rate * g for (name, p), g in zip(params.items(), grads, strict=True)}

    def loss(self, state: Params, query: Trajectories) -> Tensor:
        """The outer loss of one task."""
        new = self.actions.log_prob(policy(state, query.observations), query.actions)
        old = self.actions.log_prob(query.behaviour, query.actions)
        return -((new - old).exp() * query.advantages).mean()

    def divergence(self, state: Params, query: Trajectories) -> Tensor:
        return self.actions.divergence(query.behaviour, policy(state, query.observations)).mean()

    def terms(self, params: Params, episodes: Episode, *, graph: bool) -> tuple[Tensor, Tensor]:
        """Mean outer loss and mean divergence over the tasks; with ``graph`` the latter is of the curvature's share."""
        losses, divergences = [], []
        for support, query in _tasks(episodes):
            state = self.adapted(params, support, second_order=graph)
            losses.append(self.loss(state, query))
            if graph and self.trust.share < 1:
                some, query = (take(self.run.tasks.part(_alone(b), self.trust.share), 0) for b in (support, query))
                moving = self.adapted(params, some, second_order=True)
                state = {name: state[name].detach() + (p - p.detach()) for name, p in moving.items()}
            divergences.append(self.divergence(state, query))
        return torch.stack(losses).mean(), torch.stack(divergences).mean()

    def gradient(self, meta: Params, episodes: Episode) -> Params:
        """The meta-gradient."""
        params = _leaves(meta)
        loss, _ = self.terms(params, episodes, graph=True)
        return dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))

    def step(self, meta: Params, episodes: Episode) -> Params:
        """The meta-parameters after the trust region step, see maml_bench.rl.trust_region."""
        trust, params = self.trust, _leaves(meta)
        values = list(params.values())
        loss, divergence = self.terms(params, episodes, graph=True)
        gradient = dict(zip(params, torch.autograd.grad(loss, values, retain_graph=True), strict=True))
        slope = torch.autograd.grad(divergence, values, create_graph=True)

        def apply(v: Params) -> Params:
            along = torch.stack([(s * v[name]).sum() for name, s in zip(params, slope, strict=True)]).sum()
            bent = torch.autograd.grad(along, values, retain_graph=True)
            return {name: b + trust.damping * v[name] for name, b in zip(params, bent, strict=True)}

        direction, bent = conjugate_gradient(apply, gradient, trust.iterations)
        reach = torch.sqrt(2 * trust.bound / dot(direction, bent))
        for tries in range(trust.backtracks):
            far = reach * trust.shrink**tries
            candidate = {name: p - far * direction[name] for name, p in meta.items()}
            after, moved = self.terms(_leaves(candidate), episodes, graph=False)
            if bool(after < loss) and bool(moved <= trust.bound):
                return candidate
        return meta


def policy(params: Params, x: Tensor) -> Tensor:
    """Means and logarithms of standard deviations ``[..., 2 A]`` for observations."""
    for name in HIDDEN:
        x = F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"]).relu()
    mean = F.linear(x, params["head.weight"], params["head.bias"])
    return torch.cat([mean, params["log_std"].clamp(min=LEAST_LOG_STD).expand_as(mean)], -1)


def _leaves(params: Params) -> Params:
    return {name: p.detach().clone().requires_grad_() for name, p in params.items()}


def _stacked(batches: list[Trajectories]) -> Trajectories:
    return Trajectories(*(torch.cat(fields) for fields in zip(*batches, strict=True)))


def _alone(batch: Trajectories) -> Trajectories:
    return Trajectories(*(field.unsqueeze(0) for field in batch))


def _tasks(episodes: Episode) -> Iterator[tuple[Trajectories, Trajectories]]:
    [support], query = episodes
    for i in range(len(query.mask)):
        yield take(support, i), take(query, i)
