"""One meta-step of Omniglot's shape on made-up images: what the speed suites time, and a script for one process.

``python benchmarks/meta_step.py --schedule vmap --query 1`` prints JSON: seconds of a step, the memory mode and the
machine's convolution rate. The images are random; only time is measured here, never accuracy.
"""

import argparse
import json
from collections.abc import Callable

import torch
import torch.nn.functional as F

from maml_bench.core.learner import Inner, Learner
from maml_bench.engine.execution import SCHEDULES
from maml_bench.engine.meta_step import MetaStep
from maml_bench.harness import machine, memory
from maml_bench.harness.clock import Clock
from maml_bench.models import Conv4
from maml_bench.setups.maml import MAML
from maml_bench.types import Batch, Episode, Params


def problem(query: int, *, tasks: int = 32, way: int = 5) -> tuple[Learner, Params, Episode]:
    """Network, meta-parameters and made-up episodes: 5-way 1-shot, conv4-64, one inner step of the paper's rate."""
    generator = torch.Generator().manual_seed(0)
    model = Conv4(1, 28, way, normalise="batch", generator=generator)
    learner = Learner(
        model,
        lambda predict, batch: F.cross_entropy(predict(batch.x), batch.y),
        lambda predict, batch: (predict(batch.x).argmax(-1) == batch.y).float().mean(),
        Inner(0.4, 1, outside=("*.beta",)),
        way,
    )
    support, asked = (
        Batch(
            torch.rand(tasks, way * n, 1, 28, 28, generator=generator).round(),
            torch.arange(way).repeat(n).expand(tasks, -1),
        )
        for n in (1, query)
    )
    return learner, learner.initial(), Episode(support, asked)


def build(schedule: str, query: int, *, tasks: int = 32, way: int = 5) -> Callable[[], None]:
    """A function that does one meta-step of `problem`, with a second-order inner step and Adam."""
    learner, meta, episodes = problem(query, tasks=tasks, way=way)
    body = MetaStep(MAML(), learner, schedule=schedule)
    state, number = body.init(meta), 0

    def step() -> None:
        nonlocal meta, state, number
        meta, state, _ = body(meta, state, episodes, number, 1e-3)
        number += 1

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedule", default="vmap", choices=SCHEDULES)
    parser.add_argument("--query", type=int, default=1, help="query examples per class")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    step = build(options.schedule, options.query)
    clock = Clock(warm_up=2)
    for _ in range(options.steps + 2):
        with clock.measure("step"):
            step()
    print(
        json.dumps(
            {
                **clock.summary_s()["step"],
                "schedule": options.schedule,
                "query": options.query,
                "memory": memory.mode(),
                "threads": torch.get_num_threads(),
                "machine": machine.identity(),
                "gflops": machine.convolution_gflops(),
            }
        )
    )


if __name__ == "__main__":
    main()
