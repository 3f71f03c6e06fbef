"""Searches for values of a recipe's keys: trials that are scored on validation alone, and what a record says of them.

A trial is the recipe with values from the space, trained without any test. Its score is the best one of its learning
curve. All trials of a search stand in one file below ``tuning`` of the results folder, also those that diverged or
failed, and their records lie in a folder of the same name. A search goes on from what stands in its file.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maml_bench import registry
from maml_bench.errors import MamlBenchError
from maml_bench.harness import preflight, proposals
from maml_bench.harness.build import build, rehearse
from maml_bench.harness.recipe import AnySetup, Recipe, resolution, resolve_all
from maml_bench.harness.run import Options, run
from maml_bench.harness.run_state import Observer
from maml_bench.harness.search import Search, Trial, load
from maml_bench.harness.search_space import (
    Dimension,
    Values,
    at_the_ends,
    check,
    distance,
    settings_of,
    size,
    space_of,
    split,
)
from maml_bench.own_faults import explaining
from maml_bench.record import Record, Tuned

FOLDER = "tuning"
NEIGHBOURS = 5
"""So many of the trials that are nearest to the winner stand in its record."""


@dataclass(frozen=True)
class Plan:
    """A search of one setup: the recipe by its name, what is fixed in it, the space, and how many trials there are.

    ``seed`` is that of the sampler and of the training of every trial. ``trial_steps`` are the outer steps of a trial,
    None for those of the recipe.
    """

    recipe: str
    preset: str
    setup: AnySetup
    fixed: tuple[str, ...]
    space: tuple[Dimension, ...]
    trials: int
    seed: int = 0
    trial_steps: int | None = None
    tasks: Any = None
    network: Any = None

    def with_values(self, values: Values) -> Recipe:
        """The recipe with these values.

        Raises:
            MamlBenchError: as `recipe.resolve`; but a setting that is fixed may be without effect on this setup.
        """
        settings = settings_of(values)
        found = resolution(
            self.recipe, preset=self.preset, setup=self.setup, tasks=self.tasks, network=self.network,
            settings=[*self.fixed, *settings],
        )  # fmt: skip
        for text in settings:
            if text in found.ignored:
                raise MamlBenchError(found.ignored[text])
        return found.recipe

    def trial(self, values: Values) -> Recipe:
        """The recipe of a trial: it has no tests, and the budget of a trial."""
        recipe = replace(self.with_values(values), test=())
        steps = recipe.outer.steps if self.trial_steps is None else self.trial_steps
        return replace(recipe, outer=replace(recipe.outer, steps=steps))

    @property
    def first(self) -> Recipe:
        """The trial at the first point of the space."""
        return self.trial({one.key: one.ends[0] for one in self.space})

    def beyond(self, values: Values) -> list[Dimension]:
        """The keys whose value is at the edge of a range that could be wider."""
        found = []
        for one in self.space:
            other = one.beyond(values[one.key])
            if other is not None and self._allowed({**values, one.key: other}):
                found.append(one)
        return found

    def _allowed(self, values: Values) -> bool:
        try:
            self.with_values(values)
        except MamlBenchError:
            return False
        return True


def plans(
    recipe: str,
    setups: Sequence[AnySetup],
    settings: Sequence[str],
    trials: int,
    *,
    preset: str = "quick",
    seed: int = 0,
    trial_steps: int | None = None,
    tasks: Any = None,
    network: Any = None,
    device: str = "cpu",
) -> list[Plan]:
    """The search of each setup, all of which have the same number of trials, the same space and the same seed.

    ``settings`` are as in `recipe.resolve`; some of them have a range or choices in the place of a value, see
    `search_space`. The trials at the ends of the space are rehearsed on ``device``, so that what cannot be trained
    fails now.

    Raises:
        MamlBenchError: optuna is not installed; there is no range; a key, a range or a value cannot be searched with
            one of the setups; or there is no such device.
    """
    preflight.refuse_unfit_seed(seed)
    fixed, searched = split(settings)
    found = []
    for setup in setups:
        choice: dict[str, Any] = {"preset": preset, "setup": setup, "tasks": tasks, "network": network}
        space = space_of(searched, recipe, **choice, settings=fixed)
        plan = Plan(recipe, preset, setup, tuple(fixed), space, trials, seed, trial_steps, tasks, network)
        check(space, plan.with_values)
        _refuse_unfit(plan)
        found.append(plan)
    first = settings_of({one.key: one.ends[0] for one in space})
    resolve_all(recipe, preset=preset, setups=setups, tasks=tasks, network=network, settings=[*fixed, *first])
    proposals.optuna()
    device = preflight.usable_device(device)
    for plan in found:
        for values in at_the_ends(plan.space):
            with explaining():
                rehearse(build(plan.trial(values), seed, device, "auto"))
    return found


def _refuse_unfit(plan: Plan) -> None:
    """Raise MamlBenchError where nothing is validated, or the number of trials or of their steps does not fit."""
    recipe = replace(plan, trial_steps=None).first
    where, name = f"recipe {plan.recipe!r}", recipe.setup["name"]
    if not recipe.validation.episodes:
        raise MamlBenchError(f"{where} has no validation to search by: set validation.episodes to more than 0")
    if plan.trial_steps is not None and not recipe.outer.steps:
        raise MamlBenchError(f"--trial-steps has no effect: the setup {name!r} does not train")
    if plan.trial_steps is not None and plan.trial_steps > recipe.outer.steps:
        raise MamlBenchError(
            f"--trial-steps {plan.trial_steps:,} is more than the {recipe.outer.steps:,} outer steps of {where}"
        )
    most = size(plan.space)
    if most is not None and plan.trials > most:
        raise MamlBenchError(f"--trials {plan.trials}: the space has only {most:,} points, and no trial is repeated")


def place_of(plan: Plan, results: Path) -> Path:
    """The file of a search: ``tuning/<tasks>/<setup>/<recipe>-<preset>-<hash8>-s<seed>.json`` below ``results``.

    The hash is of all that decides a trial but its number and the machine: the recipe without its tests, the space,
    the version of the tasks and their data.
    """
    recipe = plan.first
    tasks = registry.build_tasks(recipe.tasks, f"recipe {plan.recipe!r}")
    content = [recipe.recipe_id, [str(one) for one in plan.space], tasks.version, tasks.fingerprint()]
    digits = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{recipe.id}-{recipe.preset}-{digits}-s{plan.seed}.json"
    return Path(results, FOLDER, recipe.tasks["name"], recipe.setup["name"], name)


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
                values = proposals.proposed(
                    plan.space,
                    [(trial.values, trial.validation) for trial in search.trials],
                    plan.seed,
                    higher_is_better=search.metric.higher_is_better,
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
    scores = [
        (step, score)
        for step, score in zip(curve.step, curve.validation, strict=True)
        if score is not None and (step or not record.budget_steps)
    ]
    if record.status == "ok" and scores:
        best = max if record.metric.higher_is_better else min
        trial.step, trial.validation = best(scores, key=lambda one: one[1])
