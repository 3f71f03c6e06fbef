"""Aggregation over seeds: groups of records that differ only in their seed, and their scores.

Nothing else is ever averaged. Records of another machine, another content of the recipe, another number of outer steps
or another outcome form another group, which has another row.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from maml_bench.record import Evaluation, Record
from maml_bench.report.flat_rows import changed, own_values_won, published, trials
from maml_bench.report.statistics import MIN_SEEDS, Array, Estimate, estimate, seed_means

PRESETS = ("paper", "quick", "smoke")
"""Presets in reading order, the largest budgets first; any other preset comes after them."""
Key = tuple[str, str, int, int, int, int, str, str]
"""What two evaluations must have in common to be the same test; see `shape_of`."""
Test = tuple[str, str, int, int]
"""Recipe, protocol, way and shot: what a published number is of, whatever the number of inner steps."""


@dataclass(frozen=True)
class Score:
    """A group's score on one evaluation after ``inner_steps``; ``values [seeds, episodes]``, nan where not finite.

    ``made_at`` holds for each seed the outer steps at which the tested weights were saved: one number, several for an
    ensemble, none where they are not known.
    """

    evaluation: Evaluation
    inner_steps: int
    values: Array
    diverged_episodes: int
    published: dict[str, Any] | None
    made_at: tuple[tuple[int, ...], ...] = ()

    @cached_property
    def estimate(self) -> Estimate:
        """Mean and 95 % interval: over seeds where there are enough, else over test tasks."""
        return estimate(self.values)

    @cached_property
    def regret(self) -> Estimate | None:
        """How far the score lies below the best expected one; None where that is not known."""
        return estimate(np.array(self.evaluation.best) - self.values) if self.evaluation.best else None

    @property
    def mean(self) -> float:
        return self.estimate.mean

    @property
    def ci95(self) -> float:
        return self.estimate.ci95

    @cached_property
    def seed_means(self) -> list[float]:
        return seed_means(self.values)

    @property
    def whole(self) -> bool:
        """Whether every score is finite. Otherwise the mean says nothing about the published one."""
        return bool(np.isfinite(self.values).all())

    @property
    def apart(self) -> float | None:
        """How far our interval lies from the published one: our mean minus the published value where the intervals do
        not meet, 0 where they do. None where nothing was published or a score is not finite."""
        if self.published is None or not self.whole:
            return None
        away = self.mean - float(self.published["value"])
        return away if abs(away) > self.ci95 + (self.published.get("ci95") or 0.0) else 0.0

    @property
    def few(self) -> str:
        """The number of seeds where it is too small for an interval over seeds: ``1 seed``; else empty."""
        count = sum(map(math.isfinite, self.seed_means))
        return "" if count >= MIN_SEEDS else f"{count} seed{'s' * (count != 1)}"

    @property
    def checkpoint(self) -> str:
        """Which weights were tested: ``last``, ``selected at 4,500`` (with several seeds ``at 4,000 to 6,000``),
        ``ensemble of 5``, or ``given at 4,500`` for weights from a file."""
        kind = self.evaluation.checkpoint
        if kind == "ensemble":
            counts = sorted({len(steps) for steps in self.made_at if steps})
            return f"ensemble of {_range(counts)}" if counts else kind
        steps = sorted({step for steps in self.made_at for step in steps})
        return f"{kind} at {_range(steps)}" if steps and kind != "last" else kind


@dataclass(frozen=True)
class Group:
    """Records of one setup on one recipe, by seed."""

    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def recipe(self) -> str:
        return str(self.first.recipe["id"])

    @property
    def changed(self) -> str:
        """The changed settings that make it another experiment than its recipe, see `flat_rows.changed`, and in how
        many trials they were found if they were tuned: ``inner.rate=0.02 (tuned, 20 trials)``."""
        settings = changed(self.first)
        return f"{settings} (tuned, {self.trials:,} trials)" if self.trials else settings

    @property
    def about(self) -> str:
        """What a table says behind the name of the recipe: `changed`, and in how many trials the recipe's own values
        won where they were searched. A search that they won changes nothing: ``, own values won 20 trials``."""
        won = trials(self.records, own=True)
        return (f", changed: {self.changed}" if self.changed else "") + (
            f", own values won {won:,} trials" if won else ""
        )

    @property
    def change(self) -> str:
        """What setups that were changed in the same way have in common: `changed`, but of tuned keys the search and not
        the values, ``outer.steps=200 (inner.rate tuned, 20 trials)``."""
        if not self.trials:
            return self.changed
        searches = [search for r in self.records for search in r.tuned if not own_values_won(r, search)]
        keys = dict.fromkeys(one.partition("=")[0] for search in searches for one in search.space)
        settings = [one for one in changed(self.first).split(", ") if one and one.partition("=")[0] not in keys]
        return f"{', '.join(settings) or 'nothing else'} ({', '.join(keys)} tuned, {self.trials:,} trials)"

    @property
    def trials(self) -> int:
        """The number of trials in which its settings were found; 0 if they were not tuned."""
        return trials(self.records)

    @property
    def tasks(self) -> str:
        return str(self.first.recipe["tasks"]["name"])

    @property
    def setup(self) -> str:
        return str(self.first.recipe["setup"]["name"])

    @property
    def preset(self) -> str:
        return str(self.first.recipe["preset"])

    @property
    def ranked(self) -> bool:
        return bool(self.first.recipe.get("ranked", True))

    @property
    def superseded(self) -> str:
        """Why other records take the place of these; empty where they count."""
        return self.first.superseded

    @property
    def own_steps(self) -> int:
        """The number of inner steps in validation."""
        return self.first.curve.inner_steps

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(record.seed for record in self.records)

    @property
    def part(self) -> float:
        """The part of the recipe's budget that was used; 1 for a setup that does not train."""
        return self.first.outer_steps / self.first.budget_steps if self.first.budget_steps else 1.0

    @property
    def budget(self) -> str:
        """The outer steps done, ``200 of 475 steps`` or ``200 steps instead of 100`` where the recipe has others; for
        weights from a file, their id."""
        if self.first.kind == "evaluation":
            return f"weights {self.first.weights_id}"
        done, whole = self.first.outer_steps, self.first.budget_steps
        if not whole:
            return "no training"
        if done > whole:
            return f"{done:,} steps instead of {whole:,}"
        return f"{whole:,} steps" if done == whole else f"{done:,} of {whole:,} steps"

    @property
    def merit(self) -> tuple[bool, bool, float, int, str]:
        """Sort key, largest is best: an unchanged recipe, ended well, most of its budget used, most seeds, latest."""
        latest = max(record.started_at for record in self.records)
        return not self.changed, self.first.status == "ok", self.part, len(self.seeds), latest

    def scores(self) -> Iterator[Score]:
        """The score of every test that all records of the group have, in the order of the first record."""
        measured = [
            {
                (shape_of(evaluation), point.inner_steps): (point, tuple(evaluation.checkpoint_steps))
                for evaluation in record.evaluations
                for point in evaluation.points
            }
            for record in self.records
        ]
        for evaluation in self.first.evaluations:
            for steps in (point.inner_steps for point in evaluation.points):
                key = (shape_of(evaluation), steps)
                if not all(key in points for points in measured):
                    continue
                points, made_at = zip(*(points[key] for points in measured), strict=True)
                values = np.array([point.values for point in points], dtype=np.float64)
                diverged = sum(point.diverged_episodes for point in points)
                yield Score(evaluation, steps, values, diverged, published(self.first, evaluation, steps), made_at)

    def shown(self, wanted: dict[Test, set[int]]) -> list[Score]:
        """The scores that get a row: of each test those after the ``wanted`` inner steps (`published_steps`), else
        after those of validation, else after the last."""
        scores = list(self.scores())
        kept = []
        for shape in dict.fromkeys(shape_of(score.evaluation) for score in scores):
            mine = [score for score in scores if shape_of(score.evaluation) == shape]
            test = mine[0].evaluation
            steps = wanted.get((self.recipe, test.protocol, test.way, test.shot)) or {self.own_steps}
            kept += [score for score in mine if score.inner_steps in steps] or mine[-1:]
        return kept

    def headlines(self) -> list[Score]:
        """One score per test: after the inner steps that have a published value, else after those of validation, else
        after the last."""
        tests: dict[Key, list[Score]] = {}
        for score in self.scores():
            tests.setdefault(shape_of(score.evaluation), []).append(score)
        return [
            max(scores, key=lambda s: (s.published is not None, s.inner_steps == self.own_steps, s.inner_steps))
            for scores in tests.values()
        ]


def aggregate(records: Iterable[Record], *, machines: bool = True) -> list[Group]:
    """Group the records that differ only in their seed.

    The groups are sorted by tasks, recipe, preset (paper first), setup, how much of the budget was used (most first)
    and machine. Where a group has two records of one seed, the newer one counts. With ``machines=False`` a group holds
    the seeds of one experiment from all machines. Such groups are for scores only, because seconds of two machines
    cannot be compared.
    """
    groups: dict[tuple[Any, ...], dict[int, Record]] = {}
    for record in sorted(records, key=lambda record: record.started_at):
        groups.setdefault(experiment(record, machines=machines), {})[record.seed] = record
    return [Group(tuple(seeds[seed] for seed in sorted(seeds))) for _, seeds in sorted(groups.items())]


def experiment(record: Record, *, machines: bool = False) -> tuple[Any, ...]:
    """What all records of a group have in common. With ``machines``, that includes where and how they were trained."""
    r = record.recipe
    place = (record.machines, record.device, record.threads, record.processes, record.schedule, record.memory)
    return (
        *(r["tasks"]["name"], r["id"], rank(r["preset"]), r["preset"], r["setup"]["name"], changed(record)),
        *(record.recipe_id, record.kind != "run", record.weights_id, -record.outer_steps),
        *(place if machines else ()),
        *(record.task_version, record.status, r["variant"], record.superseded),
    )


def rank(preset: str) -> int:
    """The place of a preset in reading order, the largest budgets first."""
    return PRESETS.index(preset) if preset in PRESETS else len(PRESETS)


def shape_of(evaluation: Evaluation) -> Key:
    """What two evaluations must have in common to be the same test: protocol, split, way, shot, query, the number of
    episodes, the statistics that normalise the query, and the checkpoint."""
    e = evaluation
    return e.protocol, e.split, e.way, e.shot, e.query, e.episodes, e.normalisation, e.checkpoint


def published_steps(records: Iterable[Record]) -> dict[Test, set[int]]:
    """The inner steps for which any setup has a published number. They are shown for all setups."""
    wanted: dict[Test, set[int]] = {}
    for record in records:
        for r in record.recipe.get("published", []):
            wanted.setdefault((record.recipe["id"], r["protocol"], r["way"], r["shot"]), set()).add(r["inner_steps"])
    return wanted


def shape_in_words(evaluation: Evaluation) -> str:
    """Way and shot of a test, and how it differs from the common one: ``5-way 1-shot, modern, support``."""
    return ", ".join([in_words(evaluation.way, evaluation.shot), *unusual(**vars(evaluation))])


def unusual(protocol: str, split: str, normalisation: str, checkpoint: str, **_: Any) -> list[str]:
    """How a test differs from the common one, which is the paper's protocol on the test split, transductive, with one
    checkpoint."""
    words = [word for word, common in ((protocol, "paper"), (split, "test")) if word != common]
    words += [normalisation] if normalisation != "transductive" else []
    return words + (["ensemble"] if checkpoint == "ensemble" else [])


def in_words(way: int, shot: int) -> str:
    """``5-way 1-shot``, or ``5-shot`` where there are no classes."""
    return f"{way}-way {shot}-shot" if way > 1 else f"{shot}-shot"


def _range(numbers: list[int]) -> str:
    ends = (numbers[0], numbers[-1]) if numbers[0] != numbers[-1] else numbers[:1]
    return " to ".join(f"{number:,}" for number in ends)
