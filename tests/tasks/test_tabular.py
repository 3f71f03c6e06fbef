"""Bandits and tabular processes against sums over everything that can happen."""

from dataclasses import replace

import pytest
import torch

from maml_bench.data.draws import words
from maml_bench.harness.build import build
from maml_bench.harness.loop import score_test
from maml_bench.harness.recipe import resolve
from maml_bench.tasks.bandit import Bandit
from maml_bench.tasks.mdp import MDP


def noise(purpose: str, draws: int) -> torch.Tensor:
    return words(len(purpose), 0, 1, draws)


def test_an_arm_pays_as_often_as_it_promises_and_returns_are_minus_the_regret():
    rules = Bandit(arms=3, horizon=2)
    chances = torch.tensor([[0.2, 0.9, 0.5]])
    world = rules.start(chances, 50_000, noise)
    assert world.observe().shape == (1, 50_000, 1)
    reward, ended = world.act(torch.full((1, 50_000), 2))
    assert float(reward.mean()) == pytest.approx(0.5 - 0.9, abs=0.01)
    assert not ended.any()
    reward, _ = world.act(torch.ones(1, 50_000, dtype=torch.int64))
    assert float(reward.mean()) == pytest.approx(0.0, abs=0.01)


def test_arms_are_uniform_and_differ():
    arms = Bandit().draw("train", 0, 5_000, 1)
    assert arms.shape == (5_000, 5)
    assert float(arms.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(arms.var()) == pytest.approx(1 / 12, abs=0.003)


def test_processes_have_normal_rewards_and_probabilities():
    rules = MDP()
    rewards, leads = rules.tables(rules.draw("train", 0, 300, 1))
    assert rewards.shape == (300, 10, 5)
    assert leads.shape == (300, 10, 5, 10)
    assert (float(rewards.mean()), float(rewards.std())) == pytest.approx((1.0, 1.0), abs=0.03)
    torch.testing.assert_close(leads.sum(-1), torch.ones(300, 10, 5))
    assert float(leads.var()) == pytest.approx(9 / (100 * 11), rel=0.05)  # Dirichlet(1, ..., 1)


def test_the_optimum_is_the_best_of_all_plans():
    """Two states and two choices over two steps, where plans can be written down."""
    rules = MDP(states=2, choices=2, horizon=2)
    task = rules.draw("train", 0, 1, 4)
    rewards, leads = (table[0] for table in rules.tables(task))
    best = max(float(rewards[0, a] + (leads[0, a] * rewards.max(1).values).sum()) for a in range(2))
    assert float(rules.optimum(task)) == pytest.approx(best, rel=1e-5)


def test_transitions_and_rewards_follow_the_tables():
    rules = MDP(states=3, choices=2, horizon=2)
    task = rules.draw("train", 0, 1, 4)
    rewards, leads = rules.tables(task)
    world = rules.start(task, 60_000, noise)
    assert (world.observe().argmax(-1) == 0).all()
    reward, _ = world.act(torch.ones(1, 60_000, dtype=torch.int64))
    share = torch.bincount(world.observe().argmax(-1).flatten(), minlength=3) / 60_000
    torch.testing.assert_close(share, leads[0, 0, 1], atol=0.01, rtol=0)
    assert float(reward.mean()) == pytest.approx(float(rewards[0, 0, 1] - rules.optimum(task) / 2), abs=0.02)
    assert float(reward.std()) == pytest.approx(1.0, abs=0.02)


def test_an_untrained_table_adapts_as_well_as_the_uniform_one():
    """All actions and all states but the first are alike, so no table is a better start (docs/tasks/mdp.md)."""
    run = build(resolve("mdp", preset="paper"), 0, "cpu", "vmap")
    test = replace(run.recipe.test[0], episodes=300, inner_steps=(0, 1))
    uniform = {name: torch.zeros_like(p) for name, p in run.meta.items()}
    drawn, symmetric = (torch.tensor(score_test(run, test, [meta])).mean(1) for meta in (run.meta, uniform))
    assert float(drawn[1]) < 0.85 * float(drawn[0])
    torch.testing.assert_close(drawn, symmetric, rtol=0.03, atol=0)
