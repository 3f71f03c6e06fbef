"""Whether outer steps became slower: a change of their time with its interval, or why it cannot be told.

Other work on a machine only ever makes a step longer, so what is compared is the time of the least disturbed steps. A
record keeps the 5th percentile of each of some forty blocks of consecutive steps (`Record.step_blocks_s`). The time of
a run is the 10th percentile of its blocks.

A machine can be slower for seconds at a time. So where the two runs of a pair took turns, a block is compared with what
the other run needed at the same moment (`Record.step_blocks_at_s`), and the change of the pair is the median over the
blocks. The speed of a machine moves between runs by more than any single run shows, so at least three pairs of runs are
needed, made in turns, and the interval is over the pairs.
"""

from collections.abc import Sequence

import numpy as np

from maml_bench.record import Record
from maml_bench.report.statistics import MIN_SEEDS, Array, Interval, t_interval

MIN_BLOCKS = 10
"""A side with fewer blocks is too short to tell anything; a block has at least twenty steps."""
FASTEST = 0.1
CONDITIONS = {"machines": "machine"} | {what: what for what in ("device", "threads", "processes", "schedule", "memory")}


def step_s(records: Sequence[Record]) -> float:
    """Seconds of an undisturbed outer step: the 10th percentile of the blocks of all records together."""
    return float(np.quantile(_blocks(records), FASTEST))


def change(base: Sequence[Record], new: Sequence[Record]) -> Interval | str:
    """The relative change new / base - 1 of an undisturbed step with its 95 % interval, of pairs of runs.

    A sentence where the runs are too short, too few, or not made in turns.
    """
    for side, records in (("base", base), ("new", new)):
        count = len(_blocks(records))
        if not count and any(record.timing_s["outer_step"]["count"] >= 20 for record in records):
            return f"the records of {side} have no step times of blocks, because an older version made them"
        if count < MIN_BLOCKS or not all(record.step_blocks_s for record in records):
            steps = sum(int(record.timing_s["outer_step"]["count"]) for record in records)
            return f"{side} has {steps:,} timed steps, which are too few to tell"

    if len(base) < MIN_SEEDS:
        return f"one needs {MIN_SEEDS} pairs of runs, because the speed of a machine moves between runs"
    times = [[record.started_at for record in side] for side in (base, new)]
    if max(times[0]) < min(times[1]) or max(times[1]) < min(times[0]):
        return "the runs of the two sides were not made in turns, so the machine may have changed between them"
    changes = np.array([_log_change(b, n) for b, n in zip(base, new, strict=True)])
    mean, half = float(changes.mean()), t_interval(changes)
    return Interval(*(float(np.expm1(end)) for end in (mean, mean - half, mean + half)))


def _log_change(base: Record, new: Record) -> float:
    """log(new / base) of a step: block by block at the same moments if at least half of both runs was at the same time,
    else of the two runs as wholes."""
    at, known = np.array(new.step_blocks_at_s), np.array(base.step_blocks_at_s)
    if len(at) and len(known):
        together = (known[0] <= at) & (at <= known[-1])
        known_together = (at[0] <= known) & (known <= at[-1])
        if together.mean() >= 0.5 and known_together.mean() >= 0.5 and together.sum() >= MIN_BLOCKS:
            then = np.interp(at[together], known, np.log(base.step_blocks_s))
            return float(np.median(np.log(new.step_blocks_s)[together] - then))
    return float(np.log(step_s([new]) / step_s([base])))


def timed(record: Record) -> bool:
    """Whether outer steps were timed: not for a setup that does not train, nor for an evaluation of weights."""
    return bool(record.timing_s.get("outer_step", {}).get("count"))


def unlike(old: Record, new: Record) -> str:
    """Why the seconds of two runs cannot be compared, as a sentence; empty if they can."""
    for field, name in CONDITIONS.items():
        b, n = getattr(old, field), getattr(new, field)
        if b != n:
            return f"seconds are not compared: {name} was {b} in base and is {n} in new"
    return ""


def _blocks(records: Sequence[Record]) -> Array:
    return np.array([block for record in records for block in record.step_blocks_s], dtype=np.float64)
