"""Half-cheetah and ant. A task is a direction or a velocity.

The same bodies have two variants. ``rllab`` is the MAML paper's (half_cheetah_env_rand*.py and ant_env_rand*.py of
cbfinn/maml_rl): a model step per action, observations with the centre of mass, and for the ant contact forces and the
torso's rotation. ``gymnasium`` is version 5 of HalfCheetah and Ant: five model steps per action, its observations,
costs and reset noise. Both run on gymnasium's model files and today's MuJoCo, which is not the one of 2017.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_doc import Doc
from torch import Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.data.published_draws import published_uniform
from maml_bench.rl.actions import Actions, Gaussian
from maml_bench.rl.control import Control, Fill, First
from maml_bench.rl.physics import ALL, Numbers, Physics, Rows, versions
from maml_bench.rl.world import Noise, World

HEALTHY_HEIGHT = (0.2, 1.0)
CONTACT_COST = 5e-4


@dataclass(frozen=True)
class Body:
    """The constants of one body under one variant. ``control_cost`` weighs the sum of squared actions in [-1, 1], and
    ``alive`` is the reward for each step. The first ``dropped`` positions are not observed. ``solimp`` is the impedance
    of contacts in rllab's model file if it differs from gymnasium's."""

    file: str
    numbers: tuple[int, int]
    control_cost: float
    timestep: float | None = None
    frame_skip: int = 1
    contacts: bool = False
    alive: float = 0.0
    dropped: int = 0
    falls: bool = False
    centred: bool = False
    solimp: tuple[float, float, float] | None = None


CHEETAH = {
    "rllab": Body("half_cheetah.xml", (20, 6), 0.05, dropped=1, centred=True),
    "gymnasium": Body("half_cheetah.xml", (17, 6), 0.1, frame_skip=5, dropped=1),
}
ANT = {
    "rllab": Body(
        "ant.xml",
        (125, 8),
        5e-3,
        timestep=0.02,
        contacts=True,
        alive=0.05,
        falls=True,
        centred=True,
        solimp=(0.8, 0.8, 0.01),
    ),
    "gymnasium": Body("ant.xml", (105, 8), 0.5, frame_skip=5, contacts=True, alive=1.0, dropped=2, falls=True),
}


@dataclass(frozen=True)
class Locomotion(Control):
    """Base of these tasks, which are frozen dataclasses. A task is drawn as a number between the bounds ``drawn``. The
    test tasks are those of the released evaluation, with numpy's seed ``test_seed``."""

    variant: Annotated[Literal["rllab", "gymnasium"], Doc("Rules of the MAML paper, or of gymnasium.")] = "rllab"
    fill: Fill = later(False)
    first_ended: First = later(False)

    actions: ClassVar[Actions] = Gaussian()
    bodies: ClassVar[dict[str, Body]]
    drawn: ClassVar[tuple[float, float]]
    test_seed: ClassVar[int] = 1

    @abstractmethod
    def task(self, number: Tensor) -> Tensor:
        """The direction or velocity ``[B, 1]`` that the reward asks for, from the number that was drawn."""

    @abstractmethod
    def pay(self, velocity: Tensor, task: Tensor) -> Tensor:
        """The reward for moving forward at ``velocity [B, R]`` (m/s), ``task [B, 1]``."""

    @property
    def body(self) -> Body:
        return self.bodies[self.variant]

    def sizes(self) -> tuple[int, int]:
        return self.body.numbers

    def draw(self, split: str, first: int, count: int, key: int) -> Tensor:
        """``[B, 1]``, see ``task``."""
        if split == "test":
            numbers = published_uniform(self.test_seed, *self.drawn, first + count, 1)[first:]
            return self.task(torch.from_numpy(numbers).float())
        return self.task(uniform(words(key_of(key, self.name, split, "tasks"), first, count, 1), *self.drawn))

    def start(self, tasks: Tensor, rollouts: int, noise: Noise) -> World:
        return _Track(self, tasks, rollouts, noise)

    def fingerprint(self) -> dict[str, Any]:
        """The variant, and the versions of the simulator and its model files."""
        return {"name": self.name, "variant": self.variant, **versions()}


class _Track:
    """The bodies of all tasks and rollouts, each on its own endless plane."""

    def __init__(self, rules: Locomotion, tasks: Tensor, rollouts: int, noise: Noise) -> None:
        self._rules, self._body, self._tasks, self._noise = rules, rules.body, tasks, noise
        self._shape = (len(tasks), rollouts)
        body = self._body
        copies = len(tasks) * rollouts
        self._physics = Physics(
            body.file,
            copies,
            timestep=body.timestep,
            frame_skip=body.frame_skip,
            contacts=body.contacts,
            solimp=body.solimp,
        )
        self._time = 0
        self._rows: Rows = ALL
        self.restart(torch.ones(self._shape, dtype=torch.bool), tasks)

    def observe(self) -> Tensor:
        physics, body = self._physics, self._body
        parts = [physics.positions[:, body.dropped :], physics.velocities]
        if body.contacts:
            parts.append(self._sensed.contacts[:, 0 if body.centred else 6 :])
        if body.centred:
            parts += ([_rotations(physics.positions[:, 3:7])] if body.contacts else []) + [self._sensed.centre]
        return self._tensor(np.concatenate(parts, 1))

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        body, physics = self._body, self._physics
        actions = actions.clamp(-1, 1)
        self._time += 1
        before = physics.positions[:, 0].copy()
        physics.step(actions.flatten(0, 1).double().cpu().numpy() * self._reach(), self._rows)
        self._sense(self._rows)
        if body.centred:
            velocity = self._sensed.velocity[:, 0]
        else:
            velocity = (physics.positions[:, 0] - before) / (physics.model.opt.timestep * body.frame_skip)
        reward = self._rules.pay(self._tensor(velocity), self._tasks) + body.alive
        reward -= body.control_cost * (actions**2).sum(-1)
        if body.contacts:
            reward -= CONTACT_COST * self._tensor((self._sensed.contacts**2).sum(1))
        height = physics.positions[:, 2]
        fallen = ~((height >= HEALTHY_HEIGHT[0]) & (height <= HEALTHY_HEIGHT[1])) & body.falls
        return reward, torch.from_numpy(fallen).reshape(self._shape).to(reward.device)

    def _sense(self, rows: Rows) -> None:
        if not (self._body.centred or self._body.contacts):
            return
        found = self._physics.sense(rows)
        if isinstance(rows, slice):
            self._sensed = found
            return
        for old, new in zip(self._sensed, found, strict=True):
            old[rows] = new

    def _reach(self) -> Numbers:
        return np.asarray(self._physics.model.actuator_ctrlrange[:, 1])

    def rest(self, which: Tensor) -> None:
        """The copies ``which`` stay where they are."""
        self._rows = np.flatnonzero(~which.flatten().cpu().numpy()) if which.any() else ALL

    def restart(self, which: Tensor, tasks: Tensor) -> None:
        """Place the copies at rest with some noise: normal of 0.01 and 0.1 in rllab, otherwise that of gymnasium."""
        self._tasks = tasks
        model = self._physics.model
        nq, nv = model.nq, model.nv
        rest = np.asarray(model.qpos0)
        purpose = f"start {self._time}" if self._time else "start"
        chance = self._noise(purpose, self._shape[1] * (nq + nv)).reshape(-1, nq + nv).cpu()
        normal = Gaussian().from_words(chance).double().numpy()
        if self._rules.variant == "rllab":
            if model.nnumeric:  # the posture in the ant's model file
                rest = np.asarray(model.numeric("init_qpos").data)
            positions = rest + 0.01 * normal[:, :nq]
        else:
            positions = rest + uniform(chance[:, :nq], -0.1, 0.1).double().numpy()
        rows = which.flatten().cpu().numpy()
        self._physics.place(rows, positions[rows], 0.1 * normal[rows, nq:])
        self._sense(ALL if rows.all() else np.flatnonzero(rows))

    def _tensor(self, numbers: Numbers) -> Tensor:
        values = torch.from_numpy(numbers).float().reshape(*self._shape, *numbers.shape[1:])
        return values.to(self._tasks.device)


def _rotations(quaternions: Numbers) -> Numbers:
    """Rotation matrices ``[n, 9]``, row by row, of quaternions ``[n, 4]``."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return np.stack(rows, 1)
