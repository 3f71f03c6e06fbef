"""My family of tasks: each task is to fit a sum of two sine waves from a few points.

Run it:     maml-bench run sinusoid-k10 --preset smoke --tasks ./my_tasks.py
Check it:   maml-bench check ./my_tasks.py
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from maml_bench import Batch, Episode
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.models import MLP
from maml_bench.record import Metric


@dataclass(frozen=True)
class MyTasks:
    """The fields are the options of the family: `--set tasks.faster=3` changes this one."""

    faster: float = 2.0
    normalisation: str = "none"  # how the network normalises; "transductive" where it has batch-norm

    name: ClassVar[str] = "my_tasks"
    version: ClassVar[int] = 1  # raise it whenever the same call gives other episodes
    metric: ClassVar[Metric] = Metric("mse", higher_is_better=False)

    def model(self, shape, generator):
        """The network of these tasks. `shape` has the numbers `way`, `shot` and `query`."""
        return MLP([1, 40, 40, 1], normalise="none", generator=generator)

    def sample(self, split, first, count, *, key, shape, device="cpu"):
        """Episodes `first` to `first + count - 1` of a split, with the axes [episodes, examples, ...].

        An episode depends on its number, the split and the key alone, so draw nothing from torch's global generator.
        """
        points = shape.shot + shape.query
        random = words(key_of(key, self.name, split), first, count, 4 + points, device)
        size, phase = uniform(random[:, :2], 0.5, 2.0), uniform(random[:, 2:4], 0.0, 3.0)
        x = uniform(random[:, 4:], -5.0, 5.0)
        slow, fast = torch.sin(x - phase[:, :1]), torch.sin(self.faster * x - phase[:, 1:])
        y = size[:, :1] * slow + size[:, 1:] * fast
        x, y, k = x.unsqueeze(-1).float(), y.unsqueeze(-1).float(), shape.shot
        return Episode(support=Batch(x[:, :k], y[:, :k]), query=Batch(x[:, k:], y[:, k:]))

    def loss(self, predict, batch):
        """The loss of one task, which the inner and the outer loop make smaller."""
        return F.mse_loss(predict(batch.x), batch.y)

    def score(self, predict, batch):
        """The score of one task, in the unit of `metric`."""
        return self.loss(predict, batch)

    def fingerprint(self):
        """What tells the data behind the tasks apart, for the record. There are none, because tasks are drawn."""
