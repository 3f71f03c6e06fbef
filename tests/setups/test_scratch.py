"""Random initialisation: in reinforcement learning each test task has a network of its own, as in the released code."""

from dataclasses import replace

import pytest
import torch

from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build
from maml_bench.harness.evaluate_weights import evaluate_weights
from maml_bench.harness.loop import score_test
from maml_bench.harness.recipe import resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.registry import task_class
from maml_bench.rl.protocol import acts

RECIPES = [name for name in load_files() if acts(task_class(resolve(name, preset="smoke").tasks["name"]))]


def outputs(*settings: str, seed: int = 0, steps: int = 0) -> torch.Tensor:
    """The outputs of the policies of three test tasks for the same observation."""
    run = build(resolve("navigation", preset="smoke", setup="scratch", settings=settings), seed, "cpu", "vmap")
    shape, seen = run.recipe.train.shape, []
    path = run.tasks.path

    def spy(*arguments, actor, rollouts, **rest):
        found = path(*arguments, actor=actor, rollouts=rollouts, **rest)
        state = actor.begin(found[:steps], {}, (3, 1))
        seen.append(actor.act(state, torch.ones(3, 1, 2), lambda number: torch.zeros(3, 1, number)).outputs)
        return found

    object.__setattr__(run.tasks, "path", spy)
    test = replace(run.recipe.test[0], episodes=3, inner_steps=(1,), shot=shape.shot)
    score_test(run, test, [run.meta])
    return seen[0].squeeze(1)


@pytest.mark.parametrize("steps", [0, 1])
def test_each_test_task_has_a_network_of_its_own(steps):
    found = outputs(steps=steps)
    assert float(torch.pdist(found).min()) > 1e-3
    assert torch.equal(found, outputs(steps=steps))
    assert float((found - outputs(steps=steps, seed=1)).abs().amax(1).min()) > 0


def test_all_test_tasks_can_share_one_network():
    assert float(torch.pdist(outputs("setup.networks=one")).max()) == 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_in_which_somebody_acts_draws_them_anew(recipe):
    assert resolve(recipe, preset="paper", setup="scratch").setup["networks"] == "one per task"


def test_before_adaptation_the_half_cheetahs_return_is_that_of_random_policies():
    """The released script draws a policy for each of 40 goals: -35.7 with two runs, -35 and -39 in reruns with 40."""
    run = build(resolve("cheetah-dir", preset="paper", setup="scratch"), 0, "cpu", "vmap")
    (found,) = score_test(run, replace(run.recipe.test[0], inner_steps=(0,)), [run.meta])
    assert len(found) == 40
    assert sum(found) / 40 == pytest.approx(-35, abs=12)


def test_it_is_refused_where_nobody_acts_and_where_weights_are_given():
    setting = ["setup.networks=one per task"]
    with pytest.raises(MamlBenchError, match=r"setup\.networks .* has no effect: it is read in reinforcement learning"):
        resolve("sinusoid-k10", preset="smoke", setup="scratch", settings=setting)
    with pytest.raises(MamlBenchError, match=r"would not use the weights: set setup\.networks=one"):
        evaluate_weights(resolve("navigation", preset="smoke", setup="scratch"), [])


def test_curves_that_were_published_from_two_runs_say_so():
    noted = {
        (name, setup)
        for name in ("navigation", "cheetah-dir", "cheetah-vel", "ant-dir", "ant-vel")
        for setup in ("maml", "scratch", "pretrained", "oracle")
        for row in resolve(name, preset="paper", setup=setup).plain()["published"]
        if row.get("note") == "2 runs"
    }
    assert noted == {("cheetah-dir", "scratch"), ("cheetah-dir", "pretrained"), ("ant-dir", "scratch")}
