"""Records: what they compute, and that they come back from disk as they went, or as one sentence."""

import copy
import json
import math
import os
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maml_bench.cli import reading
from maml_bench.errors import MamlBenchError, Notice
from maml_bench.record import (
    SCHEMA,
    Curve,
    Evaluation,
    Metric,
    Point,
    Record,
    as_text,
    mean_ci95,
)
from maml_bench.record_files import load, load_all, parse
from maml_bench.record_search import TrialScore, Tuned
from maml_bench.report.flat_rows import flat_rows

MSE = Metric("mse", higher_is_better=False, diverged_above=1000.0)
RECIPE = {
    "id": "waves",
    "title": "waves",
    "variant": "ours",
    "preset": "quick",
    "tasks": {"name": "sinusoid"},
    "setup": {"name": "maml"},
    "train": {"way": 1, "shot": 5},
}
TEST = asdict(Evaluation("paper", "test", 1, 5, 5, 3, []))
EMPTY, WORDS = (
    [{**TEST, "points": [{**asdict(Point(1, 1.0, 0.5, 1, [])), "values": values}]}]
    for values in ([1.0, 0.5], ["0.5", 1.0, 1.0])
)

TRIAL = TrialScore(1, ["inner.rate=0.02"], 0.5, 100, "ok")
SEARCH = Tuned("waves-quick-0123abcd-s0", 20, 1, 0, "TPE", ["inner.rate=0.01..0.1"], 100, TRIAL, [TRIAL])
DRAWING = {"kind": "generation", "side": 28, "rows": [{"shot": 1, "support": [], "drawn": {"1": ["00"]}}]}


@pytest.fixture
def record() -> Record:
    """Half of a run of ten steps."""
    return Record(
        recipe=RECIPE,
        recipe_id="0123abcd",
        seed=3,
        status="ok",
        reason=None,
        task_version=1,
        metric=MSE,
        data=None,
        outer_steps=5,
        budget_steps=10,
        env_steps=None,
        evaluations=[Evaluation("paper", "test", 1, 5, 5, 3, [Point.of(1, [1.0, math.inf, 0.5], MSE)])],
        curve=Curve([0, 5], [0.0, 1.5], [None, 4.0], [4.5, 4.0], [0.1, 0.1], 1, 20),
        exhibit={"kind": "waves", "curves": []},
        timing_s={"outer_step": {"total": 2.0, "count": 5, "median": 0.4, "p05": 0.4, "p95": 0.4}},
        train_s=2.0,
        peak_memory_bytes=1,
        memory="default",
        device="cpu",
        threads=1,
        schedule="vmap",
        machine={"cpu": "a processor"},
        machine_id="feedbeef",
        machine_gflops=100.0,
        software={"torch": "2"},
        commit=None,
        dirty=None,
        started_at="2026-01-01T00:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("values", "mean", "ci95"),
    [
        ([0.0, 1.0], 0.5, 1.96 * 0.5 / math.sqrt(2)),
        ([2.0], 2.0, 0.0),
        ([1.0, 2.0, 3.0, 4.0], 2.5, 1.96 * math.sqrt(1.25 / 4)),
        ([math.nan, 0.0, math.inf, 1.0], 0.5, 1.96 * 0.5 / math.sqrt(2)),
    ],
)
def test_mean_and_interval_are_those_of_the_paper(values, mean, ci95):
    assert mean_ci95(values) == pytest.approx((mean, ci95), rel=1e-15)


@pytest.mark.parametrize("values", [[], [math.nan, -math.inf]])
def test_without_a_number_mean_and_interval_are_nan(values):
    assert all(math.isnan(value) for value in mean_ci95(values))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.randoms())
def test_the_mean_does_not_depend_on_the_order(values, random):
    shuffled = random.sample(values, len(values))
    assert mean_ci95(shuffled)[0] == mean_ci95(values)[0]


def test_a_point_counts_divergence_and_rounds_values_only():
    point = Point.of(2, [1 / 3, 1000.0, 1000.1, math.nan, math.inf], MSE)
    assert point.diverged_episodes == 3
    assert point.values == [0.333333, 1000.0, 1000.1, None, None]
    assert point.mean == pytest.approx((1 / 3 + 1000 + 1000.1) / 3, rel=1e-15)
    assert Point.of(2, [5e9], Metric("accuracy")).diverged_episodes == 0
    assert Point.of(2, [math.nan], MSE) == Point(2, None, None, 1, [None])


@pytest.mark.parametrize(
    ("status", "done", "budget", "share", "whole"),
    [
        ("ok", 5, 10, 0.5, False),
        ("ok", 10, 10, 1.0, True),
        ("ok", 0, 10, 0.0, False),
        ("ok", 0, 0, 1.0, True),
        ("diverged", 5, 10, 0.5, True),
        ("failed", 5, 10, 0.5, False),
        ("failed", 10, 10, 1.0, False),
        ("failed", 0, 0, 1.0, False),
    ],
)
def test_share_and_wholeness(record, status, done, budget, share, whole):
    record = replace(record, status=status, outer_steps=done, budget_steps=budget)
    assert (record.budget_share, record.whole) == (share, whole)


@pytest.mark.parametrize(("train_s", "rate"), [(2.0, 2.5), (0.0, None)])
def test_steps_per_second(record, train_s, rate):
    assert replace(record, train_s=train_s).steps_per_s == rate


def test_a_record_comes_back_equal_from_where_its_name_says(record, tmp_path):
    path = record.save(tmp_path)
    assert path == tmp_path / "records/sinusoid/maml/waves-quick-0123abcd-s3-feedbeef.json"
    assert load(path) == record
    assert list(load_all(tmp_path)) == [(path, record)]


def test_json_holds_no_nan(record, tmp_path):
    text = record.save(tmp_path).read_text()

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)
    impossible = replace(record, train_s=math.nan)
    with pytest.raises(ValueError, match="JSON"):
        impossible.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_all_records_come_in_path_order_and_races_are_another_kind(record, tmp_path):
    paths = [replace(record, seed=seed).save(tmp_path) for seed in (2, 0, 1)]
    race = tmp_path / "records" / "speed" / "race.json"
    race.parent.mkdir()
    race.write_text("not read")
    assert [path for path, _ in load_all(tmp_path)] == sorted(paths)
    assert list(load_all(tmp_path / "nowhere")) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[1]", "the whole is [1], but must be a table"),
        ({"schema": None}, "schema is None, but must be a whole number"),
        ({"schema": True}, "schema is True, but must be a whole number"),
        ({"schema": 0}, "schema is 0, but must be at least 1"),
        ({"recipe": {**RECIPE, "tasks": {"name": "x", "reveal": {}}}}, "recipe.tasks.reveal is {}, but must be"),
        ({"recipe": {**RECIPE, "tasks": {"name": "x", "normalisation": {}}}}, "recipe.tasks.normalisation is {}, but"),
        ({"schema": SCHEMA + 1}, f"record schema {SCHEMA + 1} is newer than {SCHEMA}"),
        ({"colour": "red"}, "has no key 'colour'"),
        ({"thread": 1}, "has no key 'thread' (did you mean 'threads'?)"),
        ({"seed": "3"}, "seed is '3', but must be a whole number"),
        ({"seed": ...}, "'seed'"),
        ({"metric": ...}, "'metric'"),
        ({"metric": {"name": "mse", "colour": "red"}}, "colour"),
        ({"evaluations": [{"points": [{}]}]}, "evaluations[0] lacks the key 'protocol'"),
        ({"curve": None}, "curve is None, but must be a table"),
        ({"recipe": {}}, "recipe lacks the key 'id'"),
        ({"recipe": None}, "recipe is None, but must be a table"),
        ({"recipe": {**RECIPE, "setup": {}}}, "recipe.setup lacks the key 'name'"),
        ({"recipe": {**RECIPE, "tasks": {"name": "../x"}}}, "recipe.tasks.name is '../x', but must be a plain name"),
        ({"recipe": {**RECIPE, "id": "a\ud800"}}, "holds a text that is not Unicode"),
        ({"recipe": {**RECIPE, "published": [{"value": 1}]}}, "recipe.published[0] lacks the key 'protocol'"),
        ({"seed": -1}, "seed is -1, but must be at least 0"),
        ({"status": "fine"}, "status is 'fine', but must be one of 'ok', 'diverged', 'failed'"),
        ({"software": None}, "software is None, but must be a table"),
        ({"evaluations": EMPTY}, "evaluations[0].points[0].values has 2 scores, but there are 3 episodes"),
        ({"evaluations": WORDS}, "evaluations[0].points[0].values[0] is '0.5', but must be a number"),
        (
            {"curve": {"step": [0, 5], "seconds": [1.0]}},
            "the lists of curve differ in length (2 of step, 1 of seconds)",
        ),
        ({"timing_s": {"outer_step": {"total": 1.0}}}, "timing_s.outer_step lacks the key 'count'"),
        ({"earlier": [{}]}, "earlier[0] lacks the key 'machine'"),
        ({"tuned": None}, "tuned is None, but must be"),
        ({"tuned": [{**asdict(SEARCH), "trials": -1}]}, "tuned[0].trials is -1, but must be at least 0"),
        ({"tuned": [{**asdict(SEARCH), "winner": {}}]}, "tuned[0].winner lacks the key 'number'"),
        ({"exhibit": {"kind": "sinusoid"}}, "exhibit lacks the key 'curves'"),
        ({"exhibit": {"kind": "navigation", "tasks": [{"goal": [1], "walks": {}}]}}, "exhibit.tasks[0].goal"),
        ({"exhibit": DRAWING}, "an image has less than 28x28 pixels in exhibit"),
        ({"outer_steps": 10**400}, "outer_steps is 1000"),
        ({"weights": [{"file": "a"}]}, "weights[0] lacks the key 'sha256'"),
        ('{"recipe": ' + 100_000 * "[" + 100_000 * "]" + "}", "is nested too deeply"),
        ('{"seed": ' + 10_000 * "1" + "}", "is not valid JSON"),
    ],
)
def test_a_file_that_is_no_record_is_one_sentence(record, tmp_path, change, sentence):
    path = record.save(tmp_path)
    if isinstance(change, dict):
        raw = json.loads(path.read_text()) | change
        path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))
    else:
        path.write_text(change)
    with pytest.raises(MamlBenchError) as caught:
        load(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_the_first_schema_loads_with_its_segments(record, tmp_path):
    path = replace(record, segments=3).save(tmp_path)
    raw = json.loads(path.read_text())
    raw["sittings"] = raw.pop("segments")
    path.write_text(json.dumps(raw | {"schema": 1}))
    assert load(path) == replace(record, segments=3)


def test_a_record_without_the_field_was_not_tuned_and_one_with_it_comes_back(record, tmp_path):
    path = record.save(tmp_path)
    raw = json.loads(path.read_text())
    assert raw.pop("tuned") == []
    path.write_text(json.dumps(raw))
    assert load(path) == record
    tuned = replace(record, tuned=[SEARCH])
    assert load(tuned.save(tmp_path)) == tuned


def test_each_list_of_values_stands_in_one_line_of_the_file(record, tmp_path):
    lines = record.save(tmp_path).read_text().splitlines()
    values = record.evaluations[0].points[0].values
    assert json.loads(next(line for line in lines if '"values"' in line).split(":", 1)[1].strip()) == values
    assert all(line.count('": ') <= 1 for line in lines), "one key a line"


JUNK = (None, {}, [], "0", "x/../y", -1, 1.5, 10**400, ["a"], {"a": 1}, ...)
"""Values that stand where others should; the last one means that the key is missing."""


def places(value, at=()):
    """The place of every value inside of a tree, the first one of each list."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inside in entries:
        yield (*at, key)
        yield from places(inside, (*at, key))


def changed(tree, place, value):
    """A copy of a tree with another value at one place."""
    tree = copy.deepcopy(tree)
    *path, last = place
    table = reduce(lambda inside, step: inside[step], path, tree)
    if value is ...:
        del table[last]
    else:
        table[last] = value
    return tree


def test_any_wrong_value_at_any_place_is_refused_in_one_sentence_or_does_no_harm(record):
    """What is accepted can be listed and shown: a key that has a default, or one of a table with free keys."""
    published = {"protocol": "paper", "way": 1, "shot": 5, "inner_steps": 1, "value": 0.5, "source": "a paper"}
    segment = {"machine": "m", "outer_steps": 1, "device": "cpu", "threads": 1, "schedule": "vmap", "torch": "2"}
    whole = replace(
        record,
        recipe={**RECIPE, "published": [published], "changed": ["inner.rate=1"]},
        weights=[{"file": "a", "sha256": "0123456789", "header": {}}],
        earlier=[{**segment, "commit": None}],
        tuned=[SEARCH],
    )
    plain = asdict(whole)
    sentences = []
    for place in places(plain):
        for value in JUNK:
            text = json.dumps(changed(plain, place, value)).encode()
            try:
                found = parse(text, "record x")
            except MamlBenchError as error:
                sentences.append(str(error))
            else:
                json.dumps(flat_rows([(Path("x"), found)]), allow_nan=False)
                reading._facts(found)
    assert len(sentences) > 800
    assert not [sentence for sentence in sentences if "\n" in sentence or len(sentence) > 400]


def test_one_bad_record_does_not_block_the_others(record, tmp_path):
    good = [replace(record, seed=seed).save(tmp_path) for seed in (0, 2)]
    bad = replace(record, seed=1).save(tmp_path)
    bad.write_text("{")
    with pytest.warns(
        Notice, match=r"is not valid JSON.*; it is skipped\. To remove it, delete the file .*-s1-"
    ) as told:
        assert [path for path, _ in load_all(tmp_path)] == good
    assert len(told) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_a_pipe_is_no_record_and_nobody_waits_for_it(record, tmp_path):
    path = record.save(tmp_path)
    os.mkfifo(path.with_name("pipe.json"))
    with pytest.warns(Notice, match=r"pipe\.json cannot be read: It is no regular file"):
        assert [found for found, _ in load_all(tmp_path)] == [path]


@pytest.mark.parametrize("place", ["records", "records/sinusoid/maml"])
def test_a_folder_that_cannot_be_read_does_not_count_as_empty(record, tmp_path, monkeypatch, place):
    record.save(tmp_path)
    scan = os.scandir

    def refuse(path):
        if os.fspath(path) == os.fspath(tmp_path / place):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MamlBenchError, match=rf"the folder .*{place} of records cannot be read: Permission denied"):
        list(load_all(tmp_path))


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: path.symlink_to(path)])
def test_what_is_no_folder_of_records_does_not_count_as_empty(tmp_path, make):
    make(tmp_path / "records")
    with pytest.raises(MamlBenchError, match="of records cannot be read: "):
        list(load_all(tmp_path))


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(content=st.dictionaries(st.text(), trees, max_size=4))
@example(content={"a": ["[\n 1\n]", "]", "{"], "b": [[], [1, 2.5, None], {"c": ["x, y", "\n"]}]})
def test_the_form_of_the_file_changes_no_content(content):
    assert json.loads(as_text(content)) == content


def test_a_newer_record_is_named_in_the_sentence(record, tmp_path):
    path = replace(record, schema=SCHEMA + 1).save(tmp_path)
    with pytest.raises(MamlBenchError, match=path.name):
        load(path)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None, lambda path: path.write_bytes(b"\xff")])
def test_an_unreadable_file_is_one_sentence(tmp_path, make):
    make(tmp_path / "it.json")
    with pytest.raises(MamlBenchError, match=r"it\.json (cannot be read|is not valid JSON)"):
        load(tmp_path / "it.json")


def test_a_record_from_before_normalisation_and_checkpoint_were_kept_says_what_it_was(record, tmp_path):
    path = record.save(tmp_path)
    raw = json.loads(path.read_text())
    del raw["weights"]
    for key in ("normalisation", "checkpoint", "checkpoint_steps"):
        del raw["evaluations"][0][key]
    path.write_text(json.dumps(raw))
    found = load(path)
    assert found == record
    [evaluation] = found.evaluations
    assert (evaluation.normalisation, evaluation.checkpoint, found.kind) == ("transductive", "last", "run")


def test_evaluations_of_weights_lie_beside_the_run_that_they_are_not(record, tmp_path):
    given = replace(record, kind="evaluation", weights=[{"file": "w", "sha256": "0123456789", "header": {}}])
    assert given.weights_id == "01234567"
    assert given.save(tmp_path).name == "waves-quick-0123abcd-w01234567-s3-feedbeef.json"
    assert {r.kind for _, r in load_all(tmp_path)} == {"evaluation"}
