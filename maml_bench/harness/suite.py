"""The runs of a suite, and how far each of them is on this machine."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from maml_bench import registry, suites
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.harness import checkpoint, machine, preflight
from maml_bench.harness.recipe import Recipe, resolve
from maml_bench.harness.run import Options, title_of
from maml_bench.record import Record, relative_path
from maml_bench.record_files import load, skipped
from maml_bench.suites import EVERY, Part, Suite

State = Literal["done", "running", "begun", "failed", "to do", "not possible"]
_ORDER = get_args(State)


@dataclass(frozen=True)
class Entry:
    """One run of a suite."""

    recipe: Recipe
    seed: int

    @property
    def title(self) -> str:
        """Recipe, setup and seed, for messages."""
        return title_of(self.recipe, self.seed)


@dataclass(frozen=True)
class Standing:
    """How far a run is: ``step`` of ``steps`` outer steps, by its checkpoint or its record at ``path``.

    ``train_s`` is the training time behind it, in seconds. ``problem`` says why the run is not possible here. A run is
    ``running`` while a process holds the lock of its record.
    """

    entry: Entry
    state: State
    path: Path
    step: int = 0
    train_s: float = 0.0
    problem: str | None = None

    @property
    def steps(self) -> int:
        return self.entry.recipe.outer.steps


def entries(
    name: str, preset: str, *, setups: Sequence[str] = (), recipes: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Entry]:
    """The runs of suite ``name`` under ``preset``, each once, in the order of its parts.

    ``setups`` and ``recipes`` select among them; ``seeds`` replace those of the suite. A setup that needs what the
    tasks do not offer has no run on them.

    Raises:
        MamlBenchError: no such suite, preset, setup or recipe in it, or nothing is left of it.
    """
    whole = suites.suite(name)
    presets = {part.preset for part in whole.parts}
    if preset not in presets:
        raise MamlBenchError(f"suite {name!r} has no preset {preset!r}{nearest(preset, presets)}")
    for setup in setups:
        registry.setup_class(setup)
    known = {recipe for part in whole.parts for recipe in _recipes(part, whole)}
    for recipe in recipes:
        if recipe not in known:
            raise MamlBenchError(f"suite {name!r} has no recipe {recipe!r}{nearest(recipe, known)}")
    found: dict[tuple[str, str, int], Entry] = {}
    for part in (part for part in whole.parts if part.preset == preset):
        for recipe in (recipe for recipe in _recipes(part, whole) if not recipes or recipe in recipes):
            for setup in (setup for setup in _setups(part, recipe) if not setups or setup in setups):
                resolved = resolve(recipe, preset=preset, setup=setup)
                for seed in seeds or part.seeds:
                    found.setdefault((recipe, setup, seed), Entry(resolved, seed))
    for kind, asked, place in (("setup", setups, 1), ("recipe", recipes, 0)):
        missing = [one for one in asked if one not in {key[place] for key in found}]
        if missing:
            raise MamlBenchError(f"suite {name!r} has no run of {kind} {missing[0]!r} here (preset {preset})")
    return list(found.values())


def standings(runs: Sequence[Entry], options: Options, *, machines: bool = False) -> list[Standing]:
    """How far each of ``runs`` is below ``options.results`` on this machine, or on the one of all ``machines`` where it
    is furthest.

    They stand in the order in which they are to be run: that of ``runs``, with those that failed before at the end.

    Raises:
        MamlBenchError: no such device, or a checkpoint cannot be read.
    """
    here = machine.identity("cpu" if machines else preflight.usable_device(options.device))
    problems: dict[str, str | None] = {}

    def furthest(entry: Entry) -> Standing:
        recipe = entry.recipe
        path, pattern = (
            options.results / relative_path(recipe.plain(), recipe.recipe_id, entry.seed, name) for name in (here, "*")
        )
        others = _like(pattern) if machines else []
        paths = dict.fromkeys((path, *(other.with_suffix(".json") for other in others)))
        return min((standing(entry, path) for path in paths), key=lambda run: (_ORDER.index(run.state), -run.step))

    def standing(entry: Entry, path: Path) -> Standing:
        recipe = entry.recipe
        record, (state, _) = _record(path), checkpoint.find(path.with_suffix(".ckpt"), {})
        running = preflight.at_work(path, options.results / preflight.SHARED_LOCKS)
        if state is not None:
            return Standing(entry, "running" if running else "begun", path, state.step, _train_s(state))
        if running:
            return Standing(entry, "running", path)
        if record is not None and record.whole:
            return Standing(entry, "done", path, record.outer_steps, record.train_s)
        if recipe.recipe_id not in problems:
            problems[recipe.recipe_id] = None if machines else _problem(recipe)
        problem = problems[recipe.recipe_id]
        if problem is not None:
            return Standing(entry, "not possible", path, problem=problem)
        return Standing(entry, "failed" if record is not None and record.status == "failed" else "to do", path)

    return sorted(map(furthest, runs), key=lambda run: run.state == "failed")


def _like(pattern: Path) -> list[Path]:
    """The records and checkpoints whose names fit the pattern, of any machine."""
    with suppress(FileNotFoundError):  # a run that begins makes folders, and may remove them
        return sorted(pattern.parent.glob(pattern.with_suffix(".*").name))
    return []


def _record(path: Path) -> Record | None:
    """The record at ``path``, if there is one that can be read."""
    try:
        return load(path) if path.exists() else None
    except MamlBenchError as error:
        skipped(path, error)
        return None


def _recipes(part: Part, whole: Suite) -> list[str]:
    cells = [cell.recipe for cell in whole.cells]
    return list(dict.fromkeys(name for given in part.recipes for name in (cells if given == EVERY else [given])))


def _setups(part: Part, recipe: str) -> list[str]:
    tasks = resolve(recipe, preset=part.preset).tasks["name"]
    fit = [setup for setup in registry.setup_names() if registry.offers(tasks, setup)]
    return list(dict.fromkeys(name for given in part.setups for name in (fit if given == EVERY else [given])))


def _problem(recipe: Recipe) -> str | None:
    """Why the tasks of ``recipe`` cannot be had here, such as data that are not stored."""
    try:
        registry.build_tasks(recipe.tasks, f"recipe {recipe.id!r}").fingerprint()
    except MamlBenchError as error:
        return str(error)
    return None


def _train_s(state: checkpoint.State) -> float:
    """Seconds of training that a checkpoint has behind it."""
    names = [name + end for name in ("sample", "outer_step") for end in ("", "_warm_up")]
    return float(sum(state.clock["totals"].get(name, (0.0, 0))[0] for name in names))
