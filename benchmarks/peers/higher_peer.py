"""higher (Grefenstette et al. 2019, arXiv:1910.01727): innerloop_ctx.

As in its examples/maml-omniglot.py: each task is differentiated by itself, the gradients add up.
"""

from __future__ import annotations

from importlib.metadata import version

import higher
import torch
from torch import Tensor

from base import main
from torch_network import AutogradAdapter, Task, tasks


class HigherAdapter(AutogradAdapter):
    """ANIL patches the head alone and computes the support's features once.

    First order has no switch of its own: without higher gradients the fast weights are leaves, and the query's
    gradient at them is the first-order meta-gradient. That is the cheapest of the ways it offers (a ``grad_callback``
    that detaches builds the second-order graph first).
    """

    library = "higher"

    def wrap(self) -> None:
        self.adapted = self.network.head if self.bench.head_only else self.network
        self.inner = torch.optim.SGD(self.adapted.parameters(), lr=self.bench.rate)

    def features(self, x: Tensor) -> Tensor:
        return self.network.body(x) if self.bench.head_only else x

    def accumulate(self, batch: Task) -> None:
        second_order = not self.bench.first_order
        for task in tasks(batch):
            support = self.features(task.support_x)
            with higher.innerloop_ctx(
                self.adapted, self.inner, copy_initial_weights=False, track_higher_grads=second_order
            ) as (fast, inner):
                for _ in range(self.bench.steps):
                    inner.step(self.loss(fast(support), task.support_y))
                loss = self.loss(fast(self.features(task.query_x)), task.query_y)
                if second_order:
                    loss.backward()
                else:
                    for p, grad in zip(self.adapted.parameters(), torch.autograd.grad(loss, list(fast.parameters()))):
                        p.grad = grad if p.grad is None else p.grad.add_(grad)
        self.divide_gradient()

    def library_version(self) -> str:
        return version("higher")


if __name__ == "__main__":
    main(HigherAdapter)
