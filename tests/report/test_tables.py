"""Tables: what is pooled, what is shown, and that every format survives odd text."""

import math
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
from record_factory import ACCURACY, MSE, PAPER, evaluation, omniglot, record, sinusoid

from maml_bench.record import Curve
from maml_bench.report.groups import in_words, pool
from maml_bench.report.tables import numbers, plus_minus, summary, text, unit
from maml_bench.report.writing import write_tables


@pytest.mark.parametrize(
    ("mean", "ci95", "metric", "words"),
    [
        (0.987, 0.004, "accuracy", "98.7 ± 0.4"),
        (0.67, 0.0521, "mse", "0.670 ± 0.052"),
        (12.34, 0.5, "mse", "12.3 ± 0.5"),
        (1234.5, 20.0, "mse", "1,234 ± 20"),
        (2.5e7, 1e6, "mse", "2.50e+07 ± 1.00e+06"),
        (0.0, 0.0, "mse", "0.000 ± 0.000"),
        (0.35, None, "mse", "0.350"),
        (math.nan, math.nan, "mse", "-"),
    ],
)
def test_numbers_in_words(mean, ci95, metric, words):
    assert plus_minus(mean, ci95, metric) == words


def test_units_and_shapes():
    assert (unit("accuracy"), unit("mse"), unit("return")) == ("accuracy, %", "MSE", "return")
    assert (in_words(5, 1), in_words(1, 10)) == ("5-way 1-shot", "10-shot")


def test_seeds_are_pooled_into_one_row():
    frame = numbers([record([0.9, 1.0], seed=0), record([0.7, 0.8], seed=1, step_s=0.3), record([0.8, 0.9], seed=2)])
    (row,) = frame.to_dict("records")
    assert (row["seeds"], row["episodes"], row["train_s"]) == ("0 1 2", 6, 150.0)
    assert row["mean"] == pytest.approx(0.85)
    assert row["spread"] == pytest.approx(0.1)  # of 0.95, 0.75 and 0.85
    assert row["ci95"] == pytest.approx(1.96 * 0.05 / 2**0.5)  # tasks score 0.8 and 0.9


@pytest.mark.parametrize(
    "other",
    [
        {"machine_id": "m2"},
        {"recipe_id": "ffffffff"},
        {"outer_steps": 500},
        {"status": "diverged"},
        {"threads": 1},
        {"schedule": "loop"},
        {"task_version": 2},
    ],
)
def test_records_that_differ_otherwise_are_not_pooled(other):
    assert len(pool([record(seed=0), record(seed=1, **other)])) == 2


def test_groups_stand_in_reading_order():
    records = [omniglot("maml", preset=p) for p in ("smoke", "quick", "paper")] + [omniglot("anil", preset="paper")]
    order = [(group.preset, group.setup) for group in pool(records)]
    assert order == [("paper", "anil"), ("paper", "maml"), ("quick", "maml"), ("smoke", "maml")]


def test_published_inner_steps_are_shown_for_every_setup_else_the_last():
    frame = numbers([sinusoid("maml", 0), sinusoid("anil", 0), sinusoid("oracle", 0)])
    shown = {setup: sorted(set(rows["inner_steps"])) for setup, rows in frame.groupby("setup")}
    assert shown == {"anil": [1, 10], "maml": [1, 10], "oracle": [0]}
    assert list(numbers([omniglot("anil")])["inner_steps"]) == [3]


def test_only_tests_that_all_seeds_have_are_shown():
    extra = [evaluation({3: [0.9, 1.0]}, ACCURACY), evaluation({3: [0.9, 1.0]}, ACCURACY, shot=5)]
    assert list(numbers([record(seed=0, evaluations=extra), record([0.9, 1.0], seed=1)])["shot"]) == [1]


def test_words_of_a_row():
    (row,) = text(numbers([record(published=[PAPER], outer_steps=500, ranked=False)])).to_dict("records")
    expected = {"budget": "500 of 1,500 steps", "score": "98.0 ± 1.4", "spread": "-", "way/shot/query": "5/1/1"}
    expected |= {"published": "98.7 ± 0.4 [Finn et al.]", "meets": "overlap", "diverged": "0 of 4", "train s": "50.0"}
    expected |= {"peak MiB": "512", "GFLOP/s": "400", "steps/s": "10.0", "status": "ok, unranked"}
    assert {key: row[key] for key in expected} == expected


def test_diverged_episodes_are_counted():
    values = [0.5, 2000.0, math.nan, 0.7]
    (row,) = text(numbers([record(evaluations=[evaluation({1: values}, MSE)], metric=MSE)])).to_dict("records")
    assert row["diverged"] == "2 of 4"


def test_two_contents_of_one_name_carry_their_hash():
    frame = text(numbers([record(), record(recipe_id="ffffffff")]))
    assert set(frame["recipe"]) == {f"omniglot-5w1s #{record().recipe_id}", "omniglot-5w1s #ffffffff"}


def test_summary_puts_shapes_side_by_side():
    frame = summary([sinusoid("maml", seed) for seed in (0, 1)])
    assert list(frame.columns) == ["recipe", "setup", "budget", "seeds", "inner steps", "5-shot", "10-shot", "20-shot"]
    assert list(frame["inner steps"]) == ["1", "10"]
    assert frame["5-shot"].str.endswith("(0.670 ± 0.004)").tolist() == [True, False]


def test_summary_names_machines_only_where_there_are_several_and_leaves_smoke_out():
    frame = summary([omniglot("maml"), omniglot("maml", machine="m2"), omniglot("maml", preset="smoke")])
    assert list(frame["machine"]) == ["m1", "m2"]
    assert len(summary([omniglot("maml", preset="smoke")])) == 1


def test_summary_tells_tests_of_one_shape_apart():
    tests = [evaluation({3: [1.0, 0.8]}, ACCURACY), evaluation({3: [0.4, 0.6]}, ACCURACY)]
    object.__setattr__(tests[1], "query", 15)
    assert list(summary([record(evaluations=tests)]).columns)[-2:] == [
        "5-way 1-shot, 1 query",
        "5-way 1-shot, 15 query",
    ]


def test_the_short_table_leaves_budgets_out_that_rank_nothing_unless_there_are_no_others(tmp_path):
    low, full = record(setup="anil", ranked=False), record(setup="reptile")
    for records, shown in [([low, full], {"reptile"}), ([low], {"anil"})]:
        short = write_tables(records, tmp_path)[-1].read_text()
        assert {setup for setup in ("anil", "reptile") if setup in short} == shown


def test_every_file_says_where_it_comes_from_and_survives_odd_text(tmp_path):
    odd = record(status="failed", reason="a|b & 50 % of it_all", evaluations=[], setup="my_setup")
    paths = write_tables([odd, record(published=[{**PAPER, "source": "Finn & others | 2017_a"}])], tmp_path)
    assert [path.name for path in paths] == ["omniglot.md", "omniglot.csv", "omniglot.tex", "omniglot-summary.md"]
    for path in paths:
        assert "generated by `maml-bench report`" in path.read_text().splitlines()[0]
    frame = pd.read_csv(StringIO(paths[1].read_text()), comment="#")
    assert frame["mean"].max() == pytest.approx(0.98)
    assert frame["reason"].dropna().tolist() == ["a|b & 50 % of it_all"]
    assert r"Finn \& others | 2017\_a" in paths[2].read_text()
    assert r"my\_setup" in paths[2].read_text()
    assert r"Finn & others \| 2017_a" in paths[0].read_text()
    assert "seeds 0: failed: a|b" in paths[0].read_text()


def test_a_family_that_only_failed_has_tables(tmp_path):
    assert len(write_tables([record(status="failed", reason="no memory", evaluations=[])], tmp_path)) == 4


def test_summary_keeps_the_largest_budget_after_the_steps_that_matter():
    """MAML after its published 1 and 10 steps, ANIL after the 3 that it validates with, no quick beside a paper run."""
    tests = [evaluation({steps: [0.5, 1.5] for steps in (1, 3, 10)}, MSE, 1, 5)]
    common = {"metric": MSE, "tasks": "sinusoid", "recipe": "r", "evaluations": tests, "curve": Curve(inner_steps=3)}
    published = [{**PAPER, "way": 1, "shot": 5, "inner_steps": s, "value": 1.0} for s in (1, 3, 10)]
    frame = summary(
        [
            record(setup="maml", preset="paper", published=[published[0], published[2]], **common),
            record(setup="maml", preset="quick", **common),
            record(setup="anil", preset="quick", **common),
            record(setup="other", preset="quick", published=[published[1]], **common),
        ]
    )
    shown = {setup: list(rows["inner steps"]) for setup, rows in frame.groupby("setup")}
    assert shown == {"maml": ["1", "10"], "anil": ["3"], "other": ["3"]}


def test_a_changed_recipe_carries_its_change_and_stays_out_of_the_summary():
    plain, other = record(), record(recipe_id="ffffffff")
    other.recipe["changed"] = ["inner.rate=0.05"]
    assert set(text(numbers([plain, other]))["recipe"]) == {
        plain.recipe["id"],
        f"{plain.recipe['id']} (inner.rate=0.05)",
    }
    assert list(summary([plain, other])["recipe"]) == [plain.recipe["id"]]
    assert list(summary([other])["recipe"]) == [f"{plain.recipe['id']} (inner.rate=0.05)"]


def test_a_published_number_of_another_query_count_does_not_stand_beside():
    test = evaluation({3: [1.0, 0.8]}, ACCURACY)
    for query, shown in ((None, True), (test.query, True), (test.query + 1, False)):
        frame = numbers([record(evaluations=[test], published=[{**PAPER, "query": query}])])
        assert bool(frame["published"].notna().all()) is shown


def test_lost_episodes_are_told_and_meet_nothing():
    test = evaluation({3: [1.0, float("nan")]}, ACCURACY)
    frame = [record(evaluations=[test], published=[PAPER])]
    assert numbers(frame)["meets"].isna().all()
    assert "1 diverged" in summary(frame).iloc[0, -1]


def taken(values=(0.9, 1.0), **fields):
    """A test of 15 queries under protocol and options."""
    return replace(evaluation({3: values}, ACCURACY), query=15, **fields)


MODERN = {"protocol": "modern", "checkpoint": "selected"}


@pytest.mark.parametrize(
    "other", [{"protocol": "modern"}, {"normalisation": "support"}, {"checkpoint": "ensemble"}, {"split": "validation"}]
)
def test_scores_of_other_tests_are_not_pooled(other):
    (group,) = pool([record(seed=0, evaluations=[taken()]), record(seed=1, evaluations=[taken(**other)])])
    assert list(group.scores()) == []
    both = [record(seed=seed, evaluations=[taken(), taken([0.2, 0.4], **other)]) for seed in (0, 1)]
    (group,) = pool(both)
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
    assert list(text(numbers(records))["checkpoint"]) == [words]


def test_every_test_has_its_row_with_protocol_checkpoint_and_normalisation():
    tests = [taken(), taken(**MODERN), taken(normalisation="support", **MODERN)]
    frame = text(numbers([record(evaluations=tests)]))
    shown = list(frame[["protocol", "checkpoint", "normalisation"]].itertuples(index=False, name=None))
    assert shown == [("paper", "last", "transductive"), ("modern", "selected", "transductive"),
                     ("modern", "selected", "support")]  # fmt: skip


def test_summary_headings_tell_what_is_unusual_and_meet_over_setups():
    """Group normalisation has no rows of its own kind: it stands in the column of the common test."""
    tests = [taken(**MODERN), taken(normalisation="support", **MODERN), taken(checkpoint="ensemble")]
    grouped = record(setup="anil", evaluations=[taken(**MODERN)])
    grouped.recipe["tasks"]["normalisation"] = "group"
    frame = summary([record(evaluations=tests), grouped])
    assert list(frame.columns)[-3:] == [
        "5-way 1-shot, ensemble", "5-way 1-shot, modern", "5-way 1-shot, modern, support",
    ]  # fmt: skip
    assert frame["5-way 1-shot, modern"].ne("").all()
    twice = summary([record(evaluations=[taken(), taken(checkpoint="selected")])])
    assert list(twice.columns)[-2:] == ["5-way 1-shot, last", "5-way 1-shot, selected"]


def given(sha256="a" * 64, **fields):
    """Weights from a file, tested."""
    file = {"file": "mine.safetensors", "sha256": sha256, "header": {}}
    none = {"outer_steps": 0, "budget_steps": 0, "train_s": 0.0, "timing_s": {}}
    tests = [taken(checkpoint="given", **fields)]
    return record(kind="evaluation", weights=[file], evaluations=tests, **none)


def test_given_weights_stand_for_themselves(tmp_path):
    records = [record(evaluations=[taken()]), given(), given("b" * 64)]
    assert len(pool(records)) == 3
    frame = text(numbers(records))
    assert list(frame["budget"]) == ["1,500 steps", "weights aaaaaaaa", "weights bbbbbbbb"]
    assert list(frame["checkpoint"]) == ["last", "given", "given"]
    assert list(frame["train s"]) == ["150.0", "0.0", "0.0"]
    assert list(summary(records)["budget"]) == ["1,500 steps", "weights aaaaaaaa", "weights bbbbbbbb"]
    page = write_tables(records, tmp_path)[0].read_text()
    assert f"- weights aaaaaaaa: mine.safetensors, SHA-256 {'a' * 64}" in page
    assert "Checkpoint `given`: weights from a file" in page


def test_the_words_of_the_columns_are_explained_where_they_stand(tmp_path):
    plain = write_tables([record()], tmp_path)[0].read_text()
    more = write_tables([record(evaluations=[taken(normalisation="support", **MODERN)])], tmp_path)[0].read_text()
    assert "Normalisation `support`" not in plain
    assert "Normalisation `support`: the query by the statistics of the support" in more
    assert "Checkpoint `selected`: the best by validation" in more
