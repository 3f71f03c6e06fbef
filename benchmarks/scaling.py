"""How much time several processes of one machine save, and how much each run leaves in the shared folder.

``python benchmarks/scaling.py --jobs 2 --into results/scaling.json`` makes the same runs of sinusoids with one process
and with N, in turn, and writes the seconds of each command. They hold the start of Python and of the workers. The load
average before each command tells whether other programs were at work.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from maml_bench.files import atomic_write
from maml_bench.harness import machine
from maml_bench.harness.clock import monotonic_s, now_utc
from maml_bench.record import as_text

RECIPE = "sinusoid-k10"


def measured(jobs: int, runs: int, steps: int, folder: Path) -> dict[str, Any]:
    """One command that makes ``runs`` runs with ``jobs`` processes: its seconds, and the load average before it."""
    line = [sys.executable, "-m", "maml_bench", "run", RECIPE, "--preset", "paper", "--set", f"outer.steps={steps}"]
    line += ["--seeds", f"0-{runs - 1}", "--threads", "1", "--no-report", "--results", str(folder), "--jobs", str(jobs)]
    load = os.getloadavg()[0]
    start_s = monotonic_s()
    subprocess.run(line, check=True, capture_output=True)
    return {"jobs": jobs, "seconds": round(monotonic_s() - start_s, 1), "load_average": round(load, 1)}


def bytes_of(folder: Path, suffix: str) -> int:
    """Bytes of the largest file with this suffix."""
    return max((path.stat().st_size for path in folder.rglob(f"*{suffix}")), default=0)


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes to compare with one")
    parser.add_argument("--runs", type=int, default=6, help="runs of each command")
    parser.add_argument("--steps", type=int, default=2000, help="meta-steps of each run")
    parser.add_argument("--rounds", type=int, default=3, help="how often each command is measured")
    parser.add_argument("--into", type=Path, required=True, help="the file for the result")
    wanted = parser.parse_args()
    commit, changed = machine.commit()  # before the commands, which take minutes
    found = []
    with tempfile.TemporaryDirectory() as work:
        for number in range(wanted.rounds):
            for jobs in (1, wanted.jobs):
                folder = Path(work, f"{number}-{jobs}")
                found.append(measured(jobs, wanted.runs, wanted.steps, folder))
        sizes = {"record": bytes_of(folder, ".json"), "weights": bytes_of(folder, ".safetensors")}
        share = [
            sys.executable,
            "-m",
            "maml_bench",
            "run",
            RECIPE,
            "--preset",
            "paper",
            "--threads",
            "1",
            "--no-report",
        ]
        subprocess.run([*share, "--budget", "20steps", "--results", work], check=True, capture_output=True)
        sizes["checkpoint"] = bytes_of(Path(work), ".ckpt")
    result = {
        "recipe": RECIPE,
        "runs": wanted.runs,
        "steps": wanted.steps,
        "commands": found,
        "bytes": sizes,
        "machine": machine.describe(),
        "at": now_utc(),
        "commit": commit,
        "changed": changed,
    }
    atomic_write(wanted.into, as_text(result))


if __name__ == "__main__":
    main()
