"""Adapters as the driver runs them: processes that answer with one line, and agree on the meta-gradient."""

import importlib
import json
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import base
import numpy as np
import pytest
import torch
import torch_network
from peers.benches import BENCHES, METRIC, Bench, MetaBatch, read_inputs, write_inputs
from peers.catalogue import LOOP, OURS, PEERS
from peers.checks import DOUBLE_LIMIT, LIMIT, Reference, relative_error
from peers.processes import Failed, Job
from torch import nn

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


@pytest.fixture
def gradients(tmp_path):
    """Meta-gradients of adapters, each given as (module, class, schedule), in float64 where that is asked for.

    In this process: starting several takes longer than what they compute.
    """

    def found(bench: Bench, *adapters: tuple[str, str, str], double: bool = False) -> list[dict[str, np.ndarray]]:
        write_inputs(tmp_path / "inputs.npz", bench, seed=0)
        parameters, (first, *_) = read_inputs(tmp_path / "inputs.npz")
        gradients = []
        for module, kind, schedule in adapters:
            with torch.random.fork_rng():
                made = getattr(importlib.import_module(module), kind)
                adapter = made(bench, parameters, torch.get_num_threads(), schedule, double)
            gradients.append(adapter.gradient(adapter.prepare(first)))
        return gradients

    return found


OUR_LOOP, OUR_VMAP = (("ours", "OurAdapter", schedule) for schedule in ("loop", "vmap"))


@pytest.mark.parametrize("bench", ["fomaml-q1", "anil-q1"])
def test_higher_has_the_gradient_of_our_plain_loop_on_every_kind_of_bench(gradients, bench, record_property):
    error = relative_error(*gradients(BENCHES[bench], ("higher_peer", "HigherAdapter", "loop over tasks"), OUR_LOOP))
    assert error < LIMIT
    record_property("relative_error", error)


def test_plain_torch_ends_reptile_where_our_plain_loop_does(gradients, record_property):
    """In float64, because Adam divides gradients by their own size, also those that are only rounding."""
    bench = replace(BENCHES["reptile-omniglot"], tasks=2, steps=3)
    theirs, ours = gradients(bench, ("torch_peer", "PlainAdapter", "loop over tasks"), OUR_LOOP, double=True)
    error = relative_error(theirs, ours)
    assert error < DOUBLE_LIMIT
    assert max(abs(values).max() for values in ours.values()) > bench.rate
    record_property("relative_error", error)


SMALLER = {"protonet": {"way": 6}, "matching": {"tasks": 3}, "relation": {"query": 2}}


@pytest.mark.parametrize("bench", [bench for bench in BENCHES.values() if bench.method in METRIC], ids=lambda b: b.name)
def test_easyfsl_has_the_gradient_of_our_plain_loop(gradients, bench, record_property):
    pytest.importorskip("easyfsl")
    bench = replace(bench, **SMALLER[bench.method])
    double = bench.method != "matching"  # which runs in float32 alone, and needs no more here
    adapters = ("easyfsl_peer", "EasyfslAdapter", "loop over tasks"), OUR_LOOP
    error = relative_error(*gradients(bench, *adapters, double=double))
    assert error < (DOUBLE_LIMIT if double else LIMIT)
    record_property("relative_error", error)


@pytest.mark.parametrize("bench", ["protonet-omniglot", "protonet-mini"])
def test_learn2learn_has_the_gradient_of_our_plain_loop_for_prototypes(gradients, bench, record_property):
    pytest.importorskip("learn2learn")
    small = replace(BENCHES[bench], **SMALLER["protonet"])
    adapters = ("learn2learn_peer", "Learn2learnAdapter", "loop over tasks"), OUR_LOOP
    error = relative_error(*gradients(small, *adapters, double=True))
    assert error < DOUBLE_LIMIT
    record_property("relative_error", error)


def test_our_relation_module_has_the_parameters_of_the_bench_in_their_places(gradients, tmp_path):
    """Against pairs of maps that are stacked one by one and passed through the module written with torch's layers."""
    bench = replace(BENCHES["relation-omniglot"], query=2)
    [ours] = gradients(bench, OUR_LOOP, double=True)
    parameters, (batch, *_) = read_inputs(tmp_path / "inputs.npz")
    with torch.random.fork_rng():
        body, module = nn.Sequential(torch_network.body(bench)), torch_network.relation(bench)
    network = nn.Sequential(OrderedDict(body=body, relation=module)).double()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in parameters.items()})
    support, query = (body(torch.from_numpy(x[0]).double()) for x in (batch.support_x, batch.query_x))
    classes = torch.stack([support[batch.support_y[0] == label].sum(0) for label in range(bench.way)])
    pairs = torch.stack([torch.cat([each, asked]) for asked in query for each in classes])
    truth = nn.functional.one_hot(torch.from_numpy(batch.query_y[0]), bench.way)
    ((module(pairs).reshape(-1, bench.way) - truth) ** 2).mean().backward()
    expected = {name: p.grad.numpy() for name, p in network.named_parameters()}
    assert relative_error(ours, expected) < DOUBLE_LIMIT


@pytest.mark.parametrize("bench", ["protonet-omniglot", "matching-omniglot", "reptile-omniglot"])
def test_our_schedules_agree_where_a_bench_has_another_method(gradients, bench):
    small = replace(BENCHES[bench], **SMALLER.get(BENCHES[bench].method, {"tasks": 2, "steps": 2}))
    assert relative_error(*gradients(small, OUR_VMAP, OUR_LOOP, double=True)) < DOUBLE_LIMIT


@pytest.mark.parametrize(
    ("module", "kind", "bench"),
    [("torch_peer", "PlainAdapter", "protonet-omniglot"), ("easyfsl_peer", "EasyfslAdapter", "omniglot-q1")],
)
def test_an_adapter_refuses_a_method_that_it_does_not_have(gradients, module, kind, bench):
    if module == "easyfsl_peer":
        pytest.importorskip("easyfsl")
    with pytest.raises(base.NotExpressible):
        gradients(replace(BENCHES[bench], tasks=1), (module, kind, "loop over tasks"))


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
    # FACTS of the paper's networks: 111,749 and 32,645 parameters, without the offsets and scales of batch-norm. The
    # relation module has two convolutions without bias, two batch-norms, and two linear layers.
    [
        ("omniglot-q1", 111_749 + 512),
        ("mini-5w1s", 32_645 + 256),
        ("sinusoid", 1_761),
        ("protonet-omniglot", 111_424 + 512),
        ("relation-omniglot", 111_424 + 512 + 73_728 + 36_864 + 256 + 520 + 9),
        ("reptile-omniglot", 111_424 - 256 + 512 + 1_285),
    ],
)
def test_the_networks_have_the_papers_sizes(tmp_path, bench, count):
    write_inputs(tmp_path / "x.npz", BENCHES[bench], seed=0)
    parameters, _ = read_inputs(tmp_path / "x.npz")
    assert sum(values.size for values in parameters.values()) == count
