"""Schedules in a run: which one auto takes, that all end in the same place, and what the record says of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maml_bench import registry
from maml_bench.data import store
from maml_bench.harness import build as start
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import run
from maml_bench.native_code import compiler
from maml_bench.rl.protocol import acts


def test_both_schedules_are_recorded_and_agree(tiny, options):
    ends = []
    for schedule in ("vmap", "loop"):
        record = run(tiny(), 0, replace(options, results=options.results / schedule, schedule=schedule)).record
        assert record.schedule == schedule
        ends.append(record.evaluations[0].points[1].mean)
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


@pytest.mark.parametrize("schedule", ["traced", "compiled"])
def test_a_recorded_schedule_ends_where_the_loop_does_and_keeps_compiling_apart(tiny, options, schedule):
    if schedule == "compiled" and compiler() is None:
        pytest.skip("torch.compile needs a C++ compiler: install g++")
    recipe = tiny(setup="anil")  # compiled in half the time of maml, with second derivatives too
    plain = run(recipe, 0, replace(options, results=options.results / "loop", schedule="loop")).record
    record = run(recipe, 0, replace(options, results=options.results / schedule, schedule=schedule)).record
    assert (record.schedule, record.network) == (schedule, "torch operators")
    for found, expected in zip(record.evaluations[0].points, plain.evaluations[0].points, strict=True):
        assert found.mean == pytest.approx(expected.mean, rel=1e-4)
    assert record.timing_s["compile"]["count"] == 1
    assert "compile" not in plain.timing_s
    clocked = sum(times["total"] for bucket, times in record.timing_s.items() if bucket.startswith(("sample", "outer")))
    assert record.train_s == pytest.approx(clocked)


@pytest.mark.parametrize(
    ("recipe", "settings", "device", "expected"),
    [
        ("omniglot-5w1s", ["outer.steps=99"], "cpu", "vmap"),
        ("omniglot-5w1s", ["outer.steps=100"], "cpu", "traced"),
        ("omniglot-5w1s", ["outer.steps=60000"], "cpu", "traced"),
        ("omniglot-5w1s-mlp", ["outer.steps=20000"], "cpu", "compiled"),
        ("sinusoid-k10", ["outer.steps=999"], "cpu", "vmap"),
        ("sinusoid-k10", ["outer.steps=1000"], "cpu", "traced"),
        ("sinusoid-k10", ["outer.steps=20000"], "cpu", "compiled"),
        ("sinusoid-k10", ["outer.steps=199"], "cuda", "vmap"),
        ("sinusoid-k10", ["outer.steps=20000"], "cuda", "traced"),
        ("omniglot-5w1s", ["outer.steps=200"], "cuda", "traced"),
        ("navigation", ["outer.steps=9"], "cuda", "vmap"),
        ("navigation", ["outer.steps=10"], "cuda", "traced"),
        ("navigation", ["outer.steps=10"], "cpu", "traced"),
    ],
)
def test_auto_is_a_rule_of_network_budget_and_device(monkeypatch, recipe, settings, device, expected):
    monkeypatch.setattr(start, "compiler", lambda: "/usr/bin/c++")
    monkeypatch.setattr(store, "load", lambda name, array: np.zeros((1, 1, 1, 28, 28), np.uint8))  # its size counts
    asked = resolve(recipe, preset="paper", settings=settings)
    tasks = registry.build_tasks(asked.tasks, "here")
    model = tasks.model(asked.train.shape, torch.Generator().manual_seed(0))
    assert start.schedule_for(asked, model, device, acting=acts(tasks)) == expected
    monkeypatch.setattr(start, "compiler", lambda: None)
    without = {"compiled": "traced"}.get(expected, expected) if device == "cpu" else expected
    assert start.schedule_for(asked, model, device, acting=acts(tasks)) == without


def test_a_chunk_changes_memory_alone(tiny, options):
    whole = run(tiny(), 0, replace(options, results=options.results / "whole")).record
    parts = run(tiny(), 0, replace(options, results=options.results / "parts", chunk=1)).record
    for found, expected in zip(parts.evaluations[0].points, whole.evaluations[0].points, strict=True):
        assert found.mean == pytest.approx(expected.mean, rel=1e-5)
