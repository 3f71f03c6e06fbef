"""Trials that do not fit a setup with a memory are refused in one sentence, before anything is run."""

import pytest

from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import PRESETS, resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.registry import offers

MEMORIES = ("rl2", "l2rl", "snail_rl")


def refused(recipe: str, setup: str, *settings: str) -> str:
    with pytest.raises(MamlBenchError) as error:
        resolve(recipe, preset="smoke", setup=setup, settings=settings)
    return str(error.value)


@pytest.mark.parametrize("setup", MEMORIES)
@pytest.mark.parametrize("recipe", ["omniglot-5w1s", "sinusoid-k10"])
def test_setups_that_act_are_refused_on_labelled_tasks(setup, recipe):
    assert "the setup is for reinforcement learning, which" in refused(recipe, setup)


def test_a_trial_that_is_longer_than_the_memory_is_refused():
    told = refused("bandit-n10-k5", "snail_rl", "tasks.horizon=12")
    assert told.endswith("a trial of train has 12 steps, but the memory of snail_rl holds 10: set setup.steps=12")
    assert "a trial of test[0] has 40 steps" in refused("navigation", "snail_rl", "setup.steps=30")
    resolve("bandit-n10-k5", preset="smoke", setup="rl2", settings=["tasks.horizon=1000"])


def test_rollouts_of_a_trial_must_be_equally_many_where_it_has_several():
    told = refused("navigation", "rl2", "train.shot=4")
    assert told.endswith(
        "train.shot is 4 and train.query is 3, but rl2 goes on with the same trials from rollout to rollout: make them "
        "equal"
    )
    resolve("bandit-n10-k5", preset="smoke", setup="rl2", settings=["train.shot=4"])


def test_several_episodes_in_a_rollout_are_refused():
    assert refused("navigation", "rl2", "tasks.fill=true").endswith("set tasks.fill=false")


def test_a_setup_that_learns_from_trials_needs_some():
    assert "train.query is 0, but rl2 learns from the query" in refused("bandit-n10-k5", "rl2", "train.query=0")


@pytest.mark.parametrize("setup", MEMORIES)
def test_every_recipe_of_reinforcement_learning_resolves(setup):
    for recipe in load_files():
        if offers(resolve(recipe, preset="smoke").tasks["name"], setup):
            for preset in PRESETS:
                found = resolve(recipe, preset=preset, setup=setup)
                assert found.tasks["history"]
                assert found.tasks.get("total", True), "a reward from which the best one is subtracted tells it"
