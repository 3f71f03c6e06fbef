"""Pickles of strangers, read without running anything of theirs.

A pickle names what to call. Here those names lead to stand-ins that hold numbers, plain containers and nothing else:
not even numpy's own restoring code is reached, which trusts its input.
"""

import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maml_bench.errors import MamlBenchError


class _Type:
    """Stands in for a numpy dtype: booleans, integers and floats."""

    def __init__(self, code: str | bytes, *options: object) -> None:
        self.code, self.order = _text(code).lstrip("|<>="), "|"
        if not re.fullmatch(r"[biuf][1248]|\?", self.code):
            raise pickle.UnpicklingError(f"an array of {self.code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for a numpy array that is being restored."""

    value: np.ndarray[Any, Any]

    def __init__(self, *asked: object) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, kind, fortran, content = state[-4:]
        self.value = _buffer(content, kind, shape, "F" if fortran else "C").value


def _buffer(content: bytes, kind: _Type, shape: tuple[int, ...], order: Any) -> _Array:
    """What protocol 5 calls to restore an array."""
    found = _Array()
    found.value = np.frombuffer(content, kind.dtype()).reshape(shape, order=order)
    return found


def _number(kind: _Type, content: bytes) -> Any:
    """What restores a number of numpy's."""
    return np.frombuffer(content, kind.dtype())[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How protocols 0 to 2 write bytes."""
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How they write none."""
    return b""


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): _encode,
}
for _builtins in ("builtins", "__builtin__"):
    _KNOWN[_builtins, "bytes"] = _no_bytes
    for _kind in (list, dict, set):
        _KNOWN[_builtins, _kind.__name__] = _kind
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray", "scalar"] = _number
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise MamlBenchError(f"{module}.{name}")
        return _KNOWN[module, name]


def unpickle(path: Path) -> Any:
    """Return the content of a pickle of numpy arrays, numbers, strings and plain containers.

    Strings of Python 2 come as bytes, arrays as read-only arrays.

    Raises:
        MamlBenchError: it cannot be read, is no pickle, or names anything else, which is not run.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file, encoding="bytes").load())
    except MamlBenchError as error:
        raise MamlBenchError(
            f"{path} asks for {error}, and was not read: a pickle of mini-ImageNet holds arrays and plain containers"
        ) from None
    except OSError as error:
        raise MamlBenchError(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise MamlBenchError(f"{path} is not a whole pickle of arrays ({error})") from None


def _plain(value: Any) -> Any:
    """Arrays in place of their stand-ins."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _text(value: str | bytes) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value
