"""Which records of two sides belong together, and which have no partner.

A pair has one recipe name, preset, setup and seed. Of several records of a seed, those of the same machine, content of
the recipe and number of outer steps are preferred, then the newest.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from maml_bench.errors import MamlBenchError
from maml_bench.record import Record
from maml_bench.record_files import load, load_all, parse
from maml_bench.report.packing import FILE, unpack

REFERENCE = "reference"
Pair = tuple[Record, Record]


class Name(NamedTuple):
    """What the two records of a pair have in common beside their seed; ``kind`` is ``run`` or ``evaluation``."""

    recipe: str
    setup: str
    preset: str
    kind: str = "run"


@dataclass(frozen=True)
class Match:
    """The pairs of one name, and the seeds that only one side has."""

    name: Name
    pairs: tuple[Pair, ...]
    base_only: tuple[int, ...] = ()
    new_only: tuple[int, ...] = ()


def name_of(record: Record) -> Name:
    return Name(record.recipe["id"], record.recipe["setup"]["name"], record.recipe["preset"], record.kind)


def read(place: str | Path) -> list[Record]:
    """The records below a results folder without superseded ones, or the record of one file.

    The word ``reference`` stands for the reference records of maml-bench; ``./reference`` is a folder of that name.

    Raises:
        MamlBenchError: there are none, or one cannot be read.
    """
    if place == REFERENCE:
        return reference()
    path = Path(place)
    if not path.exists():
        raise MamlBenchError(f"there is no results folder or record at {path}")
    records = [r for _, r in load_all(path) if not r.superseded] if path.is_dir() else [load(path)]
    if not records:
        raise MamlBenchError(f"there are no records below {path}")
    return records


def reference() -> list[Record]:
    """The reference records that came with this package: those in the wheel, or those of the clone it lies in.

    Raises:
        MamlBenchError: the package came without them.
    """
    packed = Path(__file__).with_name(FILE)
    if packed.is_file():
        return [parse(text, "a reference record") for text in unpack(packed.read_bytes())]
    results = Path(__file__).parents[2] / "results"
    if not (results / "records").is_dir():
        raise MamlBenchError("this copy of maml-bench came without reference records: name a results folder instead")
    return read(results)


def match(base: Iterable[Record], new: Iterable[Record], key: Callable[[Record], Hashable] = name_of) -> list[Match]:
    """All records of both sides, by ``key``; pairs within a key, seed by seed, in the order of the keys."""
    sides = ([*base], [*new])
    keys = sorted({key(record) for side in sides for record in side}, key=str)
    found = []
    for one in keys:
        old, fresh = ([record for record in side if key(record) == one] for side in sides)
        before, after = ({record.seed for record in side} for side in (old, fresh))
        pairs = [pair for seed in sorted(before & after) for pair in _of_seed(old, fresh, seed)]
        name = name_of((fresh or old)[0])
        found.append(Match(name, tuple(pairs), tuple(sorted(before - after)), tuple(sorted(after - before))))
    return found


def _of_seed(old: list[Record], fresh: list[Record], seed: int) -> list[Pair]:
    """One pair for each machine that both sides have; one pair where they have none in common."""
    choices = list(product((r for r in old if r.seed == seed), (r for r in fresh if r.seed == seed)))
    best: dict[str, Pair] = {}
    for pair in sorted(choices, key=_merit):
        best[pair[0].machines if pair[0].machines == pair[1].machines else ""] = pair
    alike = {machine: pair for machine, pair in best.items() if machine}
    return list((alike or best).values())


def _merit(pair: Pair) -> tuple[Any, ...]:
    """Sort key of the choices for a pair, the best one last."""
    old, new = pair
    well = old.status == new.status == "ok"
    alike = (old.recipe_id == new.recipe_id, old.weights_id == new.weights_id, old.outer_steps == new.outer_steps)
    return *alike, well, min(old.budget_share, new.budget_share), new.started_at, old.started_at
