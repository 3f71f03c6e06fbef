"""Checkpoints: everything needed to go on to the bit, written whole or not at all beside the future record.

A file is one line with a checksum of the whole file, and after it what ``torch.save`` writes. Older files lack the
line. They are read too: each part of the zip archive that they are has a CRC-32, which is checked.
"""

import io
import os
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from maml_bench.checksum import BLANK, is_sealed, seal
from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write, cache_home, read_bytes

_BEGINNING = b"maml-bench checkpoint, SHA-256 "
_ZIP = b"PK"


@dataclass
class State:
    """A run at a step. ``conditions`` are what must be equal for the rest to be equal to the bit; ``commit`` is what it
    ran, ``earlier`` the conditions that it was moved from, see Record."""

    conditions: dict[str, Any]
    step: int
    meta: dict[str, torch.Tensor]
    optimiser: Any
    clock: dict[str, Any]
    curve: dict[str, list[Any]]
    recent_losses: list[float]
    started_at: str
    segments: int
    peak_memory_bytes: int
    kept: list[tuple[float, int, dict[str, torch.Tensor]]] = field(default_factory=list)
    env_steps: int = 0
    commit: str | None = None
    earlier: list[dict[str, Any]] = field(default_factory=list)


def save(path: Path, state: State) -> None:
    """Write ``state`` to ``path``."""
    content = io.BytesIO()
    torch.save(state.__dict__, content)
    atomic_write(path, seal(_BEGINNING + BLANK + b"\n" + content.getvalue()))


def load(path: Path, conditions: dict[str, Any]) -> State | None:
    """The state at ``path``, or None where there is none.

    Raises:
        MamlBenchError: the file is damaged, or it was made under other ``conditions``.
    """
    if not path.exists():
        return None
    advice = "finish it as it was begun, or start over with --force"
    try:
        values = torch.load(io.BytesIO(_unsealed(read_bytes(path))), weights_only=True, map_location="cpu")
        state = State(**{"segments" if key == "sittings" else key: value for key, value in values.items()})
        state.conditions.items()
    except (
        RuntimeError,
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        NotImplementedError,
        OSError,
    ) as error:
        raise MamlBenchError(f"checkpoint {path} is damaged: start over with --force") from error
    made_with = {"processes": 1, **state.conditions}  # older files do not say how many
    for name, value in conditions.items():
        if made_with.get(name) != value:
            raise MamlBenchError(f"checkpoint {path} was made with {name} {made_with.get(name)}, not {value}: {advice}")
    return state


def save_somewhere(path: Path, state: State) -> tuple[Path, OSError | None]:
    """Write ``state`` to ``path``, or where that is not possible to one of `elsewhere`.

    Returns where it is, and why it is not at ``path``.

    Raises:
        OSError: it can be written nowhere.
    """
    try:
        save(path, state)
    except OSError as error:
        for other in elsewhere(path):
            with suppress(OSError):
                save(other, state)
                return other, error
        raise
    for other in elsewhere(path):
        other.unlink(missing_ok=True)
    return path, None


def elsewhere(path: Path) -> Iterator[Path]:
    """Where a checkpoint is kept that cannot be written to ``path``: the user's cache, or the temporary folder."""
    name = sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    with suppress(MamlBenchError):
        yield cache_home() / "kept" / f"{name}.ckpt"
    with suppress(OSError):
        user = os.getuid() if hasattr(os, "getuid") else "user"
        yield Path(tempfile.gettempdir(), f"maml-bench-kept-{user}", f"{name}.ckpt")


def find(path: Path, conditions: dict[str, Any]) -> tuple[State | None, Path]:
    """The state with the most steps at ``path`` and `elsewhere`, and where it is.

    Raises:
        MamlBenchError: as `load`.
    """
    found = [(state, place) for place in (path, *elsewhere(path)) if (state := load(place, conditions)) is not None]
    return max(found, key=lambda one: one[0].step, default=(None, path))


def remove(path: Path) -> None:
    """Remove the checkpoint of ``path``, also from `elsewhere`."""
    for place in (path, *elsewhere(path)):
        place.unlink(missing_ok=True)


def _unsealed(content: bytes) -> bytes:
    """What ``torch.save`` wrote, without the line before it; ValueError where a bit has changed."""
    if content.startswith(_BEGINNING):
        end = len(_BEGINNING) + len(BLANK)
        if not is_sealed(content, content[len(_BEGINNING) : end]):
            raise ValueError("the checksum differs")
        return content[end + 1 :]
    if not content.startswith(_ZIP):
        raise ValueError("it is no checkpoint")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.testzip() is not None:
            raise ValueError("a part differs from its CRC-32")
    return content
