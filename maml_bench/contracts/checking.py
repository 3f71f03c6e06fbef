"""The contracts of a file of the user's, one after the other, and what was found in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from maml_bench import own_code, registry
from maml_bench.contracts.blobs import Blobs
from maml_bench.contracts.checks import Unchecked
from maml_bench.contracts.of_acting import ACTING_NETWORK, ACTING_SETUP, ACTING_TASKS
from maml_bench.contracts.of_setups import SETUP
from maml_bench.contracts.of_tasks import NETWORK, TASKS
from maml_bench.contracts.problem import Problem, built
from maml_bench.errors import MamlBenchError
from maml_bench.harness.layers import raw
from maml_bench.harness.recipe import Recipe, default_setups, resolve
from maml_bench.own_faults import explained, in_short
from maml_bench.rl.protocol import acts

Status = Literal["holds", "fails", "not checked"]
REGRESSION, CLASSES, ACTING = "sinusoid-k10", "omniglot-5w1s", "navigation"
"""Recipes whose shapes and rates are taken where the user names none."""

Contracts = Mapping[str, Callable[[Problem], None]]
OF_SETUPS, OF_TASKS, OF_NETWORKS = (SETUP, ACTING_SETUP), (TASKS, ACTING_TASKS), (NETWORK, ACTING_NETWORK)
"""The contracts on examples that lie ready, and those where an actor collects the data."""


@dataclass(frozen=True)
class Finding:
    """One contract: of what it is, in words, whether it holds, and a sentence where it does not or was not checked."""

    of: str
    contract: str
    status: Status
    sentence: str = ""


def check(name: str, recipe: str | None = None) -> list[Finding]:
    """Check the setups, families of tasks and networks in a file, or those that a recipe file names.

    ``recipe`` is what they are checked on; without it, a recipe that they fit and that needs no data is taken.

    Raises:
        MamlBenchError: there is no such file or recipe, or nothing in it can be checked.
    """
    if name.endswith(".toml"):
        return _of_recipe(name)
    if not own_code.is_file(name):
        raise MamlBenchError(f"{name} must be a Python file or a recipe file, such as ./mine.py or ./mine.toml")
    if not Path(own_code.split_name(name)[0]).is_file():
        raise MamlBenchError(f"the file {own_code.split_name(name)[0]} does not exist")
    found: list[Finding] = []
    for kind, contracts, resolved in (
        (registry.SETUP, OF_SETUPS, _for_setup),
        (registry.TASKS, OF_TASKS, _for_tasks),
        (registry.NETWORK, OF_NETWORKS, _for_network),
    ):
        if own_code.defines(kind, name):
            found += _checked(kind.word, contracts, partial(resolved, name, recipe))
    if not found:
        kinds = ", ".join((registry.SETUP.what, registry.TASKS.what, registry.NETWORK.what))
        raise MamlBenchError(f"{name} defines nothing to check: {kinds}")
    return found


def _of_recipe(name: str) -> list[Finding]:
    """The findings of everything of the user's that a recipe file names, with each of its setups."""
    found: list[Finding] = []
    for setup in default_setups(name):
        make = partial(resolve, name, preset="smoke", setup=setup)
        resolved: Contracts = {"the recipe can be resolved": lambda problem: None}
        found += _checked(f"recipe with {setup}", (resolved, resolved), make)
        if own_code.is_file(setup):
            found += _checked("setup", OF_SETUPS, make)
    table = raw(name)
    make = partial(resolve, name, preset="smoke")
    if own_code.is_file(str(table.get("tasks", {}).get("name", ""))):
        found += _checked("task distribution", OF_TASKS, make)
    if "network" in table:
        found += _checked("network", OF_NETWORKS, make)
    return found


def _checked(of: str, contracts: tuple[Contracts, Contracts], resolved: Callable[[], Recipe]) -> Iterator[Finding]:
    """The findings of one thing, which has other ``contracts`` where an actor collects the data. A contract that fails
    with the sentence of another one before was not checked."""
    told: set[str] = set()
    problem: Problem | None = None
    try:
        problem = _built(resolved())
    except Exception as error:
        yield Finding(of, "it can be built", "fails", _told(error))
        told.add(_told(error))
    for contract, holds in contracts[problem is not None and acts(problem.tasks)].items():
        if problem is None:
            yield Finding(of, contract, "not checked", "it could not be built")
            continue
        try:
            with torch.random.fork_rng(devices=[]):
                holds(problem)
        except Unchecked as reason:
            yield Finding(of, contract, "not checked", str(reason))
        except Exception as error:
            sentence = _told(error, problem)
            again = sentence in told
            told.add(sentence)
            yield Finding(
                of, contract, "not checked" if again else "fails", "for the same reason" if again else sentence
            )
        else:
            yield Finding(of, contract, "holds")


def _built(recipe: Recipe) -> Problem:
    with torch.random.fork_rng(devices=[]):
        return built(recipe)


def _told(error: Exception, problem: Problem | None = None) -> str:
    """An error in one sentence."""
    if isinstance(error, MamlBenchError):
        return str(error)
    return explained(error, problem and problem.setup) or in_short(error)


def _for_setup(name: str, recipe: str | None) -> Recipe:
    """The recipe that a setup is checked on: the user's, or the first that it fits."""
    if recipe is not None:
        return resolve(recipe, preset="smoke", setup=name)
    cls = registry.setup_class(name)
    for base, tasks in ((REGRESSION, None), (CLASSES, Blobs), (ACTING, None)):
        family: Any = tasks or registry.task_class(raw(base)["tasks"]["name"])
        if registry.misfit(family, cls) is None:
            return resolve(base, preset="smoke", setup=name, tasks=tasks)
    raise MamlBenchError(f"{name} needs tasks that cannot be made up: name a recipe with --recipe")


def _for_tasks(name: str, recipe: str | None) -> Recipe:
    """The recipe that a family is checked on, with MAML."""
    cls = registry.task_class(name)
    base = recipe or (ACTING if acts(cls) else CLASSES if registry.has_ways(cls) else REGRESSION)
    return resolve(base, preset="smoke", setup="maml", tasks=name)


def _for_network(name: str, recipe: str | None) -> Recipe:
    """The recipe that a network is checked on, with MAML."""
    return resolve(recipe or REGRESSION, preset="smoke", setup="maml", network=name)


def broken(findings: Sequence[Finding]) -> bool:
    """Whether any contract fails."""
    return any(finding.status == "fails" for finding in findings)
