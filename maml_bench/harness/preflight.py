"""What must hold before a run starts: a device that is there, a folder to write to, nobody else at the record."""

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from maml_bench.errors import MamlBenchError, shortened
from maml_bench.files import locked, refuse_unwritable
from maml_bench.types import MOST_SEED

__all__ = ["alone", "refuse_unfit_seed", "refuse_unwritable", "usable_device"]


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


def alone(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of one record; MamlBenchError where another process is at work on it."""
    return locked(path, f"another process is at work on {path}: wait for it or choose another --results")
