"""The data sets that can be stored: one module each, found by file name.

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


def shown(name: str) -> str:
    """Return the name of a data set as people see it: ``mini-imagenet`` for ``mini_imagenet``."""
    return name.replace("_", "-")


def find(name: str) -> ModuleType:
    """Return the source module of data set ``name``, with ``-`` or ``_``; MamlBenchError if there is none."""
    module = name.replace("-", "_")
    if module not in names():
        raise MamlBenchError(f"there is no data set {name!r}{nearest(name, map(shown, names()))}")
    return import_module(f"{__name__}.{module}")
