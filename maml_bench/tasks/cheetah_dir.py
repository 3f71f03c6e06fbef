"""Half-cheetah (Finn et al. 2017, section 5.3): it must run forward or backward, and only the reward says which."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.rl.locomotion import CHEETAH, Body, Locomotion


@dataclass(frozen=True)
class CheetahDirection(Locomotion):
    """Directions 1 and -1, equally likely: -1 if a uniform number in [0, 2] is below 1, as in the released code."""

    name: ClassVar[str] = "cheetah_dir"
    bodies: ClassVar[dict[str, Body]] = CHEETAH
    drawn: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def task(self, number: Tensor) -> Tensor:
        return (number >= 1).to(number.dtype) * 2 - 1

    def pay(self, velocity: Tensor, task: Tensor) -> Tensor:
        return task * velocity
