"""My network: any torch.nn.Module whose `forward` takes the inputs of a task.

Run it:     maml-bench run sinusoid-k10 --preset smoke --network ./my_network.py:MyNetwork
Check it:   maml-bench check ./my_network.py:MyNetwork
"""

import torch
from torch import nn


class MyNetwork(nn.Module):
    """Two hidden layers of 40 units.

    The class is called with those of `shape` (the numbers `way`, `shot` and `query`) and `generator` that it takes.
    Layers may also draw their first values from torch's global generator, which has a fixed start for each seed.
    """

    def __init__(self, shape):
        super().__init__()
        self.first = nn.Linear(
            1, 40
        )  # a sinusoid has one input; for images of Omniglot, begin with nn.Flatten() and 784
        self.second = nn.Linear(40, 40)
        self.head = nn.Linear(40, shape.way)  # one output for each class; `way` is 1 in regression

    def forward(self, x):
        """Outputs [examples, way] for inputs [examples, ...] of one task."""
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))
