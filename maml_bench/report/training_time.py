"""The training time that tables show, and what it is: measured seconds or, of a run that shared its machine, others.

Other work on a machine only ever makes a step longer. So the seconds that such a run measured are an upper bound. If
its record has the step times of blocks, the time of its undisturbed steps is shown instead.
"""

from typing import Literal, NamedTuple

from maml_bench.record import Record
from maml_bench.report.step_times import step_s

CONTENDED = 1.5


class TrainingTime(NamedTuple):
    """Seconds of training: sampling and outer steps. ``kind`` says what they are:

    ``measured``: by the clock, on a machine that did no other work as far as is known.
    ``undisturbed steps``: the machine was shared, and this is what the run would have taken without that.
    ``upper bound``: by the clock, but the machine was shared, and the record has no step times of blocks.
    """

    seconds: float
    kind: Literal["measured", "undisturbed steps", "upper bound"]


def contended(record: Record) -> bool | None:
    """Whether the run probably shared its machine: its mean meta-step took ``CONTENDED`` times its 5th percentile.

    None where the record has no times of meta-steps.
    """
    steps = record.timing_s.get("outer_step")
    if not steps or not steps["count"] or not steps["p05"]:
        return None
    return steps["total"] / steps["count"] > CONTENDED * steps["p05"]


def training_time(record: Record) -> TrainingTime:
    """The training time of a record as tables show it.

    The time of undisturbed steps is the number of outer steps times the 10th percentile of their blocks
    (`step_times.step_s`), and the number of draws of episodes times the 5th percentile of a draw.
    """
    if not contended(record):
        return TrainingTime(record.train_s, "measured")
    if not record.step_blocks_s:
        return TrainingTime(record.train_s, "upper bound")
    return TrainingTime(record.outer_steps * step_s([record]) + _sampling_s(record), "undisturbed steps")


def steps_per_s(record: Record) -> float | None:
    """Outer steps in a second of `training_time`; None for a run without training."""
    seconds = training_time(record).seconds
    return record.outer_steps / seconds if seconds > 0 else None


def _sampling_s(record: Record) -> float:
    draws, warm_up = (record.timing_s.get(name) for name in ("sample", "sample_warm_up"))
    if draws is None:
        return warm_up["total"] if warm_up else 0.0
    return draws["p05"] * (draws["count"] + (warm_up["count"] if warm_up else 0))
