"""First-order MAML and all meta-gradients under several versions of torch: how fast they are, and whether they agree.

  python benchmarks/torch_versions.py                          the interpreter that runs this
  python benchmarks/torch_versions.py PYTHON [PYTHON ...]      interpreters that have the dependencies of maml-bench
  python benchmarks/torch_versions.py PYTHON --into results/versions.json    for the table in docs/reference/versions.md

In one process of one thread, a step of FOMAML under ``traced`` and one under ``vmap`` take turns, and the interpreters
take turns round by round. The network has 784, 256, 128 and 5 units. The step has 32 tasks of 5-way 1-shot with 3 inner
steps. ``ratio`` is the median over all turns of the time under ``traced`` divided by the time under ``vmap`` right
after it. Times are those of the processor, so that other processes matter little.

Differences are in float64. ``schedules`` is how far the meta-gradients of MAML and FOMAML are from those of ``loop``.
``golden`` is how far the meta-gradients and outputs of every setup on every task are from those in tests/golden. Both
are relative to the largest entry.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def problem(dtype: Any) -> tuple[Any, Any, Any]:
    """Learner, meta-parameters and made-up episodes."""
    import torch
    import torch.nn.functional as F

    from maml_bench.core.learner import Inner, Learner
    from maml_bench.models import MLP
    from maml_bench.types import Batch, Episode

    generator = torch.Generator().manual_seed(0)
    model = MLP([784, 256, 128, 5], normalise="none", generator=generator).to(dtype)
    for p in model.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(dtype)
    learner = Learner(
        model,
        lambda predict, batch: F.cross_entropy(predict(batch.x), batch.y),
        lambda predict, batch: (predict(batch.x).argmax(-1) == batch.y).to(dtype).mean(),
        Inner(0.1, 3),
        5,
    )
    batches = (
        Batch(torch.rand(32, 5, 784, generator=generator, dtype=torch.float64).to(dtype), torch.arange(5).expand(32, 5))
        for _ in range(2)
    )
    return learner, learner.initial(), Episode(*batches)


def times(turns: int) -> list[tuple[float, float]]:
    """Processor seconds of a step under ``traced`` and of the next one under ``vmap``, for each turn."""
    import torch

    from maml_bench.engine.meta_step import MetaStep
    from maml_bench.setups.fomaml import FOMAML

    learner, meta, episodes = problem(torch.float32)
    steps = [MetaStep(FOMAML(), learner, schedule=schedule) for schedule in ("traced", "vmap")]
    found = []
    for _ in range(turns + 3):
        seconds = []
        for step in steps:
            start = time.process_time()
            step(meta, step.init(meta), episodes, 0, 1e-3)
            seconds.append(time.process_time() - start)
        found.append((seconds[0], seconds[1]))
    return found[3:]


def schedules() -> float:
    """The largest difference of a schedule's meta-gradient from that of ``loop``."""
    import torch

    from maml_bench.engine.execution import SCHEDULES
    from maml_bench.engine.meta_step import MetaStep
    from maml_bench.setups.fomaml import FOMAML
    from maml_bench.setups.maml import MAML

    learner, meta, episodes = problem(torch.float64)
    worst = 0.0
    for setup in (MAML(), FOMAML()):
        found = {s: MetaStep(setup, learner, schedule=s).gradient(meta, episodes)[0] for s in ("loop", *SCHEDULES)}
        largest = max(float(g.abs().max()) for g in found["loop"].values())
        for gradient in found.values():
            differences = [float((gradient[name] - g).abs().max()) for name, g in found["loop"].items()]
            worst = max(worst, *(difference / largest for difference in differences))
    return worst


def golden() -> float:
    """The largest difference from the numbers in tests/golden, without the losses after steps of a trust region."""
    from tests.golden import adapter
    from tests.golden.write import HERE, summary

    worst = 0.0
    with adapter.small_store():
        for line, expected in json.loads((HERE / "problems.json").read_text()).items():
            built = adapter.Problem(*line.split())
            outputs = built.policy_outputs() if built.acts else built.outputs()
            for field, found in {"gradient": summary(built.gradient()), "outputs": outputs}.items():
                largest = max(map(abs, expected[field])) or 1.0
                pairs = zip(found, expected[field], strict=True)
                worst = max(worst, *(abs(a - b) / largest for a, b in pairs))
    return worst


def here(what: str, turns: int) -> dict[str, Any]:
    """The part of a row that is measured in this process."""
    import numpy
    import torch

    from maml_bench.harness import machine

    torch.set_num_threads(1)
    if what == "times":
        return {"times": times(turns)}
    versions = {"torch": torch.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
    return {**versions, "commit": machine.commit()[0], "schedules": schedules(), "golden": golden()}


def measure(python: str, what: str, turns: int) -> dict[str, Any]:
    """``here`` in a process of another interpreter, with this copy of maml-bench."""
    command = [python, __file__, "--here", what, "--turns", str(turns)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def row(python: str, times: list[list[float]], turns: int) -> dict[str, Any]:
    """What the table says of one interpreter."""
    traced, mapped = (1000 * statistics.median(seconds) for seconds in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    return measure(python, "agreement", turns) | {"traced_ms": traced, "vmap_ms": mapped, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="*", default=[sys.executable], help="interpreters to compare")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each interpreter")
    parser.add_argument("--turns", type=int, default=20, help="pairs of steps in each of them")
    parser.add_argument("--into", type=Path, help="file for the rows; it keeps its rows of other versions of torch")
    parser.add_argument("--here", choices=("times", "agreement"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(here(options.here, options.turns)))
        return
    times: dict[str, list[list[float]]] = {python: [] for python in options.python}
    for _ in range(options.rounds):
        for python, found in times.items():
            found += measure(python, "times", options.turns)["times"]
    for python, found in times.items():
        new = row(python, found, options.turns)
        print(json.dumps(new), flush=True)
        if options.into:
            kept = json.loads(options.into.read_text()) if options.into.exists() else []
            rows = [old for old in kept if old["torch"] != new["torch"]] + [new]
            rows.sort(key=lambda one: [int(number) for number in one["torch"].partition("+")[0].split(".")])
            options.into.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
