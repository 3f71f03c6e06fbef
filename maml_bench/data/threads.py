"""Process the items of several streams on all cores: one thread reads while others decode."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(streams: Sequence[Iterator[T]], work: Callable[[T], R]) -> Generator[R, None, None]:
    """Yield ``work(item)`` of all items of all streams, each stream in its order; at most one item per core is held.

    A stream is read by one thread at a time. An exception of a stream or of ``work`` is raised here; threads have
    stopped when this iterator is closed. This pays off where both release Python's lock, as decoding images does.
    """
    stop = Event()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)

    def step(stream: Iterator[T]) -> tuple[list[R], Any]:
        for item in stream:
            if stop.is_set():
                break
            rest = pool.submit(step, stream)  # another thread reads on while this one works
            return [work(item)], rest
        return [], None

    try:
        pending = {pool.submit(step, stream) for stream in streams}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                found, rest = future.result()
                pending |= {rest} if rest else set()
                yield from found
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
