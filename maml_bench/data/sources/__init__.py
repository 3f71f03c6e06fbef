"""The data sets that this package knows: one module each, found by file name. Those of the user's are in data.own.

A source module offers ``NAME``, ``VERSION`` (raised whenever the stored arrays change), ``add(path, ...)`` and, where
the data are public, ``download(...)``; both return the manifest of what is now stored. Names with ``_`` are those of
modules and of folders in the store; people see ``-``, and may write either.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from maml_bench.errors import MamlBenchError, nearest


def names() -> list[str]:
    """Return the names of all known data sets, sorted."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def is_known(name: str) -> bool:
    """Whether there is a source module of data set ``name``, with ``-`` or ``_``."""
    return name.replace("-", "_") in names()


def shown(name: str) -> str:
    """Return the name of a data set as people see it: ``mini-imagenet`` for ``mini_imagenet``.

    Names of data sets of the user's stay as they are.
    """
    return name.replace("_", "-") if is_known(name) else name


def find(name: str) -> ModuleType:
    """Return the source module of data set ``name``, with ``-`` or ``_``; MamlBenchError if there is none."""
    if not is_known(name):
        raise MamlBenchError(f"there is no data set {name!r}{nearest(name, map(shown, names()))}")
    return import_module(f"{__name__}.{name.replace('-', '_')}")
