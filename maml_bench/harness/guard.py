"""What must hold before a run starts: a device that is there, a folder to write to, nobody else at the record."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from maml_bench.errors import MamlBenchError


def usable_device(name: str) -> str:
    """The device called ``name`` in torch's own spelling.

    Raises:
        MamlBenchError: there is none of that name, or it is not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MamlBenchError(f"no device {name!r} (try cpu, or cuda with an NVIDIA GPU)") from error
    if device.type not in ("cpu", "cuda"):
        raise MamlBenchError(f"device {name!r} is not one that runs are made on (try cpu or cuda)")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MamlBenchError("torch sees no CUDA device here: use --device cpu")
    return str(device)


def refuse_unwritable(path: Path) -> None:
    """Raise MamlBenchError where ``path`` could not be written, before hours have gone into what should stand there."""
    nearest = next(place for place in path.parents if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise MamlBenchError(f"results cannot be written: {nearest} is not a folder that you may write to")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of one record; locks live in the system's temporary folder, so results hold results only.

    Raises:
        MamlBenchError: another process holds it.
    """
    name = sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir(), f"maml-bench-{name}.lock"))
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise MamlBenchError(
            f"another process is at work on {path}: wait for it or choose another --results"
        ) from error
