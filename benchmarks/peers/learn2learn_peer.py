"""learn2learn (Arnold et al. 2020, arXiv:2008.12284): algorithms.MAML with clone() and adapt(), and
nn.PrototypicalClassifier.

As in its examples/vision/maml_omniglot.py, and for ANIL anil_fc100.py: each task is differentiated by itself, the
gradients are divided at the end. The prototypes are used as in the example of nn.PrototypicalClassifier.
"""

from __future__ import annotations

import learn2learn as l2l
from torch import Tensor

from base import NotExpressible, main
from benches import GRADIENT
from torch_network import AutogradAdapter, Task, tasks


class Learn2learnAdapter(AutogradAdapter):
    """ANIL wraps the head alone and computes the support's features once."""

    library = "learn2learn"

    def wrap(self) -> None:
        if self.bench.method == "protonet":
            self.classifier = l2l.nn.PrototypicalClassifier()
            return
        if self.bench.method not in GRADIENT:
            raise NotExpressible(f"it has no {self.bench.method}")
        adapted = self.network.head if self.bench.head_only else self.network
        self.maml = l2l.algorithms.MAML(adapted, lr=self.bench.rate, first_order=self.bench.first_order)

    def features(self, x: Tensor) -> Tensor:
        return self.network.body(x) if self.bench.head_only else x

    def accumulate(self, batch: Task) -> None:
        task_gradient = self.prototypes if self.bench.method == "protonet" else self.adapt
        for task in tasks(batch):
            task_gradient(task)
        self.divide_gradient()

    def prototypes(self, task: Task) -> None:
        """Add the gradient of one task of prototypical networks."""
        self.classifier.fit_(self.network.body(task.support_x), task.support_y)
        self.loss(self.classifier(self.network.body(task.query_x)), task.query_y).backward()

    def adapt(self, task: Task) -> None:
        """Add the meta-gradient of one task of MAML, first-order MAML or ANIL."""
        learner = self.maml.clone()
        support = self.features(task.support_x)
        for _ in range(self.bench.steps):
            learner.adapt(self.loss(learner(support), task.support_y))
        self.loss(learner(self.features(task.query_x)), task.query_y).backward()

    def library_version(self) -> str:
        return l2l.__version__


if __name__ == "__main__":
    main(Learn2learnAdapter)
