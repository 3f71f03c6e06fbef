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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from maml_bench.record import Evaluation, Metric, Record
from maml_bench.report.aggregate import Group, aggregate, experiment, shape_in_words
from maml_bench.report.formats import paragraphs, write
from maml_bench.report.speed.rows import Race
from maml_bench.report.style import STYLE, Look, caption, looks, save
from maml_bench.report.suite_tables import Place, places
from maml_bench.suites import Cell, Suite, suite, suite_names

PAPER_PAIR = ("maml", "pretrained")
RULE = (
    "Each setup is shown by its runs with the unchanged recipe; of these, those count that ended well, then those with "
    "the largest part of the budget, then those with most seeds, then the latest."
)
CHANGED_RULE = "Of several changes those are shown that most setups have, then those with most outer steps."
Drawn = dict[Path, tuple[str, str]]
"""The files of figures, each with its title and its caption."""


@dataclass(frozen=True)
class Selection:
    """What one figure may show: one group per setup of one recipe and preset, in alphabetical order.

    ``hidden`` are the other groups of the recipe and preset. ``pooled`` has the group of each setup with the seeds that
    ran on other machines (`together`).
    """

    groups: dict[str, Group]
    looks: dict[str, Look]
    hidden: list[Group]
    pooled: dict[str, Group]

    @property
    def one(self) -> Group:
        return next(iter(self.groups.values()))

    @property
    def metric(self) -> Metric:
        return self.one.first.metric

    def together(self) -> "Selection":
        """The same with the seeds of all machines, for figures of scores without seconds."""
        shown = {id(record) for group in self.pooled.values() for record in group.records}
        hidden = [group for group in self.hidden if any(id(record) not in shown for record in group.records)]
        return replace(self, groups=self.pooled, hidden=hidden)

    def exhibits(self, kind: str) -> dict[str, dict[str, Any]]:
        """The material for figures that MAML and the pretrained network (the paper's two setups) have kept, or else
        that of the first two setups that have any; from each the lowest seed."""
        shown = self.all_exhibits(kind)
        return {setup: shown[setup] for setup in [s for s in PAPER_PAIR if s in shown] or list(shown)[:2]}

    def all_exhibits(self, kind: str) -> dict[str, dict[str, Any]]:
        """The material for figures that each setup has kept; from each the lowest seed."""
        kept = {setup: group.first.exhibit for setup, group in self.groups.items()}
        return {setup: exhibit for setup, exhibit in kept.items() if exhibit and exhibit.get("kind") == kind}

    def title(self, what: str, seed: int | None = None) -> str:
        """The title of a figure: the recipe and what is shown; the budget and seeds of most setups, or ``seed``."""
        group = self._usual()
        budget = group.budget + ("" if group.ranked else " (unranked)")
        about = f"{group.preset} preset, {budget}, {seeds_in_words(group.seeds if seed is None else (seed,))}"
        return f"{group.recipe}: {what}\n{about}{', changed' if group.changed else ''}"

    def rule(self) -> str:
        """Sentences for the caption: which settings were changed, which groups are not shown, and by which rule."""
        changed = f"No setup was trained with the unchanged recipe; these runs have other settings: {self.one.change}."
        changed = changed if self.one.changed else ""
        hidden = "; ".join(self._apart(group) for group in self.hidden)
        rule = CHANGED_RULE if self.one.changed else RULE
        return f"{changed} {rule} Not shown: {hidden}.".strip() if hidden else changed

    def published(self, setup: str) -> bool:
        """Whether published values stand beside a setup: its runs used the whole budget of the paper."""
        group = self.groups[setup]
        return group.preset == "paper" and group.part >= 1

    @cached_property
    def timed(self) -> list[str]:
        """The setups whose seconds can share an axis: those that were trained on one machine, where most were, and
        those without training."""
        places = {setup: _place(group) for setup, group in self.groups.items() if group.first.budget_steps}
        known = Counter(place for place in places.values() if place)
        usual = known.most_common(1)[0][0] if known else "nowhere"
        return [setup for setup in self.groups if places.get(setup, usual) == usual]

    def place(self) -> str:
        """Sentences for the caption of figures of seconds: where those of the setups in ``timed`` were measured, and
        who has none."""
        trained = [setup for setup in self.timed if self.groups[setup].first.budget_steps]
        apart = [setup for setup in self.groups if setup not in self.timed]
        where = f"Seconds are of {_place(self.groups[trained[0]])}." if trained else ""
        left = f"Trained on another machine or on several, so without seconds: {', '.join(apart)}." if apart else ""
        return f"{where} {left}".strip()

    def label(self, setup: str) -> str:
        """The setup's name and how its group differs from the title."""
        group, usual = self.groups[setup], self._usual()
        apart = [group.budget] if group.budget != usual.budget else []
        apart += [seeds_in_words(group.seeds)] if group.seeds != usual.seeds else []
        return f"{setup} ({'; '.join(apart)})" if apart else setup

    def _usual(self) -> Group:
        trained = [g for g in self.groups.values() if g.first.budget_steps] or list(self.groups.values())
        (budget, seeds), _ = Counter((group.budget, group.seeds) for group in trained).most_common(1)[0]
        return next(group for group in trained if (group.budget, group.seeds) == (budget, seeds))

    def _apart(self, group: Group) -> str:
        """A group that is not shown: its setup and seeds, and how it differs from the one that is shown."""
        shown = self.groups.get(group.setup)
        parts = [group.budget] if shown is None or group.budget != shown.budget else []
        parts += [seeds_in_words(group.seeds)]
        parts += [f"changed: {group.changed}"] if group.changed and group.change != self.one.change else []
        parts += [group.first.status] if group.first.status != "ok" else []
        parts += [f"machine {group.first.machines}"] if shown and group.first.machines != shown.first.machines else []
        return f"{group.setup} ({', '.join(parts)})"


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
    """Where a group was trained: seconds of two places are not comparable. Empty if a run was moved to another machine,
    so that its seconds are of no single place."""
    record = group.first
    if any(set(each.machines.split("+")) != {record.machine_id} for each in group.records):
        return ""
    return f"machine {record.machines}, {record.devices}, {record.threads} thread{'s' if record.threads > 1 else ''}"


def titles_of(tests: Sequence[Evaluation]) -> list[str]:
    """The titles of panels: way and shot, and which weights were tested; the query and the number of test tasks only
    where titles would else be equal."""
    names = [shape_in_words(test) + (", best validated" if test.checkpoint == "selected" else "") for test in tests]
    for what, word in (("query", "query"), ("episodes", "test tasks")):
        longer = [f"{name}, {word} {getattr(test, what):,}" for name, test in zip(names, tests, strict=True)]
        names = [more if names.count(name) > 1 else name for name, more in zip(names, longer, strict=True)]
    return names


def seeds_in_words(seeds: Sequence[int]) -> str:
    """``seed 3``, ``seeds 0 and 2``, or ``seeds 0 to 7``."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"


def discover(function: str = "draw") -> dict[str, Callable[[Any], Any]]:
    """The drawing function (``draw``, ``draw_speed`` or ``draw_suite``) of every figure that has it, by its file name
    with hyphens."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name.replace("_", "-"): getattr(m, function) for name, m in modules.items() if hasattr(m, function)}


def selections(records: Iterable[Record], look: dict[str, Look] | None = None) -> list[Selection]:
    """One selection per recipe and preset, without smoke runs of a recipe that has others.

    A setup with several groups is shown by the best of them (`Group.merit`); the tables show all. Runs with changed
    settings are left out where a setup was trained with the unchanged recipe. Where none was, those changes are shown
    that most setups have, then those with most outer steps. Evaluations of weights from files are left out. The caption
    says what is not shown (`Selection.rule`). ``look`` has a look for each setup.
    """
    records = [record for record in records if record.kind == "run"]
    look = look or looks(record.recipe["setup"]["name"] for record in records)
    pooled = {experiment(group.first): group for group in aggregate(records, machines=False)}
    found: dict[tuple[str, str, str], list[Group]] = {}
    for group in sorted(aggregate(records), key=lambda group: group.merit):
        if any(record.evaluations for record in group.records):
            found.setdefault((group.tasks, group.recipe, group.preset), []).append(group)
    full = {(tasks, recipe) for tasks, recipe, preset in found if preset != "smoke"}
    made = []
    for (tasks, recipe, preset), groups in sorted(found.items()):
        if preset != "smoke" or (tasks, recipe) not in full:
            shown = dict(sorted(_shown(groups).items()))
            hidden = sorted(
                (g for g in groups if g not in shown.values()), key=lambda group: (group.setup, group.changed)
            )
            together = {setup: pooled[experiment(group.first)] for setup, group in shown.items()}
            made.append(Selection(shown, look, hidden, together))
    return made


def _shown(groups: Iterable[Group]) -> dict[str, Group]:
    """The groups that a figure shows, by setup: of ``groups`` with the changed settings that it shows, the last of each
    setup."""
    changes: dict[str, dict[str, Group]] = {}
    for group in groups:
        changes.setdefault(group.change, {})[group.setup] = group

    def size(change: str) -> tuple[bool, bool, int, int]:
        shown = changes[change].values()
        trained = any(group.first.budget_steps for group in shown)
        return trained, not change, len(shown), sum(group.first.outer_steps * len(group.seeds) for group in shown)

    return changes[max(changes, key=size)]


def write_figures(records: Iterable[Record], folder: Path, look: dict[str, Look] | None = None) -> Drawn:
    """Draw everything that the records can show into ``folder``. ``look`` has a look for each setup."""
    written: Drawn = {}
    for selection in selections(records, look):
        for name, draw in discover().items():
            with matplotlib.rc_context(STYLE):
                stem = f"{_slug(selection.one.recipe)}-{name}-{selection.one.preset}"
                written |= _save(draw(selection), folder / stem)
    return written


def write_suite_figures(records: Iterable[Record], folder: Path, look: dict[str, Look] | None = None) -> Drawn:
    """Draw what the records show of each suite into ``folder``. ``look`` has a look for each setup."""
    records = list(records)
    look = look or looks(record.recipe["setup"]["name"] for record in records)
    written: Drawn = {}
    for name in (name for name in suite_names() if suite(name).figures):
        found = places(suite(name), records)
        for preset in dict.fromkeys(place.group.preset for place in found):
            view = View(name, suite(name), preset, [p for p in found if p.group.preset == preset], look)
            for file, draw in discover("draw_suite").items():
                with matplotlib.rc_context(STYLE):
                    for part, figure in draw(view).items():
                        stem = "-".join(word for word in (name, file, preset, _slug(part)) if word)
                        written |= _save(figure, folder / stem)
    return written


def write_speed_figures(rows: Iterable[Race], folder: Path) -> Drawn:
    """Draw what the speed records show into ``folder``, one machine per figure."""
    machines: dict[str, list[Race]] = {}
    for row in rows:
        machines.setdefault(row.machine, []).append(row)
    written: Drawn = {}
    for machine, mine in sorted(machines.items()):
        for name, draw in discover("draw_speed").items():
            with matplotlib.rc_context(STYLE):
                written |= _save(draw(mine), folder / f"{name}-{_slug(machine)}")
    return written


def write_captions(drawn: Drawn, folder: Path) -> list[Path]:
    """Write ``captions.md``: every picture with its title and caption. There is no such file without pictures."""
    parts = [
        f"## {path.stem}\n\n![{about[0]}]({path.name})\n\n**{about[0]}.** {about[1]}".rstrip()
        for path, about in sorted(drawn.items())
        if path.suffix == ".png"
    ]
    return write(folder, {"captions.md": paragraphs(["# Figures", *parts])}) if parts else []


def _save(figure: Figure | None, stem: Path) -> Drawn:
    if figure is None:
        return {}
    return dict.fromkeys(save(figure, stem), caption(figure))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-")
