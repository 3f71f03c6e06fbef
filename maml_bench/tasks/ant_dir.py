"""Ant (Finn et al. 2017, section 5.3): it must walk forward or backward, and only the reward says which."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.rl.locomotion import ANT, Body, Locomotion


@dataclass(frozen=True)
class AntDirection(Locomotion):
    """Directions 1 and -1, equally likely: -1 if a uniform number in [0, 3] is below 1.5, as in the released code."""

    name: ClassVar[str] = "ant_dir"
    version: ClassVar[int] = 2
    bodies: ClassVar[dict[str, Body]] = ANT
    drawn: ClassVar[tuple[float, float]] = (0.0, 3.0)
    test_seed: ClassVar[int] = 2

    def task(self, number: Tensor) -> Tensor:
        return (number >= 1.5).to(number.dtype) * 2 - 1

    def pay(self, velocity: Tensor, task: Tensor) -> Tensor:
        return task * velocity
