"""What the recipes of gradient-based setups say: settings and published numbers against the papers'."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from maml_bench.harness.build import build
from maml_bench.harness.protocols import asked_tests
from maml_bench.harness.recipe import resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.run import Options, run

PUBLISHED = [
    ("mini-imagenet-5w1s", "fomaml", 0.4807, 0.0175),
    ("mini-imagenet-5w5s", "fomaml", 0.6315, 0.0091),
    ("mini-imagenet-5w1s", "anil", 0.467, None),
    ("mini-imagenet-5w5s", "anil", 0.615, None),
    ("mini-imagenet-5w1s", "meta_sgd", 0.5047, 0.0187),
    ("mini-imagenet-5w5s", "meta_sgd", 0.6403, 0.0094),
    ("mini-imagenet-5w1s", "boil", 0.4961, None),
    ("mini-imagenet-5w5s", "boil", 0.6645, None),
    ("mini-imagenet-5w1s", "cavia", 0.4724, 0.0065),
    ("mini-imagenet-5w5s", "cavia", 0.5905, 0.0054),
    ("mini-imagenet-5w1s", "maml_pp", 0.5215, None),
    ("omniglot-20w1s", "maml_pp", 0.9765, None),
    ("omniglot-20w1s", "imaml", 0.9446, 0.0042),
    ("omniglot-5w5s", "context", 0.977, 0.003),
]


@pytest.mark.parametrize(("recipe", "setup", "value", "ci95"), PUBLISHED)
def test_published_numbers_stand_beside_a_test_that_is_made(
    recipe: str, setup: str, value: float, ci95: float | None
) -> None:
    found = resolve(recipe, preset="paper", setup=setup)
    [row] = [row for row in found.published if row.setup == setup]
    assert (row.value, row.ci95) == (value, ci95)
    assert any(
        (test.way, test.shot) == (row.way, row.shot)
        and row.inner_steps in test.inner_steps
        and row.query in (None, test.query)
        and row.ensemble == (test.checkpoint == "ensemble")
        for test in found.test
    )


NO_MLP = [
    *("reptile", "meta_sgd", "imaml", "maml_pp", "boil", "cavia", "context"),
    *("protonet", "matching", "relation", "mann"),
]


@pytest.mark.parametrize("name", ["omniglot-5w1s-mlp", "omniglot-5w5s-mlp"])
@pytest.mark.parametrize("setup", NO_MLP)
def test_numbers_of_convolutions_do_not_stand_beside_the_network_without(name: str, setup: str) -> None:
    found = resolve(name, preset="paper", setup=setup)
    assert not [row for row in found.published if row.setup == setup]


def test_base_files_speak_of_maml_alone() -> None:
    for name, content in load_files().items():
        assert {row["setup"] for row in content.get("published", [])} <= {"maml", "fomaml"}, name


def test_maml_pp_has_its_schedule() -> None:
    omniglot = resolve("omniglot-5w1s", preset="paper", setup="maml_pp")
    assert omniglot.outer.steps == 100 * omniglot.setup["epoch"] == 50_000
    assert (omniglot.outer.decay, omniglot.outer.floor, omniglot.setup["multi_step_epochs"]) == ("cosine", 1e-5, 10)
    mini = resolve("mini-imagenet-5w1s", preset="paper", setup="maml_pp")
    assert (mini.outer.decay, mini.outer.clip, mini.setup["multi_step_epochs"]) == ("constant", 10.0, 15)
    assert (mini.outer.meta_batch, mini.tasks["conv"]["filters"], mini.tasks["conv"]["leak"]) == (2, 48, 0.01)
    for recipe in ("omniglot-5w1s", "omniglot-5w5s", "omniglot-20w1s", "omniglot-20w5s", "mini-imagenet-5w5s"):
        quick = resolve(recipe, preset="quick", setup="maml_pp")
        assert quick.setup["epoch"] == quick.outer.steps // 100


def test_navigation_pretrained_takes_one_first_order_step_a_batch() -> None:
    """As maml_vpg.py of cbfinn/maml_rl without MAML: Adam at its default rate on the policy gradient of 20 tasks."""
    found = resolve("navigation", preset="paper", setup="pretrained")
    outer = found.outer
    assert (outer.optimiser, outer.rate, outer.repeats, outer.meta_batch, outer.steps) == ("adam", 1e-3, 1, 20, 100)
    assert (outer.estimator, found.train.shot, found.train.query) == ("likelihood", 20, 0)
    assert (found.inner.rate, found.inner.later_rate) == (0.5, 0.25)


LOOPS = [
    ("navigation", "oracle", 100, 10),
    ("cheetah-dir", "oracle", 1000, 100),
    ("cheetah-dir", "pretrained", 1000, 100),
    ("cheetah-vel", "oracle", 975, 100),
    ("cheetah-vel", "pretrained", 475, 100),
    ("ant-dir", "oracle", 1975, 100),
    ("ant-dir", "pretrained", 2000, 100),
    ("ant-vel", "oracle", 550, 100),
    ("ant-vel", "pretrained", 575, 100),
]


@pytest.mark.parametrize(("recipe", "setup", "steps", "rollouts"), LOOPS)
def test_baselines_that_trpo_trained_have_the_loop_of_their_own_scripts(
    recipe: str, setup: str, steps: int, rollouts: int
) -> None:
    """trpo_point.py and cluster_trpo_*.py of cbfinn/maml_rl, up to the weights that test_maml_*.py loads."""
    found = resolve(recipe, preset="paper", setup=setup)
    outer, trust = found.outer, found.outer.trust
    assert (outer.optimiser, outer.steps, outer.meta_batch, trust.bound, trust.share) == (
        "trpo",
        steps,
        rollouts,
        0.01,
        1.0,
    )
    assert (found.train.shot, found.train.query, found.tasks["mixed"]) == (1, 0, True)
    assert [test.checkpoint for test in asked_tests(found)] == ["last"]
    of_maml = resolve(recipe, preset="paper").test[0]
    assert found.test == (replace(of_maml, checkpoint="last"),)
    assert steps % found.validation.every == 0
    quick = resolve(recipe, preset="quick", setup=setup)
    assert quick.outer.steps == resolve(recipe, preset="quick").outer.steps
    assert (quick.outer.trust.bound, quick.outer.trust.share) == (0.01, 0.2)


def test_tasks_and_rollouts_are_those_of_the_released_result_files() -> None:
    """fbs (rollouts) and mbs (tasks) in the names of the files that the released evaluation loads."""
    names = {
        "navigation": (20, 20),
        "cheetah-vel": (10, 40),
        "cheetah-dir": (20, 40),
        "ant-vel": (20, 40),
        "ant-dir": (40, 40),
    }
    for name, (rollouts, tasks) in names.items():
        found = resolve(name, preset="paper")
        assert (found.train.shot, found.train.query, found.outer.meta_batch) == (rollouts, rollouts, tasks), name


def test_only_the_random_policy_of_navigation_has_tanh_units() -> None:
    """test_maml_point.py of cbfinn/maml_rl names no activation there, and the default is tanh."""
    for setup in ("scratch", "maml", "pretrained", "oracle"):
        recipe = resolve("navigation", preset="paper", setup=setup)
        layers = [type(layer) for layer in build(recipe, 0, "cpu", "vmap").learner.model.modules()]
        assert (nn.Tanh in layers, nn.ReLU in layers) == (setup == "scratch", setup != "scratch")


@pytest.mark.slow
def test_navigation_pretrained_comes_near_the_published_return_after_one_step(tmp_path: Path) -> None:
    """Published -19.73; trained by the trust region on twice the tasks it was -278."""
    record = run(resolve("navigation", preset="paper", setup="pretrained"), 0, Options(tmp_path, threads=1)).record
    assert record is not None
    points = {point.inner_steps: point.mean for point in record.evaluations[0].points}
    assert -25 < points[1] < -12


@pytest.mark.parametrize(("recipe", "value"), [("omniglot-20w1s", 0.959), ("omniglot-20w5s", 0.99)])
def test_meta_sgd_has_its_20_way_values(recipe, value):
    [row] = resolve(recipe, preset="paper", setup="meta_sgd").plain()["published"]
    assert (row["value"], row["inner_steps"]) == (value, 1)
