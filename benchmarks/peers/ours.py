"""maml_bench itself, by any of its schedules. ``loop``, the plain one, is also the reference of the gradient checks."""

from __future__ import annotations

from types import SimpleNamespace

import maml_bench
import numpy as np
from maml_bench.core.inner import Adam
from maml_bench.core.learner import Inner, Learner
from maml_bench.engine.execution import SCHEDULES
from maml_bench.engine.meta_step import MetaStep
from maml_bench.harness.build import schedule_for
from maml_bench.setups.anil import ANIL
from maml_bench.setups.fomaml import FOMAML
from maml_bench.setups.maml import MAML
from maml_bench.types import Batch, Episode

from base import main
from benches import OUTER_RATE
from torch_network import Task, TorchAdapter

PAPER_STEPS = 60_000
"""Of a run at the paper's budget, for which ``auto`` is asked."""


class OurAdapter(TorchAdapter):
    """``auto`` leaves the choice of the schedule to maml_bench, as a user does who says nothing."""

    library = "maml-bench"
    schedules = ("auto", *SCHEDULES)

    def start(self) -> None:
        setup = ANIL() if self.bench.head_only else FOMAML() if self.bench.first_order else MAML()
        learner = Learner(
            self.network,
            lambda predict, batch: self.loss(predict(batch.x), batch.y),
            lambda predict, batch: self.loss(predict(batch.x), batch.y),
            Inner(self.bench.rate, self.bench.steps),
            self.bench.way,
        )
        budget = SimpleNamespace(outer=SimpleNamespace(steps=PAPER_STEPS))
        self.chosen = schedule_for(budget, self.network, "cpu", acting=False) if self.asked == "auto" else self.asked
        self.meta_step = MetaStep(setup, learner, schedule=self.chosen)
        self.meta, self.number = learner.initial(), 0
        self.state = self.meta_step.init(self.meta)

    def step(self, batch: Task) -> None:
        episodes = Episode(Batch(batch.support_x, batch.support_y), Batch(batch.query_x, batch.query_y))
        self.meta, self.state, _ = self.meta_step(self.meta, self.state, episodes, self.number, OUTER_RATE)
        self.number += 1

    def gradient(self, batch: Task) -> dict[str, np.ndarray]:
        """Read from the very program that is raced: Adam's first moment after its first step is 1 - beta1 of it."""
        self.step(batch)
        first_moment, _ = self.state
        return {name: (m / (1 - Adam(OUTER_RATE).beta1)).numpy() for name, m in first_moment.items()}

    def library_version(self) -> str:
        return maml_bench.__version__

    def schedule(self) -> str:
        return f"auto: {self.chosen}" if self.asked == "auto" else self.chosen


if __name__ == "__main__":
    main(OurAdapter)
