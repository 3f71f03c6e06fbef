"""Agents with a memory: what they are given, how their memory lives, and that a trial can be read again."""

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from torch.utils import _pytree as pytree

from maml_bench.core.memory import Answer, Given, Remembering
from maml_bench.core.outer import meta_gradient, take
from maml_bench.engine.execution import Execution
from maml_bench.errors import MamlBenchError
from maml_bench.harness.loop import score
from maml_bench.rl.actor import actors
from maml_bench.rl.trajectories import Trajectories, remaining, trials
from maml_bench.tasks import navigation
from tests.core.test_gradients import STEP, mean_loss
from tests.rl.conftest import double, drawn, started

SMALL = {
    "rl2": ("setup.units=5", "setup.candidate=tanh"),
    "l2rl": ("setup.units=5",),
    "snail_rl": ("setup.filters=3", "setup.keys=2", "setup.values=2"),
}
LEARNERS = pytest.mark.parametrize("setup", SMALL)
WALK = ("inner.steps=2", "tasks.fill=false", "tasks.horizon=6", "outer.optimiser=adam")


@dataclass(frozen=True)
class FirstArm(Remembering):
    """An agent that pulls arm 0 first, and then for ever arm 0 if that paid, and arm 1 if not. Beside that it counts
    its steps, and keeps the random numbers that it was given last."""

    def start(self, learner, meta, trials):
        zero = torch.zeros(*trials)
        return {"paid": zero, "steps": zero, "chance": torch.zeros(*trials, 2)}

    def act(self, learner, meta, memory, x, chance):
        given = Given.of(x, learner.acting.sizes()[1])
        paid = torch.where(memory["steps"] == 1, given.reward, memory["paid"])
        other = (memory["steps"] > 0) & (paid < 0.5)
        outputs = torch.zeros(*x.shape[:-1], learner.acting.outputs())
        outputs[..., 1] = torch.where(other, 50.0, -50.0)
        return Answer(outputs, None, {"paid": paid, "steps": memory["steps"] + 1, "chance": chance(2)})


class Seen:
    """An actor that keeps every state that it is told to act from."""

    def __init__(self, actor):
        self._actor, self.states, self.begun = actor, [], []

    def __getattr__(self, name):
        return getattr(self._actor, name)

    def begin(self, path, state, trials):
        self.begun.append(self._actor.begin(path, state, trials))
        return self.begun[-1]

    def act(self, state, x, chance):
        answer = self._actor.act(state, x, chance)
        self.states.append(answer.state)
        return answer


def by_hand(run):
    """The agent `FirstArm` in the tasks of a run."""
    execution = Execution(run.learner, "vmap")
    return Seen(actors(FirstArm(), execution, lengths_vary=False).actor(run.meta))


def trial(recipe, setup, *settings, count=3):
    run = started(recipe, setup, "vmap", *SMALL[setup], *settings)
    generator = torch.Generator().manual_seed(1)
    meta = {n: p + 0.2 * torch.randn(p.shape, generator=generator) for n, p in run.meta.items()}
    return run, meta, drawn(run, count, meta)


def test_at_the_start_of_a_trial_nothing_was_done_and_later_the_last_step_is_told():
    _, _, episode = trial("mdp-n10", "rl2")
    batch = episode.query
    given = Given.of(batch.observations, 5)
    assert not episode.support
    assert batch.mask.all()
    assert batch.observations.shape[-1] == 10 + 5 + 2
    assert (given.observation.sum(-1) == 1).all()
    for nothing in (given.action[:, :, 0], given.reward[:, :, 0]):
        assert not nothing.any()
    assert torch.equal(given.action[:, :, 1:].argmax(-1), batch.actions[:, :, :-1])
    assert (given.action[:, :, 1:].sum(-1) == 1).all()
    assert torch.equal(given.reward[:, :, 1:], batch.rewards[:, :, :-1])
    steps = torch.arange(given.begins.shape[-1])
    assert torch.equal(given.begins, (steps % 10 == 0).float().expand_as(given.begins))


def test_what_is_told_goes_on_through_the_rollouts_of_a_trial():
    run = started("navigation", "rl2", "vmap", *WALK)
    path = run.tasks.path("train", 0, 2, key=1, rollouts=[3, 3, 3], actor=run.episodes.actor(run.meta))
    for before, after in pairwise(path):
        told = Given.of(after.observations, 2)
        assert torch.equal(told.action[:, :, 0], before.actions[:, :, -1])
        assert torch.equal(told.reward[:, :, 0], before.rewards[:, :, -1])
        assert (told.begins[:, :, 0] == 1).all()
        assert (told.begins[:, :, 1:] == 0).all()


def test_a_memory_lives_through_the_rollouts_of_a_trial_and_not_longer():
    """The last rollouts are right only for an agent that remembers the first one: the second tells nothing more."""
    run = started("bandit-easy", "rl2", "vmap", "tasks.horizon=1")
    actor = by_hand(run)
    for _ in range(2):
        path = run.tasks.path("train", 0, 40, key=1, rollouts=[5, 5, 5], actor=actor)
        first = path[0].rewards
        assert not path[0].actions.any()
        assert torch.equal(path[1].actions, (first < 0.5).long())
        assert torch.equal(path[2].actions, (first < 0.5).long())
        assert 0 < first.mean() < 1
    assert path[2].rewards.mean() > 0.75 > 0.6 > first.mean()
    for begun, steps in zip(actor.begun, (0, 1, 2, 0, 1, 2), strict=True):
        assert (begun["steps"] == steps).all()


def test_the_score_after_some_rollouts_is_that_of_the_next_one():
    run = started("bandit-easy", "rl2", "vmap", "tasks.horizon=1")
    run.episodes._actors = actors(FirstArm(), Execution(run.learner, "vmap"), lengths_vary=False)
    first, later = score(run, "test", run.recipe.test[0].shape._replace(shot=9, query=9), 50, (0, 2))
    assert sum(later) / 50 > 0.75 > 0.6 > sum(first) / 50


def test_an_agent_that_has_ended_an_episode_waits_for_the_next_one(monkeypatch):
    """One goal is near and easily reached, so episodes end after different numbers of steps."""
    monkeypatch.setattr(navigation, "NEAR", 0.1)
    run = started("navigation", "rl2", "vmap", *WALK, "tasks.horizon=40")
    tasks = run.tasks
    object.__setattr__(tasks, "draw", lambda *_: torch.tensor([[0.15, 0.1], [0.5, 0.5]]))
    actor = Seen(run.episodes.actor(run.meta))
    path = tasks.path("train", 0, 2, key=1, rollouts=[8, 8], actor=actor)
    ended = path[0].mask[:, :, -1] == 0
    assert ended.any()
    assert not ended.all()
    whole = trials(path)
    counts = whole.mask.sum(-1)
    assert torch.equal(counts, path[0].mask.sum(-1) + path[1].mask.sum(-1))
    for task, row in ended.nonzero().tolist():
        steps, first = int(counts[task, row]), int(path[0].mask[task, row].sum())
        assert torch.equal(whole.time[task, row, :steps], torch.arange(steps).float())
        assert torch.equal(whole.rewards[task, row, first], path[1].rewards[task, row, 0])
        told = Given.of(whole.observations, 2).reward[task, row, 1:steps]
        assert torch.equal(told, whole.rewards[task, row, : steps - 1])
        kept, left = actor.begun[1]["hidden"][task, row], actor.states[first - 1]["hidden"][task, row]
        assert torch.equal(kept, left)


@LEARNERS
@pytest.mark.parametrize(("recipe", "settings"), [("bandit-n10-k5", ()), ("mdp-n10", ()), ("navigation", WALK)])
def test_a_trial_that_is_read_again_has_the_outputs_that_acted(setup, recipe, settings):
    run, meta, episode = trial(recipe, setup, *settings)
    batch = episode.query
    for task in range(len(batch.mask)):
        one = take(batch, task)
        outputs = run.setup.predict(run.learner, meta, meta, one.observations)
        still = one.mask.bool()
        torch.testing.assert_close(outputs[still], one.behaviour[still], atol=2e-5, rtol=1e-4)
        _, values = run.setup._both(run.learner, meta, one.observations)
        torch.testing.assert_close(values[still], one.values[still], atol=2e-5, rtol=1e-4)
    assert float(batch.behaviour.std(dim=2).max()) > 1e-3


@LEARNERS
@pytest.mark.parametrize(("recipe", "settings"), [("bandit-n10-k5", ("setup.entropy=0.1",)), ("navigation", WALK)])
def test_the_gradient_of_the_loss_of_trials_agrees_with_finite_differences(setup, recipe, settings):
    run, meta, episode = trial(recipe, setup, *settings, count=1)
    run.learner.model.double()
    meta, episode = double(meta), double(episode)
    exact, _ = meta_gradient(run.setup, run.learner, meta, episode)
    generator = torch.Generator().manual_seed(2)
    for name in [n for n in meta if n.startswith(f"{run.setup.prefix}.")]:
        way = torch.randn(meta[name].shape, generator=generator, dtype=torch.float64)
        ends = [meta | {name: meta[name] + sign * STEP * way} for sign in (1, -1)]
        more, less = (mean_loss(run.setup, run.learner, end, episode) for end in ends)
        found = float((exact[name] * way).sum())
        assert found == pytest.approx((more - less) / (2 * STEP), rel=1e-6, abs=1e-9), name
        assert abs(found) > 1e-7, name


@LEARNERS
def test_an_output_depends_on_no_later_step(setup):
    run, meta, episode = trial("bandit-n10-k5", setup, count=1)
    x = episode.query.observations[0]
    late = x.clone()
    late[:, 6:] += 1.0
    outputs, changed = (run.setup.predict(run.learner, meta, meta, given) for given in (x, late))
    torch.testing.assert_close(outputs[:, :6], changed[:, :6])
    assert float((outputs[:, 6:] - changed[:, 6:]).abs().min(0).values.max()) > 1e-4


def test_returns_of_a_trial_cross_its_episodes():
    """A reward of 1 in the last step of the last of two episodes is worth discount^k k steps before."""
    rewards = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    mask = torch.tensor([[[1.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    fields = {name: torch.zeros(1, 2, 2) for name in Trajectories._fields}
    path = [
        Trajectories(**{**fields, "rewards": rewards[k, None], "mask": mask[k, None], "time": mask[k, None].cumsum(-1)})
        for k in range(2)
    ]
    whole = trials(path)
    run = started("bandit-n10-k5", "rl2", "vmap", "tasks.discount=0.5")
    error = run.tasks.value_error(torch.tensor([[0.0] * 4, [0.25, 0.5, 1.0, 0.0]]), take(whole, 0))
    assert float(error) == 0.0
    assert torch.equal(whole.mask[0], torch.tensor([[1.0] * 4, [1.0, 1.0, 1.0, 0.0]]))


@pytest.mark.parametrize(("discount", "left"), [(0.5, [1.75, 1.5, 1.0]), (1.0, [3.0, 2.0, 1.0])])
def test_in_units_of_a_mean_reward_the_value_of_equal_rewards_is_that_reward(discount, left):
    """With rewards of 2 the head should say 2 at every step, and the value of a step is 2 times what remains."""
    found = remaining(torch.arange(3.0).expand(1, 3), discount)
    assert found.tolist() == [left]
    batch = Trajectories(**{name: torch.ones(1, 3) for name in Trajectories._fields})
    batch = batch._replace(rewards=torch.full((1, 3), 2.0), time=torch.arange(3.0).expand(1, 3))
    tasks = started("bandit-n10-k5", "rl2", "vmap", f"tasks.discount={discount}").tasks
    assert float(tasks.value_error(torch.full((1, 3), 2.0), batch, mean_reward=True)) == 0.0
    assert float(tasks.value_error(torch.full((1, 3), 3.0), batch, mean_reward=True)) == 0.5
    assert float(tasks.value_error(2 * found, batch)) == 0.0


@LEARNERS
def test_advantages_use_values_in_units_of_the_return_whatever_the_head_predicts(setup):
    """The outputs of the head are the same under both units, and only their meaning differs."""
    _, _, plain = trial("mdp-n10", setup)
    run, _, episode = trial("mdp-n10", setup, "setup.value_unit=mean reward")
    batch = episode.query
    expected = plain.query.values * remaining(batch.time, run.tasks.discount)
    torch.testing.assert_close(batch.values, expected)
    assert float(batch.values.abs().max()) > 1e-3
    assert not torch.allclose(batch.advantages, plain.query.advantages, atol=1e-2)


def test_a_unit_of_values_that_nothing_fits_is_refused():
    with pytest.raises(MamlBenchError, match="value_unit"):
        started("bandit-n10-k5", "rl2", "vmap", "setup.value=0", "setup.value_unit=mean reward")


def test_advantages_are_standardised_over_all_trials():
    run, _, episode = trial("bandit-n10-k5", "rl2", count=5)
    gains = episode.query.advantages
    assert abs(float(gains.mean())) < 1e-5
    assert float(gains.std(correction=0)) == pytest.approx(1, abs=1e-3)
    assert float(gains.mean((1, 2)).abs().min()) > 1e-3
    assert run.episodes.actor(run.meta).expects


def test_agents_draw_numbers_of_their_own_that_do_not_depend_on_the_batch():
    run = started("bandit-easy", "rl2", "vmap", "tasks.horizon=3")

    def numbers(first, count):
        actor = by_hand(run)
        run.tasks.path("train", first, count, key=1, rollouts=[5], actor=actor)
        return torch.stack([state["chance"] for state in actor.states])

    together = numbers(0, 4)
    assert together.shape == (3, 4, 5, 2)
    assert len(together.unique()) == together.numel()
    assert torch.equal(together[:, 2:3], numbers(2, 1))


@LEARNERS
def test_recorded_steps_are_those_that_are_not(setup):
    few = ("outer.repeats=2", "tasks.horizon=3")
    run, meta, episode = trial("bandit-n10-k5", setup, *few)
    other = started("bandit-n10-k5", setup, "traced", *SMALL[setup], *few)
    again = drawn(other, 3, meta)
    pytree.tree_map(lambda one, two: torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4), again, episode)
    found, expected = (r.meta_step(meta, r.meta_step.init(meta), episode, 0, 1e-3)[0] for r in (other, run))
    for name, p in expected.items():
        torch.testing.assert_close(found[name], p, atol=1e-5, rtol=1e-4)


def test_a_learner_learns_to_stay_with_the_arm_that_pays():
    """Two arms that pay with 0.9 and 0.1: without a memory no policy earns more than 0.5 a pull."""
    small = ("setup.units=16", "tasks.horizon=8", "outer.rate=0.01", "outer.repeats=5", "setup.clip=0.2")
    run = started("bandit-easy", "rl2", "traced", *small)
    earned = []
    for step in range(60):
        shape = replace(run.recipe.train, query=1).shape
        actor = run.episodes.actor(run.meta)
        episode = run.tasks.sample("train", 100 * step, 100, key=1, shape=shape, actor=actor)
        earned.append(float(episode.query.rewards.mean()))
        run.meta, run.optimiser, _ = run.meta_step(run.meta, run.optimiser, episode, step, 0.01)
    assert sum(earned[:3]) / 3 == pytest.approx(0.5, abs=0.05)
    assert sum(earned[-5:]) / 5 > 0.7


def test_the_figure_of_navigation_shows_positions_alone():
    run = started("navigation", "rl2", "vmap", *WALK)
    shown = run.episodes.exhibit(run.meta, run.recipe.test[0], 0)
    assert all(len(point) == 2 for task in shown["tasks"] for walk in task["walks"].values() for point in walk)
