"""ProMP: the options of its outer loss, and the loss against its definition, worked out from the rollouts."""

from functools import partial

import pytest
import torch

from maml_bench.core.outer import take
from maml_bench.core.setup import Setup
from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.rl import losses


def rolled(*settings: str):
    """A run, the first task of a batch of rollouts, and meta-parameters that have left those which collected it."""
    run = build(resolve("navigation", preset="smoke", setup="promp", settings=settings), 0, "cpu", "vmap")
    episodes = run.episodes.draw(run.meta, "train", 0, 2, key=0, shape=run.recipe.train.shape)
    generator = torch.Generator().manual_seed(1)
    moved = {n: p + 0.3 * torch.randn(p.shape, generator=generator) for n, p in run.meta.items()}
    return run, take(episodes, 0), moved


def test_defaults_are_those_of_the_released_script():
    recipe = resolve("cheetah-dir", preset="paper", setup="promp")
    assert (recipe.setup["clip"], recipe.setup["penalty"]) == (0.3, 5e-4)
    assert (recipe.outer.rate, recipe.outer.repeats) == (0.001, 5)


@pytest.mark.parametrize("settings", [(), ("setup.clip=0.1",), ("setup.penalty=2.0", "inner.steps=2")])
def test_the_loss_is_the_clipped_ratio_and_the_penalty(settings):
    run, episode, meta = rolled(*settings)
    setup, learner, tasks = run.setup, run.learner, run.tasks
    states = setup.adapt(learner, meta, episode.support, len(episode.support))
    assert len(episode.support) == run.recipe.inner.steps

    def log_prob(state, batch):
        return tasks.actions.log_prob(learner.apply(state, batch.observations), batch.actions)

    query, clip = episode.query, setup.clip
    ratio = torch.exp(log_prob(states[-1], query) - tasks.actions.log_prob(query.behaviour, query.actions))
    bounded = torch.minimum(ratio * query.advantages, ratio.clamp(1 - clip, 1 + clip) * query.advantages)
    moved = torch.stack(
        [
            losses.mean(tasks.actions.divergence(batch.behaviour, learner.apply(state, batch.observations)), batch.mask)
            for state, batch in zip(states, episode.support, strict=False)
        ]
    )
    assert float(moved[0]) > 0
    assert ((ratio < 1 - clip) | (ratio > 1 + clip)).any()
    expected = -losses.mean(bounded, query.mask) + setup.penalty * moved.mean()
    torch.testing.assert_close(setup.loss(learner, meta, episode), expected)


def test_without_a_penalty_and_where_nothing_is_clipped_it_is_the_loss_of_maml():
    run, episode, _ = rolled("setup.penalty=0.0", "setup.clip=0.999")
    loss = partial(run.setup.loss, run.learner)
    torch.testing.assert_close(loss(run.meta, episode), Setup.loss(run.setup, run.learner, run.meta, episode))


@pytest.mark.parametrize("value", ["0.0", "1.0", "-0.1"])
def test_a_clip_outside_of_its_range_is_refused(value):
    with pytest.raises(MamlBenchError, match=r"setup\.clip is .*, but must be (above 0|below 1)"):
        resolve("navigation", preset="smoke", setup="promp", settings=[f"setup.clip={value}"])


def test_the_outer_loss_is_not_for_a_recipe_to_choose():
    with pytest.raises(MamlBenchError, match=r"outer\.estimator is set by --set, but has no effect: the outer loss of"):
        resolve("navigation", preset="smoke", setup="promp", settings=["outer.estimator=dice"])
