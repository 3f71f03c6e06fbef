"""One meta-step of maml-bench against the same step by other libraries: the same numbers, each in its own environment.

  python benchmarks/race.py                                   all benches, all peers (about three hours on two cores)
  python benchmarks/race.py --quick --bench sinusoid          does it all work here? one short round
  python benchmarks/race.py --bench omniglot-q1 --peer higher --results mine    one peer (ours always races)
  python benchmarks/race.py --bench sinusoid --against HEAD~5 --results mine    maml-bench as it was five commits ago

Environments are built on the first use (--envs) and used again. Each peer first shows that its meta-gradient is ours,
then all race round by round, one process at a time, under glibc's default memory settings and under those that the
command line sets for itself (retained). Two commits (--against) take turns of a second within each round. A ratio
above 1 means that maml-bench, as its users run it, is faster. Each bench is saved when it is done, so Ctrl-C loses the
present one only.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peers import environments
from peers.benches import BENCHES, Bench, write_inputs
from peers.catalogue import LOOP, OURS, PEERS, Peer, earlier
from peers.checks import Reference, Verdict
from peers.processes import MEMORY, Failed, Job, time_in_turns
from peers.rows import Entry, refuse_to_replace, rows, save, target
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from maml_bench.errors import MamlBenchError
from maml_bench.harness import machine, memory
from maml_bench.harness.clock import now_utc

ROOT = Path(__file__).resolve().parents[1]
SEED = 20170309
"""Of initial values and meta-batches; any will do, as long as all peers get the same."""


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    benches: tuple[Bench, ...]
    peers: tuple[Peer, ...]
    rounds: int
    seconds: float
    threads: int
    results: Path
    envs: Path
    partial: str | None


def parse(arguments: list[str] | None = None) -> Plan:
    """The command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog="race.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bench", action="append", choices=list(BENCHES), metavar="NAME",
        help=f"race this one; repeat for more (default: all; known: {', '.join(BENCHES)})",
    )  # fmt: skip
    parser.add_argument(
        "--peer", action="append", choices=list(PEERS), metavar="NAME",
        help=f"race this one and ours; repeat for more (default: all; known: {', '.join(PEERS)})",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="COMMIT",
        help="race the source of this commit and that of the present, and nobody else: has our own code become slower?",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="every peer once per round (default: 5)")
    parser.add_argument("--seconds", type=float, help="time steps about this long per process (default: 5)")
    parser.add_argument("--threads", type=int, default=cores, help="the same for all peers (default: all cores)")
    parser.add_argument(
        "--results", type=Path, default=Path(os.environ.get("MAML_BENCH_RESULTS", "runs")),
        help="rows go to records/speed in this folder (default: runs, or MAML_BENCH_RESULTS)",
    )  # fmt: skip
    parser.add_argument(
        "--envs", type=Path, default=ROOT / ".tox" / "peers-envs",
        help="environments lie here, 4 GB in all (default: .tox/peers-envs in the clone)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, to see that all works; never to quote")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else 5)
    seconds = options.seconds if options.seconds is not None else (1.0 if options.quick else 5.0)
    if rounds < 1 or seconds < 0 or not 1 <= options.threads <= cores:
        parser.error(f"--rounds is 1 or more, --seconds 0 or more, --threads 1 to {cores}, the cores at hand")
    if options.against and options.peer:
        parser.error("--against races another commit of maml-bench alone, so it takes no --peer")
    wanted = {OURS} if options.against else set(options.peer or PEERS) | {OURS}
    peers = tuple(peer for peer in PEERS.values() if peer.name in wanted)
    if options.against:
        try:
            peers += (earlier(*environments.check_out(options.against, options.envs.resolve())),)
        except environments.NotBuilt as reason:
            parser.error(str(reason))
    named = [bench for bench in BENCHES.values() if not options.bench or bench.name in options.bench]
    benches = tuple(bench for bench in named if any(p.races_on(bench) for p in peers if p.name != OURS))
    if idle := [bench for bench in named if bench not in benches and options.bench]:
        others = [peer.name for peer in PEERS.values() if peer.name != OURS and peer.races_on(idle[0])]
        parser.error(f"no --peer that was named races on {idle[0].name}: choose from {', '.join(others)}")
    if idle := [p for p in peers if p.name != OURS and not any(p.races_on(bench) for bench in benches)]:
        able = [bench.name for bench in BENCHES.values() if idle[0].races_on(bench)]
        if options.peer:
            parser.error(f"{idle[0].name} races on none of the benches that were named: choose from {', '.join(able)}")
        peers = tuple(peer for peer in peers if peer not in idle)
    return Plan(
        benches,
        peers,
        rounds,
        seconds,
        options.threads,
        options.results,
        options.envs.resolve(),
        "--quick" if options.quick else "--against" if options.against else "--peer" if options.peer else None,
    )


class Race:
    """A plan under way: environments, progress, and the benches one after the other."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.pythons = environments.prepare(plan.peers, plan.envs, console.print)
        commit, dirty = machine.commit()
        self.common = {"threads": plan.threads, "machine": machine.identity(), "commit": commit, "dirty": dirty}

    def run(self) -> None:
        """All benches; each is saved and shown when it is done."""
        plan = self.plan
        entrants = sum(len(self.entrants(bench)) for bench in plan.benches)
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
        # Entries differ widely in length, so what remains is judged by all of them so far.
        with Progress(
            *columns, TextColumn("remaining"), TimeRemainingColumn(), console=self.console, speed_estimate_period=86400
        ) as self.progress:
            self.bar = self.progress.add_task("", total=entrants * (1 + plan.rounds * len(MEMORY)))
            for bench in plan.benches:
                with tempfile.TemporaryDirectory(prefix="maml-bench-race-") as work:
                    found = self.bench(bench, Path(work))
                path = target(plan.results, bench.name, self.common["machine"])
                save(path, found)
                self.console.print(table(bench.name, found), soft_wrap=True)
                self.console.print(f"saved: {path}", soft_wrap=True)

    def entrants(self, bench: Bench) -> list[Peer]:
        """The peers of the plan that have the method of this bench."""
        return [peer for peer in self.plan.peers if peer.races_on(bench)]

    def bench(self, bench: Bench, work: Path) -> list[dict[str, Any]]:
        """The rows of one bench: check everybody, then race round by round."""
        common = {**self.common, "started_at": now_utc()}
        inputs = work / "inputs.npz"
        write_inputs(inputs, bench, SEED)

        def job(peer: Peer) -> Job:
            return Job(peer, Path(self.pythons[peer.name]), bench.name, inputs, self.plan.threads, work)

        reference = Reference(replace(job(PEERS[OURS]), peer=PEERS[LOOP]))
        entries: list[Entry] = []
        for peer in self.entrants(bench):
            self.tell(f"{bench.name}: gradient of {peer.name}")
            python = self.pythons[peer.name]
            if isinstance(python, environments.NotBuilt):
                verdict = Verdict("not built", str(python))
            else:
                verdict = reference.judge(job(peer))
            self.note(bench, f"gradient of {peer.name}: {describe(verdict)}")
            entries += [Entry(peer, kind, verdict) for kind in MEMORY]
        gflops = []
        for count in range(1, self.plan.rounds + 1):
            gflops.append(machine.convolution_gflops())
            for together in self.groups(entries):
                names = " and ".join(entry.peer.name for entry in together)
                self.tell(f"{bench.name}: round {count} of {self.plan.rounds}, {names} {together[0].memory}")
                racing = [entry for entry in together if entry.races]
                for entry, answer in zip(racing, self.time(racing, job), strict=True):
                    self.take(bench, entry, answer, count)
                self.progress.advance(self.bar, len(together))
        return rows(bench, entries, gflops, common)

    def groups(self, entries: list[Entry]) -> list[list[Entry]]:
        """The entries that race at the same time: two commits take turns within a round, all others race alone."""
        if self.plan.partial != "--against":
            return [[entry] for entry in entries]
        return [[entry for entry in entries if entry.memory == kind] for kind in MEMORY]

    def time(self, entries: list[Entry], job: Callable[[Peer], Job]) -> list[dict[str, Any] | Failed]:
        """The answers of entries that race at the same time."""
        if len(entries) > 1:
            return time_in_turns([job(entry.peer) for entry in entries], entries[0].memory, self.plan.seconds)
        try:
            return [job(entry.peer).time(entry.memory, self.plan.seconds) for entry in entries]
        except Failed as reason:
            return [reason]

    def take(self, bench: Bench, entry: Entry, answer: dict[str, Any] | Failed, count: int) -> None:
        """Keep one answer of one entry; if it failed, the entry is out of the race."""
        if isinstance(answer, Failed):
            entry.verdict = replace(entry.verdict, status="failed", reason=f"round {count}: {answer}")
            said = f"failed: {answer}"
        else:
            entry.answers.append(answer)
            said = f"{answer['median_s']:.4g} s"
        self.console.print(f"{bench.name}: round {count}, {entry.peer.name} {entry.memory}: {said}", soft_wrap=True)

    def tell(self, description: str) -> None:
        """What is going on now."""
        self.progress.update(self.bar, description=description)

    def note(self, bench: Bench, sentence: str) -> None:
        """What is done and stays on the screen."""
        self.console.print(f"{bench.name}: {sentence}", soft_wrap=True)
        self.progress.advance(self.bar)


def describe(verdict: Verdict) -> str:
    """A verdict in a few words."""
    if verdict.status == "ok":
        return f"agrees, {verdict.error:.1e}" + (f" ({verdict.reason})" if verdict.reason else "")
    return f"{verdict.status}: {verdict.reason}"


def table(bench: str, found: list[dict[str, Any]]) -> Table:
    """The rows as people read them, fastest first."""
    shown = Table(title=bench, title_justify="left", header_style="bold")
    for name in ("library", "schedule", "memory"):
        shown.add_column(name)
    for name in ("ms per step", "ratio to ours", "range", "peak MiB"):
        shown.add_column(name, justify="right")
    for row in sorted(found, key=lambda row: (row["median_s"] is None, row["median_s"] or 0)):
        who = (row["library"], row["schedule"] or "", row["memory"])
        if row["median_s"] is None:
            shown.add_row(*who, row["status"])
            continue
        peak, ratio = row["peak_memory_bytes"], row["ratio_to_ours"]
        shown.add_row(
            *who,
            f"{1000 * row['median_s']:.4g}",
            "" if ratio is None else f"{ratio:.2f}",
            "" if ratio is None else f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}",
            "" if peak is None else f"{peak / 2**20:.0f}",
        )
    return shown


def main() -> int:
    plan = parse()
    memory.retain()  # as the command line does, so that the machine's rate is what records have
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    try:
        paths = [target(plan.results, bench.name, machine.identity()) for bench in plan.benches]
        refuse_to_replace(paths, plan.partial)
        torch.set_num_threads(plan.threads)
        Race(plan, console).run()
    except MamlBenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the benches that were done are saved", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
