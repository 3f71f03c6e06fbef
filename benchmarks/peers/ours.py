"""maml_bench itself, by any of its schedules. ``loop``, the plain one, is also the reference of the gradient checks."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import maml_bench
import numpy as np
import torch
from maml_bench.core.inner import Adam
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import SCHEDULES
from maml_bench.engine.meta_step import MetaStep
from maml_bench.harness.build import schedule_for
from maml_bench.setups.anil import ANIL
from maml_bench.setups.fomaml import FOMAML
from maml_bench.setups.maml import MAML
from maml_bench.setups.matching import MatchingNet
from maml_bench.setups.protonet import ProtoNet
from maml_bench.setups.relation import RelationNet
from maml_bench.setups.reptile import Reptile
from maml_bench.types import Batch, Episode
from torch import Tensor, nn

from base import main
from benches import RELATION_UNITS, Bench
from torch_network import Task, TorchAdapter, head

PAPER_STEPS = 60_000
"""Of a run at the paper's budget, for which ``auto`` is asked."""

RELATION = {
    "relation.conv1.weight": "relation.0.weight",
    "relation.norm1.weight": "relation.0.gamma",
    "relation.norm1.bias": "relation.0.beta",
    "relation.conv2.weight": "relation.1.weight",
    "relation.norm2.weight": "relation.1.gamma",
    "relation.norm2.bias": "relation.1.beta",
    "relation.linear1.weight": "relation.linear0.weight",
    "relation.linear1.bias": "relation.linear0.bias",
    "relation.linear2.weight": "relation.linear1.weight",
    "relation.linear2.bias": "relation.linear1.bias",
}
"""The parameters of the relation module: the bench's names, and ours."""


def setup(bench: Bench) -> Setup:
    """The setup of a bench, with the options that all peers can express."""
    if bench.method == "reptile":
        return Reptile(inner_batch=bench.inner_batch)
    if bench.method == "relation":
        return RelationNet(filters=bench.hidden, hidden=RELATION_UNITS)
    if bench.method == "protonet":
        return ProtoNet(training_batches="separate")
    return {"maml": MAML, "fomaml": FOMAML, "anil": ANIL, "matching": MatchingNet}[bench.method]()


class OurAdapter(TorchAdapter):
    """``auto`` leaves the choice of the schedule to maml_bench, as a user does who says nothing.

    Our learner always has a last layer. Where a bench has none, ours is there without being used, and its embeddings
    are flattened.
    """

    library = "maml-bench"
    schedules = ("auto", *SCHEDULES)

    def build(self) -> nn.Module:
        if self.bench.has_head:
            return super().build()
        return nn.Sequential(OrderedDict(body=super().build().body, flat=nn.Flatten(), head=head(self.bench)))

    def load(self, parameters: dict[str, Tensor]) -> None:
        own = {name: p for name, p in self.network.state_dict().items() if name.startswith("head.")}
        ours = {name: p for name, p in parameters.items() if not name.startswith("relation.")}
        super().load({**own, **ours})
        self.beside = {RELATION[name]: p.to(self.dtype) for name, p in parameters.items() if name not in ours}

    def start(self) -> None:
        learner = Learner(
            self.network,
            lambda predict, batch: self.loss(predict(batch.x), batch.y),
            lambda predict, batch: self.loss(predict(batch.x), batch.y),
            Inner(self.bench.rate, self.bench.steps),
            self.bench.way,
        )
        budget = SimpleNamespace(outer=SimpleNamespace(steps=PAPER_STEPS))
        self.chosen = schedule_for(budget, self.network, "cpu", acting=False) if self.asked == "auto" else self.asked
        method = setup(self.bench)
        optimiser = "sgd" if self.bench.method == "reptile" else "adam"
        self.meta_step = MetaStep(method, learner, optimiser=optimiser, schedule=self.chosen)
        drawn = method.init(learner, torch.Generator().manual_seed(0))
        self.meta, self.number = {**drawn, **learner.initial(), **self.beside}, 0
        self.state = self.meta_step.init(self.meta)

    def step(self, batch: Task) -> None:
        episodes = Episode(Batch(batch.support_x, batch.support_y), Batch(batch.query_x, batch.query_y))
        self.meta, self.state, _ = self.meta_step(self.meta, self.state, episodes, self.number, self.bench.outer_rate)
        self.number += 1

    def gradient(self, batch: Task) -> dict[str, np.ndarray]:
        """Read from the very program that is raced: Adam's first moment after its first step is 1 - beta1 of it, and
        SGD moves the parameters by the rate times it."""
        before = self.meta
        self.step(batch)
        if self.bench.method == "reptile":
            found = {name: (p - self.meta[name]) / self.bench.outer_rate for name, p in before.items()}
        else:
            found = {name: m / (1 - Adam(self.bench.outer_rate).beta1) for name, m in self.state[0].items()}
        theirs = {ours: name for name, ours in RELATION.items()}
        used = (name for name in found if self.bench.has_head or not name.startswith("head."))
        return {theirs.get(name, name): found[name].numpy() for name in used}

    def library_version(self) -> str:
        return maml_bench.__version__

    def schedule(self) -> str:
        return f"auto: {self.chosen}" if self.asked == "auto" else self.chosen


if __name__ == "__main__":
    main(OurAdapter)
