"""The clock, against a watch that is wound by hand."""

import pytest

from maml_bench.harness import clock as module
from maml_bench.harness.clock import Clock, monotonic_s, now_utc


@pytest.fixture
def take(monkeypatch):
    """Let a clock measure a block of stated length: ``take(clock, bucket, seconds)``."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def measure(clock: Clock, bucket: str, seconds: float) -> None:
        with clock.measure(bucket):
            now[0] += seconds

    return measure


def test_totals_and_quantiles_of_known_samples(take):
    clock = Clock()
    for seconds in (1.0, 2.0, 3.0, 4.0, 5.0):
        take(clock, "step", seconds)
    take(clock, "sample", 0.5)
    assert clock.total_s("step") == 15.0
    assert clock.total_s("step", "sample", "never") == 15.5
    step = clock.summary_s()["step"]
    assert step == pytest.approx({"total": 15.0, "count": 5, "median": 3.0, "p05": 1.2, "p95": 4.8})
    assert clock.summary_s()["sample"]["count"] == 1


def test_warm_up_is_kept_apart_but_counts_in_the_total(take):
    clock = Clock(warm_up=2)
    for seconds in (10.0, 20.0, 1.0, 3.0):
        take(clock, "step", seconds)
    summary = clock.summary_s()
    assert (summary["step_warm_up"]["total"], summary["step_warm_up"]["count"]) == (30.0, 2)
    assert (summary["step"]["total"], summary["step"]["count"], summary["step"]["median"]) == (4.0, 2, 2.0)
    assert clock.total_s("step") == 34.0


def test_a_block_that_raises_adds_nothing(take):
    clock = Clock()

    def fail():
        with clock.measure("step"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert clock.summary_s() == {}


def test_a_restored_clock_goes_on_and_warms_up_again(take):
    first = Clock(warm_up=1)
    for seconds in (10.0, 1.0):
        take(first, "step", seconds)
    second = Clock(warm_up=1)
    second.restore(first.state())
    assert second.summary_s() == first.summary_s()
    for seconds in (20.0, 3.0):
        take(second, "step", seconds)
    assert second.total_s("step") == 34.0
    assert second.summary_s()["step_warm_up"]["count"] == 2
    assert second.summary_s()["step"]["median"] == 2.0
    assert first.total_s("step") == 11.0


def test_samples_beyond_the_limit_still_count(take, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    clock = Clock()
    for seconds in (1.0, 3.0, 100.0):
        take(clock, "step", seconds)
    assert clock.summary_s()["step"] == pytest.approx(
        {"total": 104.0, "count": 3, "median": 2.0, "p05": 1.1, "p95": 2.9}
    )


def test_the_device_is_synchronised_at_both_ends(take, monkeypatch):
    seen = []
    monkeypatch.setattr(module.torch.cuda, "synchronize", seen.append)
    take(Clock("cuda:1"), "step", 1.0)
    take(Clock("cpu"), "step", 1.0)
    assert seen == ["cuda:1", "cuda:1"]


def test_moments_are_in_utc_and_seconds_go_forward():
    assert now_utc().endswith("+00:00")
    assert len(now_utc()) == len("2026-01-01T00:00:00+00:00")
    assert monotonic_s() <= monotonic_s()


def test_blocks_of_consecutive_samples_keep_their_fastest(take):
    clock = Clock()
    for step in range(50):
        take(clock, "step", (1.0 if step < 25 else 2.0) + 9.0 * (step % 2))
    take(clock, "short", 1.0)
    assert clock.blocks_s("step") == [1.0, 2.0]
    assert clock.blocks_s("short") == clock.blocks_s("never") == []
    for _ in range(module.BLOCK * module.BLOCKS):
        take(clock, "step", 3.0)
    assert len(clock.blocks_s("step")) == module.BLOCKS


def test_every_block_has_a_moment_unless_an_older_checkpoint_lacks_them(take, monkeypatch):
    now = iter(range(1_000_000))
    monkeypatch.setattr(module.time, "time", lambda: float(next(now)))
    clock = Clock()
    for _ in range(50):
        take(clock, "step", 1.0)
    assert clock.block_moments_s("step") == [12.0, 37.0]
    state = clock.state()
    again = Clock()
    again.restore(state)
    assert again.block_moments_s("step") == [12.0, 37.0]
    del state["moments"]
    again.restore(state)
    take(again, "step", 1.0)
    assert (len(again.blocks_s("step")), again.block_moments_s("step")) == (2, [])
