"""torchmeta (Deleu et al. 2019, arXiv:1909.06576): MetaModule and gradient_update_parameters.

As in its examples/maml/train.py: losses of all tasks are summed up and differentiated once at the end of the step.
"""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import torch
import torchmeta
from torch import nn
from torchmeta.modules import MetaBatchNorm2d, MetaConv2d, MetaLinear, MetaSequential
from torchmeta.utils.gradient_based import gradient_update_parameters

from base import main
from torch_network import AutogradAdapter, Task, body, head, tasks

LAYERS = SimpleNamespace(Conv2d=MetaConv2d, BatchNorm2d=MetaBatchNorm2d, Linear=MetaLinear)


class TorchmetaAdapter(AutogradAdapter):
    """Only meta-modules move in the inner loop, so ANIL's body is made of torch's plain ones."""

    library = "torchmeta"

    def build(self) -> nn.Module:
        features = nn.Sequential(body(self.bench)) if self.bench.head_only else MetaSequential(body(self.bench, LAYERS))
        return MetaSequential(OrderedDict(body=features, head=head(self.bench, LAYERS)))

    def accumulate(self, batch: Task) -> None:
        bench, network = self.bench, self.network
        outer_loss = torch.zeros((), dtype=self.dtype)
        for task in tasks(batch):
            params = None
            for _ in range(bench.steps):
                inner_loss = self.loss(network(task.support_x, params=params), task.support_y)
                params = gradient_update_parameters(
                    network, inner_loss, params=params, step_size=bench.rate, first_order=bench.first_order
                )
            outer_loss += self.loss(network(task.query_x, params=params), task.query_y)
        outer_loss.div_(bench.tasks)
        outer_loss.backward()

    def library_version(self) -> str:
        return torchmeta.__version__


if __name__ == "__main__":
    main(TorchmetaAdapter)
