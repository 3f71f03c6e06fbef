"""Half-cheetah, forward or backward, Finn et al. (2017), section 5.3: run fast in a direction that it is not told."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.rl.locomotion import CHEETAH, Body, Locomotion


@dataclass(frozen=True)
class CheetahDirection(Locomotion):
    """Directions 1 or -1, each as likely: -1 where a uniform number in [0, 2] is below 1, as released."""

    name: ClassVar[str] = "cheetah_dir"
    bodies: ClassVar[dict[str, Body]] = CHEETAH
    drawn: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def task(self, number: Tensor) -> Tensor:
        return (number >= 1).to(number.dtype) * 2 - 1

    def pay(self, velocity: Tensor, task: Tensor) -> Tensor:
        return task * velocity
