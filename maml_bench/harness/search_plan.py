"""The plan of a search: which recipe and setup, what is fixed, the space, and how many trials there are."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maml_bench import registry
from maml_bench.errors import MamlBenchError, shortened
from maml_bench.harness import preflight, proposals
from maml_bench.harness.build import build, rehearse
from maml_bench.harness.recipe import AnySetup, Recipe, resolution, resolve_all
from maml_bench.harness.search_space import Dimension, Values, at_the_ends, check, settings_of, size, space_of, split
from maml_bench.own_faults import explaining

FOLDER = "tuning"


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
    _refuse_no_number("trials", trials)
    _refuse_no_number("trial_steps", 1 if trial_steps is None else trial_steps)
    fixed, searched = split(settings)
    found = []
    for setup in [one for number, one in enumerate(setups) if one not in setups[:number]]:
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


def _refuse_no_number(name: str, value: Any) -> None:
    """Raise MamlBenchError where ``value`` is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MamlBenchError(f"{name} is {shortened(value)}, but must be a whole number of at least 1")


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
