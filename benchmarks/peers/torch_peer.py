"""Reptile (Nichol et al. 2018, arXiv:1803.02999) as users of torch write it, with a copy of the network for each task.

As train_step in reptile.py of openai/supervised-reptile: for each task some steps of Adam with beta1 = 0 on small
batches, then the parameters go towards the mean of where the tasks ended. There Adam's second moments are carried from
task to task; here, as in maml-bench, they start at zero.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch

from base import NotExpressible, main
from torch_network import Task, TorchAdapter, tasks


class PlainAdapter(TorchAdapter):
    library = "plain torch"

    def start(self) -> None:
        if self.bench.method != "reptile":
            raise NotExpressible("only Reptile is written out here")

    def ended(self, batch: Task) -> list[torch.Tensor]:
        """The mean over the tasks of the parameters after their inner steps."""
        bench, found = self.bench, []
        for task in tasks(batch):
            network = deepcopy(self.network)
            optimiser = torch.optim.Adam(network.parameters(), lr=bench.rate, betas=(0.0, 0.999))
            for step in range(bench.steps):
                start = step * bench.inner_batch % len(task.support_y)
                now = slice(start, start + bench.inner_batch)
                optimiser.zero_grad()
                self.loss(network(task.support_x[now]), task.support_y[now]).backward()
                optimiser.step()
            found.append([p.detach() for p in network.parameters()])
        return [torch.stack(each).mean(0) for each in zip(*found)]

    def step(self, batch: Task) -> None:
        ends = self.ended(batch)
        with torch.no_grad():
            for p, end in zip(self.network.parameters(), ends):
                p.add_(end - p, alpha=self.bench.outer_rate)

    def gradient(self, batch: Task) -> dict[str, np.ndarray]:
        names = [name for name, _ in self.network.named_parameters()]
        pairs = zip(names, self.network.parameters(), self.ended(batch))
        return {name: (p.detach() - end).numpy() for name, p, end in pairs}

    def library_version(self) -> str:
        return torch.__version__


if __name__ == "__main__":
    main(PlainAdapter)
