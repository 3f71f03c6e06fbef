"""Searches for values of a recipe's keys: trials that are scored on validation alone, and what a record says of them.

A trial is the recipe with values from the space, trained without any test. Its score is the best one of its learning
curve. All trials of a search stand in one file below ``tuning`` of the results folder, also those that diverged or
failed, and their records lie in a folder of the same name. A search goes on from what stands in its file.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness import preflight, proposals
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.run import Options, Outcome, run
from maml_bench.harness.run_state import Observer
from maml_bench.harness.search import Search, Trial, load
from maml_bench.harness.search_plan import Plan, place_of
from maml_bench.harness.search_space import Dimension, Values, distance
from maml_bench.record import Record
from maml_bench.record_search import Tuned

NEIGHBOURS = 5
"""So many of the trials that are nearest to the winner stand in its record."""


@dataclass
class Tuning:
    """What a search of one setup has found.

    Attributes:
        plan: the recipe, the setup and the space that is searched.
        search: the search as its file holds it. ``search.trials`` are all trials in their order, each with ``number``,
            ``values``, ``status``, ``validation`` (its score, or None), ``step`` (the outer steps after which that was
            reached) and ``train_s`` (seconds). ``search.winner`` is the best of them, or None where none has a score.
        records: the runs of the best values, one for each seed; none where no trial has a score.
    """

    plan: Plan
    search: Search
    records: list[Record] = field(default_factory=list)

    @property
    def best(self) -> Values | None:
        """The best value of each key that was searched; None where no trial has a score."""
        return self.search.winner.values if self.search.winner else None

    @property
    def at_edge(self) -> list[Dimension]:
        """The keys whose best value lies at an edge of their range, so that the range should be wider."""
        return self.plan.beyond(self.best) if self.best else []


def tune(
    plans: Sequence[Plan],
    seeds: Sequence[int],
    options: Options,
    of_trials: Observer,
    of_runs: Observer,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Tuning, Outcome | None]]:
    """Make all searches, and after the last of them the runs of the best values of each, so that no test task is drawn
    before.

    Yield a search at its beginning and after each trial, with None, and after each run of its best values, with what
    came of that. It ends early where ``interrupted()`` became true: the last search that is yielded then lacks trials,
    or the last outcome has no record.

    Args:
        plans: what is searched.
        seeds: the seeds of the runs of the best values.
        options: where the results lie, and how is trained.
        of_trials: who watches the trials.
        of_runs: who watches the runs of the best values.
        interrupted: asked after every step.

    Raises:
        MamlBenchError: as `make_trials` and `run.run`.
    """
    tunings: list[Tuning] = []
    for plan in plans:
        for search in make_trials(plan, options, of_trials, interrupted):
            if not tunings or tunings[-1].plan is not plan:
                tunings.append(Tuning(plan, search))
            yield tunings[-1], None
        if len(tunings[-1].search.done) < plan.trials:
            return
    for tuning in tunings:
        if tuning.best is None:
            of_runs.said(f"{tuning.search.title}: no trial has a validation score, so there are no best values to run")
            continue
        recipe = tuning.plan.with_values(tuning.best)
        named = replace(options, tuned=tuned(tuning.plan, tuning.search, options.results))
        for seed in seeds:
            outcome = run(recipe, seed, named, observer=of_runs, interrupted=interrupted)
            tuning.records += [] if outcome.record is None else [outcome.record]
            yield tuning, outcome
            if outcome.record is None:
                return


def make_trials(
    plan: Plan, options: Options, observer: Observer, interrupted: Callable[[], bool] = lambda: False
) -> Iterator[Search]:
    """Make the trials of a search that are not there yet; yield it at the beginning and after each trial.

    ``options`` say where the results lie and how a trial is trained. The last search that is yielded lacks trials where
    ``interrupted()`` became true. The same call then goes on from there, also where the process was killed.

    Raises:
        MamlBenchError: the file of the search is damaged, another process is at work on it, or it has more trials than
            are asked for.
    """
    path = place_of(plan, options.results)
    preflight.refuse_unwritable(path)
    with preflight.alone(path):
        search = load(path, plan.space) if path.exists() else _begun(plan)
        if len(search.done) > plan.trials:
            raise MamlBenchError(
                f"{path} has {len(search.done)} trials already, which cannot be made unseen: ask for as many, or more"
            )
        yield search
        folder = path.with_suffix("")
        while len(search.done) < plan.trials and not interrupted():
            if len(search.done) == len(search.trials):
                places = {trial.number: place for place, trial in enumerate(search.ranked)}
                values = proposals.proposed(
                    plan.space,
                    [(one.values, None if one.validation is None else places[one.number]) for one in search.trials],
                    plan.seed,
                )
                search.trials.append(Trial(len(search.trials) + 1, values))
                search.save(path)
            trial = search.trials[-1]
            try:
                recipe = plan.trial(trial.values)
            except MamlBenchError as error:  # the space was checked, but not every combination of its values
                trial.status, trial.reason = "failed", str(error)
            else:
                record = _trained(recipe, plan, replace(options, results=folder), observer, interrupted)
                if record is None:
                    return
                _end(trial, record)
            search.save(path)
            yield search


def tuned(plan: Plan, search: Search, results: Path) -> Tuned:
    """What the record of the winner says of its search.

    Raises:
        MamlBenchError: no trial has a score.
    """
    winner = search.winner
    if winner is None:
        raise MamlBenchError(f"no trial of {search.setup} has a validation score, so there is nothing to run")
    others = sorted(
        (trial for trial in search.done if trial is not winner),
        key=lambda trial: (distance(plan.space, trial.values, winner.values), trial.number),
    )
    return Tuned(
        search=place_of(plan, results).stem,
        trials=len(search.done),
        unsuccessful=sum(trial.validation is None for trial in search.done),
        seed=search.seed,
        sampler=search.sampler,
        space=search.space,
        outer_steps=search.outer_steps,
        winner=winner.score(),
        neighbours=[trial.score() for trial in others[:NEIGHBOURS]],
    )


def _begun(plan: Plan) -> Search:
    """A search without trials."""
    recipe = plan.first
    tasks = registry.build_tasks(recipe.tasks, f"recipe {plan.recipe!r}")
    return Search(
        recipe.id, recipe.preset, recipe.setup["name"], list(plan.fixed), [str(one) for one in plan.space],
        plan.seed, proposals.sampler(), recipe.outer.steps, tasks.metric,
    )  # fmt: skip


def _trained(
    recipe: Recipe, plan: Plan, options: Options, observer: Observer, interrupted: Callable[[], bool]
) -> Record | None:
    """The record of a trial, which the harness trains as any run; None where it was interrupted."""
    record = run(recipe, plan.seed, options, observer=observer, interrupted=interrupted).record
    if record is not None:
        shutil.rmtree(options.results / "weights", ignore_errors=True)  # nothing reads them
    return record


def _end(trial: Trial, record: Record) -> None:
    """Write into a trial what came of it. Where it was trained, the score of its initial weights does not count."""
    trial.status, trial.reason, trial.train_s = record.status, record.reason, record.train_s
    trial.record = record.relative_path.as_posix()
    curve = record.curve
    lost = curve.validation_nonfinite or [None] * len(curve.step)
    scores = [
        (step, score, nonfinite or 0)
        for step, score, nonfinite in zip(curve.step, curve.validation, lost, strict=True)
        if score is not None and (step or not record.budget_steps)
    ]
    if record.status == "ok" and scores:
        trial.step, trial.validation, trial.nonfinite = min(scores, key=lambda one: record.metric.order(*one[1:]))
