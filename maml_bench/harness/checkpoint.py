"""Checkpoints: everything needed to go on to the bit, written whole or not at all beside the future record."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_path


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
    with atomic_path(path) as temporary:
        torch.save(state.__dict__, temporary)


def load(path: Path, conditions: dict[str, Any]) -> State | None:
    """The state at ``path``, or None where there is none.

    Raises:
        MamlBenchError: the file is damaged, or it was made under other ``conditions``.
    """
    if not path.exists():
        return None
    advice = "finish it as it was begun, or start over with --force"
    try:
        values = torch.load(path, weights_only=True, map_location="cpu")
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
        OSError,
    ) as error:
        raise MamlBenchError(f"checkpoint {path} is damaged: start over with --force") from error
    for name, value in conditions.items():
        if state.conditions.get(name) != value:
            raise MamlBenchError(
                f"checkpoint {path} was made with {name} {state.conditions.get(name)}, not {value}: {advice}"
            )
    return state
