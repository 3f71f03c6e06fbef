"""What a record says of the search that found its values, see ``maml-bench tune``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from maml_bench.record_tables import Count

Status = Literal["ok", "diverged", "failed"]
"""How a run or a trial ended."""


@dataclass(frozen=True)
class TrialScore:
    """One trial of a search for values of a recipe's keys."""

    number: Annotated[Count, Doc("Its number in the search, from 1 on.")]
    settings: Annotated[list[str], Doc("The values that it tried, as `--set` takes them.")]
    validation: Annotated[float | None, Doc("The best validation score of its learning curve, if it has one.")]
    step: Annotated[Count | None, Doc("The outer steps after which that was reached.")]
    status: Annotated[Status, Doc("How it ended.")]
    nonfinite: Annotated[
        Count, Doc("Validation tasks whose score was not finite there, which the mean leaves out.")
    ] = 0


@dataclass(frozen=True)
class Tuned:
    """A search on validation that found the values of this run, see `maml-bench tune`."""

    search: Annotated[str, Doc("The name of the file with all trials, below `tuning` of the results folder.")]
    trials: Annotated[Count, Doc("Number of trials, also those that diverged or failed.")]
    unsuccessful: Annotated[Count, Doc("How many of them have no score, because they diverged or failed.")]
    seed: Annotated[Count, Doc("The seed of the sampler and of the training of every trial.")]
    sampler: Annotated[str, Doc("What chose the values of the trials, and its version.")]
    space: Annotated[list[str], Doc("The ranges and choices that were searched, as `--set` takes them.")]
    outer_steps: Annotated[Count, Doc("Outer steps of each trial.")]
    winner: Annotated[TrialScore, Doc("The trial whose values these are.")]
    neighbours: Annotated[list[TrialScore], Doc("The trials that are nearest to the winner, the nearest first.")]
