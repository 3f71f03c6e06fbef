"""Rollouts: what is drawn depends on what it should depend on, and is scored by what was earned."""

import pytest
import torch

from maml_bench import registry
from maml_bench.errors import Unstable
from maml_bench.harness.loop import score
from maml_bench.rl.protocol import acts
from maml_bench.rl.trajectories import Trajectories
from tests.rl.conftest import drawn, started

ACTING = [name for name in registry.task_names() if acts(registry.task_class(name))]
RECIPES = {name: name.replace("_", "-") for name in ACTING}


@pytest.mark.parametrize("name", ACTING)
def test_trajectories_have_the_shapes_that_they_say(name):
    run = started(RECIPES[name])
    shape, horizon = run.recipe.train.shape, run.tasks.longest()
    episode = drawn(run, count=2)
    for batch in (*episode.support, episode.query):
        seen, chosen = run.tasks.sizes()
        steps = (1, batch.mask.shape[2]) if run.tasks.fill else (shape.shot, horizon)
        assert batch.mask.sum((1, 2)).min() >= shape.shot * horizon * run.tasks.fill
        assert batch.observations.shape == (2, *steps, seen)
        assert batch.behaviour.shape == (2, *steps, run.tasks.actions.size(chosen))
        for field in (batch.rewards, batch.values, batch.advantages, batch.mask, batch.time):
            assert field.shape == (2, *steps)
            assert field.isfinite().all()
        assert batch.observations.dtype == batch.rewards.dtype == torch.float32


@pytest.mark.parametrize("name", ACTING)
def test_an_episode_is_the_same_in_any_batch_and_drawn_again(name):
    run = started(RECIPES[name])
    actor = run.episodes.actor(run.meta)
    shape = run.recipe.train.shape

    def sample(first: int, count: int) -> Trajectories:
        return run.tasks.sample("train", first, count, key=5, shape=shape, actor=actor).support[0]

    together, again, alone = sample(0, 3), sample(0, 3), sample(2, 1)
    for field, same in zip(together, again, strict=True):
        assert torch.equal(field, same)
    for name in ("observations", "actions", "rewards"):  # at first: contacts soon make much of the last digit
        field, other = getattr(together, name)[2:, :, :2], getattr(alone, name)[:, :, :2]
        torch.testing.assert_close(field, other, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ACTING)
def test_tasks_differ_between_splits_and_keys(name):
    tasks = started(RECIPES[name]).tasks
    draws = [
        tasks.draw(split, 0, 8, key) for split, key in [("train", 1), ("train", 2), ("validation", 1), ("test", 1)]
    ]
    assert all(not torch.equal(one, other) for i, one in enumerate(draws) for other in draws[:i])
    assert torch.equal(tasks.draw("train", 3, 2, 1), draws[0][3:5])
    assert torch.equal(tasks.draw("test", 3, 2, 9), draws[3][3:5]) or name in ("bandit", "mdp", "two_step")


def test_who_has_adapted_acts_otherwise_and_the_inner_step_is_on_the_rollouts_before_it():
    run = started()
    episode = drawn(run)
    state = run.setup.adapt(run.learner, run.meta, [type(b)(*(f[1] for f in b)) for b in episode.support], 1)[-1]
    outputs = run.learner.apply(state, episode.query.observations[1])
    torch.testing.assert_close(outputs, episode.query.behaviour[1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(run.learner.apply(run.meta, episode.query.observations[1]), outputs)


def test_scores_are_mean_returns_after_each_number_of_steps():
    run = started()
    test = run.recipe.test[0]
    scores = score(run, "test", test.shape, 4, (0, 1, 3))
    actor = run.episodes.actor(run.meta)
    from maml_bench.harness.seeding import stream_key

    path = run.tasks.path("test", 0, 4, key=stream_key("test", 0), rollouts=[4, 4, 4, 4], actor=actor)
    for found, steps in zip(scores, (0, 1, 3), strict=True):
        batch = path[steps]
        episodes = (batch.mask * (batch.time == 0)).sum((1, 2))
        assert found == pytest.approx(((batch.rewards * batch.mask).sum((1, 2)) / episodes).tolist())


def test_the_reveal_adds_the_task_to_what_is_seen():
    run = started("navigation", "oracle", "vmap", "tasks.mixed=false")
    assert run.learner.model.body[0].in_features == 4
    batch = drawn(run).support[0]
    goals = run.tasks.draw("train", 0, 3, 1)
    torch.testing.assert_close(batch.observations[:, 0, 4, 2:], goals)


def test_a_policy_that_explodes_is_told_in_a_sentence():
    from maml_bench.errors import Unstable

    run = started()
    broken = {name: p * float("nan") for name, p in run.meta.items()}
    with pytest.raises(Unstable, match="left the finite numbers"):
        drawn(run, meta=broken)


def test_the_later_rate_is_that_of_the_second_step():
    run = started("navigation", "maml", "vmap", "inner.later_rate=0.0")
    batch = [type(b)(*(f[0] for f in b)) for b in drawn(run).support]
    path = run.setup.adapt(run.learner, run.meta, batch, 3)
    assert not torch.equal(path[0]["head.weight"], path[1]["head.weight"])
    assert torch.equal(path[1]["head.weight"], path[3]["head.weight"])


def test_after_short_episodes_others_follow_until_there_are_enough_steps():
    """A point that moves little: to a goal at its start it comes often, and starts over; to another it never does."""
    run = started("navigation", "maml", "vmap", "tasks.horizon=30", "tasks.reward=sparse")
    calm = {name: p * (name != "head.weight") - 2.5 * (name == "log_std") for name, p in run.meta.items()}
    actor = run.episodes.actor(calm)
    goals = torch.tensor([[0.0, 0.0], [0.4, -0.4]])
    object.__setattr__(run.tasks, "draw", lambda *_: goals)
    (batch,) = run.tasks.path("train", 0, 2, key=1, rollouts=[6], actor=actor)
    steps, episodes = batch.mask.sum((1, 2)), (batch.mask * (batch.time == 0)).sum((1, 2))
    assert batch.mask.shape[1] == 1
    assert ((steps >= 6 * 30) & (steps < 7 * 30)).all()
    assert episodes[0] > episodes[1] >= 6
    begins = (batch.time == 0) & batch.mask.bool()
    assert (batch.observations[begins] == 0).all()
    assert (batch.observations[~begins & batch.mask.bool()].abs().sum(-1) > 0).all()
    assert batch.time.max() < 30
    ends = torch.cat([begins[..., 1:], torch.zeros(2, 1, 1, dtype=torch.bool)], -1) & batch.mask.bool()
    landed = batch.observations + 0.1 * batch.actions.clamp(-1, 1)
    off = (landed - goals[:, None, None]).abs()
    assert ((off[ends] < 0.01).all(-1) | (batch.time[ends] == 29)).all()


@pytest.mark.parametrize("recipe", ["ant-dir", "ant-vel"])
def test_a_fallen_ant_starts_over_with_noise_of_its_own(recipe):
    run = started(recipe, "maml", "vmap", "tasks.horizon=150")
    wild = {name: p + 5 * (name == "log_std") for name, p in run.meta.items()}
    actor = run.episodes.actor(wild)
    (batch,) = run.tasks.path("train", 0, 2, key=1, rollouts=[4], actor=actor)
    begins = ((batch.time == 0) & batch.mask.bool())[:, 0]
    starts = torch.cat([batch.observations[task, 0][begins[task]] for task in range(2)])
    assert len(starts) > 2 * 4
    height = starts[:, 2]
    assert ((height > 0.3) & (height < 1)).all()
    assert len(starts.unique(dim=0)) == len(starts)
    assert batch.mask.sum((1, 2)).min() >= 4 * 150


def test_torchs_threads_are_its_own_again_after_a_rollout_whatever_came(monkeypatch):
    run, found = started(), []
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        start = type(run.tasks).start

        def watched(*arguments):
            world = start(*arguments)
            act = world.act

            def acting(actions):
                found.append(torch.get_num_threads())
                if len(found) == 4:
                    raise Unstable("a body left the finite numbers")
                return act(actions)

            world.act = acting
            return world

        monkeypatch.setattr(type(run.tasks), "start", watched)
        with pytest.raises(Unstable):
            drawn(run)
        assert torch.get_num_threads() == 3
        assert found == [1] * 4
    finally:
        torch.set_num_threads(threads)
