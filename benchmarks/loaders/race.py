"""Episodes per second of maml-bench and of other libraries' loaders: the same images, each in its own environment.

  python -m benchmarks.loaders.race                                       all benches (a quarter of an hour)
  python -m benchmarks.loaders.race --quick --bench loader-mini-5w1s      does it all work here? never to quote

To be run in the root of the clone. Each way that a library offers delivers a meta-batch that is checked, then is timed
once; the fastest races, round by round, one process at a time, under both memory settings. A ratio above 1 means that
maml-bench, as its users run it, is faster. Omniglot and mini-ImageNet must be stored; loader-mini has images of the
latter's size, made up, and every library has them in memory.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.loaders.common import BENCHES, SCHEDULES, Bench
from benchmarks.peers import environments
from benchmarks.peers.catalogue import OURS, PYTHON39, Peer
from benchmarks.peers.processes import MEMORY, Failed, Job
from benchmarks.peers.rows import ratios, refuse_to_replace, save, target
from maml_bench.data import splits, store
from maml_bench.errors import MamlBenchError
from maml_bench.harness import machine, memory
from maml_bench.harness.clock import now_utc
from maml_bench.report.speed.rows import Race, flat

ROOT = Path(__file__).resolve().parents[2]
MINI = (64, 600, 3, 84, 84)
"""The training classes of mini-ImageNet (Ravi & Larochelle 2017)."""

LIBRARIES = {
    peer.library: peer
    for peer in (
        Peer(OURS, OURS, "../loaders/ours_loader.py", "maml_bench"),
        Peer("torchmeta", "torchmeta", "../loaders/torchmeta_loader.py", "torchmeta", PYTHON39),
        Peer("learn2learn", "learn2learn", "../loaders/learn2learn_loader.py", "learn2learn", PYTHON39),
    )
}


@dataclass
class Entry:
    """A library on a bench in its fastest way: what it said of itself, or why it cannot race, and its seconds.

    ``tried`` has the seconds of a meta-batch of every way, ``answers`` those of every memory setting, round by round.
    """

    library: str
    status: str = "ok"
    reason: str | None = None
    job: Job | None = None
    about: dict[str, Any] = field(default_factory=dict)
    tried: dict[str, float] = field(default_factory=dict)
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in MEMORY})

    def medians_s(self, kind: str) -> list[float]:
        return [answer["median_s"] for answer in self.answers[kind]]


def write_images(name: str, path: Path) -> None:
    """Save the training images of the array ``name``: of Omniglot's split finn, of mini-ImageNet, or made up."""
    if name == "mini":
        images = np.random.default_rng(0).integers(0, 256, MINI, dtype=np.uint8)
    elif name == "mini_imagenet":
        images = store.load(name, "train")
    else:
        stored = store.manifest("omniglot")
        images = store.load("omniglot", name)[
            splits.indices(splits.load_split("omniglot", "finn"), "train", stored.classes)
        ]
    np.save(path, images)


def enter(library: str, python: Path | environments.NotBuilt, job: Job, seconds: float) -> Entry:
    """Check and try every way of a library; the fastest enters. ``job`` lacks the peer and its interpreter."""
    entry = Entry(library, "failed")
    if isinstance(python, environments.NotBuilt):
        return replace(entry, status="not built", reason=str(python))
    for schedule in SCHEDULES[library]:
        way = replace(job, peer=replace(LIBRARIES[library], schedule=schedule), python=python)
        try:
            about = way.time("retained", 0)
            if about["status"] == "ok":
                entry.tried[schedule] = way.time("retained", seconds)["median_s"]
        except Failed as reason:
            about = {"status": "failed", "reason": str(reason)}
        if about["status"] != "ok":
            entry.reason = f"{schedule}: {about['reason']}"
        elif entry.tried[schedule] == min(entry.tried.values()):
            entry.job, entry.about = way, about
    return replace(entry, status="ok", reason=None) if entry.tried else entry


def take_turn(entry: Entry, kind: str, seconds: float) -> str:
    """One process of one entry, in words; an entry that fails is out of the race."""
    if entry.status != "ok" or entry.job is None:
        return f"{entry.status}: {entry.reason}"
    try:
        answer = entry.job.time(kind, seconds)
    except Failed as reason:
        entry.status, entry.reason = "failed", str(reason)
        return f"failed: {reason}"
    entry.answers[kind].append(answer)
    return f"{1000 * answer['median_s']:.4g} ms"


def rows(
    bench: Bench, entries: Sequence[Entry], gflops: Sequence[float], common: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of one bench; ratios are to our retained entry of the same round, as the command line runs it."""
    ours = next((e.medians_s("retained") for e in entries if e.library == OURS and e.status == "ok"), [])
    found = []
    for entry in entries:
        for kind in MEMORY:
            answers = entry.answers[kind] if entry.status == "ok" else []
            medians = [answer["median_s"] for answer in answers]
            median = statistics.median(medians) if medians else None
            middle, low, high = ratios(medians, ours) or (None, None, None)
            peaks = [answer["peak_memory_bytes"] for answer in answers if answer["peak_memory_bytes"] is not None]
            row = Race(
                kind="speed",
                bench=bench.name,
                library=entry.library,
                library_version=entry.about.get("library_version"),
                torch=entry.about.get("torch"),
                memory=kind,
                schedule=entry.about.get("schedule"),
                status=entry.status,
                reason=entry.reason,
                rounds=len(answers),
                round_medians_s=tuple(medians),
                median_s=median,
                ratio_to_ours=middle,
                ratio_low=low,
                ratio_high=high,
                grad_rel_error=None,
                compile_s=None,
                peak_memory_bytes=int(statistics.median(peaks)) if peaks else None,
                machine_gflops=statistics.median(gflops) if gflops else None,
                model_gflop=None,
                machine_share=None,
                python=entry.about.get("python"),
                episodes_per_s=bench.tasks / median if median else None,
                more={"tried_s": entry.tried, "tasks": bench.tasks},
                **common,
            )
            found.append(flat(row))
    return found


def race(bench: Bench, options: argparse.Namespace, work: Path, pythons: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one bench: try every way of every library, then race round by round."""
    commit, dirty = machine.commit()
    common = {"threads": options.threads, "machine": machine.identity(), "commit": commit, "dirty": dirty}
    common["started_at"] = now_utc()
    inputs = work / f"{bench.images}.npy"
    if not inputs.exists():
        write_images(bench.images, inputs)
    job = Job(LIBRARIES[OURS], Path(sys.executable), bench.name, inputs, options.threads, work)
    entries = []
    for library in LIBRARIES:
        entries.append(enter(library, pythons[library], job, options.seconds))
        tried = ", ".join(f"{schedule}: {1000 * s:.4g} ms" for schedule, s in entries[-1].tried.items())
        print(f"{bench.name}: {library}: {tried or entries[-1].reason}", flush=True)
    gflops = []
    for count in range(1, options.rounds + 1):
        gflops.append(machine.convolution_gflops())
        for entry in entries:
            for kind in MEMORY:
                said = take_turn(entry, kind, options.seconds)
                print(f"{bench.name}: round {count}, {entry.library} {kind}: {said}", flush=True)
    return rows(bench, entries, gflops, common)


def show(found: Sequence[dict[str, Any]]) -> None:
    """The rows as people read them."""
    for row in found:
        numbers = row["status"]
        if row["ratio_to_ours"] is not None:
            numbers = f"{row['episodes_per_s']:>9,.0f} episodes/s, ratio {row['ratio_to_ours']:.1f}"
            numbers += f" ({row['ratio_low']:.1f} to {row['ratio_high']:.1f})"
        print(f"{row['library']:>12} {row['memory']:>9} {numbers} [{row['schedule']}]", flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog="race.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = f"default: all; known: {', '.join(BENCHES)}"
    parser.add_argument("--bench", action="append", choices=list(BENCHES), metavar="NAME", help=known)
    parser.add_argument("--rounds", type=int, help="every library once per round and memory setting (default: 5)")
    parser.add_argument("--seconds", type=float, help="time meta-batches about this long per process (default: 2)")
    parser.add_argument("--threads", type=int, default=cores, help="the same for all (default: all cores)")
    parser.add_argument(
        "--results", type=Path, default=Path(os.environ.get("MAML_BENCH_RESULTS", "runs")),
        help="rows go to records/speed in this folder (default: runs, or MAML_BENCH_RESULTS)",
    )  # fmt: skip
    parser.add_argument("--envs", type=Path, default=ROOT / ".tox" / "peers-envs", help="environments, as in race.py")
    parser.add_argument("--quick", action="store_true", help="one round of half a second, to see that all works")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    if options.rounds < 1 or options.seconds < 0 or not 1 <= options.threads <= cores:
        parser.error(f"--rounds is 1 or more, --seconds above 0, --threads 1 to {cores}, the cores at hand")
    return options


def main() -> int:
    options = parse()
    memory.retain()  # as the command line does, so that the machine's rate is what records have
    torch.set_num_threads(options.threads)
    benches = [BENCHES[name] for name in options.bench or BENCHES]
    try:
        paths = [target(options.results, bench.name, machine.identity()) for bench in benches]
        refuse_to_replace(paths, "--quick" if options.quick else None)
        pythons = environments.prepare(LIBRARIES.values(), options.envs.resolve(), print)
        with tempfile.TemporaryDirectory(prefix="maml-bench-loaders-") as work:
            for bench, path in zip(benches, paths, strict=True):
                found = race(bench, options, Path(work), pythons)
                save(path, found)
                show(found)
                print(f"saved: {path}", flush=True)
    except MamlBenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the benches that were done are saved", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
