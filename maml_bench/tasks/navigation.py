"""2D navigation (Finn et al. 2017, section 5.3): a point must move to a goal that only the reward tells it.

In the released code the reward is minus the distance to the goal (point_env_randgoal.py of cbfinn/maml_rl), and in the
paper's text minus its square. The test goals are those of the released evaluation, which seeds numpy with 1.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt
from torch import Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.data.published_draws import published_uniform
from maml_bench.declared import AT_ONCE, LARGE, When
from maml_bench.rl.actions import Actions, Gaussian
from maml_bench.rl.control import Activation, Control, Fill, First
from maml_bench.rl.trajectories import Trajectories, goes_on
from maml_bench.rl.world import Noise, World

REACH = 0.5
STRIDE = 0.1
NEAR = 0.01


@dataclass(frozen=True)
class Navigation(Control):
    """Goals uniform in [-0.5, 0.5]^2. The point starts at the origin and moves by 0.1 times the action, cut to [-1, 1].

    ``reward``: ``distance`` (minus it), ``squared`` (minus its square), or ``sparse`` (1 within ``radius`` of the goal,
    else 0). ``stop`` ends an episode when both coordinates are within 0.01 of the goal.
    """

    reward: Annotated[
        Literal["distance", "squared", "sparse"], Doc("Minus the distance to the goal, minus its square, or 1 near it.")
    ] = "distance"
    stop: Annotated[bool, Doc("Whether an episode ends at the goal.")] = True
    radius: Annotated[
        float, Gt(0), LARGE, When("reward", ("sparse",)), Doc("Distance from the goal within which the reward is 1.")
    ] = 0.1
    fill: Fill = later(False)
    first_ended: First = later(False)
    activation: Activation = later("relu")
    horizon: Annotated[int, Ge(1), AT_ONCE, Doc("Steps of a rollout, at most.")] = 100

    name: ClassVar[str] = "navigation"
    actions: ClassVar[Actions] = Gaussian()

    def sizes(self) -> tuple[int, int]:
        return 2, 2

    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """Goals ``[B, 2]``."""
        if split == "test":
            return torch.from_numpy(published_uniform(1, -REACH, REACH, first + count, 2)[first:]).float()
        return uniform(words(key_of(key, self.name, split, "goals"), first, count, 2), -REACH, REACH)

    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        return _Plane(self, tasks.unsqueeze(1), rollouts)

    def exhibit_path(self, path: list[Trajectories], tasks: int = 4) -> dict[str, Any]:
        """The paper's figure: one rollout for each of the first ``tasks`` goals after each number of inner steps."""
        goals = self.draw("test", 0, tasks, 0)
        walks = []
        for task in range(tasks):
            rolled = {str(step): _walk(batch, task) for step, batch in enumerate(path)}
            walks.append({"goal": _plain(goals[task]), "walks": rolled})
        return {"kind": "navigation", "tasks": walks}


class _Plane:
    """Positions ``[B, R, 2]``."""

    def __init__(self, rules: Navigation, goals: Tensor, rollouts: int) -> None:
        self._rules, self._goals = rules, goals
        self._at = goals.new_zeros(goals.shape[0], rollouts, 2)

    def observe(self) -> Tensor:
        return self._at

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        self._at = self._at + STRIDE * actions.clamp(-1, 1)
        off = self._at - self._goals
        squared = (off**2).sum(-1)
        if self._rules.reward == "sparse":
            reward = (squared <= self._rules.radius**2).float()
        else:
            reward = -squared if self._rules.reward == "squared" else -squared.sqrt()
        ended = (off.abs() < NEAR).all(-1) if self._rules.stop else torch.zeros_like(reward, dtype=torch.bool)
        return reward, ended

    def rest(self, which: Tensor) -> None:
        """Do nothing: these copies move on with the others, which costs nothing."""

    def restart(self, which: Tensor, tasks: Tensor) -> None:
        self._goals = tasks.unsqueeze(1)
        self._at = self._at.masked_fill(which.unsqueeze(-1), 0.0)


def _walk(batch: Trajectories, task: int) -> list[list[float]]:
    """Positions of the first episode of one task."""
    steps = int(goes_on(batch.time[task, 0]).argmin()) + 1
    return [_plain(point) for point in batch.observations[task, 0, :steps, :2]]


def _plain(values: Tensor) -> list[float]:
    return [round(float(v), 4) for v in values]
