"""Ant (Finn et al. 2017, section 5.3): it must walk at a goal velocity that only the reward tells it."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.rl.locomotion import ANT, Body, Locomotion


@dataclass(frozen=True)
class AntVelocity(Locomotion):
    """Velocities uniform in [0, 3] m/s; the reward is 1 minus the distance to it (ant_env_rand.py 52-59 of
    cbfinn/maml_rl)."""

    name: ClassVar[str] = "ant_vel"
    version: ClassVar[int] = 2
    bodies: ClassVar[dict[str, Body]] = ANT
    drawn: ClassVar[tuple[float, float]] = (0.0, 3.0)

    def task(self, number: Tensor) -> Tensor:
        return number

    def pay(self, velocity: Tensor, task: Tensor) -> Tensor:
        return 1 - (velocity - task).abs()
