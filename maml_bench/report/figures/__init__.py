"""Figures, one file each. Every file in this folder is found and needs one function:

- ``draw(selection)`` returns a figure of one recipe and preset, or None where the records lack what it shows. It is
  saved as ``<recipe>-<file name>-<preset>``, as PDF and PNG.
- ``draw_speed(rows)`` returns a figure of the races of one machine, or None. It is saved as ``<file name>-<machine>``.
- ``draw_suite(view)`` returns figures of one suite and preset by name. They are saved as
  ``<suite>-<file name>-<preset>-<name>``.
"""

import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib

from maml_bench.record import Metric, Record
from maml_bench.report.aggregate import Group, aggregate
from maml_bench.report.speed.rows import Race
from maml_bench.report.style import STYLE, Look, looks, save
from maml_bench.report.suite_tables import Place, places
from maml_bench.suites import Cell, Suite, suite, suite_names

PAPER_PAIR = ("maml", "pretrained")


@dataclass(frozen=True)
class Selection:
    """What one figure may show: one group per setup of one recipe and preset, in alphabetical order."""

    groups: dict[str, Group]
    looks: dict[str, Look]

    @property
    def one(self) -> Group:
        return next(iter(self.groups.values()))

    @property
    def metric(self) -> Metric:
        return self.one.first.metric

    def exhibits(self, kind: str) -> dict[str, dict[str, Any]]:
        """The material for figures that MAML and the pretrained network (the paper's two setups) have kept, or else
        that of the first two setups that have any; from each the lowest seed."""
        shown = self.all_exhibits(kind)
        return {setup: shown[setup] for setup in [s for s in PAPER_PAIR if s in shown] or list(shown)[:2]}

    def all_exhibits(self, kind: str) -> dict[str, dict[str, Any]]:
        """The material for figures that each setup has kept; from each the lowest seed."""
        kept = {setup: group.first.exhibit for setup, group in self.groups.items()}
        return {setup: exhibit for setup, exhibit in kept.items() if exhibit and exhibit.get("kind") == kind}

    def title(self, what: str, note: str = "", seed: int | None = None) -> str:
        """The title of a figure: the recipe and what is shown; the budget and seeds of most setups, or ``seed``; a
        note."""
        group = self._usual()
        seeds = group.seeds if seed is None else (seed,)
        budget = group.budget + ("" if group.ranked else " (unranked)")
        about = f"{group.preset} preset, {budget}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        changed = f"changed: {group.changed}" if group.changed else ""
        return "\n".join(line for line in (f"{group.recipe}: {what}", about, changed, note) if line)

    @cached_property
    def timed(self) -> list[str]:
        """The setups whose seconds can share an axis: those that were trained where most were, and those without
        training."""
        places = {setup: _place(group) for setup, group in self.groups.items() if group.first.budget_steps}
        usual = Counter(places.values()).most_common(1)[0][0] if places else ""
        return [setup for setup in self.groups if places.get(setup, usual) == usual]

    def place(self) -> str:
        """A note for figures of seconds: where those of the setups in ``timed`` were measured, and who is left out."""
        trained = [setup for setup in self.timed if self.groups[setup].first.budget_steps]
        apart = [setup for setup in self.groups if setup not in self.timed]
        lines = [f"seconds of {_place(self.groups[trained[0]])}"] if trained else []
        return "\n".join(lines + ([f"trained elsewhere, without seconds here: {', '.join(apart)}"] if apart else []))

    def label(self, setup: str) -> str:
        """The setup's name and how its group differs from the title."""
        group, usual = self.groups[setup], self._usual()
        apart = [group.budget] if group.budget != usual.budget else []
        apart += [f"seeds {', '.join(map(str, group.seeds))}"] if group.seeds != usual.seeds else []
        return f"{setup} ({'; '.join(apart)})" if apart else setup

    def _usual(self) -> Group:
        trained = [g for g in self.groups.values() if g.first.budget_steps] or list(self.groups.values())
        (budget, seeds), _ = Counter((group.budget, group.seeds) for group in trained).most_common(1)[0]
        return next(group for group in trained if (group.budget, group.seeds) == (budget, seeds))


@dataclass(frozen=True)
class View:
    """What the figures of a suite may show under one preset: all groups of its records, and a look for every setup."""

    name: str
    suite: Suite
    preset: str
    places: list[Place]
    looks: dict[str, Look]

    def cells(self) -> dict[Cell, list[Place]]:
        """The places by cell, in the order of the suite; within a cell the best group comes last."""
        mine = sorted(self.places, key=lambda place: place.group.merit)
        cells = {cell: [place for place in mine if place.cell == cell] for cell in self.suite.cells}
        return {cell: found for cell, found in cells.items() if found}


def _place(group: Group) -> str:
    """Where a group was trained: seconds of two places are not comparable."""
    record = group.first
    return f"machine {record.machines}, {record.device}, {record.threads} thread{'s' if record.threads > 1 else ''}"


def discover(function: str = "draw") -> dict[str, Callable[[Any], Any]]:
    """The drawing function (``draw``, ``draw_speed`` or ``draw_suite``) of every figure that has it, by its file name
    with hyphens."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name.replace("_", "-"): getattr(m, function) for name, m in modules.items() if hasattr(m, function)}


def selections(records: Iterable[Record]) -> list[Selection]:
    """One selection per recipe and preset, without smoke runs of a recipe that has others.

    A setup with several groups is shown by the best of them (`Group.merit`); the tables show all. Runs with changed
    settings are left out where their recipe has others. Where it has none, those changes are shown that most setups
    have, then those with most outer steps. Evaluations of weights from files are left out.
    """
    records = [record for record in records if record.kind == "run"]
    look = looks(record.recipe["setup"]["name"] for record in records)
    found: dict[tuple[str, str, str], dict[str, dict[str, Group]]] = {}
    for group in sorted(aggregate(records), key=lambda group: group.merit):
        if any(record.evaluations for record in group.records):
            where = (group.tasks, group.recipe, group.preset)
            found.setdefault(where, {}).setdefault(group.changed, {})[group.setup] = group
    full = {(tasks, recipe) for tasks, recipe, preset in found if preset != "smoke"}
    return [
        Selection(dict(sorted(_shown(changes).items())), look)
        for (tasks, recipe, preset), changes in sorted(found.items())
        if preset != "smoke" or (tasks, recipe) not in full
    ]


def _shown(changes: dict[str, dict[str, Group]]) -> dict[str, Group]:
    """Of the groups by changed settings and setup, those of the settings that a figure shows."""

    def size(change: str) -> tuple[bool, int, int]:
        groups = changes[change].values()
        return not change, len(groups), sum(group.first.outer_steps * len(group.seeds) for group in groups)

    return changes[max(changes, key=size)]


def write_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw everything that the records can show into ``folder`` and return the paths."""
    written: list[Path] = []
    for selection in selections(records):
        for name, draw in discover().items():
            with matplotlib.rc_context(STYLE):
                figure = draw(selection)
                if figure is not None:
                    written += save(figure, folder / f"{_slug(selection.one.recipe)}-{name}-{selection.one.preset}")
    return written


def write_suite_figures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw what the records show of each suite into ``folder`` and return the paths."""
    records = list(records)
    look = looks(record.recipe["setup"]["name"] for record in records)
    written: list[Path] = []
    for name in suite_names():
        found = places(suite(name), records)
        for preset in dict.fromkeys(place.group.preset for place in found):
            view = View(name, suite(name), preset, [p for p in found if p.group.preset == preset], look)
            for file, draw in discover("draw_suite").items():
                with matplotlib.rc_context(STYLE):
                    for part, figure in draw(view).items():
                        stem = "-".join(word for word in (name, file, preset, _slug(part)) if word)
                        written += save(figure, folder / stem)
    return written


def write_speed_figures(rows: Iterable[Race], folder: Path) -> list[Path]:
    """Draw what the speed records show into ``folder``, one machine per figure, and return the paths."""
    machines: dict[str, list[Race]] = {}
    for row in rows:
        machines.setdefault(row.machine, []).append(row)
    written: list[Path] = []
    for machine, mine in sorted(machines.items()):
        for name, draw in discover("draw_speed").items():
            with matplotlib.rc_context(STYLE):
                figure = draw(mine)
                if figure is not None:
                    written += save(figure, folder / f"{name}-{_slug(machine)}")
    return written


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-")
