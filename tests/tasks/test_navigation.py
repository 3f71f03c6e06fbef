"""2D navigation on paper: goals, rewards, ends."""

import numpy as np
import pytest
import torch

from maml_bench.tasks.navigation import Navigation


def words(purpose: str, draws: int) -> torch.Tensor:
    raise AssertionError("nothing is drawn by the world")


def test_the_test_goals_are_those_of_the_released_evaluation():
    goals = np.random.RandomState(1).uniform(-0.5, 0.5, size=(40, 2))
    assert Navigation().draw("test", 0, 40, 0).numpy() == pytest.approx(goals)


def test_training_goals_fill_the_square():
    goals = Navigation().draw("train", 0, 20_000, 3)
    assert goals.abs().max() <= 0.5
    assert goals.mean(0).abs().max() < 0.01
    torch.testing.assert_close(goals.var(0), torch.full((2,), 1 / 12), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("reward", "expected"), [("distance", [-0.5, -0.4]), ("squared", [-0.25, -0.16]), ("sparse", [0.0, 0.0])]
)
def test_rewards_of_two_steps(reward, expected):
    world = Navigation(reward=reward).start(torch.tensor([[0.3, 0.4]]), 1, words)
    assert world.observe().tolist() == [[[0.0, 0.0]]]
    found = [world.act(torch.tensor([[[0.0, 0.0]]])), world.act(torch.tensor([[[0.6, 0.8]]]))]
    assert [float(r) for r, _ in found] == pytest.approx(expected)


def test_a_step_is_a_tenth_at_most_and_the_goal_ends_the_episode():
    world = Navigation().start(torch.tensor([[0.1, -0.1]]), 2, words)
    _, ended = world.act(torch.tensor([[[9.0, -9.0], [0.5, 0.0]]]))
    torch.testing.assert_close(world.observe(), torch.tensor([[[0.1, -0.1], [0.05, 0.0]]]))
    assert ended.tolist() == [[True, False]]
    world = Navigation(stop=False, reward="sparse").start(torch.tensor([[0.1, -0.1]]), 1, words)
    reward, ended = world.act(torch.tensor([[[1.0, -1.0]]]))
    assert (float(reward), bool(ended)) == (1.0, False)
