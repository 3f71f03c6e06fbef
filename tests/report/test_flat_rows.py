"""Flat rows: exact keys, exact values, and nothing that JSON cannot say."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from record_factory import ACCURACY, PAPER, evaluation, record

from maml_bench.report.flat_rows import commits, flat_rows

KEYS = [
    *(
        "kind",
        "recipe",
        "recipe_id",
        "changed",
        "tuned",
        "own_values_won",
        "ranked",
        "superseded",
        "tasks",
        "variant",
        "task_version",
        "setup",
        "preset",
    ),
    *("protocol", "checkpoint"),
    *("checkpoint_steps", "weights", "split", "seed", "status", "metric", "inner_steps", "way", "shot", "query"),
    *("mean", "ci95", "episodes"),
    *(
        "diverged_episodes",
        "published",
        "published_ci95",
        "published_note",
        "source",
        "outer_steps",
        "env_steps",
        "budget_share",
    ),
    *(
        "train_s",
        "train_s_is",
        "contended",
        "steps_per_s",
        "peak_memory_bytes",
        "normalisation",
        "schedule",
        "device",
        "threads",
        "processes",
        "torch",
    ),
    *("machine", "machine_gflops", "commit", "path"),
]


def test_keys_and_their_order():
    (row,) = flat_rows([(Path("a.json"), record())])
    assert list(row) == KEYS


def test_values_of_one_point():
    (row,) = flat_rows([(Path("/r/records/a.json"), record(published=[PAPER]))], Path("/r"))
    expected = {
        "recipe": "omniglot-5w1s",
        "setup": "maml",
        "inner_steps": 3,
        "way": 5,
        "shot": 1,
        "query": 1,
        "episodes": 4,
    }
    expected |= {"mean": 0.98, "published": 0.987, "published_ci95": 0.004, "budget_share": 1.0, "steps_per_s": 10.0}
    expected |= {"torch": "2.13.0", "machine": "m1", "normalisation": "transductive", "path": "records/a.json"}
    assert {key: row[key] for key in expected} == expected
    assert math.isclose(row["ci95"], 1.96 * 0.0002**0.5 / 2)  # variance (0.02^2 + 0.02^2) / 4, four episodes


def test_published_number_of_another_test_is_not_taken():
    others = [{**PAPER, key: 9} for key in ("way", "shot", "inner_steps", "protocol")]
    (row,) = flat_rows([(Path("a.json"), record(published=others))])
    assert (row["published"], row["published_ci95"]) == (None, None)


def test_a_failed_record_has_one_row_without_scores():
    failed = record(evaluations=[], status="failed", reason="no memory", train_s=math.nan)
    (row,) = flat_rows([(Path("a.json"), failed)])
    assert list(row) == KEYS
    assert {row[key] for key in ("protocol", "inner_steps", "way", "mean", "ci95", "episodes", "published")} == {None}
    assert row["status"] == "failed"
    json.dumps(row, allow_nan=False)


def published_beside(named, **test):
    (row,) = flat_rows([(Path("a.json"), record(evaluations=[like(**test)], published=[{**PAPER, **named}]))])
    return row["published"] is not None


def like(normalisation="transductive", checkpoint="last", steps=()):
    return replace(
        evaluation({3: [0.9, 1.0]}, ACCURACY),
        normalisation=normalisation,
        checkpoint=checkpoint,
        checkpoint_steps=list(steps),
    )


@pytest.mark.parametrize("mode", ["transductive", "support", "one by one", "running"])
def test_a_published_number_stands_beside_its_own_normalisation(mode):
    others = {"transductive", "support", "one by one", "running"} - {mode}
    assert published_beside({"normalisation": mode}, normalisation=mode)
    assert not any(published_beside({"normalisation": mode}, normalisation=other) for other in others)
    assert published_beside({}, normalisation=mode) is (mode == "transductive")


def test_an_ensembles_number_stands_beside_an_ensemble_only():
    for checkpoint in ("last", "selected", "given", "ensemble"):
        assert published_beside({"ensemble": True}, checkpoint=checkpoint) is (checkpoint == "ensemble")
        assert published_beside({}, checkpoint=checkpoint) is (checkpoint != "ensemble")


@pytest.mark.parametrize(("network", "shown"), [("transductive", "support"), ("group", "group"), ("none", "none")])
def test_a_row_shows_the_networks_normalisation_where_it_is_not_by_batches(network, shown):
    one = record(evaluations=[like("support", "selected", [500])])
    one.recipe["tasks"]["normalisation"] = network
    (row,) = flat_rows([(Path("a.json"), one)])
    assert (row["normalisation"], row["checkpoint"], row["checkpoint_steps"]) == (shown, "selected", [500])


def test_given_weights_are_named():
    (row,) = flat_rows([(Path("a.json"), record(kind="evaluation", weights=[{"file": "w", "sha256": "0123456789"}]))])
    assert (row["kind"], row["weights"]) == ("evaluation", "01234567")


def test_a_row_says_what_was_changed_and_whether_its_budget_ranks():
    one = record(published=[PAPER | {"note": "2 runs"}], ranked=False)
    one.recipe["changed"] = ["outer.steps=200", "validation.every=5", "inner.rate=0.1"]
    (row,) = flat_rows([(Path("a.json"), one)])
    expected = {"changed": "outer.steps=200, inner.rate=0.1", "ranked": False, "source": "Finn et al."}
    expected |= {"published_note": "2 runs"}
    expected |= {"recipe_id": one.recipe_id}
    assert {key: row[key] for key in expected} == expected
    (plain,) = flat_rows([(Path("a.json"), record())])
    assert (plain["changed"], plain["ranked"], plain["source"], plain["published_note"]) == ("", True, None, None)


def test_a_segment_without_a_commit_is_unknown():
    segments = [{"machine": "m0", "commit": None}, {"machine": "m1", "commit": "abc"}]
    assert commits(record()) == "abc"
    assert commits(record(earlier=segments)) == "unknown+abc"
    assert commits(record(earlier=segments, commit=None)) == "unknown+abc"
    assert commits(record(commit=None)) == "unknown"
