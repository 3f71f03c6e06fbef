"""The processes that make one run together. Each of them takes a part of every meta-batch.

The first process leads: it alone reads and writes files, speaks, validates and tests. The others take their part of
each meta-step and hear what is next. Since all get the same mean gradient, all take the same step, and their
meta-parameters stay equal to the bit.

What is said goes over gloo. Gradients on GPUs go over NCCL.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from maml_bench.errors import Lost, MamlBenchError
from maml_bench.harness.preflight import usable_device
from maml_bench.harness.torchrun import Place, place
from maml_bench.own_faults import in_short
from maml_bench.types import Params

WAIT = timedelta(days=7)
"""How long one process waits for another, such as for a test. One that has ended is noticed at once."""


class FailedElsewhere(RuntimeError):
    """Another process of the run failed in a meta-step, so that this one cannot go on either."""


class Team:
    """The processes that torchrun started, as one of them sees them.

    Args:
        place: which of them this one is.

    Raises:
        Lost: they cannot reach each other.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.failed = False
        """Whether a meta-step failed, which all processes know then."""
        self._apart = False
        self._awaited = False
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        try:
            dist.init_process_group(backend, timeout=WAIT)
        except (RuntimeError, ValueError) as error:
            raise Lost(f"{place.title} cannot reach the others ({in_short(error)})") from error

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.place.rank == 0

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.place.size

    @property
    def cores(self) -> int:
        """The cores of this machine for each of its processes."""
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(usable, psutil.cpu_count(logical=False) or usable) // self.place.local_size)

    def device(self, name: str) -> str:
        """The device of this process where the command says ``name``, as `preflight.usable_device`.

        Raises:
            MamlBenchError: ``name`` is one GPU, or there is no such device here.
        """
        if name.startswith("cuda:"):
            raise MamlBenchError(f"each process takes a GPU of its own: use --device cuda in the place of {name}")
        device = usable_device(f"cuda:{self.place.local_rank}" if name == "cuda" else name)
        if device != "cpu":
            torch.cuda.set_device(device)
        return device

    def share(self, count: int) -> range:
        """The tasks of this process, of ``count`` tasks. Parts differ by one task at most."""
        first, last = (count * rank // self.size for rank in (self.place.rank, self.place.rank + 1))
        return range(first, last)

    def mean(self, count: int, meta: Params, own: Callable[[], tuple[Params, Tensor]]) -> tuple[Params, Tensor]:
        """The mean meta-gradient over ``count`` tasks, and the losses ``[count]`` of all of them in their order.

        ``own`` returns those of this process's share. One message carries both, and whether a process failed. So all
        processes see the same numbers, and a loss that is not finite ends all of them.

        Raises:
            MamlBenchError: the step draws random numbers, or this or another process cannot take it.
            FailedElsewhere: another process failed.
            Exception: what ``own`` raised.
        """
        share, sizes = self.share(count), [p.numel() for p in meta.values()]
        like = next(iter(meta.values()))
        message = torch.zeros(sum(sizes) + count + 1, dtype=like.dtype, device=like.device)
        gradient, losses, failures = torch.split(message, [sum(sizes), count, 1])
        error: Exception | None = None
        try:
            with _without_draws(like.device):
                found, of_own = own()
            torch.cat([found[name].flatten() for name in meta], out=gradient)
            gradient *= len(share) / count
            losses[share.start : share.stop] = of_own
        except Exception as raised:
            error = raised
            message.zero_()
            failures += 1
        with self._talking():
            dist.all_reduce(message)
        if failures.item():
            self._fail(error)
        parts = zip(meta.items(), torch.split(gradient, sizes), strict=True)
        return {name: torch.empty_like(p).copy_(part.view(p.shape)) for (name, p), part in parts}, losses

    def agreed(self, wanted: bool) -> bool:
        """What the first process wants; called by all of them at the same moment."""
        answer = torch.tensor([wanted], dtype=torch.uint8)
        with self._talking():
            dist.broadcast(answer, 0)
        return bool(answer.item())

    @contextmanager
    def training(self) -> Iterator[None]:
        """The block in which all processes train. If one leaves it by an error of its own, it hears the others no more
        and says nothing to them, because they may wait for something else."""
        try:
            yield
        except BaseException:
            self._apart = not self.failed
            raise

    def begin(self, job: object) -> None:
        """Give the others a job; the first process calls this."""
        self.failed, self._awaited = False, True
        self._from_first(job)

    def next_job(self) -> Any:
        """The job that the first process gives, or None at the end; the others call this."""
        self.failed = False
        return self._from_first(None)

    def meet(self, ready: object, state: object = None) -> Any:
        """Wait until all processes are ready to train; return what the first one brings along as ``state``.

        ``ready`` is a dict of what must be equal in all of them, or the sentence why one is not ready.

        Raises:
            MamlBenchError: in the first process, another one is not ready, or differs.
        """
        self._awaited = False
        answers = self._from_all(ready)
        if not self.leads:
            return self._from_first(None)
        problem = _problem(answers)
        self._from_first((problem is None, state))
        if problem:
            raise MamlBenchError(problem)
        return None

    def excuse(self) -> None:
        """Let the others go on to the next job if there was nothing to train; the first process calls this."""
        if self._awaited and not self._apart:
            self._awaited = False
            self._from_all({})
            self._from_first((False, None))

    def end(self) -> None:
        """Let the others end; the first process calls this last."""
        if not self._apart:
            self._from_first(None)
            self.leave()

    def leave(self) -> None:
        """Close the connections of this process."""
        self._apart = True
        dist.destroy_process_group()

    def _fail(self, error: Exception | None) -> None:
        """Tell the others why this process failed, if it did, and raise what ends it."""
        self.failed = True
        told = [type(error).__name__, isinstance(error, MamlBenchError), str(error), in_short(error)] if error else None
        answers = self._from_all(told)
        if error:
            raise error
        rank, (_, refused, whole, short) = next((rank, told) for rank, told in enumerate(answers) if told)
        if refused:
            raise MamlBenchError(whole)
        raise FailedElsewhere(f"in process {rank} of {self.size}: {short}")

    def _from_first(self, what: object) -> Any:
        """What the first process says, on every process."""
        found = [what]
        with self._talking():
            dist.broadcast_object_list(found, 0, device=torch.device("cpu"))
        return found[0]

    def _from_all(self, what: object) -> list[Any]:
        """What each process says, on every process."""
        found: list[Any] = [None] * self.size
        with self._talking():
            dist.all_gather_object(found, what)
        return found

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Raise Lost where another process cannot be reached any more, or could not before."""
        if self._apart:
            raise Lost("the processes of this command no longer work together: give the command again")
        try:
            yield
        except (RuntimeError, ValueError) as error:
            self._apart = True
            raise Lost(
                f"{self.place.title} cannot reach the others any more, because one of them has ended; the last "
                "checkpoint is kept, and the same command continues from there"
            ) from error


@cache
def team() -> Team | None:
    """The processes that torchrun started; None where it started no other one. The first call waits for all of them."""
    here = place()
    return Team(here) if here else None


@contextmanager
def _without_draws(device: torch.device) -> Iterator[None]:
    """Raise MamlBenchError where the block draws from torch's global generators: with a part of the tasks it would draw
    other numbers than one process does with all of them."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    before = [one.get_state() for one in generators]
    yield
    if not all(torch.equal(one.get_state(), state) for one, state in zip(generators, before, strict=True)):
        raise MamlBenchError(
            "a meta-step draws random numbers here, as dropout does, so several processes would draw other numbers "
            "than one: make this run in one process, without torchrun"
        )


def _problem(answers: list[Any]) -> str | None:
    """Why the processes cannot train together, in words; None where they can."""
    first, *others = answers
    for rank, answer in enumerate(others, 1):
        if isinstance(answer, str):
            return f"process {rank} of {len(answers)}: {answer}"
        for name, value in first.items():
            if answer.get(name) != value:
                return f"process {rank} of {len(answers)} has another {name} ({answer.get(name)}, not {value})"
    return None
