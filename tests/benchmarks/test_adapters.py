"""Adapters as the driver runs them: processes that answer with one line, and agree on the meta-gradient."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import base
import numpy as np
import pytest
import torch
from peers.benches import BENCHES, MetaBatch, read_inputs, write_inputs
from peers.catalogue import LOOP, OURS, PEERS
from peers.checks import LIMIT, Reference, relative_error
from peers.processes import Failed, Job

pytest.importorskip("higher")


@pytest.fixture
def job(tmp_path):
    def make(peer: str, bench: str = "sinusoid") -> Job:
        inputs = tmp_path / f"{bench}.npz"
        if not inputs.exists():
            write_inputs(inputs, BENCHES[bench], seed=0)
        return Job(PEERS[peer], Path(sys.executable), bench, inputs, 1, tmp_path)

    return make


def test_higher_has_the_gradient_of_our_plain_loop(job, record_property):
    verdict = Reference(job(LOOP)).judge(job("higher"))
    assert (verdict.status, verdict.reason) == ("ok", None)
    assert verdict.library_version == "0.2.1"
    assert verdict.error < LIMIT
    record_property("relative_error", verdict.error)


@pytest.mark.parametrize("bench", ["fomaml-q1", "anil-q1"])
def test_higher_has_the_gradient_of_our_plain_loop_on_every_kind_of_bench(tmp_path, bench, record_property):
    """In this process: starting two takes longer than what they compute."""
    higher, ours = (importlib.import_module(name) for name in ("higher_peer", "ours"))
    write_inputs(tmp_path / "inputs.npz", BENCHES[bench], seed=0)
    parameters, (first, *_) = read_inputs(tmp_path / "inputs.npz")
    gradients = []
    for kind, schedule in ((higher.HigherAdapter, "loop over tasks"), (ours.OurAdapter, "loop")):
        with torch.random.fork_rng():
            adapter = kind(BENCHES[bench], parameters, torch.get_num_threads(), schedule, False)
        gradients.append(adapter.gradient(adapter.prepare(first)))
    error = relative_error(*gradients)
    assert error < LIMIT
    record_property("relative_error", error)


def test_a_timed_process_tells_all_that_a_row_needs(job):
    answer = job("higher").time("retained", seconds=0)
    assert answer["status"] == "ok"
    assert answer["samples"] == 5
    assert answer["median_s"] > 0
    assert answer["compile_s"] >= 0
    assert answer["threads"] == 1
    assert {"peak_memory_bytes", "library_version", "torch", "schedule", "python"} <= set(answer)


class FakeClock:
    """Steps take as long as ``step_s`` says."""

    def __init__(self, step_s: float):
        self.step_s, self.now, self.steps = step_s, 0.0, 0

    def perf_counter(self) -> float:
        return self.now

    def step(self, batch: object) -> None:
        self.steps += 1
        self.now += self.step_s * (3 if self.steps == 1 else 1)


@pytest.mark.parametrize(
    ("step_s", "seconds", "samples", "steps"),
    [(0.5, 10.0, 20, 23), (0.5, 0.0, 5, 8), (25.0, 0.0, 3, 5), (100.0, 5.0, 1, 3)],
    ids=["many", "the least", "slow", "very slow"],
)
def test_samples_fill_the_seconds_and_a_slow_step_is_timed_less_often(monkeypatch, step_s, seconds, samples, steps):
    clock = FakeClock(step_s)
    monkeypatch.setattr(base, "time", clock)
    found = base.measure(clock, [None, None], seconds)
    assert found == {"median_s": step_s, "samples": samples, "compile_s": 2 * step_s}
    assert clock.steps == steps


def test_ours_answers_with_a_gradient_and_a_schedule(job, tmp_path):
    """``vmap`` here: what ``auto`` chooses may compile, which takes longer than a test should."""
    reference, ours = tmp_path / "loop.npz", tmp_path / "vmap.npz"
    assert job(LOOP).gradient(reference)["schedule"] == "loop"
    command = [*job(OURS).command("--gradient-only", "--gradient-out", str(ours)), "--schedule", "vmap"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert answer["schedule"] == "vmap"
    assert relative_error(np.load(ours), np.load(reference)) < LIMIT


def test_a_process_that_dies_is_one_sentence(job):
    broken = job("higher")
    broken.inputs.unlink()
    with pytest.raises(Failed, match="No such file or directory"):
        broken.time("default", seconds=0)


def test_all_peers_get_the_same_numbers(tmp_path):
    for name in ("a", "b"):
        write_inputs(tmp_path / f"{name}.npz", BENCHES["omniglot-q1"], seed=3)
    first, second = (read_inputs(tmp_path / f"{name}.npz") for name in ("a", "b"))
    for name, values in first[0].items():
        assert values.dtype == np.float32
        assert np.array_equal(values, second[0][name])
    for a, b in zip(first[1], second[1], strict=True):
        assert isinstance(a, MetaBatch)
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    support = first[1][0]
    assert support.support_x.shape == (32, 5, 1, 28, 28)
    assert support.support_x.dtype == np.float32
    assert set(np.unique(support.support_x)) == {0.0, 1.0}
    assert support.query_y.shape == (32, 5)
    assert not np.array_equal(first[1][0].support_x, first[1][1].support_x)


@pytest.mark.parametrize(
    ("bench", "count"),
    # FACTS of the paper's networks: 111,749 and 32,645 parameters, without the offsets and scales of batch-norm.
    [("omniglot-q1", 111_749 + 512), ("mini-5w1s", 32_645 + 256), ("sinusoid", 1_761)],
)
def test_the_networks_have_the_papers_sizes(tmp_path, bench, count):
    write_inputs(tmp_path / "x.npz", BENCHES[bench], seed=0)
    parameters, _ = read_inputs(tmp_path / "x.npz")
    assert sum(values.size for values in parameters.values()) == count
