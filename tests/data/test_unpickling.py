"""Pickles of strangers: arrays and plain containers are read, whatever else they ask for is refused and never run."""

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maml_bench.data.layouts import unpickling
from maml_bench.data.layouts.unpickling import unpickle
from maml_bench.errors import MamlBenchError


def dumped(folder: Path, content: Any, protocol: int | None = None) -> Path:
    path = folder / "x.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.array([True, False]),
    np.float32(1.5),
    np.empty((0, 84, 84, 3), np.uint8),
    np.array(7),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
def test_arrays_come_back(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    found = unpickle(dumped(tmp_path, {"of": [array, (array,)]}, protocol))["of"]
    for one in (found[0], found[1][0]):
        np.testing.assert_array_equal(one, array)
        assert np.asarray(one).shape == array.shape


def test_containers_come_back(tmp_path: Path) -> None:
    several = collections.defaultdict(list, {"a": [1, 2]})
    content = {"d": several, "o": collections.OrderedDict(b=2), "t": ("x", b"y", None, True, 1.5), "s": {1}}
    found = unpickle(dumped(tmp_path, content))
    assert found == {"d": {"a": [1, 2]}, "o": {"b": 2}, "t": ["x", b"y", None, True, 1.5], "s": {1}}


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    path = dumped(tmp_path, {"image_data": Calls(os.mkdir, (str(made),))}, protocol)
    with pytest.raises(MamlBenchError, match=r"x\.pkl asks for posix\.mkdir, and was not read") as caught:
        unpickle(path)
    assert not made.exists()
    assert "\n" not in str(caught.value)
    pickle.loads(path.read_bytes())
    assert made.exists(), "the pickle was harmless, and the test says nothing"


@pytest.mark.parametrize(
    "content",
    [
        Calls(eval, ("1",)),
        Calls(getattr, ((), "count")),
        Calls(np.load, ("x",)),
        Calls(np.memmap, ("x",)),
        Path("x"),
        np.random.RandomState(0),
        b"\x80\x04\x8c\x08builtins\x8c\x08str.join\x93.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02\x82\x01.",
        b"(ios\nsystem\n.",
        b"Pof a persistent id\n.",
    ],
    ids=lambda content: repr(content).partition(" at 0x")[0],
)
def test_everything_else_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(MamlBenchError, match=r"x\.pkl (asks for .*, and was not read|is not a whole pickle of arrays)"):
        unpickle(dumped(tmp_path, content))


@pytest.mark.parametrize(
    "array", [np.array([{}, []], dtype=object), np.array(["a"]), np.zeros(2, dtype=[("a", "u1")])], ids=str
)
def test_only_arrays_of_numbers(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(MamlBenchError, match="is not a whole pickle of arrays"):
        unpickle(dumped(tmp_path, array))


def test_numpys_own_restoring_is_never_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object array with a state of bytes would have numpy take them for addresses."""
    kind = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I9\nt"
        + kind
        + b"I00\nS'abc'\ntb."
    )
    with pytest.raises(MamlBenchError, match=r"is not a whole pickle of arrays .*reshape"):
        unpickle(dumped(tmp_path, array))
    assert all("numpy" not in getattr(stand_in, "__module__", "") for stand_in in unpickling._KNOWN.values())


@pytest.mark.parametrize("kept", [0, 10, -1])
def test_damage(tmp_path: Path, kept: int) -> None:
    with pytest.raises(MamlBenchError, match=r"x\.pkl is not a whole pickle of arrays"):
        unpickle(dumped(tmp_path, pickle.dumps({"a": ARRAYS[0]})[:kept]))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MamlBenchError, match=r"x\.pkl cannot be read"):
        unpickle(tmp_path / "x.pkl")
