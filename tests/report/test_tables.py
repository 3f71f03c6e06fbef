"""Tables: what is pooled, what an interval is over, what a verdict says, and that odd text survives."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from record_factory import ACCURACY, MSE, PAPER, evaluation, omniglot, record, sinusoid

from maml_bench.record import Curve, Metric
from maml_bench.report.aggregate import aggregate, in_words
from maml_bench.report.tables import COLUMNS, PAPER_COLUMNS, bold_best, numbers, summary
from maml_bench.report.writing import write_tables

RETURN = Metric("return")
WHOLE = {"preset": "paper", "published": [PAPER]}


def test_shapes_in_words():
    assert (in_words(5, 1), in_words(1, 10)) == ("5-way 1-shot", "10-shot")


def test_a_row_in_nats_names_the_pixels_and_the_importance_samples():
    scores = evaluation({0: [90.0, 92.0]}, Metric("nats", unit="nats", higher_is_better=False), 1, 4)
    found = []
    for setup in ({"name": "vae", "samples": 1000}, {"name": "maml"}):
        one = record(metric=Metric("nats", higher_is_better=False), evaluations=[scores])
        tasks = {"name": "omniglot_generation", "images": "area28", "binary": "sampled"}
        one = replace(one, recipe=one.recipe | {"setup": setup, "tasks": tasks})
        found += summary([one])["test"].tolist()
    assert [words.split(", ")[2:] for words in found] == [["area28 sampled", "1,000 samples"], ["area28 sampled"]]


def directions(means=(273.0, 18.0, 185.0), **fields):
    """Half-cheetah, forward or backward: a seed each of this mean over 40 test tasks."""
    tasks = np.linspace(-5, 5, 40)
    published = [{**PAPER, "way": 1, "shot": 20, "inner_steps": 1, "value": 293.19, "ci95": None}]
    common = {"metric": RETURN, "tasks": "cheetah_dir", "recipe": "cheetah-dir", "preset": "paper"}
    common |= {"published": published, **fields}
    return [
        record(seed=seed, evaluations=[evaluation({1: list(mean + tasks)}, RETURN, 1, 20)], **common)
        for seed, mean in enumerate(means)
    ]


def test_three_seeds_have_an_interval_over_seeds_and_their_range():
    (row,) = numbers(directions()).to_dict("records")
    assert (row["seeds"], row["ci95_over"], row["lowest_seed"], row["highest_seed"]) == (3, "seeds", 18.0, 273.0)
    assert row["mean"] == pytest.approx(158.667, abs=1e-3)
    assert row["ci95"] == pytest.approx(321.74, abs=0.1)
    (shown,) = summary(directions()).to_dict("records")
    assert (shown["score"], shown["± over"], shown["seeds"]) == ("159 ± 322", "3 seeds", "0, 1, 2: 18.0 to 273")


def test_fewer_seeds_have_an_interval_over_tasks_and_their_values_are_listed():
    (shown,) = summary(directions(means=(273.0, 18.0))).to_dict("records")
    assert (shown["score"], shown["± over"], shown["seeds"]) == ("146 ± 1", "40 tasks", "0, 1: 273 and 18.0")
    (shown,) = summary(directions(means=(273.0,))).to_dict("records")
    assert (shown["± over"], shown["seeds"]) == ("40 tasks", "0")


@pytest.mark.parametrize(
    ("scores", "word"),
    [
        ([[0.987]] * 3, "within"),
        ([[0.985], [0.987], [0.989]], "within"),
        ([[0.960], [0.961], [0.962]], "below by 2.6"),
        ([[0.998], [0.999], [1.000]], "above by 1.2"),
        ([[0.987]], "within (1 seed)"),
        ([[0.987]] * 2, "within (2 seeds)"),
        ([[0.960]], "below by 2.7 (1 seed)"),
        ([[0.987, math.nan]], "diverged"),
        ([[0.7], [0.9], [1.0]], "within"),  # 0.867 ± 0.379, less than half of 0.987
        ([[0.5], [0.9], [1.0]], "too wide"),  # 0.8 ± 0.657
    ],
)
def test_a_verdict_is_a_statement_about_intervals(scores, word):
    records = [record(values, seed=seed, **WHOLE) for seed, values in enumerate(scores)]
    assert list(summary(records)["verdict"]) == [word]
    assert list(numbers(records)["verdict"]) == [word]


def test_a_verdict_needs_the_whole_budget_of_the_unchanged_recipe():
    assert list(summary([record(outer_steps=500, **WHOLE)])["verdict"]) == ["partial"]
    assert list(summary([record(published=[PAPER])])["verdict"]) == ["quick preset"]
    assert list(summary([record(preset="paper")])["verdict"]) == ["-"]
    for changed, word in (
        ("outer.steps=200", "changed"),
        ("inner.rate=1", "changed"),
        ("validation.every=5", "within"),
    ):
        one = record(**WHOLE)
        one.recipe["changed"] = [changed]
        (row,) = summary([one]).to_dict("records")
        assert row["verdict"].split(" (")[0] == word
        assert (f"changed: {changed}" in row["recipe"]) == (word == "changed")


def test_a_published_interval_counts_too():
    near = [record([0.975], seed=seed, **WHOLE) for seed in range(3)]
    wide = {**PAPER, "ci95": 0.02}
    assert list(summary(near)["verdict"]) == ["below by 1.2"]
    assert list(summary([record([0.975], seed=s, preset="paper", published=[wide]) for s in range(3)])["verdict"]) == [
        "within"
    ]


def test_costs_are_medians_over_seeds():
    frame = numbers([record([0.9, 1.0], seed=0), record([0.7, 0.8], seed=1, step_s=0.3), record([0.8, 0.9], seed=2)])
    (row,) = frame.to_dict("records")
    assert (row["seeds"], row["train_s"], row["mean"]) == (3, 150.0, pytest.approx(0.85))


@pytest.mark.parametrize(
    "other",
    [
        {"machine_id": "m2"},
        {"earlier": [{"machine": "m2"}]},
        {"recipe_id": "ffffffff"},
        {"outer_steps": 500},
        {"status": "diverged"},
        {"threads": 1},
        {"processes": 2},
        {"schedule": "loop"},
        {"task_version": 2},
    ],
)
def test_records_that_differ_otherwise_are_not_pooled(other):
    assert len(aggregate([record(seed=0), record(seed=1, **other)])) == 2


def test_groups_stand_in_reading_order():
    records = [omniglot("maml", preset=p) for p in ("smoke", "quick", "paper")] + [omniglot("anil", preset="paper")]
    order = [(group.preset, group.setup) for group in aggregate(records)]
    assert order == [("paper", "anil"), ("paper", "maml"), ("quick", "maml"), ("smoke", "maml")]


def test_published_inner_steps_are_shown_for_every_setup_else_those_of_validation_else_the_last():
    frame = summary([sinusoid("maml", 0), sinusoid("anil", 0), sinusoid("oracle", 0)])
    shown = {key: list(rows["steps"]) for key, rows in frame.groupby(["setup", "test"])}
    assert shown["maml", "5-shot, 5 query"] == shown["anil", "5-shot, 5 query"] == ["1", "10"]
    assert shown["maml", "10-shot, 10 query"] == ["3"]
    assert shown["oracle", "5-shot, 5 query"] == ["0"]
    assert list(numbers([omniglot("anil")])["inner_steps"]) == [0, 1, 2, 3]


def test_only_tests_that_all_seeds_have_are_shown():
    extra = [evaluation({3: [0.9, 1.0]}, ACCURACY), evaluation({3: [0.9, 1.0]}, ACCURACY, shot=5)]
    assert list(numbers([record(seed=0, evaluations=extra), record([0.9, 1.0], seed=1)])["shot"]) == [1]


def test_query_counts_stand_in_every_row():
    tests = [evaluation({3: [1.0, 0.8]}, ACCURACY), replace(evaluation({3: [0.4, 0.6]}, ACCURACY), query=15)]
    records = [record(evaluations=tests)]
    assert list(summary(records)["test"]) == ["5-way 1-shot, 1 query", "5-way 1-shot, 15 query"]
    assert list(numbers(records)["query"]) == [1, 15]


def test_words_of_a_row():
    (row,) = summary([record(published=[PAPER], outer_steps=500, ranked=False)]).to_dict("records")
    assert tuple(row) == COLUMNS
    expected = {"recipe": "omniglot-5w1s", "setup": "maml", "preset": "quick, unranked", "steps": "3", "seeds": "0"}
    expected |= {"budget": "500 of 1,500 steps", "score": "98.0 ± 1.4", "± over": "4 tasks"}
    expected |= {"published": "98.7 ± 0.4", "verdict": "quick preset", "test": "5-way 1-shot, 1 query"}
    assert row == expected


def test_budgets_are_those_of_the_recipe():
    shown = [summary([record(outer_steps=done, budget_steps=of)])["budget"][0] for done, of in ((475, 475), (200, 475))]
    assert shown == ["475 steps", "200 of 475 steps"]
    assert summary([record(outer_steps=0, budget_steps=0)])["budget"][0] == "no training"


def test_diverged_tasks_are_counted_beside_the_mean():
    values = [0.5, 2000.0, math.nan, 0.7]
    records = [record(evaluations=[evaluation({1: values}, MSE)], metric=MSE)]
    assert summary(records)["score"][0].endswith(", 2 of 4 diverged")
    assert list(numbers(records)["diverged_episodes"]) == [2]


def test_diverged_and_failed_runs_are_counted_and_listed(tmp_path):
    records = [
        record(),
        record(setup="a", status="diverged", reason="loss is nan", evaluations=[]),
        *(record(setup="b", seed=s, status="failed", reason="no memory", evaluations=[]) for s in (0, 1)),
    ]
    page = write_tables(records, tmp_path)[0].read_text()
    assert "Of 4 runs, 1 diverged and 2 failed." in page
    assert "- omniglot-5w1s, a, quick, seeds 0: diverged: loss is nan" in page
    assert "- omniglot-5w1s, b, quick, seeds 0, 1: failed: no memory" in page
    assert list(numbers(records)["status"]) == ["diverged", "failed", "ok"]


def test_a_segment_without_a_commit_is_unknown():
    moved = record(earlier=[{"machine": "m0", "commit": None}])
    assert list(numbers([moved])["commit"]) == ["unknown+abc"]


def test_two_contents_of_one_name_carry_their_hash():
    frame = summary([record(), record(recipe_id="ffffffff")])
    assert set(frame["recipe"]) == {f"omniglot-5w1s #{record().recipe_id}", "omniglot-5w1s #ffffffff"}


def test_budgets_that_rank_nothing_are_left_out_where_the_setup_has_others():
    low, full = record(preset="smoke", ranked=False), record(preset="quick")
    assert list(summary([low, full])["preset"]) == ["quick"]
    assert list(summary([low, full], everything=True)["preset"]) == ["quick", "smoke, unranked"]
    assert list(summary([low])["preset"]) == ["smoke, unranked"]


def test_every_file_survives_odd_text_and_is_read_without_options(tmp_path):
    odd = record(status="failed", reason="a|b & 50 % of it_all", evaluations=[], setup="my_setup")
    records = [odd, record(published=[{**PAPER, "source": "Finn & others | 2017_a"}])]
    paths = write_tables(records, tmp_path, tex=True)
    assert [path.name for path in paths] == ["omniglot.md", "omniglot.csv", "omniglot-summary.md", "omniglot.tex"]
    frame = pd.read_csv(paths[1])
    assert frame["mean"].max() == pytest.approx(0.98)
    assert frame["reason"].dropna().tolist() == ["a|b & 50 % of it_all"]
    assert frame["source"].dropna().tolist() == ["Finn & others | 2017_a"]
    assert r"Finn \& others | 2017\_a" in paths[3].read_text()
    assert r"my\_setup" in paths[3].read_text()


def test_the_note_of_a_published_value_stands_beside_it(tmp_path):
    records = [record(published=[{**PAPER, "note": "2 runs"}])]
    assert summary(records)["published"].tolist() == ["98.7 ± 0.4 (2 runs)"]
    write_tables(records, tmp_path)
    assert pd.read_csv(tmp_path / "omniglot.csv")["published_note"].tolist() == ["2 runs"]


def test_a_cell_of_a_csv_is_one_value(tmp_path):
    write_tables(directions(), tmp_path)
    (row,) = pd.read_csv(tmp_path / "cheetah_dir.csv").to_dict("records")
    assert not [value for value in row.values() if isinstance(value, str) and value.startswith(("[", "("))]
    assert (row["seeds"], row["query"], row["published"]) == (3, 20, 293.19)


def test_a_latex_table_has_at_most_eight_columns_and_a_bold_best(tmp_path):
    assert len(PAPER_COLUMNS) <= 8
    records = [record([0.9, 0.9]), record([0.8, 0.8], setup="anil")]
    frame = bold_best(summary(records), aggregate(records))
    assert list(frame["score"]) == ["80.0 ± 0.0", "**90.0 ± 0.0**"]
    text = write_tables(records, tmp_path, tex=True)[-1].read_text()
    assert r"\textbf{90.0 $\pm$ 0.0}" in text
    assert r"\toprule" in text
    lower = [record(setup=s, metric=MSE, evaluations=[evaluation({3: [v, v]}, MSE)]) for s, v in (("a", 2.0), ("b", 1))]
    assert list(bold_best(summary(lower), aggregate(lower))["score"])[1].startswith("**")
    alone = [record()]
    assert "**" not in bold_best(summary(alone), aggregate(alone))["score"][0]


def test_a_family_that_only_failed_has_tables(tmp_path):
    assert len(write_tables([record(status="failed", reason="no memory", evaluations=[])], tmp_path)) == 3


def test_a_published_number_of_another_query_count_does_not_stand_beside():
    test = evaluation({3: [1.0, 0.8]}, ACCURACY)
    for query, shown in ((None, True), (test.query, True), (test.query + 1, False)):
        frame = numbers([record(evaluations=[test], published=[{**PAPER, "query": query}])])
        assert bool(frame["published"].notna().all()) is shown


def taken(values=(0.9, 1.0), **fields):
    """A test of 15 queries under protocol and options."""
    return replace(evaluation({3: values}, ACCURACY), query=15, **fields)


MODERN = {"protocol": "modern", "checkpoint": "selected"}


@pytest.mark.parametrize(
    "other", [{"protocol": "modern"}, {"normalisation": "support"}, {"checkpoint": "ensemble"}, {"split": "validation"}]
)
def test_scores_of_other_tests_are_not_pooled(other):
    (group,) = aggregate([record(seed=0, evaluations=[taken()]), record(seed=1, evaluations=[taken(**other)])])
    assert list(group.scores()) == []
    both = [record(seed=seed, evaluations=[taken(), taken([0.2, 0.4], **other)]) for seed in (0, 1)]
    (group,) = aggregate(both)
    assert [round(score.mean, 3) for score in group.scores()] == [0.95, 0.3]


@pytest.mark.parametrize(
    ("checkpoint", "steps", "words"),
    [
        ("last", [[1500], [1500]], "last"),
        ("last", [[], []], "last"),
        ("selected", [[4500], [4500]], "selected at 4,500"),
        ("selected", [[4500], [500]], "selected at 500 to 4,500"),
        ("ensemble", [[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]], "ensemble of 5"),
        ("given", [[], []], "given"),
        ("given", [[60_000], [60_000]], "given at 60,000"),
    ],
)
def test_a_checkpoint_in_words(checkpoint, steps, words):
    records = [
        record(seed=seed, evaluations=[taken(checkpoint=checkpoint, checkpoint_steps=mine)])
        for seed, mine in enumerate(steps)
    ]
    assert list(numbers(records)["checkpoint"]) == [words]


def test_every_test_has_its_row_with_protocol_checkpoint_and_normalisation():
    tests = [taken(), taken(**MODERN), taken(normalisation="support", **MODERN)]
    frame = numbers([record(evaluations=tests)])
    shown = list(frame[["protocol", "checkpoint", "normalisation"]].itertuples(index=False, name=None))
    assert shown == [("paper", "last", "transductive"), ("modern", "selected", "transductive"),
                     ("modern", "selected", "support")]  # fmt: skip
    assert list(summary([record(evaluations=tests)])["test"]) == [
        "5-way 1-shot, 15 query",
        "5-way 1-shot, 15 query, modern, selected",
        "5-way 1-shot, 15 query, modern, support, selected",
    ]


def given(sha256="a" * 64, **fields):
    """Weights from a file, tested."""
    file = {"file": "mine.safetensors", "sha256": sha256, "header": {}}
    none = {"outer_steps": 0, "budget_steps": 0, "train_s": 0.0, "timing_s": {}}
    tests = [taken(checkpoint="given", **fields)]
    return record(kind="evaluation", weights=[file], evaluations=tests, **none)


def test_given_weights_stand_for_themselves(tmp_path):
    records = [record(evaluations=[taken()]), given(), given("b" * 64)]
    assert len(aggregate(records)) == 3
    assert list(summary(records)["budget"]) == ["1,500 steps", "weights aaaaaaaa", "weights bbbbbbbb"]
    assert list(numbers(records)["checkpoint"]) == ["last", "given", "given"]
    page = write_tables(records, tmp_path)[0].read_text()
    assert f"- weights aaaaaaaa: mine.safetensors, SHA-256 {'a' * 64}" in page


def test_a_run_that_was_never_tested_says_how_it_ended():
    frame = summary([record(evaluations=[], status="diverged", reason="exploded", curve=Curve())])
    assert list(frame["score"]) == ["diverged"]
