"""How the time and the memory of a meta-step grow: with tasks, inner steps, shots and filters, one axis at a time.

``python benchmarks/growth.py`` measures every schedule of ours; ``--peer torchmeta`` adds another library, in the
environment that ``race.py`` builds for it. The base point is conv4-64 with stride 2 on 32 tasks, 5-way 1-shot, 1 query
per class, 1 inner step. Each point is a process of its own, schedule after schedule, so that peak memory is its own and
a drift of the machine meets all. A curve ends where a point does not fit under ``--memory-limit`` or where a step took
longer than ``--seconds``. Points already in ``records/speed/growth-<axis>-<machine>.json`` are kept: Ctrl-C and the
same command again goes on.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from growth_process import Watched, run
from peers import environments
from peers.benches import BENCHES, Bench, write_inputs
from peers.catalogue import LOOP, OURS, PEERS, Peer
from peers.processes import Job

from maml_bench.cli.terminal import counting, print_table, say, say_error
from maml_bench.engine.execution import SCHEDULES
from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write
from maml_bench.harness import machine
from maml_bench.harness.clock import now_utc
from maml_bench.report.speed.rows import Growth, curves, load
from maml_bench.report.speed.tables import ends, growth

POINT = Path(__file__).with_name("growth_point.py")
ENVIRONMENTS = Path(__file__).parents[1] / ".tox" / "peers-envs"
AXES = {
    "meta_batch": ("tasks", (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    "inner_steps": ("steps", (1, 2, 5, 10, 20)),
    "shots": ("shot", (1, 2, 5, 10, 20)),
    "filters": ("hidden", (16, 32, 64, 128, 256)),
}
"""The field of a bench that an axis moves, and the values it takes."""
BASE = replace(BENCHES["omniglot-q1"], name="growth", rate=0.01)  # at the paper's 0.4, twenty steps on noise diverge
WORDS = {"does not fit": "did not fit", "too slow": "was too slow"}
"""What ends a curve, in the past tense."""


@dataclass(frozen=True)
class Line:
    """A curve: a peer of the catalogue, ourselves by one schedule among them, and the interpreter that has it."""

    peer: Peer
    python: Path

    @property
    def library(self) -> str:
        return self.peer.library

    @property
    def schedule(self) -> str | None:
        return self.peer.schedule

    def made(self, row: dict[str, Any]) -> bool:
        """Whether ``row`` is a point of this curve."""
        return row["library"] == self.library and self.schedule in (None, row["schedule"])


def numbers(text: str) -> tuple[int, ...]:
    """``1,4,16`` as numbers, small ones first."""
    found = sorted(int(word) for word in text.split(","))
    if found[0] < 1:
        raise ValueError("a value below 1")
    return tuple(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", action="append", choices=list(AXES), help="one of the axes (default: all)")
    parser.add_argument("--values", type=numbers, metavar="N,N", help="these values only (default: those of the axis)")
    parser.add_argument("--schedule", action="append", choices=SCHEDULES, help="one of ours (default: all)")
    others = [name for name, peer in PEERS.items() if peer.library not in (OURS, LOOP)]
    parser.add_argument("--peer", action="append", choices=others, default=[], help="another library (default: none)")
    parser.add_argument("--envs", type=Path, default=ENVIRONMENTS, help="of those (default: as race.py)")
    parser.add_argument("--results", type=Path, default=Path("runs"), help="results folder (default: runs)")
    parser.add_argument("--rounds", type=int, default=2, help="processes per point (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="a step longer than this ends a curve (default: 10)"
    )
    parser.add_argument("--sample-seconds", type=float, default=2.0, help="timed steps per process (default: 2 s)")
    parser.add_argument(
        "--memory-limit", type=float, metavar="GIB", help="ceiling of a process (default: what is free)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", choices=["retained", "default"], default="retained")
    parser.add_argument("--again", action="store_true", help="measure anew what is already there")
    options = parser.parse_args(arguments)
    limit = int(options.memory_limit * 2**30) if options.memory_limit else psutil.virtual_memory().available
    try:
        lines = entrants(options.schedule or SCHEDULES, options.peer, options.envs)
        for axis in options.axis or AXES:
            grow(axis, lines, options, limit)
    except MamlBenchError as error:
        say_error(str(error))
        return 2
    except KeyboardInterrupt:
        say_error("interrupted; what was finished is kept, the same command goes on")
        return 130
    return 0


def entrants(schedules: Sequence[str], names: Sequence[str], envs: Path) -> list[Line]:
    """Our schedules and the named peers.

    Raises:
        MamlBenchError: a peer has no environment here.
    """
    peers = [replace(PEERS[OURS], schedule=name) for name in schedules]
    pythons = environments.prepare([PEERS[name] for name in names], envs.resolve(), say)
    for name, python in pythons.items():
        if isinstance(python, environments.NotBuilt):
            raise MamlBenchError(f"{name}: {python}")
    return [Line(peer, Path(sys.executable)) for peer in peers] + [Line(PEERS[n], Path(pythons[n])) for n in names]


def grow(axis: str, lines: Sequence[Line], options: argparse.Namespace, limit: int) -> None:
    """Measure one axis, value after value, and save the record after each; then print the curves."""
    torch.set_num_threads(options.threads)
    path = options.results / "records" / "speed" / f"growth-{axis}-{machine.identity()}.json"
    kept = [] if options.again else [row for row in stored(path, options.results) if row["status"] != "failed"]
    common = {"machine": machine.identity(), "machine_gflops": machine.convolution_gflops()}
    common |= {"memory": options.memory, "threads": options.threads}
    field, values = AXES[axis]
    values = options.values or values
    with counting(f"growth with {axis}") as progress, tempfile.TemporaryDirectory() as folder:
        for count, value in enumerate(values):
            progress(count, len(values), f"{value}")
            bench = replace(BASE, **{field: value})
            rows = {line: ended(line, axis, value, kept, options.seconds) for line in wanted(lines, axis, value, kept)}
            open_lines = [line for line, row in rows.items() if row is None]
            if open_lines:
                write_inputs(inputs := Path(folder, "inputs.npz"), bench, seed=0)
            found: dict[Line, list[dict[str, Any]]] = {line: [] for line in open_lines}
            for number, line in rounds(options.rounds, found):
                progress(count, len(values), f"{value}, {line.library} {line.schedule or ''}, round {number + 1}")
                job = Job(line.peer, line.python, bench.name, inputs, options.threads, Path(folder))
                found[line].append(point(job, bench, options, limit))
            commit, dirty = machine.commit()
            for line, row in rows.items():
                made = {"kind": "growth", "axis": axis, "value": value, **common, "commit": commit, "dirty": dirty}
                kept.append({**made, "started_at": now_utc(), **(row or together(line, found[line]))})
            if rows:
                atomic_write(path, json.dumps(kept, indent=1, allow_nan=False) + "\n")
    show(options.results, axis)


def stored(path: Path, results: Path) -> list[dict[str, Any]]:
    """The rows that ``path`` already holds, checked; none where it does not exist."""
    if not path.is_file():
        return []
    load(results)  # a damaged record stops here with a sentence
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def wanted(lines: Sequence[Line], axis: str, value: int, kept: Sequence[dict[str, Any]]) -> list[Line]:
    """The lines that have no row at this value yet."""
    there = [row for row in kept if (row["axis"], row["value"]) == (axis, value)]
    return [line for line in lines if not any(line.made(row) for row in there)]


def ended(line: Line, axis: str, value: int, kept: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any] | None:
    """The row of a point beyond the end of its curve, or None where it is to be measured."""
    before = (row for row in kept if row["axis"] == axis and row["value"] < value and line.made(row))
    for row in sorted(before, key=lambda row: int(row["value"])):
        if row["status"] in WORDS:
            return unmeasured(line, row["status"], f"not tried: {axis} {row['value']} {WORDS[row['status']]}")
        if row["median_s"] and row["median_s"] > seconds:
            return unmeasured(line, "too slow", f"not tried: a step took {row['median_s']:.1f} s at {row['value']}")
    return None


def rounds(count: int, found: dict[Line, list[dict[str, Any]]]) -> Iterator[tuple[int, Line]]:
    """Turn by turn through the lines; one whose point could not be measured has no further turn."""
    for number in range(count):
        for line, results in found.items():
            if all(result["status"] == "ok" for result in results):
                yield number, line


def point(job: Job, bench: Bench, options: argparse.Namespace, limit: int) -> dict[str, Any]:
    """One process: what the adapter says, or why it said nothing."""
    python, script, *rest = job.command("--seconds", str(options.sample_seconds))
    command = [python, str(POINT), script, json.dumps(asdict(bench)), str(limit), *rest]
    return run(command, job.surroundings(options.memory), Watched(limit, options.seconds))


def together(line: Line, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of a point from its rounds: the medians, or the round that could not be measured."""
    last = results[-1]
    if last["status"] != "ok":
        return unmeasured(line, last["status"], last["reason"])
    peaks = [result["peak_memory_bytes"] for result in results if result["peak_memory_bytes"] is not None]
    return {
        **unmeasured(line, "ok", None),
        "library_version": last["library_version"],
        "torch": last["torch"],
        "schedule": line.schedule or last["schedule"],
        "rounds": len(results),
        "round_medians_s": [result["median_s"] for result in results],
        "median_s": statistics.median(result["median_s"] for result in results),
        "peak_memory_bytes": int(statistics.median(peaks)) if peaks else None,
        "compile_s": results[0]["compile_s"],
    }


def unmeasured(line: Line, status: str, reason: str | None) -> dict[str, Any]:
    """A row without numbers."""
    names = ("library_version", "torch", "rounds", "median_s", "peak_memory_bytes")
    row = {"library": line.library, "schedule": line.schedule, "status": status, "reason": reason}
    return {**row, **dict.fromkeys(names)}


def show(results: Path, axis: str) -> None:
    """The curves of this machine as a table."""
    lines: dict[str, list[Growth]] = curves(load(results)).get((machine.identity(), axis), {})
    for quantity in ("median ms", "peak MiB") if lines else ():
        frame = growth(lines, quantity)
        print_table(f"{axis}: {quantity}", list(frame.columns), frame.to_numpy().tolist(), right=list(frame.columns))
    for sentence in ends(lines):
        say(sentence)


if __name__ == "__main__":
    sys.exit(main())
