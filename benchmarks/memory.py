"""Default against retained memory, and vmap against loop: whole processes, interleaved round by round.

``python benchmarks/memory.py`` prints a table of medians over the rounds and, beside each, the ratio to the first row
of its query count (retained, vmap). Rates of the machine stand below it.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from maml_bench.harness.memory import SETTINGS

SCRIPT = Path(__file__).with_name("meta_step.py")


def measure(memory: str, schedule: str, query: int, threads: int) -> dict[str, float]:
    """One process of meta_step.py under ``memory`` (default or retained)."""
    plain = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, str(SCRIPT), f"--schedule={schedule}", f"--query={query}", f"--threads={threads}"]
    done = subprocess.run(
        command, env=plain | (SETTINGS if memory == "retained" else {}), check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    kinds = list(itertools.product((1, 15), ("retained", "default"), ("vmap", "loop")))
    found: dict[tuple[int, str, str], list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _, (query, memory, schedule) in itertools.product(range(options.rounds), kinds):
        found[query, memory, schedule].append(measure(memory, schedule, query, options.threads))
    print(f"{'query':>5} {'memory':>9} {'schedule':>8} {'median s':>9} {'ratio':>6}")
    for query, memory, schedule in kinds:
        median, first = (
            statistics.median(run["median"] for run in found[kind])
            for kind in ((query, memory, schedule), (query, "retained", "vmap"))
        )
        print(f"{query:>5} {memory:>9} {schedule:>8} {median:>9.4f} {median / first:>6.2f}")
    rates = [run["gflops"] for runs in found.values() for run in runs]
    print(f"convolution rate: median {statistics.median(rates):.0f} GFLOP/s ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    main()
