"""Which tests a run takes, and that asking for more leaves the recipe the one it is."""

from dataclasses import replace

import pytest

from maml_bench.errors import MamlBenchError
from maml_bench.harness.protocols import PROTOCOLS, asked_tests, default_protocols
from maml_bench.harness.recipe import PRESETS, resolve

SUPPORT = '[{protocol="paper", split="test", way=5, shot=1, query=1, episodes=6, inner_steps=[1], %s}]'


def shown(tests):
    return [
        (t.protocol, t.way, t.shot, t.query, t.episodes, t.inner_steps, t.normalisation, t.checkpoint) for t in tests
    ]


@pytest.mark.parametrize(
    ("recipe", "preset", "expected"),
    [
        ("omniglot-5w1s", "smoke", ("paper",)),
        ("omniglot-5w1s", "quick", ("paper",)),
        ("omniglot-5w1s", "paper", PROTOCOLS),
        ("mini-imagenet-5w5s", "paper", PROTOCOLS),
        ("sinusoid-k10", "paper", ("paper",)),
    ],
)
def test_the_default_is_both_for_the_whole_budget_of_classification(recipe, preset, expected):
    found = resolve(recipe, preset=preset)
    assert default_protocols(found) == expected
    assert asked_tests(found) == asked_tests(found, expected)


def test_paper_is_the_recipes_own():
    recipe = resolve("omniglot-5w1s", preset="paper")
    assert asked_tests(recipe, ["paper"]) == recipe.test


@pytest.mark.parametrize(
    ("recipe", "setup", "way", "shot", "steps"),
    [
        ("omniglot-5w1s", "maml", 5, 1, (3,)),
        ("omniglot-20w5s", "maml", 20, 5, (5,)),
        ("mini-imagenet-5w5s", "maml", 5, 5, (10,)),
        ("omniglot-5w1s", "reptile", 5, 1, (50,)),  # trained with ten shots
        ("omniglot-5w1s", "fomaml", 5, 1, (3,)),
    ],
)
def test_modern_is_the_same_for_all_but_for_way_shot_and_steps(recipe, setup, way, shot, steps):
    found = asked_tests(resolve(recipe, preset="smoke", setup=setup), ["modern"])
    common = ("modern", way, shot, 15, 1000, steps)
    assert shown(found) == [(*common, "transductive", "selected"), (*common, "support", "selected")]
    assert {test.split for test in found} == {"test"}


def test_without_a_published_number_modern_takes_the_steps_of_validation():
    recipe = replace(resolve("omniglot-5w1s", preset="smoke", settings=["validation.inner_steps=2"]), published=())
    assert {test.inner_steps for test in asked_tests(recipe, ["modern"])} == {(2,)}


@pytest.mark.parametrize(
    "recipe", ["navigation", "navigation-text", "cheetah-dir", "cheetah-vel", "ant-dir", "ant-vel"]
)
@pytest.mark.parametrize("preset", PRESETS)
def test_acting_recipes_test_the_best_validated_policy_and_beside_it_the_last(recipe, preset):
    """Finn et al. (2017), appendix A.2: the policy with the best return is evaluated. Baselines that plain TRPO trained
    have the last weights of the iterations that the released evaluation loads (tests/setups/test_recipes.py)."""
    for setup in ("maml", "pretrained", "oracle"):
        found = resolve(recipe, preset=preset, setup=setup)
        last = preset == "paper" and found.tasks.get("mixed", False)
        assert {test.checkpoint for test in found.test} == {"last" if last else "selected"}
        assert [test.checkpoint for test in asked_tests(found)] == (["last"] if last else ["selected", "last"])
    assert [test.checkpoint for test in asked_tests(resolve(recipe, preset=preset, setup="scratch"))] == ["last"]


def test_what_makes_no_difference_is_not_tested_twice():
    """Without batch-norm one row, without training or validation the last checkpoint."""
    for normalisation in ("group", "none"):
        recipe = resolve("omniglot-5w1s", preset="smoke", settings=[f"tasks.normalisation={normalisation}"])
        [test] = asked_tests(recipe, ["modern"])
        assert (test.normalisation, test.checkpoint) == ("transductive", "selected")
    for setup, settings in (("scratch", []), ("maml", ["validation.episodes=0"])):
        recipe = resolve("omniglot-5w1s", preset="smoke", setup=setup, settings=settings)
        assert {test.checkpoint for test in asked_tests(recipe, ["modern"])} == {"last"}
    plain = 'normalisation="support", checkpoint="ensemble"'
    recipe = resolve("sinusoid-k10", preset="smoke", settings=["test=" + SUPPORT.replace("way=5", "way=1") % plain])
    assert shown(asked_tests(recipe))[0][-2:] == ("transductive", "ensemble")


def test_protocols_do_not_change_the_identity_and_test_options_do():
    plain = resolve("omniglot-5w1s", preset="smoke")
    before = plain.recipe_id
    asked_tests(plain, PROTOCOLS)
    assert plain.recipe_id == before
    usual, other = (
        resolve("omniglot-5w1s", preset="smoke", settings=["test=" + SUPPORT % f'normalisation="{mode}"'])
        for mode in ("transductive", "support")
    )
    assert usual.recipe_id != other.recipe_id
    assert "normalisation" not in usual.plain()["test"][0]
    assert other.plain()["test"][0]["normalisation"] == "support"


@pytest.mark.parametrize(
    ("recipe", "protocol", "sentence"),
    [
        ("omniglot-5w1s", "moden", r"no protocol 'moden' \(did you mean 'modern'\?\)"),
        ("omniglot-instances", "modern", "has no protocol 'modern', which is for classification of a query alone"),
        ("sinusoid-k10", "modern", "recipe 'sinusoid-k10' has no protocol 'modern', which is for classification alone"),
    ],
)
def test_a_protocol_that_is_not_there_is_a_sentence(recipe, protocol, sentence):
    found = resolve(recipe, preset="smoke")
    with pytest.raises(MamlBenchError, match=sentence):
        asked_tests(found, [protocol])


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ('normalisation="suport"', "normalisation is 'suport', but must be one of 'transductive', 'support'"),
        ('checkpoint="best"', "checkpoint is 'best', but must be one of 'last', 'selected', 'ensemble'"),
    ],
)
def test_a_wrong_test_option_is_a_sentence(option, sentence):
    with pytest.raises(MamlBenchError, match=sentence):
        resolve("omniglot-5w1s", preset="smoke", settings=["test=" + SUPPORT % option])


def test_batch_norm_offsets_are_left_alone_only_where_there_is_batch_norm():
    assert resolve("omniglot-5w1s", preset="smoke").inner.outside == ("*.beta",)
    settings = ["tasks.normalisation=group", "inner.outside=['*.beta', 'head.*']"]
    assert resolve("omniglot-5w1s", preset="smoke", settings=settings[:1]).inner.outside == ()
    assert resolve("omniglot-5w1s", preset="smoke", settings=settings).inner.outside == ("head.*",)
