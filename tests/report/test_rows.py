"""Flat rows: exact keys, exact values, and nothing that JSON cannot say."""

import json
import math
from pathlib import Path

from record_factory import PAPER, record

from maml_bench.report.rows import rows

KEYS = [
    *("kind", "recipe", "tasks", "variant", "task_version", "setup", "preset", "protocol", "split", "seed"),
    *("status", "metric", "inner_steps", "way", "shot", "query", "mean", "ci95", "episodes"),
    *("diverged_episodes", "published", "published_ci95", "outer_steps", "env_steps", "budget_share"),
    *("train_s", "steps_per_s", "peak_memory_bytes", "normalisation", "schedule", "device", "threads", "torch"),
    *("machine", "machine_gflops", "commit", "path"),
]


def test_keys_and_their_order():
    (row,) = rows([(Path("a.json"), record())])
    assert list(row) == KEYS


def test_values_of_one_point():
    (row,) = rows([(Path("/r/records/a.json"), record(published=[PAPER]))], Path("/r"))
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
    (row,) = rows([(Path("a.json"), record(published=others))])
    assert (row["published"], row["published_ci95"]) == (None, None)


def test_a_failed_record_has_one_row_without_scores():
    failed = record(evaluations=[], status="failed", reason="no memory", train_s=math.nan)
    (row,) = rows([(Path("a.json"), failed)])
    assert list(row) == KEYS
    assert {row[key] for key in ("protocol", "inner_steps", "way", "mean", "ci95", "episodes", "published")} == {None}
    assert row["status"] == "failed"
    json.dumps(row, allow_nan=False)
