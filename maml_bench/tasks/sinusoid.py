"""Sinusoid regression (Finn et al. 2017, section 5.1): each task is to fit a wave y = A sin(x - phi) from points.

A is uniform in [0.1, 5] and phi in [0, pi] for each task, x is uniform in [-5, 5] for each point, and there is no
noise. The test tasks are exactly the 600 tasks behind the published numbers: the released evaluation seeds numpy with 1
and draws A, phi and the points of one task after the other (main.py 168-190 and data_generator.py 162-174 of
cbfinn/maml).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Generator, Tensor

from maml_bench.checked import later
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.data.published_draws import published_generator
from maml_bench.declared import AT_ONCE, WIDTH, OfNetwork
from maml_bench.models import MLP
from maml_bench.record import Metric
from maml_bench.types import Batch, Episode, Predict, Shape

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUT = (-5.0, 5.0)


@dataclass(frozen=True)
class Sinusoid:
    """Random sine waves. With ``reveal`` the input is (x, A, phi), as for the paper's oracle.

    ``context`` free parameters are added to the network's input. With a ``pool`` of n, training task k is task k - n
    again, with new points.
    """

    reveal: Annotated[bool, Doc("Whether the input carries amplitude and phase.")] = False
    normalisation: Annotated[Literal["none"], Doc("The network has no normalisation.")] = "none"
    context: Annotated[
        int, Ge(0), WIDTH, OfNetwork(), Doc("Number of free parameters that are added to the input of the network.")
    ] = later(0)
    pool: Annotated[
        int, Ge(0), AT_ONCE, Doc("Number of training tasks, which are repeated in turn; 0 for new tasks at every step.")
    ] = later(0)

    name: ClassVar[str] = "sinusoid"
    version: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("mse", higher_is_better=False, diverged_above=1000.0)

    def model(self, shape: Shape, generator: Generator) -> MLP:
        """1-40-40-1 (3 inputs with ``reveal``), ReLU, no normalisation."""
        sizes = [3 if self.reveal else 1, 40, 40, 1]
        return MLP(sizes, normalise="none", generator=generator, context=self.context)

    def sample(
        self,
        split: str,
        first: int,
        count: int,
        *,
        key: int,
        shape: Shape,
        device: str = "cpu",
    ) -> Episode:
        """x ``[B, points, 1]`` (or 3) and y ``[B, points, 1]``; ``key`` and ``first`` choose the tasks, see module."""
        points = shape.shot + shape.query
        if split == "test":
            drawn = torch.from_numpy(_published_tasks(first + count, points)[first:]).to(device)
            amplitude, phase, x = drawn[:, :1], drawn[:, 1:2], drawn[:, 2:]
        else:
            random = words(key_of(key, self.name, split), first, count, 2 + points, device)
            if self.pool and split == "train":
                random[:, :2] = self._pooled(key, first, count, device)
            amplitude, phase = uniform(random[:, :1], *AMPLITUDE), uniform(random[:, 1:2], *PHASE)
            x = uniform(random[:, 2:], *INPUT)
        y = (amplitude * torch.sin(x - phase)).unsqueeze(-1).float()
        inputs = [x, amplitude.expand_as(x), phase.expand_as(x)] if self.reveal else [x]
        x = torch.stack(inputs, dim=-1).float()
        k = shape.shot
        return Episode(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]))

    def _pooled(self, key: int, first: int, count: int, device: str) -> Tensor:
        """Random words ``[count, 2]`` for amplitude and phase of the tasks of the pool, from episode ``first`` on."""
        pool = words(key_of(key, self.name, "pool"), 0, self.pool, 2, device)
        return pool[torch.arange(first, first + count, device=pool.device) % self.pool]

    def loss(self, predict: Predict, batch: Batch) -> Tensor:
        """Mean squared error over the points."""
        return F.mse_loss(predict(batch.x), batch.y)

    score = loss

    def fingerprint(self) -> None:
        """None, because tasks come from the formula."""

    def exhibit(self, answer: Callable[[Tensor, Batch, Shape], dict[int, Tensor]]) -> dict[str, Any]:
        """The paper's figure 2: the first test task of K = 5 and the second of K = 10, before and after steps.

        ``answer(x [1, points, inputs], support, shape)`` gives the outputs by number of inner steps.
        """
        curves = []
        for index, k in enumerate((5, 10)):
            shape = Shape(1, k, k)
            episode = self.sample("test", index, 1, key=0, shape=shape)
            grid = torch.linspace(*INPUT, 201)
            amplitude, phase = _published_tasks(index + 1, 2 * k)[index, :2].tolist()
            columns = [grid, torch.full_like(grid, amplitude), torch.full_like(grid, phase)]
            x = torch.stack(columns if self.reveal else columns[:1], dim=-1).unsqueeze(0)
            answers = answer(x, episode.support, shape)
            curves.append(
                {
                    "shot": k,
                    "x": _plain(grid),
                    "true": _plain(amplitude * torch.sin(grid - phase)),
                    "predictions": {str(steps): _plain(y) for steps, y in answers.items()},
                    "support_x": _plain(episode.support.x[..., 0]),
                    "support_y": _plain(episode.support.y),
                }
            )
        return {"kind": "sinusoid", "curves": curves}


@lru_cache(maxsize=8)
def _published_tasks(count: int, points: int) -> np.ndarray:
    """``[count, 2 + points]`` float64: amplitude, phase, inputs of each test task, as the released code draws them."""
    legacy = published_generator(1)
    tasks = np.empty((count, 2 + points))
    for task in tasks:
        task[0] = legacy.uniform(*AMPLITUDE)
        task[1] = legacy.uniform(*PHASE)
        task[2:] = legacy.uniform(*INPUT, size=points)
    return tasks


def _plain(values: Tensor) -> list[float | None]:
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.flatten().tolist()]
