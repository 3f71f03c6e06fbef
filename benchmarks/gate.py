"""How often ``maml-bench compare`` sees a planted change, and how often it raises an alarm where nothing changed.

``python benchmarks/gate.py`` prints a table. Each row is of ``--trials`` comparisons:

- step time: of each six consecutive runs of the quickstart (MAML, quick preset), the first, third and fifth are the
  base and the others the new side. For a planted change, the times of the new side are multiplied. All runs come one
  after another on the present machine.
- a short rerun: the same with the smoke preset, which has 15 timed steps.
- accuracy: two stored records of MAML on the quick Omniglot recipe, trained with two commits on two machines and equal
  in their means, are the base and the new side. For each of two seeds and for each trial the test tasks are drawn
  again with replacement. A planted loss turns correct answers into wrong ones at random. Nothing is trained.
"""

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from maml_bench import compare
from maml_bench.harness.clock import monotonic_s
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.record import Point, Record, load_all
from maml_bench.report.formats import NONE
from maml_bench.report.statistics import MIN_SEEDS

ONLY_STEPS = (
    "validation.episodes=0",
    'test=[{protocol="paper", split="test", way=1, shot=10, query=10, episodes=10, inner_steps=[1]}]',
)
"""Settings that leave hardly anything of a run but its outer steps."""
Trial = tuple[list[Record], list[Record]]


def timed_runs(preset: str, count: int, deadline_s: float, steps: int | None) -> list[Record]:
    """Runs of the quickstart one after another, without validation: up to ``count``, and none after the deadline."""
    records: list[Record] = []
    settings = (*ONLY_STEPS, *([f"outer.steps={steps}"] if steps else []))
    recipe = resolve("quickstart", preset=preset, setup="maml", settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        while len(records) < count and monotonic_s() < deadline_s:
            outcome = run(recipe, 0, Options(Path(folder), force=True))
            assert outcome.record is not None
            records.append(outcome.record)
    return records


def slower(record: Record, factor: float) -> Record:
    return replace(record, step_blocks_s=[block * factor for block in record.step_blocks_s])


def turns(records: list[Record], factor: float = 1.0) -> Iterator[Trial]:
    """Three pairs of runs, in turns, from each six consecutive ones; the times of the new side times ``factor``."""
    for first in range(len(records) - 2 * MIN_SEEDS + 1):
        six = records[first : first + 2 * MIN_SEEDS]
        sides = (six[0::2], [slower(record, factor) for record in six[1::2]])
        old, new = ([replace(record, seed=seed) for seed, record in enumerate(side)] for side in sides)
        yield old, new


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
    parser.add_argument("--slowdown", type=float, default=0.15, help="relative; 0.15 is 15 %% longer steps")
    parser.add_argument("--loss", type=float, default=0.02, help="of accuracy; 0.02 is two points")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the stored records are")
    parser.add_argument("--steps", type=int, help="outer steps of a timed run; default: those of the quickstart")
    parser.add_argument("--minutes", type=float, default=12.0, help="no timed run starts after this long")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()

    deadline_s = monotonic_s() + 60 * options.minutes
    load_before = os.getloadavg()[0]
    short = timed_runs("smoke", options.trials + 5, deadline_s, None)
    runs = timed_runs("quick", options.trials + 5, deadline_s, options.steps)
    load = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors"

    cases: dict[str, Callable[[], Counter[str]]] = {
        "step time, unchanged": lambda: verdicts(turns(runs), "outer_step_s"),
        f"step time, {options.slowdown:+.0%}": lambda: verdicts(turns(runs, 1 + options.slowdown), "outer_step_s"),
        "step time, smoke rerun": lambda: verdicts(turns(short), "outer_step_s"),
        "accuracy, unchanged": lambda: verdicts(omniglot_trials(options.results, 0.0, options.trials), "accuracy"),
        f"accuracy, {-100 * options.loss:+.0f} points": lambda: verdicts(
            omniglot_trials(options.results, options.loss, options.trials), "accuracy"
        ),
    }
    counts = {case: dict(count()) for case, count in cases.items()}
    fastest = [float(np.quantile(record.step_blocks_s, 0.1)) for record in runs]
    blocks = [record.step_blocks_s for record in runs]
    if options.json:
        print(
            json.dumps(
                {"load": load, "steps": runs[0].outer_steps, "step_s": fastest, "verdicts": counts, "blocks_s": blocks},
                indent=1,
            )
        )
        return
    columns = ("worse", "cannot tell", "same", "better")
    print(f"{'planted':<26}" + "".join(f"{column:>13}" for column in columns))
    for case, counted in counts.items():
        print(f"{case:<26}" + "".join(f"{counted.get(column, NONE):>13}" for column in columns))
    print(
        f"load: {load}. Timed runs of {runs[0].outer_steps:,} steps: {min(fastest):.3g} to {max(fastest):.3g} s a step"
    )


if __name__ == "__main__":
    main()
