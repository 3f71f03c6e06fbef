"""What ``maml-bench`` does with hostile and unlucky input: a whole corpus of it, and what the kills of processes leave.

``python -m benchmarks.hostile --work FOLDER`` calls the command line with every case of ``hostility/cases.py`` and
prints how many ended in a traceback, in silence, or not at all. It calls the entry point in this process, with a time
limit for each case. With ``--kills N`` it also starts ``run``, ``data add``, ``report``, ``suite`` and ``tune`` as
processes, ends N of them with SIGKILL at random moments, repeats each command, and compares what is there in the end
with what a process leaves that nobody ended.

- A **traceback** is an exception that leaves the command, or that its last net caught (exit code 70).
- **Silent** is an input that is declared out of range, unknown or without effect and yet ends with 0 or is taken, and
  a damaged file that is read as if it were good.
- A **hang** is a case that is not over after ``--limit`` seconds.
- **Lost** is a kill after which a file is damaged, or the same command comes to another end.

Outcomes are kept in ``FOLDER/outcomes.jsonl``, and a later call continues with the cases that are not there.
"""

import argparse
import json
import os
import random
import resource
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostility import calls, cases, kills
from maml_bench.files import atomic_write
from maml_bench.harness import machine
from maml_bench.harness.clock import monotonic_s
from maml_bench.harness.recipe import resolve_all
from maml_bench.harness.run import Options, run
from maml_bench.record import as_text

VERDICTS = ("traceback", "silent", "hang")
EVERY_S = 15.0
MOST_BYTES = 2**34
"""Memory that a case may ask for, so that a file without end is a finding and not the end of the replay."""


@dataclass(frozen=True)
class Outcome:
    """How one case or kill ended."""

    name: str
    verdict: str
    why: str

    @property
    def group(self) -> str:
        """The kind of input."""
        return self.name.split(" ", 1)[0]


def prepare(folder: Path) -> None:
    """Leave the results of two small runs and a checkpoint of a third one below ``folder``."""
    results = folder / calls.RUNS
    if results.exists():
        return
    for recipe in resolve_all(calls.RECIPE, preset="smoke", setups=["maml", "scratch"], settings=calls.TINY):
        run(recipe, 0, Options(results, threads=1))
    begun = resolve_all(calls.RECIPE, preset="smoke", setups=["maml"], settings=calls.TINY)[0]
    run(begun, 7, Options(results, threads=1), interrupted=lambda: True)


def replay(corpus: Sequence[calls.Case], folder: Path, limit_s: float, known: set[str]) -> Iterator[Outcome]:
    """The outcomes of the cases that are not known yet."""
    machine.convolution_gflops = lambda device="cpu": 100.0  # type: ignore[assignment]  # or each run would measure it
    begun_s = shown_s = monotonic_s()
    left = [case for case in corpus if case.name not in known]
    for number, case in enumerate(left, 1):
        answer = calls.run(case, folder, limit_s)
        yield Outcome(case.name, *calls.judge(case, answer))
        if monotonic_s() - shown_s > EVERY_S:
            shown_s = monotonic_s()
            rest_s = (len(left) - number) * (shown_s - begun_s) / number
            print(f"{number:,} of {len(left):,} cases, {rest_s:,.0f} s left", file=sys.stderr)


def counts(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """The number of cases, and of each bad verdict, for each kind of input and in all."""
    found: dict[str, dict[str, int]] = {}
    for group in (*dict.fromkeys(outcome.group for outcome in outcomes), "all"):
        mine = [outcome for outcome in outcomes if group in (outcome.group, "all")]
        tally = Counter(outcome.verdict for outcome in mine)
        found[group] = {"cases": len(mine)} | {verdict: tally[verdict] for verdict in (*VERDICTS, "lost")}
    return found


def show(outcomes: Sequence[Outcome], *, as_json: bool, names: bool) -> None:
    """Print the counts, as a table or as JSON, and the bad cases if ``names`` is true."""
    bad = [outcome for outcome in outcomes if outcome.verdict != "well"]
    if as_json:
        print(json.dumps({"counts": counts(outcomes), "bad": [vars(outcome) for outcome in bad]}, indent=1))
        return
    print(f"{'input':<14}{'cases':>8}{'tracebacks':>12}{'silent':>8}{'hangs':>8}{'lost':>8}")
    for group, row in counts(outcomes).items():
        print(f"{group:<14}{row['cases']:>8,}{row['traceback']:>12}{row['silent']:>8}{row['hang']:>8}{row['lost']:>8}")
    for outcome in bad if names else ():
        print(f"{outcome.verdict:<10} {outcome.name[:120]}: {outcome.why}")


def main(words: Sequence[str] | None = None) -> None:
    """Read the options, go on with the corpus, print the counts; exit 1 where any case was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of outcomes and of the prepared results")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for a case")
    parser.add_argument("--only", default="", help="only cases whose name begins so")
    parser.add_argument("--sample", type=int, default=0, help="so many cases, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0, help="of --sample and of the kills")
    parser.add_argument("--kills", type=int, default=0, help="how many processes to end")
    parser.add_argument("--names", action="store_true", help="print the bad cases too")
    parser.add_argument("--into", type=Path, help="write the counts to this file, where the documentation finds them")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args(words)
    work = asked.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["MAML_BENCH_MEMORY"] = "default"
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    prepare(work)
    corpus = [case for case in cases.corpus(work) if case.name.startswith(asked.only)]
    if asked.sample:
        corpus = random.Random(asked.seed).sample(corpus, min(asked.sample, len(corpus)))
    outcomes = list(_kept(work))
    known, wanted = {outcome.name for outcome in outcomes}, {case.name for case in corpus}
    found = [outcome for outcome in outcomes if outcome.name in wanted or outcome.group == "kill"]
    with (work / "outcomes.jsonl").open("a", encoding="utf-8") as kept:
        for outcome in _all(corpus, work, asked, known):
            found.append(outcome)
            kept.write(json.dumps(vars(outcome)) + "\n")
            kept.flush()
    if asked.into:
        commit, changed = machine.commit()
        about = {"commit": commit, "changed": changed, "limit_s": asked.limit, "counts": counts(found)}
        about["corpus"] = dict(Counter(case.group for case in corpus)) | {
            "kill": asked.kills,
            "all": len(corpus) + asked.kills,
        }
        atomic_write(asked.into, as_text(about))
    show(found, as_json=asked.json, names=asked.names)
    sys.exit(int(any(outcome.verdict != "well" for outcome in found)))


def _all(corpus: Sequence[calls.Case], work: Path, asked: Any, known: set[str]) -> Iterator[Outcome]:
    yield from replay(corpus, work, asked.limit, known)
    for name, verdict, why in kills.kill(work / "kills", asked.kills, asked.seed, known):
        yield Outcome(name, verdict, why)


def _kept(work: Path) -> Iterator[Outcome]:
    path = work / "outcomes.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        yield Outcome(**json.loads(line))


if __name__ == "__main__":
    main()
