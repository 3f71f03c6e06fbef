"""Code from outside of the package: setups, families of tasks and networks in files, objects and installed packages.

A recipe refers to such code by a table with its ``name``, the ``sha256`` of its content and, for a file, its path as
``file``. The content counts for the identity of the recipe, and the path does not. The content is that of the file and
of the modules beside it that it imports.
"""

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import read_bytes, refuse_unfit_name
from maml_bench.own_digests import digest_of, digest_of_source, note_own

REFERENCE = frozenset({"name", "file", "sha256"})
"""The keys of a table that refers to code. The other keys of the table are options."""


@dataclass(frozen=True)
class Kind:
    """One of the things that a user can bring.

    ``word`` is what it is called, and ``what`` says what a file of it must define. ``fits`` tells whether a class is
    one of this kind, and ``callable`` whether a function may take the place of a class. ``name_of`` gives its name from
    the object and the name that its file or the user gives to it. ``known`` are the names of the package. ``refuse``
    raises MamlBenchError where the object lacks something. ``group`` is the group of entry points, if there is one.
    """

    word: str
    what: str
    fits: Callable[[Any], bool]
    name_of: Callable[[Any, str], str]
    known: Callable[[], list[str]]
    refuse: Callable[[Any, str], None]
    group: str = ""
    callable: bool = False


def is_file(name: str) -> bool:
    """Whether a name is the path of a Python file, such as ``./mine.py``, or of a part of it (``./mine.py:Mine``)."""
    return split_name(name)[0].endswith(".py")


def split_name(name: str) -> tuple[str, str]:
    """The path in ``./mine.py:Mine``, and the name of the part, which is empty where none is named."""
    path, _, part = name.rpartition(":")
    return (path, part) if path.endswith(".py") else (name, "")


def reference(kind: Kind, name: str) -> dict[str, str]:
    """The table that refers to the code called ``name``: a file, what an installed package offers, or ours.

    Raises:
        MamlBenchError: there is no such code, it cannot be loaded, or its name cannot stand in records.
    """
    if is_file(name):
        _, own, digest = of_file(kind, name)
        _refuse_unfit_name(kind, own, name)
        return {"name": own, "file": name, "sha256": digest}
    if name in kind.known():
        return {"name": name}
    return {"name": name, "sha256": _offered(kind, name)[1]}


def given(kind: Kind, thing: Any, digest: str = "") -> dict[str, str]:
    """As `reference`, of what Python code gives: a class, a function, or another object of which ``digest`` is given.

    It is kept until the process ends.

    Raises:
        MamlBenchError: its code cannot be found, it lacks something, or its name cannot stand in records.
    """
    called = getattr(thing, "__name__", type(thing).__name__)
    kind.refuse(thing, place_of(thing))
    name = kind.name_of(thing, snake(called))
    _refuse_unfit_name(kind, name, called)
    digest = digest or digest_of(thing)
    _given[kind.word, name, digest] = thing
    return {"name": name, "sha256": digest}


def found(kind: Kind, table: Mapping[str, Any], where: str) -> Any:
    """The object that a table refers to. ``table`` holds a ``sha256``: code of the package itself has none.

    Raises:
        MamlBenchError: it is not there, or it is not the code that ``sha256`` names.
    """
    name, file, sha256 = table.get("name"), table.get("file"), table.get("sha256")
    if file is not None:
        thing, own, digest = of_file(kind, str(file))
        if (name, sha256) != (own, digest):
            raise MamlBenchError(
                f"{where}: {kind.word} file {Path(file)} is not the code that the recipe was made with, so its results "
                "would stand under the wrong name: leave the file as it is until the command has ended"
            )
        return thing
    if (kind.word, name, sha256) in _given:
        return _given[kind.word, str(name), str(sha256)]
    if name not in offers(kind.group, kind.known()):
        raise MamlBenchError(
            f"{where}: the {kind.word} {name!r} is not in this process, because Python code gave it to another one: "
            "save it in a file and name the file"
        )
    thing, digest = _offered(kind, str(name))
    if digest != sha256:
        raise MamlBenchError(
            f"{where}: the {kind.word} {name!r} of an installed package is not the code that the recipe was made with: "
            "start the command again"
        )
    return thing


_given: dict[tuple[str, str, str], Any] = {}
"""What Python code has given, by kind, name and digest."""


def offers(group: str, known: Collection[str]) -> dict[str, EntryPoint]:
    """What installed packages offer in a group of entry points, by name. The names ``known`` are those of ours."""
    points = {point.name: point for point in entry_points(group=group)} if group else {}
    return {name: points[name] for name in sorted(points.keys() - set(known))}


def package_of(point: EntryPoint) -> str:
    """The installed package that offers an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed package"


def _offered(kind: Kind, name: str) -> tuple[Any, str]:
    points = offers(kind.group, kind.known())
    if name not in points:
        raise MamlBenchError(f"no {kind.word} {name!r}{nearest(name, [*kind.known(), *points])}")
    package = package_of(points[name])
    try:
        thing = points[name].load()
    except Exception as error:
        raise MamlBenchError(f"{kind.word} {name!r} of {package} cannot be loaded: {_in_a_line(error)}") from error
    if not (inspect.isclass(thing) and kind.fits(thing)):
        raise MamlBenchError(f"{kind.word} {name!r} of {package} is not like this: {kind.what}")
    kind.refuse(thing, f"{kind.word} {name!r} of {package}")
    return thing, digest_of(thing)


def of_file(kind: Kind, name: str) -> tuple[Any, str, str]:
    """The class or function in a file of the user's, its name in records, and the digest of its code.

    Raises:
        MamlBenchError: the file cannot be loaded, or it does not define exactly one of this kind.
    """
    text, part = split_name(name)
    path = Path(text)
    if not path.is_file():
        raise MamlBenchError(f"{kind.word} file {path} does not exist")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise MamlBenchError(f"{kind.word} file {path} cannot be read: {error.strerror}") from error
    try:
        module, digest = _executed(path, path.resolve().parent, source)
    except _CannotLoad as error:
        raise MamlBenchError(f"{kind.word} file {path} cannot be loaded: {error}") from error.__cause__
    thing = _part(kind, module, part) if part else _only(kind, module)
    kind.refuse(thing, place_of(thing))
    return thing, kind.name_of(thing, part or path.stem), digest


def defines(kind: Kind, name: str) -> bool:
    """Whether a file of the user's has something of this kind. One that cannot be loaded may have it.

    A function is one that makes a network only where nothing else is in the file.
    """
    path, part = split_name(name)
    try:
        module, _ = _executed(Path(path), Path(path).resolve().parent, read_bytes(Path(path)))
    except (OSError, _CannotLoad):
        return not kind.callable
    if part:
        thing = getattr(module, part, None)
        return (kind.callable and inspect.isfunction(thing)) or (inspect.isclass(thing) and kind.fits(thing))
    mine = [thing for thing in vars(module).values() if getattr(thing, "__module__", None) == module.__name__]
    if kind.callable and not any(inspect.isclass(thing) for thing in mine):
        return any(inspect.isfunction(thing) for thing in mine)
    return any(inspect.isclass(thing) and kind.fits(thing) for thing in mine)


def _only(kind: Kind, module: ModuleType) -> Any:
    """The only class of this kind that a module defines, or the only function where it has no such class."""
    mine = [thing for thing in vars(module).values() if getattr(thing, "__module__", None) == module.__name__]
    classes = [thing for thing in mine if inspect.isclass(thing) and kind.fits(thing)]
    functions = [thing for thing in mine if inspect.isfunction(thing)] if kind.callable and not classes else []
    if len(classes or functions) == 1:
        return (classes or functions)[0]
    file = Path(str(module.__file__)).name
    names = [thing.__name__ for thing in classes or functions]
    choose = f" ({', '.join(names)}): name one of them, such as ./{file}:{names[-1]}" if names else ""
    raise MamlBenchError(
        f"{file} must define exactly one class like this: {kind.what}; it has {len(classes or functions)}{choose}"
    )


def _part(kind: Kind, module: ModuleType, name: str) -> Any:
    """The class or function of that name in a module."""
    file = Path(str(module.__file__)).name
    if not hasattr(module, name):
        mine = [key for key, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__]
        raise MamlBenchError(f"{file} defines no {name!r}{nearest(name, mine)}")
    thing = getattr(module, name)
    if (inspect.isclass(thing) and kind.fits(thing)) or (kind.callable and inspect.isfunction(thing)):
        return thing
    raise MamlBenchError(f"{name} in {file} is not like this: {kind.what}")


def _refuse_unfit_name(kind: Kind, name: str, where: str) -> None:
    """Raise MamlBenchError where a name cannot stand in records, or is that of something else there."""
    refuse_unfit_name(name, f"the {kind.word} name")
    if name in kind.known():
        raise MamlBenchError(
            f"{where} has the name of a {kind.word} of this package: rename it, so that records tell them apart"
        )


class _CannotLoad(Exception):
    """A file stops with an error when it is run."""


@cache
def _executed(path: Path, folder: Path, source: bytes) -> tuple[ModuleType, str]:
    """The module that ``source`` makes, the content of ``path`` in ``folder``, and its digest."""
    name = f"maml_bench_user_{path.stem}_{hashlib.sha256(str(folder).encode() + source).hexdigest()[:8]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    note_own(path)
    with _first_in_path(folder):
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
        except (Exception, SystemExit) as error:
            raise _CannotLoad(_in_a_line(error) + _line_in(path, error)) from error
    return module, digest_of_source(folder, source)


@contextmanager
def _first_in_path(folder: Path) -> Iterator[None]:
    """Inside, a module of ``folder`` can be imported by its name, as where Python runs a file of it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def place_of(thing: Any) -> str:
    """Where a class or function stands: ``mine.py, line 8``, or its name where that cannot be found."""
    try:
        file, (_, line) = inspect.getsourcefile(thing), inspect.getsourcelines(thing)
    except (OSError, TypeError):
        return str(getattr(thing, "__name__", thing))
    return f"{Path(str(file)).name}, line {line}"


def snake(name: str) -> str:
    """``TwoWaves`` as ``two_waves``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _in_a_line(error: BaseException) -> str:
    """The type and the words of an error, and what to write where that is known."""
    advice = ": write `@dataclass(frozen=True)`" if "non-frozen dataclass from a frozen one" in str(error) else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{advice}"


def _line_in(path: Path, error: BaseException) -> str:
    """`` (line 3)`` of the file from which an error came out; empty where it is not a line of that file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""
