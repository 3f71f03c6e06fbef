"""TorchOpt (Ren et al. 2022, arXiv:2211.06934): MetaSGD with extract_state_dict and recover_state_dict.

As in its examples/few-shot/maml_omniglot.py: losses of all tasks are averaged and differentiated once at the end.
"""

from __future__ import annotations

import torch
import torchopt
from torch import Tensor
from torch.func import functional_call

from base import main
from torch_network import AutogradAdapter, Task, tasks


class TorchoptAdapter(AutogradAdapter):
    """ANIL gives MetaSGD the head alone and computes the support's features once.

    MetaSGD always builds the second-order graph, so first order takes the library's functional optimiser, whose
    gradients are the user's own.
    """

    library = "torchopt"

    def wrap(self) -> None:
        self.adapted = self.network.head if self.bench.head_only else self.network
        if self.bench.first_order:
            self.sgd = torchopt.sgd(lr=self.bench.rate)
        else:
            self.inner = torchopt.MetaSGD(self.adapted, lr=self.bench.rate)

    def features(self, x: Tensor) -> Tensor:
        return self.network.body(x) if self.bench.head_only else x

    def accumulate(self, batch: Task) -> None:
        task_loss = self.first_order_loss if self.bench.first_order else self.second_order_loss
        torch.stack([task_loss(task) for task in tasks(batch)]).mean().backward()

    def second_order_loss(self, task: Task) -> Tensor:
        network_state = torchopt.extract_state_dict(self.adapted, by="reference", detach_buffers=True)
        inner_state = torchopt.extract_state_dict(self.inner, by="reference")
        support = self.features(task.support_x)
        for _ in range(self.bench.steps):
            self.inner.step(self.loss(self.adapted(support), task.support_y))
        loss = self.loss(self.adapted(self.features(task.query_x)), task.query_y)
        torchopt.recover_state_dict(self.adapted, network_state)
        torchopt.recover_state_dict(self.inner, inner_state)
        return loss

    def first_order_loss(self, task: Task) -> Tensor:
        names, params = tuple(self.parameters), tuple(self.parameters.values())
        state = self.sgd.init(params)

        def loss(params: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
            return self.loss(functional_call(self.network, dict(zip(names, params)), (x,)), y)

        for _ in range(self.bench.steps):
            grads = torch.autograd.grad(loss(params, task.support_x, task.support_y), params)
            updates, state = self.sgd.update(grads, state, params=params, inplace=False)
            params = torchopt.apply_updates(params, updates, inplace=False)
        return loss(params, task.query_x, task.query_y)

    def library_version(self) -> str:
        return torchopt.__version__


if __name__ == "__main__":
    main(TorchoptAdapter)
