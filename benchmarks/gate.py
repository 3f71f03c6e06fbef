"""How often ``maml-bench compare`` sees a planted change, and how often it raises an alarm where nothing changed.

``python benchmarks/gate.py`` prints a table. Each row is of ``--trials`` comparisons:

- step time: three versions of the code run the quickstart (MAML, quick preset) in turns, as ``maml-bench compare
  --rerun`` does: this code, the same again, and a copy whose meta-step waits in a busy loop for ``--slowdown`` of its
  own time. A trial takes the first version as the base and one of the others as the new side, in ``--repeats``
  consecutive repeats. Trials overlap: each but the first has one repeat that the trial before it does not have.
- accuracy: two stored records of MAML on the quick Omniglot recipe, trained with two commits on two machines and equal
  in their means, are the base and the new side. For each of two seeds and for each trial the test tasks are drawn
  again with replacement. A planted loss turns correct answers into wrong ones at random. Nothing is trained.

With ``--into FOLDER`` the timed runs are kept, and a later call continues with them. Several processes may share the
folder, each on a core of its own (``taskset``).
"""

import argparse
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import maml_bench
from maml_bench import compare
from maml_bench.cli.rerunning import Code, Repeat, once
from maml_bench.harness.clock import monotonic_s
from maml_bench.record import Point, Record
from maml_bench.record_files import load_all
from maml_bench.report.formats import NONE
from maml_bench.report.pairing import name_of, reference
from maml_bench.report.statistics import MIN_SEEDS
from maml_bench.report.step_times import step_s

Trial = tuple[list[Record], list[Record]]
SIDES = ("base", "unchanged", "slower")
SLOWER = """

def _slower(self, *arguments, quick=MetaStep.__call__):
    import time

    start = time.perf_counter()
    answer = quick(self, *arguments)
    now = time.perf_counter()
    end = now + {share} * (now - start)
    while time.perf_counter() < end:
        pass
    return answer


MetaStep.__call__ = _slower
"""
"""What the planted version has at the end of ``maml_bench/engine/meta_step.py``."""


def planted(folder: Path, share: float) -> Code:
    """A copy of this code in ``folder`` whose meta-step takes longer by ``share`` of its time."""
    package = Path(maml_bench.__file__).parent
    copy = shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "engine" / "meta_step.py").open("a", encoding="utf-8") as file:
        file.write(SLOWER.format(share=share))
    return Code.at(folder)


def timed_runs(into: Path, count: int, deadline_s: float, steps: int | None, slowdown: float) -> list[list[Record]]:
    """``count`` repeats of the quickstart by the three versions, as far as they are done by the deadline.

    What ``into`` has of them is not run again.
    """
    quickstart = next(r for r in reference() if name_of(r) == ("quickstart", "maml", "quick", "run"))
    run = Repeat.of(quickstart, steps or quickstart.budget_steps)
    with tempfile.TemporaryDirectory() as work:
        codes = (Code.at(None), Code.at(None), planted(Path(work), slowdown))
        for number in range(count):
            folder = into / f"{number:03d}"
            if monotonic_s() < deadline_s and not folder.exists():
                folder.mkdir(parents=True)
                try:
                    once(run, codes, [folder / side for side in SIDES], number)
                except BaseException:
                    shutil.rmtree(folder)
                    raise
    done = [[[r for _, r in load_all(into / f"{number:03d}" / side)] for side in SIDES] for number in range(count)]
    return [[records[0] for records in sides] for sides in done if all(sides)]


def timed_trials(runs: list[list[Record]], side: int, repeats: int) -> Iterator[Trial]:
    """The base against another version in each ``repeats`` consecutive repeats."""
    for first in range(len(runs) - repeats + 1):
        chosen = runs[first : first + repeats]
        yield [sides[0] for sides in chosen], [sides[side] for sides in chosen]


def omniglot_trials(results: Path, loss: float, trials: int) -> Iterator[Trial]:
    """Two seeds on each side, whose test tasks are drawn again with replacement; the new side loses ``loss``.

    Both sides count as trained under the same conditions, as at a gate that has a machine of its own.
    """
    stored = sorted(
        (
            record
            for _, record in load_all(results)
            if (record.recipe["id"], record.recipe["preset"]) == ("omniglot-5w1s", "quick")
            and record.recipe["setup"]["name"] == "maml"
        ),
        key=lambda record: record.machine_id,
    )
    sides = (stored[0], stored[-1])
    random = np.random.default_rng(0)
    for _ in range(trials):
        drawn: Trial = ([], [])
        for seed in range(2):
            tasks = random.integers(sides[0].evaluations[0].episodes, size=sides[0].evaluations[0].episodes)
            for side, record, lost in zip(drawn, sides, (0.0, loss), strict=True):
                scores = _drawn(record, tasks, lost, random)
                side.append(replace(sides[0], seed=seed, evaluations=scores.evaluations))
        yield drawn


def _drawn(record: Record, tasks: np.ndarray, loss: float, random: np.random.Generator) -> Record:
    test = record.evaluations[0]
    answers = test.way * test.query
    points = []
    for point in test.points:
        right = np.round(np.array(point.values, dtype=float)[tasks] * answers).astype(int)
        kept = random.binomial(right, 1 - loss / (right.mean() / answers)) if loss else right
        points.append(Point.of(point.inner_steps, (kept / answers).tolist(), record.metric))
    return replace(record, evaluations=[replace(test, points=points)])


def verdicts(trials: Iterator[Trial], quantity: str) -> Counter[str]:
    """The verdicts about ``quantity``, counted."""
    counted: Counter[str] = Counter()
    for sides in trials:
        with tempfile.TemporaryDirectory() as folder:
            for name, records in zip(("base", "new"), sides, strict=True):
                for record in records:
                    record.save(Path(folder, name))
            found = compare(Path(folder, "base"), Path(folder, "new")).findings
        counted[next(finding.verdict for finding in found if finding.quantity == quantity)] += 1
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=MIN_SEEDS, help="of both sides in a trial of step time")
    parser.add_argument("--slowdown", type=float, default=0.15, help="relative; 0.15 is 15 %% longer steps")
    parser.add_argument("--loss", type=float, default=0.02, help="of accuracy; 0.02 is two points")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the stored records are")
    parser.add_argument("--steps", type=int, help="outer steps of a timed run; default: those of the quickstart")
    parser.add_argument("--minutes", type=float, default=60.0, help="no timed run starts after this long")
    parser.add_argument("--into", type=Path, help="keep the timed runs in this folder, and continue with those there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()

    deadline_s = monotonic_s() + 60 * options.minutes
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        count = options.trials + options.repeats - 1
        runs = timed_runs(options.into or Path(folder), count, deadline_s, options.steps, options.slowdown)
    load = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors"

    cases: dict[str, Callable[[], Iterator[Trial]]] = {
        "step time, unchanged": lambda: timed_trials(runs, 1, options.repeats),
        f"step time, {options.slowdown:+.0%}": lambda: timed_trials(runs, 2, options.repeats),
        "accuracy, unchanged": lambda: omniglot_trials(options.results, 0.0, options.trials),
        f"accuracy, {-100 * options.loss:+.0f} points": lambda: omniglot_trials(
            options.results, options.loss, options.trials
        ),
    }
    counts = {
        case: dict(verdicts(trials(), "outer_step_s" if case.startswith("step time") else "accuracy"))
        for case, trials in cases.items()
    }
    times = [{side: step_s([record]) for side, record in zip(SIDES, sides, strict=True)} for sides in runs]
    if options.json:
        print(json.dumps({"load": load, "step_s": times, "verdicts": counts}, indent=1))
        return
    columns = ("worse", "cannot tell", "same", "better")
    print(f"{'planted':<26}" + "".join(f"{column:>13}" for column in columns))
    for case, counted in counts.items():
        print(f"{case:<26}" + "".join(f"{counted.get(column, NONE):>13}" for column in columns))
    for side in SIDES[1:]:
        ratios = [each[side] / each[SIDES[0]] - 1 for each in times]
        print(f"{side}: {min(ratios):+.1%} to {max(ratios):+.1%}, median {np.median(ratios):+.1%}, {len(ratios)} pairs")
    base = [each[SIDES[0]] for each in times]
    print(f"load: {load}. Timed runs of {runs[0][0].outer_steps:,} steps: {min(base):.3g} to {max(base):.3g} s a step")


if __name__ == "__main__":
    main()
