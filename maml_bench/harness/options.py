"""Every key of a recipe: what it means, what it may be, what it is here, and where that comes from."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass
from functools import reduce
from typing import Any

from maml_bench.checked import plain
from maml_bench.core.learner import Inner
from maml_bench.declared import Option
from maml_bench.declared import options as declared
from maml_bench.harness.layers import leaves
from maml_bench.harness.recipe import AnySetup, Resolution, resolution
from maml_bench.harness.sections import OPTIMISERS, EpisodeShape, Validation


@dataclass(frozen=True)
class Row:
    """One key with its value. ``default`` is None where the key must be given, ``unread`` the reason why the key has no
    effect here, empty where it has one."""

    key: str
    type: str
    value: Any
    default: Any
    range: str
    meaning: str
    source: str
    unread: str


def options(
    recipe: str,
    *,
    preset: str = "quick",
    setup: AnySetup | None = None,
    tasks: Any = None,
    network: Any = None,
    settings: Sequence[str] = (),
) -> list[Row]:
    """The keys of a recipe under a preset and with a setup, in the order of its sections.

    Raises:
        MamlBenchError: as for `recipe.resolve`.
    """
    found = resolution(recipe, preset=preset, setup=setup, tasks=tasks, network=network, settings=settings)
    return [_row(option, found) for option in _declared(found)]


def _declared(found: Resolution) -> Iterator[Option]:
    """What the sections of a recipe declare; a key of several optimisers once."""
    yield from declared(Inner, "inner.")
    names = list(OPTIMISERS)
    meaning = "How a meta-step is taken; it decides which further keys `outer` has."
    yield Option("outer.optimiser", "one of", names[0], ", ".join(map(repr, names)), meaning)
    mine = type(found.recipe.outer)
    by_key = {option.key: option for cls in (mine, *OPTIMISERS.values()) for option in declared(cls, "outer.")}
    yield from by_key.values()
    yield from declared(EpisodeShape, "train.")
    yield from declared(Validation, "validation.")
    yield Option("test", "list of tables", MISSING, "", "The tests of the protocol 'paper'; set all of them together.")
    for section, value in (("tasks", found.tasks), ("setup", found.setup)):
        yield from declared(type(value), f"{section}.")


def _row(option: Option, found: Resolution) -> Row:
    setters = [layer.source for layer in found.layers if option.key in dict(leaves(layer.table))]
    default = None if option.default is MISSING else plain(option.default)
    value = _value(option, found)
    source = setters[-1] if setters else "default"
    if option.key not in found.unread and not setters and value != default:
        source = f"the setup {found.recipe.setup['name']}"
    return Row(
        option.key, option.type, value, default, option.range, option.meaning, source, found.unread.get(option.key, "")
    )


def _value(option: Option, found: Resolution) -> Any:
    """What the key is in this recipe, as plain data; its default where the recipe does not have it."""
    section, *keys = option.key.split(".")
    whole = {"tasks": found.tasks, "setup": found.setup}.get(section) or getattr(found.recipe, section)
    try:
        return plain(reduce(getattr, keys, whole))
    except AttributeError:
        return None if option.default is MISSING else plain(option.default)
