"""Training on rollouts that have a task each: one baseline and one scale of advantages for all of them."""

import numpy as np
import pytest
import torch

from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run_state import RunState
from maml_bench.rl import control, step_budget
from maml_bench.rl.trajectories import Trajectories
from tests.rl.conftest import drawn, started

FIXED = ("tasks.fill=false", "tasks.stop=false")


def oracle(*settings: str) -> RunState:
    return started("navigation", "oracle", "vmap", "tasks.horizon=30", *settings)


def batch_of(run: RunState, count: int = 8) -> Trajectories:
    return drawn(run, count=count).support[0]


def episodes_of(batch: Trajectories) -> list[dict[str, np.ndarray]]:
    """The episodes of the only task of a batch, one after the other, in float64."""
    fields = {name: getattr(batch, name)[0].double().numpy() for name in batch._fields}
    found = []
    for row in range(fields["mask"].shape[0]):
        steps = {name: field[row][fields["mask"][row] > 0] for name, field in fields.items()}
        begins = np.flatnonzero(steps["time"] == 0)
        ends = [*begins[1:], len(steps["time"])]
        found += [
            {name: field[i:j] for name, field in steps.items()} for i, j in zip(begins, ends, strict=True) if i < j
        ]
    return found


def plain_advantages(episodes: list[dict[str, np.ndarray]], discount: float) -> np.ndarray:
    """What rllab's sampler computes with lambda 1, episode by episode: one linear baseline, one mean and spread."""
    returns, features = [], []
    for episode in episodes:
        to_come = 0.0
        backwards = []
        for reward in episode["rewards"][::-1]:
            to_come = reward + discount * to_come
            backwards.append(to_come)
        returns += backwards[::-1]
        for step, seen in enumerate(episode["observations"]):
            t = step / 100
            features.append([*np.clip(seen, -10, 10), *np.clip(seen, -10, 10) ** 2, t, t**2, t**3, 1.0])
    x, y = np.array(features), np.array(returns)
    weights = np.linalg.solve(x.T @ x + 1e-5 * np.eye(x.shape[1]), x.T @ y)
    gains = y - x @ weights
    return (gains - gains.mean()) / gains.std()


@pytest.mark.parametrize("settings", [(), FIXED], ids=["fill", "fixed"])
def test_the_advantages_are_those_of_one_baseline_for_all_rollouts(settings: tuple[str, ...]) -> None:
    run = oracle(*settings)
    episodes = episodes_of(batch_of(run))
    wanted = plain_advantages(episodes, run.tasks.discount)
    found = np.concatenate([episode["advantages"] for episode in episodes])
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_a_task_with_one_rollout_is_judged_against_the_others_only_if_they_are_mixed() -> None:
    """A baseline with a constant that is fitted to one rollout alone leaves nothing of how good that rollout was."""
    mixed = batch_of(oracle(*FIXED))
    alone = batch_of(oracle(*FIXED, "tasks.mixed=false"))
    assert torch.equal(mixed.rewards[0], alone.rewards[:, 0])
    assert alone.advantages.mean((1, 2)).abs().max() < 1e-5
    of_rollouts = mixed.advantages[0].mean(1)
    assert of_rollouts.abs().max() > 0.3
    assert of_rollouts.mean().abs() < 1e-5
    assert torch.corrcoef(torch.stack([of_rollouts, mixed.rewards[0].sum(1)]))[0, 1] > 0.3


def test_every_episode_has_a_task_of_its_own_and_is_rewarded_for_it() -> None:
    run = oracle()
    calm = {name: p * (name != "head.weight") - 2 * (name == "log_std") for name, p in run.meta.items()}
    near = torch.tensor([[0.012, 0.0], [0.3, 0.3]] * 4)
    goals = iter(near + 1e-4 * k for k in range(1000))
    object.__setattr__(run.tasks, "draw", lambda *_: next(goals))
    actor = run.episodes.actor(calm)
    (batch,) = run.tasks.path("train", 0, 8, key=1, rollouts=[1], actor=actor)
    episodes = episodes_of(batch)
    told = [episode["observations"][:, 2:] for episode in episodes]
    assert len(episodes) > 8
    assert all((goal == goal[0]).all() for goal in told)
    assert len({tuple(goal[0]) for goal in told[1:]}) > (len(episodes) - 1) / 2
    for episode, goal in zip(episodes, told, strict=True):
        landed = episode["observations"][:, :2] + 0.1 * episode["actions"].clip(-1, 1)
        np.testing.assert_allclose(episode["rewards"], -np.linalg.norm(landed - goal, axis=1), atol=1e-5)
        assert (episode["observations"][0, :2] == 0).all()


def test_whole_episodes_count_until_all_rollouts_together_have_their_steps() -> None:
    run = oracle("tasks.first_ended=false")
    batch = batch_of(run, count=10)
    assert batch.mask.shape[:2] == (1, 1)
    assert 10 * 30 <= batch.mask.sum() < 11 * 30
    assert run.tasks.steps_in(drawn(run, count=10)) == batch.mask.sum()


@pytest.mark.parametrize(
    ("mixed", "first", "counted"), [(True, True, "FirstEnded"), (True, False, "InTurn"), (False, True, "InTurn")]
)
def test_which_episodes_count_in_training(
    mixed: bool, first: bool, counted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released oracle of navigation counts those that end first in training too, of ten environments at once."""
    made = []
    for name in ("FirstEnded", "InTurn"):
        cls = getattr(step_budget, name)
        monkeypatch.setattr(
            control, name, lambda *shape, cls=cls: made.append((cls.__name__, shape[:2])) or cls(*shape)
        )
    drawn(oracle(f"tasks.mixed={mixed}".lower(), f"tasks.first_ended={first}".lower()), count=4)
    assert made == [(counted, (1, 4) if mixed else (4, 1))]


def test_rollouts_of_a_task_are_rollouts_of_many_tasks() -> None:
    run = oracle(*FIXED, "train.shot=3")
    batch = batch_of(run, count=4)
    goals = batch.observations[0, :, 0, 2:]
    assert batch.rewards.shape == (1, 12, 30)
    torch.testing.assert_close(goals, run.tasks.draw("train", 0, 12, 1))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_validation_and_test_are_as_without_it(split: str) -> None:
    paths = []
    for value in ("true", "false"):
        run = oracle(f"tasks.mixed={value}")
        actor = run.episodes.actor(run.meta)
        paths.append(run.tasks.path(split, 0, 3, key=4, rollouts=[2, 2], actor=actor))
    for mixed, alone in zip(*paths, strict=True):
        assert mixed.rewards.shape[0] == 3
        assert all(torch.equal(one, other) for one, other in zip(mixed, alone, strict=True))


@pytest.mark.parametrize(
    ("setup", "more"),
    [("maml", ()), ("scratch", ()), ("promp", ()), ("pretrained", ("setup.both_halves=true", "train.query=2"))],
)
def test_it_is_refused_where_training_adapts_to_each_task_or_there_is_none(setup: str, more: tuple[str, ...]) -> None:
    with pytest.raises(MamlBenchError, match=f"tasks.mixed is for setups that train one policy.*; {setup} with"):
        resolve("navigation", preset="smoke", setup=setup, settings=["tasks.mixed=true", *more])
