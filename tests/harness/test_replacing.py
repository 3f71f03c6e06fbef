"""Which record stays where there is one already."""

from dataclasses import replace

import pytest

from maml_bench.core import outer as outer_module
from maml_bench.errors import MamlBenchError
from maml_bench.harness import run as module
from maml_bench.harness.record_there import replaces as gives_way
from maml_bench.harness.run import run
from maml_bench.record_files import load
from tests.harness.test_run import failing


def test_a_good_share_outlives_a_failure_which_is_told(tiny, options, listener, monkeypatch):
    share = run(tiny(), 0, replace(options, budget_steps=5))
    monkeypatch.setattr(outer_module, "meta_gradient", failing)
    outcome = run(tiny(), 0, options, observer=listener)
    assert load(share.path) == share.record
    assert (outcome.record.status, outcome.record.reason) == ("failed", "RuntimeError: out of luck")
    assert "kept the record that is there: 5 steps, ok" in listener.sentences


def test_a_shorter_share_does_not_replace_a_longer_one(tiny, options, listener):
    longer = run(tiny(), 0, replace(options, budget_steps=7))
    longer.path.with_suffix(".ckpt").unlink()
    shorter = run(tiny(), 0, replace(options, budget_steps=3), observer=listener)
    assert (shorter.how, shorter.record) == ("already there", longer.record)
    assert load(longer.path) == longer.record


def test_a_finished_share_is_not_tested_again(tiny, options, monkeypatch):
    first = run(tiny(), 0, replace(options, budget_steps=7))
    monkeypatch.setattr(module.meta_test, "evaluations", failing)
    again = run(tiny(), 0, replace(options, budget_steps=7))
    assert (again.how, again.record) == ("already there", first.record)


@pytest.fixture
def template(tiny, options):
    """A record whose fields may be changed."""
    return run(tiny(), 0, replace(options, budget_steps=0)).record


PART, MORE, WHOLE, DIVERGED, FAILED = ("ok", 5), ("ok", 7), ("ok", 12), ("diverged", 8), ("failed", 9)


@pytest.mark.parametrize(
    ("new", "old", "replaces"),
    [
        (PART, PART, False), (PART, MORE, False), (PART, FAILED, True), (MORE, PART, True), (MORE, FAILED, True),
        (WHOLE, PART, True), (WHOLE, MORE, True), (WHOLE, FAILED, True), (DIVERGED, PART, True), (DIVERGED, MORE, True),
        (("diverged", 3), MORE, False),
        (DIVERGED, FAILED, True), (FAILED, PART, False), (FAILED, WHOLE, False), (FAILED, DIVERGED, False),
        (FAILED, FAILED, True), (PART, DIVERGED, False),
    ],
)  # fmt: skip
def test_which_record_gives_way_to_which(template, new, old, replaces):
    records = [replace(template, status=status, outer_steps=steps) for status, steps in (new, old)]
    assert gives_way(*records) is replaces


def test_force_replaces_a_whole_record_by_a_share(tiny, options):
    run(tiny(), 0, options)
    outcome = run(tiny(), 0, replace(options, force=True, budget_steps=3))
    assert load(outcome.path).outer_steps == 3


def test_force_needs_nothing_of_a_damaged_record(tiny, options):
    outcome = run(tiny(), 0, options)
    outcome.path.write_text("{")
    with pytest.raises(MamlBenchError, match="is not valid JSON"):
        run(tiny(), 0, options)
    assert run(tiny(), 0, replace(options, force=True)).record == load(outcome.path)
