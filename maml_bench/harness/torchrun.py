"""Whether torchrun started this process as one of several, and which of them it is. No torch here."""

import os
from dataclasses import dataclass

_STARTED = "TORCHELASTIC_RUN_ID"
"""Only torchrun sets this variable. Other programs set RANK and WORLD_SIZE too."""


@dataclass(frozen=True)
class Place:
    """One of the processes that torchrun started: process ``rank`` of ``size`` in all, and which one it is on its
    machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def title(self) -> str:
        """Which process it is, for messages."""
        return f"process {self.rank} of {self.size}"


def place() -> Place | None:
    """The place of this process; None where torchrun did not start it, or started no other one."""
    if _STARTED not in os.environ:
        return None
    rank, size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    return Place(rank, size, local_rank, local_size) if size > 1 else None
