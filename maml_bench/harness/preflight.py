"""What must hold before a run starts: a device that is there, a folder to write to, nobody else at the record."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from maml_bench.errors import MamlBenchError, shortened
from maml_bench.files import is_locked, locked, refuse_unwritable
from maml_bench.types import MOST_SEED

__all__ = ["alone", "at_work", "refuse_unfit_seed", "refuse_unwritable", "usable_device"]


def usable_device(name: str) -> str:
    """The device called ``name``, as cpu or cuda:N.

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
    if device.type == "cuda":
        index = device.index or 0
        if index >= torch.cuda.device_count():
            raise MamlBenchError(
                f"no device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices, from cuda:0 on"
            )
        return f"cuda:{index}"
    return "cpu"


def refuse_unfit_seed(seed: object) -> None:
    """Raise MamlBenchError where ``seed`` is not a whole number from 0 to MOST_SEED."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        raise MamlBenchError(f"seed {shortened(seed)} must be a whole number of at least 0 and at most {MOST_SEED}")


@contextmanager
def alone(path: Path, shared: Path | None = None) -> Iterator[None]:
    """Hold the lock of one record, and also its lock in the folder ``shared`` of several machines if there is one.

    Raises:
        MamlBenchError: another process is at work on the record.
    """
    busy = f"another process is at work on {path}: wait for it or choose another --results"
    with ExitStack() as locks:
        for folder in dict.fromkeys((None, shared)):
            locks.enter_context(locked(path, busy, shared=folder))
        yield


SHARED_LOCKS = "locks"
"""The folder of a results folder that holds the locks of several machines."""


def at_work(path: Path, shared: Path) -> bool:
    """Whether a process of this machine, or one that uses the folder ``shared``, holds the lock of a record."""
    return is_locked(path) or is_locked(path, shared)
