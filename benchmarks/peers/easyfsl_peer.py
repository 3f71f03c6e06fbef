"""easyfsl (sicara/easy-few-shot-learning): process_support_set, then the classifier on the query.

As in its notebook episodic_training.ipynb. Where its mathematics differ from the papers', its own options bring them
back: see each method of the adapter.
"""

from __future__ import annotations

from importlib.metadata import version

import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    import torchvision
except RuntimeError:
    # easyfsl imports torchvision for networks that are not raced. Beside torch for CPUs, a build of it for GPUs has
    # none of its operators, and its import stops at the names of two.
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
    import torchvision  # noqa: F401
from easyfsl.methods import FewShotClassifier, MatchingNetworks, PrototypicalNetworks, RelationNetworks

from base import NotExpressible, main
from torch_network import AutogradAdapter, Task, tasks


class NoContext(nn.Module):
    """An encoder of the support for which its context is nothing: it takes the place of a bidirectional LSTM."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x.new_zeros(*x.shape[:-1], 2 * x.shape[-1]),)


class NoReading(nn.Module):
    """An encoder of the query for which the support is nothing: it takes the place of an LSTM cell."""

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(state[0]), state[1]


class EasyfslAdapter(AutogradAdapter):
    library = "easyfsl"

    def wrap(self) -> None:
        made = {"protonet": self.protonet, "matching": self.matching, "relation": self.relation}
        if self.bench.method not in made:
            raise NotExpressible(f"it has no {self.bench.method}")
        self.classifier = made[self.bench.method]()

    def protonet(self) -> FewShotClassifier:
        """Its scores are minus the distances, where the paper has their squares; `scored` squares them."""
        return PrototypicalNetworks(self.network.body)

    def matching(self) -> FewShotClassifier:
        """Without full context, by encoders that add nothing: its reading starts from another state than the paper's.

        It leaves queries as long as they are, so the option that normalises all features makes products cosines. It
        adds 1e-6 to probabilities, which moves the gradient by some millionths. It runs in float32 alone.
        """
        return MatchingNetworks(
            self.network.body,
            feature_dimension=self.bench.features,
            support_encoder=NoContext(),
            query_encoder=NoReading(),
            feature_normalization=2,
        )

    def relation(self) -> FewShotClassifier:
        """With the module of the paper; the default one pools adaptively and pads one of its two convolutions only."""
        return RelationNetworks(
            self.network.body, feature_dimension=self.bench.hidden, relation_module=self.network.relation
        )

    def scored(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The paper's loss of the classifier's scores."""
        if self.bench.method == "protonet":
            return F.cross_entropy(-(scores**2), labels)
        if self.bench.method == "matching":
            return F.nll_loss(scores, labels)
        return F.mse_loss(scores, F.one_hot(labels, self.bench.way).to(scores.dtype))

    def accumulate(self, batch: Task) -> None:
        for task in tasks(batch):
            self.classifier.process_support_set(task.support_x, task.support_y)
            self.scored(self.classifier(task.query_x), task.query_y).backward()
        self.divide_gradient()

    def library_version(self) -> str:
        return version("easyfsl")


if __name__ == "__main__":
    main(EasyfslAdapter)
