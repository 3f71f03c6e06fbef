"""The space of a search: what ``--set`` can write, what cannot be searched, and distances in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maml_bench.contracts.blobs import Blobs
from maml_bench.errors import MamlBenchError
from maml_bench.harness.search_plan import plans
from maml_bench.harness.search_space import Dimension, distance, points, settings_of, size, space_of, split

from .conftest import TINY


def planned(*settings, trials=2, setups=("maml",), **more):
    keys = [setting.partition("=")[0] for setting in settings]
    fixed = [setting for setting in TINY if setting.partition("=")[0] not in keys]
    return plans("sinusoid-k10", list(setups), [*fixed, *settings], trials, preset="smoke", **more)


def test_ranges_and_choices_are_searched_and_other_settings_fix_their_key():
    [plan] = planned("inner.rate=0.001..0.1:log", "inner.steps=1..3", "outer.decay=constant|cosine", "outer.clip=5")
    assert plan.fixed == (*TINY, "outer.clip=5")
    assert plan.space == (
        Dimension("inner.rate", "0.001..0.1:log", 0.001, 0.1, log=True),
        Dimension("inner.steps", "1..3", 1, 3, whole=True),
        Dimension("outer.decay", "constant|cosine", choices=("constant", "cosine")),
    )
    recipe = plan.with_values({"inner.rate": 0.02, "inner.steps": 2, "outer.decay": "cosine"})
    assert (recipe.inner.rate, recipe.inner.steps, recipe.outer.decay, recipe.outer.clip) == (0.02, 2, "cosine", 5)
    assert len(recipe.test) == 1
    assert plan.trial({"inner.rate": 0.02, "inner.steps": 2, "outer.decay": "cosine"}).test == ()


def test_choices_are_values_of_any_type_and_a_text_in_quotation_marks_is_fixed():
    [plan] = planned('inner.outside=[]|["*.bias"]', "outer.norm=0|1.5")
    assert [one.choices for one in plan.space] == [([], ["*.bias"]), (0, 1.5)]
    assert split(['tasks.network="a|b"', 'tasks.x="1..2"', "tasks.y=../x/../y", "inner.rate=1..2"])[0] == [
        'tasks.network="a|b"',
        'tasks.x="1..2"',
        "tasks.y=../x/../y",
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ([], "there is nothing to search: give a key a range, such as --set inner.rate=0.001..0.1:log"),
        (["inner.rate=0.1..0.001"], "a range begins with its smaller number, but 0.1 is not below 0.001"),
        (["inner.rate=0.1..0.1"], "0.1 is not below 0.1"),
        (["inner.rate=0..0.1:log"], "a range on a logarithmic scale begins above 0, not at 0.0"),
        (["inner.rate=-1..1:log"], "a range on a logarithmic scale begins above 0"),
        (["inner.rate=0.1..1:lgo"], "ends in 'lgo', but after a range only ':log' can stand"),
        (["inner.rate=0.1..1:"], "ends in '', but after a range only ':log' can stand"),
        (["inner.rate=a..b"], "--set inner.rate=a..b must be two numbers with '..' between, but 'a' is none"),
        (["inner.rate=0.1..nan"], "but 'nan' is none"),
        (["inner.rate=1.."], "must be two numbers with '..' between, but '' is none"),
        (["inner.rate=..1:log"], "must be two numbers with '..' between, but '' is none"),
        (["inner.rate=0.1..inf"], "but 'inf' is none"),
        (["inner.rate=0.1..1e400"], "an end of a range lies between -1e18 and 1e18"),
        (["inner.rate=0.1..\u0663"], "must be two numbers"),
        (["inner.steps=1.5..3"], "must be two whole numbers with '..' between, but '1.5' is none"),
        ([f"inner.steps=1..{'9' * 5000}"], "must be two whole numbers"),
        (["inner.rate=-0.5..0.5"], "inner.rate is -0.5, but must be at least 0"),
        (["inner.steps=1..2000000"], "inner.steps is 2000000, but must be at most 1e+06"),
        (["inner.rat=0.1..0.2"], "has no key 'rat' (did you mean 'rate'?)"),
        (
            ["outer.decay=constant|cosin"],
            "must be one of 'constant', 'linear', 'cosine', 'halve' (did you mean 'cosine'?)",
        ),
        (["outer.decay=1..2"], "is a range, but outer.decay is no number (one of): write its choices"),
        (["inner.rate=0.1||0.2"], "has an empty choice"),
        (["inner.rate=0.1|0.1"], "has the choice 0.1 twice"),
        (["inner.rate=0.1|x"], "inner.rate is 'x', but must be a number"),
        (["inner.rate=0.1..0.2", "inner.rate=0.3"], "--set inner.rate is given twice"),
        (["inner.rate=0.1..0.2", "inner.rate=0.1..0.3"], "--set inner.rate is given twice"),
        (["inner.rate=0.1..0.2", "inner={rate = 1}"], "--set inner.rate is given twice"),
        (
            ["validation.episodes=1..9"],
            "validation.episodes cannot be searched, because it says how the trials are comp",
        ),
        (["validation.nosuch=1..9"], "cannot be searched"),
        (["test=1..9"], "test cannot be searched, because it says how the results are tested"),
        (
            ["outer.steps=1..9"],
            "outer.steps cannot be searched, because it is the budget, which all trials have in common",
        ),
        (["id=a|b"], "id is set by --set, but it cannot be set"),
        (
            ["setup.name=maml|reptile"],
            "setup.name is set by --set, but it cannot be set: choose the setup with --setup",
        ),
        (["tasks.name=sinusoid|omniglot"], ""),
        (["tasks.nosuch=1..9"], "no key 'nosuch'"),
        (["inner.rate=0.1|0.2", "outer.momentum=0.1..0.2"], "outer.momentum is set by --set, but has no effect"),
        (["outer.decay=linear|constant", "outer.floor=0..0.001"], "outer.floor is set by --set, but has no effect"),
        (["inner.rate=0.1..0.2", "validation.episodes=0"], "has no validation to search by"),
        (["inner.steps=1..3", "outer.decay=constant|cosine"], "--trials 7: the space has only 6 points"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(settings, sentence):
    with pytest.raises(MamlBenchError) as caught:
        planned(*settings, trials=7)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_the_tasks_is_searched_only_if_it_is_of_their_network():
    assert planned("tasks.context=1..4", setups=["cavia"])[0].space[0].ends == (1, 4)
    with pytest.raises(MamlBenchError, match=r"tasks\.rotations cannot be searched, because it changes the tasks"):
        plans("omniglot-5w1s", ["maml"], ["tasks.rotations='per class'|none"], 2, preset="smoke")


def test_what_no_trial_could_be_trained_with_is_refused_before_the_first():
    with pytest.raises(MamlBenchError, match=r"inner\.outside has 'nosuch', which matches no parameter of the network"):
        planned('inner.outside=[]|["nosuch"]')
    with pytest.raises(MamlBenchError, match=r"the network returned the shape \[10, 2\], but must return \[10, 5\]"):
        plans("images-5w1s", ["maml"], ["train.way=2..5"], 2, preset="smoke", tasks=Blobs)
    with pytest.raises(MamlBenchError, match="no device 'nowhere'"):
        planned("inner.rate=0.1..0.2", device="nowhere")


def test_a_setup_that_lacks_a_key_is_refused_as_a_run_would():
    with pytest.raises(MamlBenchError, match=r"has no key 'damping'.*: see maml-bench options sinusoid-k10 --setup"):
        planned("setup.damping=1..5", setups=("imaml", "reptile"))
    with pytest.raises(MamlBenchError, match="has no effect: the setup 'scratch' does not train"):
        planned("outer.rate=0.1..0.2", setups=("maml", "scratch"))


@pytest.mark.parametrize(
    ("steps", "setups", "sentence"),
    [
        (13, ("maml",), "--trial-steps 13 is more than the 12 outer steps of recipe 'sinusoid-k10'"),
        (5, ("maml", "scratch"), "--trial-steps has no effect: the setup 'scratch' does not train"),
    ],
)
def test_the_steps_of_trials_must_fit_the_recipe(steps, setups, sentence):
    with pytest.raises(MamlBenchError, match=sentence):
        planned("inner.rate=0.1..0.2", setups=setups, trial_steps=steps)


def test_a_space_of_choices_and_whole_numbers_can_be_counted():
    space = [Dimension("a", "1..3", 1, 3, whole=True), Dimension("b", "x|y", choices=("x", "y"))]
    assert size(space) == 6
    assert next(points(space)) == {"a": 1, "b": "x"}
    assert size([*space, Dimension("c", "0..1", 0, 1)]) is None


def test_the_distance_of_two_points_counts_each_range_as_one():
    space = [
        Dimension("rate", "0.001..0.1:log", 0.001, 0.1, log=True),
        Dimension("steps", "1..5", 1, 5, whole=True),
        Dimension("decay", "a|b", choices=("a", "b")),
    ]
    one = {"rate": 0.001, "steps": 1, "decay": "a"}
    assert distance(space, one, one) == 0
    assert distance(space, one, {**one, "rate": 0.01}) == pytest.approx(0.5)
    assert distance(space, one, {**one, "steps": 4}) == pytest.approx(0.75)
    assert distance(space, one, {"rate": 0.1, "steps": 5, "decay": "b"}) == pytest.approx(3**0.5)


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e3), st.floats(0, 1), st.booleans())
def test_values_have_four_digits_and_stay_in_their_range(low, factor, share, log):
    one = Dimension("x", "", low, low * factor, log)
    value = one.rounded(low + share * (low * factor - low))
    assert one.holds(value)
    assert value in one.ends or float(f"{value:.4g}") == value
    assert settings_of({"x": value})[0].startswith("x=")


@pytest.mark.parametrize(
    ("one", "value", "beyond"),
    [
        (Dimension("x", "", 0.0, 1.0), 0.99, 1.05),
        (Dimension("x", "", 0.0, 1.0), 0.01, -0.05),
        (Dimension("x", "", 0.0, 1.0), 0.5, None),
        (Dimension("x", "", 0.001, 0.1, log=True), 0.0011, 0.0005),
        (Dimension("x", "", 0.001, 0.1, log=True), 0.02, None),
        (Dimension("x", "", 1, 5, whole=True), 5, 6),
        (Dimension("x", "", 1, 5, whole=True), 1, 0),
        (Dimension("x", "", 1, 5, whole=True), 4, None),
        (Dimension("x", "", choices=(1, 2)), 2, None),
    ],
)
def test_a_value_at_an_edge_has_another_one_beyond(one, value, beyond):
    assert one.beyond(value) == (beyond if beyond is None else pytest.approx(beyond))


def test_an_edge_that_the_key_itself_has_cannot_be_widened():
    [plan] = planned("inner.rate=0..0.1", "inner.steps=1..3")
    assert [one.key for one in plan.beyond({"inner.rate": 0.0, "inner.steps": 3})] == ["inner.steps"]


def test_types_come_from_the_keys_of_the_setup():
    fixed, searched = split(["setup.samples=1..5"])
    assert fixed == []
    [one] = space_of(searched, "omniglot-generation", preset="smoke", setup="vae")
    assert (one.low, one.high, one.whole) == (1, 5, True)
