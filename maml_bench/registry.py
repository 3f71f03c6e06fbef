"""From a name on the command line to the class in tasks/ or setups/: found by file name, no central list."""

import ast
import hashlib
import importlib
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
from maml_bench.files import refuse_unfit_name
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
    return _of_file(Path(name))[0] if name.endswith(".py") else _of_package(name)


def _of_package(name: str) -> type[Setup]:
    return _only_setup(_module("maml_bench.setups", name, "setup", setup_names()))


def _of_file(path: Path) -> tuple[type[Setup], str]:
    """The Setup in a file of the user's, and the hash of the code that it is made of."""
    if not path.is_file():
        raise MamlBenchError(f"setup file {path} does not exist")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise MamlBenchError(f"setup file {path} cannot be read: {error.strerror}") from error
    module, digest = _executed(path, path.resolve().parent, source)
    return _only_setup(module), digest


def _only_setup(module: ModuleType) -> type[Setup]:
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


def has_ways(tasks: Any) -> bool:
    """Whether a class of task distributions has tasks of several classes each."""
    return "joint" in inspect.signature(tasks).parameters


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
    rest = {key: value for key, value in options.items() if key not in {"name", "file", "sha256"}}
    name, file = str(options.get("name")), options.get("file")
    if file is None:
        return construct(_of_package(name), rest, where, "setup")
    path = Path(str(file))
    found, digest = _of_file(path)
    if (name, options.get("sha256")) != (path.stem, digest):
        raise MamlBenchError(
            f"{where}: setup file {path} is not the code that the recipe was made with, so its results would stand "
            "under the wrong name: leave the file as it is until the command has ended"
        )
    return construct(found, rest, where, "setup")


def setup_reference(name: str) -> dict[str, str]:
    """What a recipe says of a setup: its name, and for a file of the user's also the path and a hash of its content.

    The content is that of the file and of the modules beside it that it imports.

    Raises:
        MamlBenchError: there is no such file, or its name cannot stand in records.
    """
    if not name.endswith(".py"):
        return {"name": name}
    path = Path(name)
    refuse_unfit_name(path.stem, "the setup name")
    _, digest = _of_file(path)
    if path.stem in setup_names():
        raise MamlBenchError(
            f"{name} has the name of a setup of this package: rename it, so that records tell them apart"
        )
    return {"name": path.stem, "file": name, "sha256": digest}


@cache
def _names(package: str) -> tuple[str, ...]:
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return tuple(sorted(m.name for m in modules if not m.name.startswith("_")))


def _module(package: str, name: str, kind: str, known: list[str]) -> ModuleType:
    if name not in known:
        raise MamlBenchError(f"no {kind} {name!r}{nearest(name, known)}")
    return importlib.import_module(f"{package}.{name}")


@cache
def _executed(path: Path, folder: Path, source: bytes) -> tuple[ModuleType, str]:
    """The module that ``source`` makes, the content of ``path`` in ``folder``, and the hash of all that it is made of:
    of ``source``, and of what it imports from its folder."""
    module = ModuleType(f"maml_bench_user_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise MamlBenchError(f"setup file {path} cannot be loaded: {type(error).__name__}: {reason}") from error
    digests = {"": hashlib.sha256(source).hexdigest()}
    _add_imported(folder, source, digests)
    own = digests.pop("")
    whole = "".join([own, *(digest for _, digest in sorted(digests.items()))])
    return module, hashlib.sha256(whole.encode()).hexdigest() if digests else own


def _add_imported(folder: Path, source: bytes, digests: dict[str, str]) -> None:
    """Add the hash of each module or package of ``folder`` that ``source`` has imported, and of what those import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in {each.partition(".")[0] for each in imported} - digests.keys() - {"maml_bench"}:
                file = Path(getattr(sys.modules.get(name), "__file__", None) or "").resolve()
                if file in (folder / f"{name}.py", folder / name / "__init__.py"):
                    files = sorted((folder / name).rglob("*.py")) if file.name == "__init__.py" else [file]
                    contents = [part.read_bytes() for part in files]
                    digests[name] = hashlib.sha256(b"".join(contents)).hexdigest()
                    for content in contents:
                        _add_imported(folder, content, digests)


def _only(module: ModuleType, wanted: Any, what: str) -> Any:
    found = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__ and wanted(c)]
    if len(found) != 1:
        raise MamlBenchError(
            f"{Path(str(module.__file__)).name} must define exactly one class like this: {what}; it has {len(found)}"
        )
    return found[0]
