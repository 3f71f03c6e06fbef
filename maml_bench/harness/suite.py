"""The plan of a suite: which runs it has, how far each is on this machine, and how long what is left will take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maml_bench import registry, suites
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.harness import checkpoint, machine, memory, paces, preflight
from maml_bench.harness.build import build, threads_for
from maml_bench.harness.paces import Pace
from maml_bench.harness.recipe import EpisodeShape, Recipe, resolve
from maml_bench.harness.run import Options
from maml_bench.record import Record, load_all, relative_path
from maml_bench.suites import EVERY, Part, Suite

State = Literal["done", "begun", "to do", "failed", "not possible"]
FEWEST_STEPS = 10
"""A run is begun only while so many of its steps fit into what is left of a budget."""


@dataclass(frozen=True)
class Entry:
    """One run of a suite; ``part`` counts the suite's parts under its preset, in the order of the file."""

    recipe: Recipe
    seed: int
    part: int

    @property
    def words(self) -> str:
        return f"{self.recipe.id} {self.recipe.setup['name']} seed {self.seed}"


@dataclass(frozen=True)
class Line:
    """How far an entry is: ``step`` of its recipe's steps, from its checkpoint or record at ``path``.

    ``pace`` is that of this machine, or None where nothing was measured yet; ``done_s`` the training seconds behind it.
    ``problem`` says why it cannot be run here.
    """

    entry: Entry
    state: State
    step: int
    path: Path
    done_s: float = 0.0
    pace: Pace | None = None
    problem: str | None = None

    @property
    def steps(self) -> int:
        return self.entry.recipe.outer.steps

    @property
    def train_left_s(self) -> float | None:
        """Seconds of training that are left here, or None where they cannot be told."""
        if self.state in ("done", "not possible"):
            return 0.0
        return None if self.pace is None else (self.steps - self.step) * self.pace.step_s

    @property
    def left_s(self) -> float | None:
        """Seconds that are left here with compiling, validation and tests, or None where they cannot be told."""
        if self.state in ("done", "not possible"):
            return 0.0
        return None if self.pace is None else projected_s(self.entry.recipe, self.step, self.pace)

    def fits(self, seconds: float) -> bool:
        """Whether a few of its steps fit into ``seconds`` of training, so that beginning it makes sense."""
        steps = min(FEWEST_STEPS, self.steps - self.step)
        return not steps or (seconds > 0 and steps * (self.pace.step_s if self.pace else 0.0) <= seconds)


@dataclass(frozen=True)
class Elsewhere:
    """What is left here, as it would be on another kind of machine, from the start: ``measured`` of ``entries`` have a
    pace there and take ``total_s`` together."""

    machine: str
    name: str
    device: str
    measured: int
    entries: int
    total_s: float


@dataclass(frozen=True)
class Plan:
    """A suite on one machine: a line per run in the order of the work, what is done included."""

    machine: str
    device: str
    lines: tuple[Line, ...]
    elsewhere: tuple[Elsewhere, ...]

    @property
    def open(self) -> list[Line]:
        """What is still to be run."""
        return [line for line in self.lines if line.state not in ("done", "not possible")]

    @property
    def unmeasured(self) -> list[Line]:
        return [line for line in self.open if line.pace is None]

    @property
    def train_left_s(self) -> float:
        """Seconds of training of all open lines that have a pace."""
        return math.fsum(line.train_left_s or 0.0 for line in self.lines)

    @property
    def left_s(self) -> float:
        """Seconds in all of all open lines that have a pace."""
        return math.fsum(line.left_s or 0.0 for line in self.lines)


def entries(
    name: str, preset: str, *, setups: Sequence[str] = (), recipes: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Entry]:
    """The runs of suite ``name`` under ``preset``, each once, in the order of its parts.

    ``setups``, ``recipes`` and ``seeds`` narrow it down, or for seeds replace what the suite says. A setup that needs
    what the tasks do not offer has no run on them.

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
    parts = [part for part in whole.parts if part.preset == preset]
    for i, part in enumerate(parts):
        for recipe in (recipe for recipe in _recipes(part, whole) if not recipes or recipe in recipes):
            for setup in (setup for setup in _setups(part, recipe) if not setups or setup in setups):
                resolved = resolve(recipe, preset=preset, setup=setup)
                for seed in seeds or part.seeds:
                    found.setdefault((recipe, setup, seed), Entry(resolved, seed, i))
    for kind, asked, place in (("setup", setups, 1), ("recipe", recipes, 0)):
        missing = [one for one in asked if one not in {key[place] for key in found}]
        if missing:
            raise MamlBenchError(f"suite {name!r} has no run of {kind} {missing[0]!r} here (preset {preset})")
    return list(found.values())


def plan(work: Sequence[Entry], options: Options) -> Plan:
    """How far each of ``work`` is below ``options.results`` on this machine, and what is left.

    The lines stand in the order of the work: first what is done, then by the suite's parts, in each the cheapest first
    by what is left of it, then those without a pace, then what failed before, and last what is not possible here.

    Raises:
        MamlBenchError: no such device; a record, a checkpoint or a file of paces cannot be read.
    """
    device = preflight.usable_device(options.device)
    here = machine.identity(device)
    wanted, known = {_path(entry, options, here) for entry in work}, paces.load(options.results)
    records: dict[Path, Record] = {}
    for path, record in load_all(options.results):
        known += [pace] if (pace := paces.of_record(record)) else []
        records |= {path: record} if path in wanted else {}
    ways = _Ways(device, options)
    lines = [_line(entry, records, known, here, device, options, ways) for entry in work]
    order = {id(line): i for i, line in enumerate(lines)}
    lines.sort(key=lambda line: (*_turn(line), order[id(line)]))
    left = [line.entry.recipe for line in lines if line.state != "done"]
    return Plan(here, device, tuple(lines), tuple(_elsewhere(left, known, here)))


def projected_s(recipe: Recipe, step: int, pace: Pace) -> float:
    """Seconds from ``step`` to the record: training, validations, tests, and what a sitting spends on compiling."""
    train_s = (recipe.outer.steps - step) * pace.step_s
    return train_s + paces.scored(recipe, step) * pace.score_s + pace.compile_s


def _recipes(part: Part, whole: Suite) -> list[str]:
    cells = [cell.recipe for cell in whole.cells]
    return list(dict.fromkeys(name for given in part.recipes for name in (cells if given == EVERY else [given])))


def _setups(part: Part, recipe: str) -> list[str]:
    tasks = resolve(recipe, preset=part.preset).tasks["name"]
    fit = [setup for setup in registry.setup_names() if registry.offers(tasks, setup)]
    return list(dict.fromkeys(name for given in part.setups for name in (fit if given == EVERY else [given])))


def _path(entry: Entry, options: Options, here: str) -> Path:
    return options.results / relative_path(entry.recipe.plain(), entry.recipe.recipe_id, entry.seed, here)


def _line(
    entry: Entry,
    records: dict[Path, Record],
    known: Sequence[Pace],
    here: str,
    device: str,
    options: Options,
    ways: "_Ways",
) -> Line:
    recipe = entry.recipe
    path = _path(entry, options, here)
    record, state = records.get(path), checkpoint.load(path.with_suffix(".ckpt"), {})
    if record is not None and record.whole and state is None:
        return Line(entry, "done", record.outer_steps, path, record.train_s, paces.of_record(record))

    def known_pace(threads: int, schedule: str) -> Pace | None:
        work = paces.work_of(recipe.plain())
        return paces.choose(known, work, machine=here, device=device, threads=threads, schedule=schedule)

    if state is not None:
        pace = paces.of_checkpoint(state, recipe) or known_pace(
            state.conditions["threads"], state.conditions["schedule"]
        )
        return Line(entry, "begun", state.step, path, paces.train_s(state), pace)
    try:
        pace = known_pace(*ways.of(recipe))
    except MamlBenchError as error:
        return Line(entry, "not possible", 0, path, problem=str(error))
    return Line(entry, "failed" if record and record.status == "failed" else "to do", 0, path, 0.0, pace)


class _Ways:
    """Threads and schedule of runs, as they would be here; each recipe is built once.

    Threads are counted once for all that have the same tasks, shape and meta-batch: it takes an episode, and images.
    """

    def __init__(self, device: str, options: Options) -> None:
        self._device, self._options = device, options
        self._known: dict[str, tuple[int, str] | MamlBenchError] = {}
        self._threads: dict[tuple[str, EpisodeShape, int], int] = {}

    def of(self, recipe: Recipe) -> tuple[int, str]:
        """Raises MamlBenchError where the recipe cannot be run here."""
        if recipe.recipe_id not in self._known:
            try:
                self._known[recipe.recipe_id] = self._build(recipe)
            except MamlBenchError as error:
                self._known[recipe.recipe_id] = error
        found = self._known[recipe.recipe_id]
        if isinstance(found, MamlBenchError):
            raise found
        return found

    def _build(self, recipe: Recipe) -> tuple[int, str]:
        training = build(recipe, 0, self._device, self._options.schedule, self._options.chunk)
        size = recipe.tasks["name"], recipe.train, recipe.outer.meta_batch
        if size not in self._threads:
            self._threads[size] = self._options.threads or threads_for(training)
            memory.release()
        return self._threads[size], training.meta_step.execution.schedule


def _turn(line: Line) -> tuple[int, int, float]:
    state = {"done": 0, "failed": 2, "not possible": 3}.get(line.state, 1)
    return state, line.entry.part, math.inf if line.left_s is None else line.left_s


def _elsewhere(left: Sequence[Recipe], known: Sequence[Pace], here: str) -> list[Elsewhere]:
    found = []
    for other in sorted({pace.machine for pace in known} - {here}):
        newest = {pace.work: pace for pace in sorted(known, key=lambda pace: pace.at) if pace.machine == other}
        there = [(recipe, newest.get(paces.work_of(recipe.plain()))) for recipe in left]
        costs = [projected_s(recipe, 0, pace) for recipe, pace in there if pace is not None]
        any_pace = next(iter(newest.values()))
        found.append(Elsewhere(other, any_pace.name, any_pace.device, len(costs), len(left), math.fsum(costs)))
    return found
