"""Records as flat rows: one dict per record and evaluation point, which ``pandas.read_json`` reads as they are."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from maml_bench.record import Evaluation, Point, Record
from maml_bench.record_search import TrialScore, Tuned
from maml_bench.report.training_time import contended, steps_per_s, training_time

NO_OTHER_EXPERIMENT = ("validation.",)
"""Keys that change neither the budget nor the algorithm: they decide what is validated while the run goes on."""


def flat_rows(records: Iterable[tuple[Path, Record]], root: Path | None = None) -> list[dict[str, Any]]:
    """One dict per record and evaluation point, all with the same keys in the same order, ready for JSON.

    Scores are raw values of the metric (accuracy is a fraction), and times are seconds of training. ``train_s_is`` says
    what these are (`training_time.TrainingTime`). A number that is missing or not finite is None. A record that was
    never evaluated has one row, in which everything about the evaluation is None. ``path`` is relative to ``root``
    where it lies below it, with forward slashes.
    """
    return [
        _row(place, record, evaluation, point)
        for place, record in ((_place(path, root), record) for path, record in records)
        for evaluation, point in _points(record)
    ]


def changed(record: Record) -> str:
    """The settings of the recipe that were changed for this run, such as ``outer.steps=200, inner.rate=0.1``.

    Those of validation do not count. A run with another budget or another algorithm never counts as a reproduction.
    """
    settings = record.recipe.get("changed") or ()
    return ", ".join(setting for setting in settings if not setting.startswith(NO_OTHER_EXPERIMENT))


def own_values_won(record: Record, search: Tuned) -> bool:
    """Whether the best values of a search are those that the recipe has anyway, so that it changed nothing."""
    searched = {text.partition("=")[0] for text in search.space}
    return searched.isdisjoint(text.partition("=")[0] for text in record.recipe.get("changed") or ())


def trials(records: Iterable[Record], *, own: bool = False) -> int:
    """The number of trials of all searches that found the settings of these records; 0 if none was tuned.

    With ``own``, those of the searches that the recipe's own values won.
    """
    found: dict[str, int] = {}
    for record in records:
        for search in record.tuned:
            if own_values_won(record, search) is own:
                found[search.search] = max(search.trials, found.get(search.search, 0))
    return sum(found.values())


def searches_in_words(record: Record) -> list[str]:
    """The searches of a record, each with its best trial and the trials that are nearest to it."""
    own = "the recipe's own values won: "
    return [own * own_values_won(record, search) + search_in_words(search) for search in record.tuned]


def search_in_words(search: Tuned) -> str:
    """A search, its best trial and the trials that are nearest to it."""
    near = "; ".join(f"{', '.join(trial.settings)}: {_validation(trial)}" for trial in search.neighbours) or "none"
    lost = f", {search.unsuccessful:,} of them without a score" if search.unsuccessful else ""
    return (
        f"{search.trials:,} trials{lost}, each of {search.outer_steps:,} outer steps, with seed {search.seed} by "
        f"{search.sampler}, of {', '.join(search.space)}; best: trial {search.winner.number}, "
        f"{', '.join(search.winner.settings)}: {_validation(search.winner)}; nearest to it: {near} ({search.search})"
    )


def _validation(trial: TrialScore) -> str:
    if trial.validation is None:
        return trial.status
    lost = f" without {trial.nonfinite:,} tasks that are not finite" if trial.nonfinite else ""
    return f"validation {trial.validation:.4g}{lost}"


def commits(record: Record) -> str:
    """The commits of the run's segments, joined by ``+``; ``unknown`` for a segment without one."""
    found = [*(segment.get("commit") for segment in record.earlier), record.commit]
    return "+".join(dict.fromkeys(commit or "unknown" for commit in found))


def published(record: Record, evaluation: Evaluation, inner_steps: int) -> dict[str, Any] | None:
    """The published number for this test, or None.

    It must have the same protocol, way, shot and inner steps and, if it names one, the same query. A number that names
    no normalisation counts as transductive, which suits networks without batch-norm too. A number that does not say
    that it is of an ensemble is of a single checkpoint.
    """
    return next((dict(r) for r in record.recipe.get("published", []) if answers(evaluation, inner_steps, r)), None)


def answers(evaluation: Evaluation, inner_steps: int, reference: dict[str, Any]) -> bool:
    """Whether a test after ``inner_steps`` is the one that a published number is of; see `published`."""
    wanted = (evaluation.protocol, evaluation.way, evaluation.shot, inner_steps)
    same = tuple(reference[key] for key in ("protocol", "way", "shot", "inner_steps")) == wanted
    same &= reference.get("query") in (None, evaluation.query)
    same &= (reference.get("normalisation") or "transductive") == evaluation.normalisation
    return same and bool(reference.get("ensemble")) == (evaluation.checkpoint == "ensemble")


def normalisation(record: Record, evaluation: Evaluation | None) -> str | None:
    """How the query was normalised: as the network does it or, if that uses batch statistics, by which of them."""
    network: str | None = record.recipe["tasks"].get("normalisation")
    return evaluation.normalisation if evaluation and network == "transductive" else network


def _points(record: Record) -> list[tuple[Evaluation | None, Point | None]]:
    found: list[tuple[Evaluation | None, Point | None]] = [
        (evaluation, point) for evaluation in record.evaluations for point in evaluation.points
    ]
    return found or [(None, None)]


def _place(path: Path, root: Path | None) -> str:
    return (path.relative_to(root) if root is not None and path.is_relative_to(root) else path).as_posix()


def _row(path: str, record: Record, evaluation: Evaluation | None, point: Point | None) -> dict[str, Any]:
    recipe, time = record.recipe, training_time(record)
    reference = published(record, evaluation, point.inner_steps) if evaluation and point else None
    row = {
        "kind": record.kind,
        "recipe": recipe["id"],
        "recipe_id": record.recipe_id,
        "changed": changed(record),
        "tuned": trials([record]) or None,
        "own_values_won": trials([record], own=True) or None,
        "ranked": bool(recipe.get("ranked", True)),
        "superseded": record.superseded,
        "tasks": recipe["tasks"]["name"],
        "variant": recipe["variant"],
        "task_version": record.task_version,
        "setup": recipe["setup"]["name"],
        "preset": recipe["preset"],
        "protocol": evaluation and evaluation.protocol,
        "checkpoint": evaluation and evaluation.checkpoint,
        "checkpoint_steps": evaluation and evaluation.checkpoint_steps,
        "weights": record.weights_id or None,
        "split": evaluation and evaluation.split,
        "seed": record.seed,
        "status": record.status,
        "metric": record.metric.name,
        "inner_steps": point and point.inner_steps,
        "way": evaluation and evaluation.way,
        "shot": evaluation and evaluation.shot,
        "query": evaluation and evaluation.query,
        "mean": point and point.mean,
        "ci95": point and point.ci95,
        "episodes": evaluation and evaluation.episodes,
        "diverged_episodes": point and point.diverged_episodes,
        "published": reference and reference["value"],
        "published_ci95": reference and reference.get("ci95"),
        "published_note": reference and (reference.get("note") or None),
        "source": reference and reference.get("source"),
        "outer_steps": record.outer_steps,
        "env_steps": record.env_steps,
        "budget_share": record.budget_share,
        "train_s": time.seconds,
        "train_s_is": time.kind,
        "contended": contended(record),
        "steps_per_s": steps_per_s(record),
        "peak_memory_bytes": record.peak_memory_bytes,
        "normalisation": normalisation(record, evaluation),
        "schedule": record.schedule,
        "device": record.device,
        "threads": record.threads,
        "processes": record.processes,
        "torch": record.software.get("torch"),
        "machine": record.machines,
        "machine_gflops": record.machine_gflops,
        "commit": commits(record),
        "path": path,
    }
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
