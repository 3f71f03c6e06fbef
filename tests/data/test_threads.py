"""Work on several streams with all cores: everything is done once, streams are read by one thread at a time."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from maml_bench.data import threads
from maml_bench.data.threads import each


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """More threads than some machines have cores; none is left when the test ends."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_all_items_of_all_streams_are_worked_on_once() -> None:
    streams = [iter(range(0, 100)), iter([]), iter(range(100, 130)), (n for n in range(130, 131))]
    assert sorted(each(streams, lambda n: -n)) == list(range(-130, 1))
    assert list(each([], int)) == []


def test_a_stream_is_read_by_one_thread_at_a_time_and_no_faster_than_it_is_worked_on() -> None:
    reading, held, most, lock = threading.Lock(), 0, 0, threading.Lock()

    def stream() -> Iterator[int]:
        nonlocal held, most
        for n in range(300):
            assert reading.acquire(blocking=False), "two threads at once"
            with lock:
                held += 1
                most = max(most, held)
            reading.release()
            yield n

    def work(n: int) -> int:
        nonlocal held
        with lock:
            held -= 1
        return n

    assert sorted(each([stream()], work)) == list(range(300))
    assert most <= 3


def test_reading_and_working_go_on_side_by_side() -> None:
    """The second item can be read while the first is worked on: here the work waits for it."""
    second = threading.Event()

    def stream() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    assert sorted(each([stream()], lambda n: (n, second.wait(10)))) == [(1, True), (2, True)]


@pytest.mark.parametrize("where", ["stream", "work"])
def test_an_exception_ends_it(where: str) -> None:
    seen = []

    def stream() -> Iterator[int]:
        for n in range(10_000):
            if where == "stream" and n == 20:
                raise OSError("stream")
            yield n

    def work(n: int) -> None:
        seen.append(n)
        if where == "work" and n == 20:
            raise OSError("work")

    with pytest.raises(OSError, match=where):
        list(each([stream(), iter(range(50, 60))], work))
    assert len(seen) < 10_000


def test_closing_it_stops_the_threads() -> None:
    seen = []

    def stream() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    with closing(each([stream()], seen.append)) as done:
        next(done)
    count = len(seen)
    assert count >= 1
    assert len(seen) == count
