"""From a name on the command line to the class in tasks/ or setups/: found by file name, no central list."""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from maml_bench.checked import construct
from maml_bench.core.setup import Capability, Setup
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.rl.protocol import acts
from maml_bench.types import TaskDistribution


def task_names() -> list[str]:
    """Names of the task distributions, sorted."""
    return list(_names("maml_bench.tasks"))


def setup_names() -> list[str]:
    """Names of the setups in the package, sorted."""
    return list(_names("maml_bench.setups"))


def task_class(name: str) -> Any:
    """The class in ``tasks/<name>.py`` that has ``sample``.

    Raises:
        MamlBenchError: there is no such file.
    """
    module = _module("maml_bench.tasks", name, "task distribution", task_names())
    return _only(module, lambda cls: hasattr(cls, "sample"), "a class with `sample`")


def setup_class(name: str) -> type[Setup]:
    """The Setup in ``setups/<name>.py``, or in the file ``name`` if it ends in ``.py``.

    Raises:
        MamlBenchError: there is no such file, or it does not define exactly one Setup.
    """
    module = (
        _load_file(Path(name)) if name.endswith(".py") else _module("maml_bench.setups", name, "setup", setup_names())
    )
    return _only(module, lambda cls: issubclass(cls, Setup), "a subclass of maml_bench.core.setup.Setup")  # type: ignore[no-any-return]


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
    rest = dict(options)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise MamlBenchError(f"{where}: tasks lacks the key 'name'")
    cls = task_class(name)
    if setup is not None:
        if why := misfit(cls, type(setup)):
            raise MamlBenchError(f"{where}: {why}")
        needs = {
            Capability.NEEDS_IDENTITY: "reveal",
            Capability.TRAINS_JOINTLY: "joint",
            Capability.REMEMBERS: "history",
        }
        rest |= {option: True for capability, option in needs.items() if capability in setup.capabilities}
        if Capability.REMEMBERS in setup.capabilities and "total" in inspect.signature(cls).parameters:
            rest["total"] = True  # the reward less the best expected one would tell what that is
        rest |= {"pool": setup.pool} if Capability.NEEDS_POOL in setup.capabilities else {}
    return construct(cls, rest, where, "tasks")  # type: ignore[no-any-return]


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
    classes = "joint" in options
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
        f"the setup trains one classifier for all classes, and {name} has no classes": (
            Capability.TRAINS_JOINTLY in can and not classes
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


def in_order(tasks: Any) -> bool:
    """Whether a class of task distributions has tasks of one sequence each, see classification.StoredImages."""
    return bool(getattr(tasks, "in_order", False))


def scored_by_density(tasks: Any) -> bool:
    """Whether tasks, or a class of them, are scored by a density, which needs no examples."""
    return bool(tasks.metric.name == "nats")


def build_setup(options: Mapping[str, Any], where: str) -> Setup:
    """The setup of a recipe's ``setup`` table: ``name`` and the options of its class.

    Raises:
        MamlBenchError: a wrong name or option.
    """
    rest = {key: value for key, value in options.items() if key not in {"file", "sha256"}}
    name = str(options.get("file") or rest.get("name"))
    rest.pop("name", None)
    return construct(setup_class(name), rest, where, "setup")


def setup_reference(name: str) -> dict[str, str]:
    """What a recipe says of a setup: its name, and for a file of the user's also the path and a hash of its content."""
    if not name.endswith(".py"):
        return {"name": name}
    path = Path(name)
    setup_class(name)
    if path.stem in setup_names():
        raise MamlBenchError(
            f"{name} has the name of a setup of this package: rename it, so that records tell them apart"
        )
    return {"name": path.stem, "file": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@cache
def _names(package: str) -> tuple[str, ...]:
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return tuple(sorted(m.name for m in modules if not m.name.startswith("_")))


def _module(package: str, name: str, kind: str, known: list[str]) -> ModuleType:
    if name not in known:
        raise MamlBenchError(f"no {kind} {name!r}{nearest(name, known)}")
    return importlib.import_module(f"{package}.{name}")


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"maml_bench_user_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise MamlBenchError(f"setup file {path} does not exist")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise MamlBenchError(f"setup file {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _only(module: ModuleType, wanted: Any, what: str) -> Any:
    found = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__ and wanted(c)]
    if len(found) != 1:
        raise MamlBenchError(
            f"{Path(str(module.__file__)).name} must define exactly one class like this: {what}; it has {len(found)}"
        )
    return found[0]
