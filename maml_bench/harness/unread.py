"""Which keys of a resolved recipe nothing reads, and the refusal of those that somebody has set."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from maml_bench.checked import plain
from maml_bench.core.learner import Inner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import of_network, options, unread
from maml_bench.harness.layers import Layer, leaves
from maml_bench.harness.sections import OPTIMISERS, Outer, Validation
from maml_bench.registry import needed
from maml_bench.rl.protocol import acts
from maml_bench.types import TaskDistribution

if TYPE_CHECKING:
    from maml_bench.harness.recipe import Recipe

SET_BY_SETUPS = ("tasks.reveal", "tasks.joint", "tasks.history", "tasks.total")
NOTHING_ELSE = {"inner.steps": 0, "inner.rate": 0.0, **dict.fromkeys(SET_BY_SETUPS, True)}
"""Values beside the default that say no more than that a key is not used, or than what a setup sets itself."""


def unread_keys(recipe: "Recipe", setup: Setup, tasks: TaskDistribution) -> dict[str, str]:
    """The keys that have no effect on this recipe with this setup, each with the reason."""
    name, acted = recipe.setup["name"], acts(tasks)
    nobody = f"{recipe.tasks['name']} is not reinforcement learning"
    found = {f"outer.{key}": why for key, why in _of_other_optimisers(recipe.outer).items()}
    found |= {f"outer.{key}": f"it is read where outer.{why}" for key, why in unread(recipe.outer).items()}
    found |= dict.fromkeys((f"tasks.{key}" for key in needed(type(tasks), setup)), f"the setup {name!r} sets it itself")
    if Capability.OWN_NETWORK in setup.capabilities:
        why = f"the setup {name!r} does not ask the network of the tasks"
        found |= {f"tasks.{key}": why for key in of_network(type(tasks))}
    elif recipe.network is not None:
        why = f"the network {recipe.network['name']!r} takes the place of that of the tasks"
        found |= {f"tasks.{key}": why for key in of_network(type(tasks))}
    if not recipe.validation.episodes:
        found["validation.query"] = "it is read where validation.episodes is set"
    for section, values in (("setup", setup), ("tasks", tasks)):
        found |= {f"{section}.{key}": f"it is read where {section}.{why}" for key, why in unread(values).items()}
    found |= {f"setup.{key}": why for key, why in setup.unread(recipe.inner, acting=acted).items()}
    found |= {
        f"inner.{option.key}": f"the setup {name!r} does not read it"
        for option in options(Inner)
        if option.key not in inner_keys(setup, acting=acted)
    }
    if not acted:
        found |= {"inner.estimator": nobody, "outer.estimator": nobody}
    elif Capability.OWN_OUTER_LOSS in setup.capabilities:
        found["outer.estimator"] = f"the outer loss of the setup {name!r} is its own"
    if Capability.TRAINS not in setup.capabilities:
        keys = ["outer.optimiser", *(f"outer.{o.key}" for cls in OPTIMISERS.values() for o in options(cls))]
        found |= dict.fromkeys([*keys, "validation.every"], f"the setup {name!r} does not train")
    return found


def inner_keys(setup: Setup, *, acting: bool) -> frozenset[str]:
    """The keys of ``inner`` that a setup reads, in reinforcement learning if ``acting`` (see core.setup.Setup)."""
    keys = setup.inner_keys
    if acting and "rate" in keys:
        keys |= {"estimator"}
    return keys | {"steps"} if acting and Capability.TRAINS in setup.capabilities else keys


def refused(layer: Layer, unread: Mapping[str, str], defaults: Mapping[str, Any]) -> str | None:
    """A sentence on the first key that ``layer`` sets and that nothing reads. A file may set it to its default."""
    for key, value in leaves(layer.table):
        usual = (plain(defaults.get(key, MISSING)), NOTHING_ELSE.get(key, MISSING)) if layer.kind != "--set" else ()
        if key in unread and value not in usual:
            return f"{key} is set by {layer.source}, but has no effect: {unread[key]}"
    return None


def defaults_of(setup: Setup, tasks: TaskDistribution) -> dict[str, Any]:
    """The default of every key that has one."""
    sections: list[tuple[str, type]] = [("outer", cls) for cls in OPTIMISERS.values()]
    sections += [("inner", Inner), ("validation", Validation), ("setup", type(setup)), ("tasks", type(tasks))]
    return {o.key: o.default for name, cls in sections for o in options(cls, f"{name}.")}


def _of_other_optimisers(outer: Outer) -> dict[str, str]:
    """The keys that the optimiser at hand does not have, each with those that do."""
    mine = {option.key for option in options(type(outer))}
    readers: dict[str, list[str]] = {}
    for name, cls in OPTIMISERS.items():
        for option in options(cls):
            if option.key not in mine:
                readers.setdefault(option.key, []).append(repr(name))
    return {
        key: f"the optimiser {outer.optimiser!r} does not read it; {' and '.join(names)} do{'es' * (len(names) == 1)}"
        for key, names in readers.items()
    }
