"""Trials of bandits, processes and the two-step task: what they pay, when episodes end, and the best score."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maml_bench import registry
from maml_bench.core.evaluate import Request
from maml_bench.data.draws import words
from maml_bench.errors import MamlBenchError
from maml_bench.harness import run as harness
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.harness.seeding import stream_key
from maml_bench.report.formats import plus_minus
from maml_bench.report.tables import caption, numbers, summary
from maml_bench.rl import episodes
from maml_bench.rl.step_budget import Trial
from maml_bench.rl.world import Noise
from maml_bench.tasks.bandit import PAIRS, Bandit
from maml_bench.tasks.mdp import MDP
from maml_bench.tasks.two_step import TwoStep
from maml_bench.types import Shape

MANY = 20_000


def noise(tasks: int) -> Noise:
    return lambda purpose, draws: words(len(purpose), 0, tasks, draws)


@pytest.mark.parametrize(("total", "less"), [(True, 0.0), (False, 0.9)])
def test_the_total_is_what_arms_pay_and_the_regret_is_the_rest(total: bool, less: float) -> None:
    rules = Bandit(arms=3, horizon=2, total=total)
    chances = torch.tensor([[0.2, 0.9, 0.5]])
    reward, _ = rules.start(chances, MANY, noise(1)).act(torch.zeros(1, MANY, dtype=torch.int64))
    assert set((reward + less).round(decimals=5).unique().tolist()) == {0.0, 1.0}
    assert float(reward.mean()) == pytest.approx(0.2 - less, abs=0.01)


def test_the_metric_says_whether_more_is_better() -> None:
    assert Bandit().metric.name == MDP().metric.name == "regret"
    assert Bandit(total=True).metric.name == MDP(total=True).metric.name == "reward"
    assert Bandit(total=True).metric.higher_is_better
    assert not replace(Bandit(total=True), total=False).metric.higher_is_better


@pytest.mark.parametrize("chances", ["dependent", *PAIRS])
def test_dependent_arms_sum_to_one_and_either_may_be_the_better(chances: str) -> None:
    arms = Bandit(arms=2, chances=chances).draw("train", 0, MANY, 1)  # type: ignore[arg-type]
    torch.testing.assert_close(arms.sum(1), torch.ones(MANY))
    assert float((arms[:, 0] > arms[:, 1]).float().mean()) == pytest.approx(0.5, abs=0.02)
    if chances in PAIRS:
        assert arms.round(decimals=5).unique().tolist() == pytest.approx(PAIRS[chances])
    else:
        assert float(arms.var()) == pytest.approx(1 / 12, abs=0.003)


@pytest.mark.parametrize(
    ("chances", "regret"),
    [("independent", 50 / 3), ("dependent", 25.0), ("easy", 40.0), ("medium", 25.0), ("hard", 10.0)],
)
def test_the_expected_regret_of_random_play_is_that_of_the_integral(chances: str, regret: float) -> None:
    """For independent arms E max = 2/3, for p and 1 - p E max = 3/4, and random play earns 1/2 in each pull."""
    rules = Bandit(arms=2, horizon=100, chances=chances, total=True)  # type: ignore[arg-type]
    best = torch.tensor(rules.best_scores("test", 0, MANY, 3))
    assert float(best.mean()) - 50 == pytest.approx(regret, abs=0.6)


def test_the_best_policy_of_a_process_earns_a_little_more_than_the_best_action_of_every_step() -> None:
    """A policy that takes the best action of each state earns 1 + 1.163 a step, by the mean of the largest of five
    standard normal numbers. The best policy also looks ahead; 21.79 is from a program of its own, over 4,000 processes.
    """
    rules = MDP(total=True, episodes=3)
    best = torch.tensor(rules.best_scores("test", 0, 2_000, 3)) / 3
    error = float(best.std()) / 2_000**0.5
    assert float(best.mean()) == pytest.approx(21.79, abs=3 * error + 3 * 0.036)
    assert float(best.mean()) > 10 * (1 + 1.16296) + error


def test_a_process_returns_to_its_start_after_every_episode_and_says_so() -> None:
    rules = MDP(states=3, choices=2, horizon=4, episodes=3)
    world = rules.start(rules.draw("train", 0, 5, 4), 50, noise(5))
    budget = Trial(5, 50, rules.longest())
    for t in range(12):
        if t % 4 == 0:
            assert (world.observe().argmax(-1) == 0).all()
        assert (budget.time == t % 4).all()
        _, ended = world.act(torch.ones(5, 50, dtype=torch.int64))
        assert bool(ended.all()) == (t % 4 == 3)
        assert bool(ended.any()) == bool(ended.all())
        budget.step(ended)
    mask, time = budget.counted()
    assert mask.sum() == 5 * 50 * 12
    assert time[0, 0].tolist() == [0, 1, 2, 3] * 3


def test_an_action_of_the_two_step_task_leads_mostly_to_its_state_which_pays() -> None:
    rules = TwoStep(total=True)
    task = rules.draw("train", 0, 1, 1)
    assert sorted(task.flatten().tolist()) == pytest.approx([0.1, 0.9])
    world = rules.start(task, MANY, noise(1))
    action = int(task.argmax())
    assert (world.observe().argmax(-1) == 0).all()
    reward, ended = world.act(torch.full((1, MANY), action))
    assert not reward.any()
    assert not ended.any()
    seen = world.observe().argmax(-1)
    assert float((seen == 1 + action).float().mean()) == pytest.approx(0.75, abs=0.01)
    reward, ended = world.act(torch.zeros(1, MANY, dtype=torch.int64))
    assert ended.all()
    for state in (1, 2):
        assert float(reward[seen == state].mean()) == pytest.approx(float(task[0, state - 1]), abs=0.02)
    assert (world.observe().argmax(-1) == 0).all()
    assert rules.best_scores("train", 0, 1, 1) == pytest.approx([10 * (0.75 * 0.9 + 0.25 * 0.1)])


@pytest.mark.parametrize("rules", [Bandit(total=True), MDP(total=True), TwoStep(total=True)], ids=lambda r: r.name)
def test_the_tables_of_a_task_give_its_best_score(rules: Bandit | MDP | TwoStep) -> None:
    """Dynamic programming on mean rewards and transitions finds the same as the family."""
    tasks = rules.draw("test", 0, 40, 2)
    rewards, leads = rules.tables(tasks)
    torch.testing.assert_close(leads.sum(-1), torch.ones(leads.shape[:-1]))
    value = torch.zeros(rewards.shape[:-1])
    for _ in range(rules.episode()):
        value = (rewards + (leads * value[:, None, None]).sum(-1)).max(-1).values
    torch.testing.assert_close(value[:, 0] / rules.episode(), rules.best(tasks))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "bandit", "arms": 1}, "tasks.arms is 1, but must be at least 2"),
        ({"name": "bandit", "horizon": 0}, "tasks.horizon is 0, but must be at least 1"),
        ({"name": "bandit", "chances": "easy"}, "tasks.chances is 'easy', which is for two arms, but tasks.arms is 5"),
        ({"name": "mdp", "episodes": 0}, "tasks.episodes is 0, but must be at least 1"),
        ({"name": "mdp", "choices": 1}, "tasks.choices is 1, but must be at least 2"),
        ({"name": "two_step", "episodes": 0}, "tasks.episodes is 0, but must be at least 1"),
    ],
)
def test_a_task_with_nothing_to_learn_is_refused_in_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(MamlBenchError) as caught:
        registry.build_tasks(options, "here")
    assert sentence in str(caught.value)


def test_scores_do_not_depend_on_how_many_tasks_are_tested_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = build(resolve("mdp-n10", preset="smoke", setup="psrl"), 0, "cpu", "vmap")
    request = Request("test", Shape(1, 2, 2), 5, (0, 1), 3)
    together = run.episodes.scores((run.meta,), request)
    monkeypatch.setattr(episodes, "AT_ONCE_ELEMENTS", 1)
    done: list[int] = []
    assert run.episodes.scores((run.meta,), request, done.append) == together
    assert done == [1, 2, 3, 4, 5]


def test_a_record_has_the_best_score_of_each_task_and_a_table_the_regret(tmp_path: Path) -> None:
    recipe = resolve("bandit-n10-k5", preset="smoke", setup="thompson")
    made = harness.run(recipe, 0, harness.Options(results=tmp_path)).record
    assert made is not None
    (test,) = made.evaluations
    tasks = registry.build_tasks(recipe.tasks, "test").draw("test", 0, 4, stream_key("test", 0))
    assert test.best == pytest.approx((10 * tasks.max(1).values).tolist())
    regret = sum(best - (value or 0) for best, value in zip(test.best, test.points[0].values, strict=True)) / 4
    (row,) = numbers([made]).to_dict("records")
    assert (row["metric"], row["regret"]) == ("reward", pytest.approx(regret))
    assert f", regret {plus_minus(regret, None, 'regret')} ± " in summary([made])["score"][0]
    old = harness.run(resolve("bandit", preset="smoke", setup="maml"), 0, harness.Options(results=tmp_path)).record
    assert old is not None
    assert old.evaluations[0].best == []
    assert "regret" not in numbers([old])
    assert caption([made, old]).startswith("regret (bandit); reward (bandit-n10-k5): mean")
