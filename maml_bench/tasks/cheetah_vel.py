"""Half-cheetah (Finn et al. 2017, section 5.3): it must run at a goal velocity that only the reward tells it."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.rl.locomotion import CHEETAH, Body, Locomotion


@dataclass(frozen=True)
class CheetahVelocity(Locomotion):
    """Velocities uniform in [0, 2] m/s; the reward is minus the distance to it."""

    name: ClassVar[str] = "cheetah_vel"
    bodies: ClassVar[dict[str, Body]] = CHEETAH
    drawn: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def task(self, number: Tensor) -> Tensor:
        return number

    def pay(self, velocity: Tensor, task: Tensor) -> Tensor:
        return -(velocity - task).abs()
