"""From a name on the command line to a class: a file in tasks/ or setups/, found by its name, or code from outside."""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any

from torch import Generator, nn

from maml_bench import own_code
from maml_bench.checked import construct, plain
from maml_bench.core.setup import Capability, Setup
from maml_bench.errors import MamlBenchError, nearest, shortened
from maml_bench.kinds import NETWORK, PACKAGES, SETUP, TASKS, TASKS_MEMBERS, digest_of_module, setup_names, task_names
from maml_bench.own_code import Kind
from maml_bench.rl.protocol import acts
from maml_bench.types import Family, Shape, TaskDistribution

__all__ = (
    "NETWORK", "SETUP", "TASKS", "TASKS_MEMBERS", "NetworkMaker", "build_network", "build_setup", "build_tasks",
    "has_ways", "in_order", "misfit", "needed", "network_reference", "offers", "options_of", "scored_by_density",
    "setup_class", "setup_names", "setup_reference", "task_class", "task_names", "tasks_class", "tasks_reference",
)  # fmt: skip

NetworkMaker = Callable[[Shape, Generator], nn.Module]
"""A shape of episodes and a generator to a network, as `Family.model`."""


def task_class(name: str) -> Any:
    """The class of the family of tasks called ``name``: ours, an installed package's, or that in a file.

    Raises:
        MamlBenchError: there is no such family.
    """
    return tasks_class(own_code.reference(TASKS, name))


def tasks_class(table: Mapping[str, Any]) -> Any:
    """The class that a recipe's ``tasks`` table names.

    Raises:
        MamlBenchError: there is none, or it is not the code that ``sha256`` names.
    """
    return _class(TASKS, table, "the recipe")


def setup_class(name: str) -> type[Setup]:
    """The class of the setup called ``name``: ours, an installed package's, or that in a file.

    Raises:
        MamlBenchError: there is no such setup.
    """
    return _class(SETUP, own_code.reference(SETUP, name), "the recipe")  # type: ignore[no-any-return]


def _class(kind: Kind, table: Mapping[str, Any], where: str) -> Any:
    if "sha256" in table or "file" in table:
        return own_code.found(kind, table, where)
    name = str(table.get("name"))
    if name not in kind.known():
        raise MamlBenchError(f"no {kind.word} {name!r}{nearest(name, kind.known())}")
    module = importlib.import_module(f"{PACKAGES[kind.word]}.{name}")
    (only,) = (
        c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__ and kind.fits(c)
    )
    return only


def build_tasks(
    options: Mapping[str, Any],
    where: str,
    setup: Setup | None = None,
) -> TaskDistribution:
    """The task distribution of a recipe's ``tasks`` table: ``name`` and the options of its class.

    With ``setup``, what that needs of the tasks is set too: their identity, joint labels, a pool.

    Raises:
        MamlBenchError: a wrong name or option, or the tasks do not fit ``setup`` (see `misfit`).
    """
    rest = {key: value for key, value in options.items() if key not in own_code.REFERENCE}
    if not isinstance(options.get("name"), str):
        raise MamlBenchError(f"{where}: tasks lacks the key 'name'")
    cls = _class(TASKS, options, where)
    if setup is not None:
        if why := misfit(cls, type(setup)):
            raise MamlBenchError(f"{where}: {why}")
        rest |= needed(cls, setup)
    return construct(cls, rest, where, "tasks")  # type: ignore[no-any-return]


def needed(tasks: Any, setup: Setup) -> dict[str, Any]:
    """The options that a setup needs of a class of task distributions, each with the value that it sets itself."""
    needs = {
        Capability.NEEDS_IDENTITY: "reveal",
        Capability.TRAINS_JOINTLY: "joint",
        Capability.REMEMBERS: "history",
    }
    found: dict[str, Any] = {option: True for needs_it, option in needs.items() if needs_it in setup.capabilities}
    if Capability.REMEMBERS in setup.capabilities and "total" in inspect.signature(tasks).parameters:
        found["total"] = True  # the reward less the best expected one would tell what that is
    return found | ({"pool": setup.pool} if Capability.NEEDS_POOL in setup.capabilities else {})


def offers(tasks: str, setup: str) -> bool:
    """Whether the setup of that name can be run on the tasks of that name, see `misfit`.

    Raises:
        MamlBenchError: there is no task distribution or setup of that name.
    """
    return misfit(task_class(tasks), setup_class(setup)) is None


def misfit(tasks: Any, setup: type[Setup]) -> str | None:
    """Why a setup cannot be run on a class of task distributions; None where it can.

    What a task distribution offers is read from its options: ``reveal``, ``joint`` (it has classes) and ``pool``.
    """
    can, options, name = setup.capabilities, inspect.signature(tasks).parameters, tasks.name
    acted = acts(tasks)
    ordered = in_order(tasks)
    classes = has_ways(tasks)
    reasons = {
        f"the setup is for the tasks {', '.join(sorted(setup.families))}, not for {name}": (
            bool(setup.families) and name not in setup.families
        ),
        f"{name} is for setups that can act: by gradient steps on a support, or by a memory": (
            acted and Capability.ACTS not in can
        ),
        f"{name} shows its examples one by one, and the setup does not predict each from those before it": (
            ordered and Capability.READS_IN_ORDER not in can
        ),
        f"the setup is for reinforcement learning, which {name} is not": (Capability.ACTS_ONLY in can and not acted),
        f"the setup needs tasks that reveal their identity, which {name} does not offer": (
            Capability.NEEDS_IDENTITY in can and "reveal" not in options
        ),
        f"the setup trains one classifier for all classes, and {name} has no option `joint` for that": (
            Capability.TRAINS_JOINTLY in can and "joint" not in options
        ),
        f"the setup tells classes apart, and {name} has no classes": Capability.CLASSIFIES in can and not classes,
        f"the setup is a density, and {name} is not scored by one": (
            Capability.IS_DENSITY in can and not scored_by_density(tasks)
        ),
        f"the setup needs the same tasks again at every step, which {name} lacks": (
            Capability.NEEDS_POOL in can and "pool" not in options
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def has_ways(tasks: Any) -> bool:
    """Whether a class of task distributions has tasks of several classes each."""
    return "joint" in inspect.signature(tasks).parameters or bool(tasks.metric.name == "accuracy")


def in_order(tasks: Any) -> bool:
    """Whether a class of task distributions has tasks of one sequence each, see classification.ImageClassification."""
    return bool(getattr(tasks, "in_order", False))


def scored_by_density(tasks: Any) -> bool:
    """Whether tasks, or a class of them, are scored by a density, which needs no examples."""
    return bool(tasks.metric.name == "nats")


def build_setup(options: Mapping[str, Any], where: str) -> Setup:
    """The setup of a recipe's ``setup`` table: ``name`` and the options of its class.

    Raises:
        MamlBenchError: a wrong name or option, or the code in ``file`` is not the code that ``sha256`` names.
    """
    rest = {key: value for key, value in options.items() if key not in own_code.REFERENCE}
    return construct(_class(SETUP, options, where), rest, where, "setup")  # type: ignore[no-any-return]


def build_network(reference: Mapping[str, Any] | None, tasks: Family, where: str) -> NetworkMaker:
    """What makes the network for a shape of episodes: the family, or the code that ``reference`` names.

    A class or function of the user's is called with those of ``shape`` and ``generator`` that it has parameters for. Of
    a module that Python code has given, each call returns a copy.

    Raises:
        MamlBenchError: there is no such code, or it has other parameters that must be given.
    """
    if reference is None:
        return tasks.model
    made = own_code.found(NETWORK, reference, where)
    if isinstance(made, nn.Module):
        return lambda shape, generator: deepcopy(made)
    wanted = _parameters(made, where)

    def make(shape: Shape, generator: Generator) -> nn.Module:
        known = {"shape": shape, "generator": generator}
        network = made(**{key: value for key, value in known.items() if key in wanted})
        if not isinstance(network, nn.Module):
            raise MamlBenchError(
                f"{own_code.place_of(made)}: {made.__name__} returned a {type(network).__name__}, but must return a "
                "torch.nn.Module"
            )
        return network

    return make


def _parameters(made: Any, where: str) -> Collection[str]:
    """The parameters of a class or function that makes a network."""
    wanted = inspect.signature(made).parameters
    for name, parameter in wanted.items():
        must = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if must and name not in ("shape", "generator"):
            raise MamlBenchError(
                f"{where}: {own_code.place_of(made)}: {made.__name__} has the parameter {name!r} without a default, "
                "but a network is made from `shape` (way, shot, query) and `generator` alone: give it a default"
            )
    return wanted


def setup_reference(setup: "str | Setup | type[Setup]") -> dict[str, str]:
    """What a recipe says of a setup, which is a name, a file, a class or an instance: see `own_code.reference`.

    Raises:
        MamlBenchError: there is no such setup, or its name cannot stand in records.
    """
    return _reference(SETUP, setup)


def tasks_reference(tasks: Any) -> dict[str, str]:
    """As `setup_reference`, of a family of tasks."""
    return _reference(TASKS, tasks)


def options_of(thing: Any) -> dict[str, Any]:
    """The options of an instance of a setup or of a family; a name or a class has none."""
    return {} if isinstance(thing, str) or inspect.isclass(thing) else plain(thing)


def network_reference(network: "str | NetworkMaker | nn.Module") -> dict[str, str]:
    """What a recipe says of a network of the user's: a file, a class, a function or a module.

    The values of a module count too, because training starts from them.

    Raises:
        MamlBenchError: there is no such code, or its name cannot stand in records.
    """
    if isinstance(network, str):
        return own_code.reference(NETWORK, network)
    if isinstance(network, nn.Module):
        return own_code.given(NETWORK, network, digest_of_module(network))
    if not inspect.isfunction(network) and not (inspect.isclass(network) and issubclass(network, nn.Module)):
        raise MamlBenchError(f"the network is {shortened(network)}, but must be a file, or {NETWORK.what}")
    if getattr(network, "__closure__", None):
        raise MamlBenchError(
            f"{own_code.place_of(network)}: {network.__name__} reads variables of the function around it, which "
            "records could not tell: give them default values as parameters"
        )
    return own_code.given(NETWORK, network)


def _reference(kind: Kind, thing: Any) -> dict[str, str]:
    if isinstance(thing, str):
        return own_code.reference(kind, thing)
    cls = thing if inspect.isclass(thing) else type(thing)
    if not kind.fits(cls):
        raise MamlBenchError(f"the {kind.word} is {shortened(thing)}, but must be a name, a file, or {kind.what}")
    package, _, name = cls.__module__.rpartition(".")
    if package == PACKAGES[kind.word] and name in kind.known():
        return {"name": name}
    return own_code.given(kind, cls)
