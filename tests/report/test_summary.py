"""The table in short: what it puts side by side, and what it leaves out."""

from record_factory import ACCURACY, MSE, PAPER, evaluation, omniglot, record, sinusoid

from maml_bench.record import Curve, Metric
from maml_bench.report.tables import summary


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


def test_summary_keeps_the_largest_budget_after_the_steps_that_matter():
    """MAML after its published 1 and 10 steps, ANIL after the 3 that it validates with, no quick beside a paper run."""
    tests = [evaluation({steps: [0.5, 1.5] for steps in (1, 3, 10)}, MSE, 1, shot) for shot in (5, 10)]
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


def test_one_shape_has_a_column_for_each_number_of_inner_steps():
    """MAML with two published values, a baseline that takes no step, and one that never got as far as a test."""
    returns = Metric("return")
    published = [
        {**PAPER, "way": 1, "shot": 20, "inner_steps": s, "value": v, "ci95": None} for s, v in [(0, -40.0), (1, -9.0)]
    ]
    common = {"metric": returns, "tasks": "navigation", "recipe": "navigation"}
    walked = evaluation({s: [-10.0 / (s + 1), -12.0 / (s + 1)] for s in (0, 1, 10)}, returns, 1, 20)
    frame = summary(
        [
            record(setup="pretrained", evaluations=[walked], curve=Curve(inner_steps=1), **common),
            record(setup="maml", evaluations=[walked], published=published, **common),
            record(setup="oracle", evaluations=[], status="diverged", reason="exploded", **common),
        ]
    )
    assert list(frame.columns) == [
        "recipe",
        "setup",
        "budget",
        "seeds",
        "20-shot, 0 steps",
        "20-shot, 1 step",
    ]
    shown = {row[1]: row[4:] for row in frame.itertuples(index=False, name=None)}
    assert shown == {
        "maml": ("-11.0 ± 1.4 (-40.0)", "-5.50 ± 0.69 (-9.00)"),
        "pretrained": ("", "-5.50 ± 0.69"),
        "oracle": ("diverged", ""),
    }
