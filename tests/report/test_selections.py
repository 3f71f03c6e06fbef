"""Which runs a figure shows, and what its title and its caption say of them and of the others."""

from dataclasses import replace

import matplotlib
from record_factory import omniglot, record

from maml_bench.report.figures import discover, selections
from maml_bench.report.style import STYLE, caption


def test_title_tells_budget_and_seeds_and_labels_what_differs():
    records = [omniglot("maml"), omniglot("anil"), replace(omniglot("reptile", machine="m2"), outer_steps=500)]
    (selection,) = selections(records)
    assert selection.title("x").splitlines() == ["omniglot-5w1s: x", "quick preset, 1,500 steps, seed 0"]
    assert selection.label("maml") == "maml"
    assert selection.label("reptile") == "reptile (500 of 1,500 steps)"


def test_presets_stay_apart_and_smoke_stands_back():
    records = [omniglot("maml", preset=preset) for preset in ("smoke", "quick", "paper")]
    assert sorted(selection.one.preset for selection in selections(records)) == ["paper", "quick"]
    assert [selection.one.preset for selection in selections(records[:1])] == ["smoke"]


def test_the_best_group_of_a_setup_is_shown():
    short = replace(omniglot("maml", machine="m2"), outer_steps=100)
    (selection,) = selections([short, omniglot("maml", seed=0), omniglot("maml", seed=1)])
    assert selection.one.seeds == (0, 1)
    assert "those with the largest part of the budget" in selection.rule()
    assert "Not shown: maml (100 of 1,500 steps, seed 0, machine m2)." in selection.rule()


def test_no_run_is_left_out_of_a_figure_without_a_word():
    """Each group of records is shown, or the caption names it with its budget where that is another one."""
    records = [
        *(omniglot("maml", seed) for seed in (0, 1)),
        replace(omniglot("maml", machine="m2"), outer_steps=100),
        replace(omniglot("maml", seed=5), status="diverged"),
        record(recipe_id="eeeeeeee", setup="anil", outer_steps=9000, budget_steps=9000),
    ]
    records[-1].recipe["changed"] = ["outer.steps=9000"]
    (selection,) = selections(records)
    assert selection.rule().split("Not shown: ")[1] == (
        "anil (9,000 steps, seed 0, changed: outer.steps=9000); maml (seed 5, diverged); "
        "maml (100 of 1,500 steps, seed 0, machine m2)."
    )
    for name in ("learning-curves", "steps"):
        with matplotlib.rc_context(STYLE):
            assert selection.rule() in caption(discover()[name](selection))[1]


def test_runs_with_changed_settings_are_drawn_where_no_setup_was_trained_without_changes():
    changed = [record(recipe_id="eeeeeeee"), record(tasks="navigation", recipe="navigation", recipe_id="ffffffff")]
    for other in changed:
        other.recipe["changed"] = ["outer.trust.share=0.1"]
    found = selections([record(), *changed])
    assert [(one.one.recipe, one.one.changed) for one in found] == [
        ("navigation", "outer.trust.share=0.1"),
        ("omniglot-5w1s", ""),
    ]
    assert found[0].title("x").endswith(", changed")
    assert (
        found[0].rule()
        == "No setup was trained with the unchanged recipe; these runs have other settings: outer.trust.share=0.1."
    )
    assert "Not shown: maml (seed 0, changed: outer.trust.share=0.1)." in found[1].rule()


def test_of_several_changes_the_figure_shows_those_that_most_setups_have():
    common = [record(setup=setup, recipe_id=setup.ljust(8, "0")) for setup in ("maml", "anil")]
    longer = record(recipe_id="ffffffff", outer_steps=3000)
    for one, change in zip([*common, longer], ["inner.rate=1"] * 2 + ["inner.rate=2"], strict=True):
        one.recipe["changed"] = [change]
    (selection,) = selections([longer, *common])
    assert list(selection.groups) == ["anil", "maml"]
    assert {group.changed for group in selection.groups.values()} == {"inner.rate=1"}
    assert "Of several changes those are shown that most setups have" in selection.rule()
    assert "Not shown: maml (3,000 steps instead of 1,500, seed 0, changed: inner.rate=2)." in selection.rule()


def test_an_untrained_setup_with_the_unchanged_recipe_does_not_hide_the_trained_ones():
    untrained = record(setup="scratch", recipe_id="eeeeeeee", outer_steps=0, budget_steps=0)
    trained = [record(setup=setup, recipe_id=setup.ljust(8, "0")) for setup in ("maml", "anil")]
    for one in trained:
        one.recipe["changed"] = ["inner.rate=1"]
    (selection,) = selections([untrained, *trained])
    assert list(selection.groups) == ["anil", "maml"]
    assert "No setup was trained with the unchanged recipe" in selection.rule()
    assert "Not shown: scratch (" in selection.rule()
