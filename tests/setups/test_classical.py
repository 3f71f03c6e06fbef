"""The classical rules for bandits and processes: by hand, against tables of the literature, and as a test of the tasks,
because it is known what they earn."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from maml_bench import registry
from maml_bench.core.evaluate import Request
from maml_bench.core.memory import Remembering
from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run_state import RunState
from maml_bench.harness.seeding import stream_key
from maml_bench.setups import gittins, ucrl2
from maml_bench.setups._shared import counting
from maml_bench.types import Params, Shape

MANY = 10_000
BANDIT_RULES = ("gittins", "optimistic_thompson", "thompson", "ucb1")
BOTH = ("epsilon_greedy", "greedy", "random_actions", "value_iteration")
PROCESS_RULES = ("beb", "opsrl", "psrl", "ucrl2")


def running(recipe: str, setup: str, *settings: str) -> RunState:
    return build(resolve(recipe, preset="paper", setup=setup, settings=settings), 0, "cpu", "vmap")


@cache
def played(recipe: str, setup: str, tasks: int, *settings: str) -> tuple[Tensor, Tensor]:
    """The scores of the first test tasks, and the best expected ones."""
    run, key = running(recipe, setup, *settings), stream_key("test", 0)
    (found,) = run.episodes.scores((run.meta,), Request("test", Shape(1, 1, 1), tasks, (0,), key))
    return torch.tensor(found), torch.tensor(run.episodes.best("test", tasks, key))


def error(scores: Tensor, tasks: int | None = None) -> float:
    """The standard error of the mean over ``tasks``, by default over those of the scores."""
    return float(scores.std()) / (tasks or len(scores)) ** 0.5


# By hand.


def pulls(setup: str, luck: list[float], *settings: str) -> Iterator[Tensor]:
    """The probabilities ``[arms]`` of an agent's actions on a bandit with 3 arms, whose pulls pay ``luck`` in turn. It
    is made to take the likeliest arm, the first of equal ones."""
    run = running("bandit-n10-k5", setup, "tasks.arms=3", *settings)
    agent = run.setup
    assert isinstance(agent, Remembering)
    memory: Params = agent.start(run.learner, run.meta, (1, 1))
    action, reward, begins = torch.zeros(1, 1, 3), 0.0, 1.0
    for paid in luck:
        x = torch.cat([torch.ones(1, 1, 1), action, torch.tensor([[[reward, begins]]])], -1)
        outputs, _, memory = agent.act(run.learner, run.meta, memory, x, lambda n: torch.full((1, 1, n), 0.5))
        chances = outputs.softmax(-1)
        yield chances[0, 0]
        action = torch.nn.functional.one_hot(chances.argmax(-1), 3).float()
        reward, begins = paid, 0.0


def test_the_first_pulls_of_the_greedy_rule_are_those_of_the_means() -> None:
    """Means after each pull: 2/3 1/2 1/2; 2/4 1/2 1/2 (the first of equal ones); 2/5 1/2 1/2; 2/5 1/3 1/2."""
    taken = [int(chances.argmax()) for chances in pulls("greedy", [1, 0, 0, 0, 1])]
    assert taken == [0, 0, 0, 1, 2]
    tied = [chances.tolist() for chances in pulls("greedy", [1, 0, 0], "setup.ties=random")]
    assert tied[1] == [1, 0, 0]
    assert tied[2] == pytest.approx([1 / 3] * 3)


def test_epsilon_is_shared_by_all_arms() -> None:
    first, second = pulls("epsilon_greedy", [1, 0], "setup.epsilon=0.3")
    assert first.tolist() == pytest.approx([0.8, 0.1, 0.1])
    assert second.tolist() == pytest.approx([0.8, 0.1, 0.1])


def test_the_index_of_ucb1_is_its_formula() -> None:
    """After a win of the first arm: 2/3 + 0.5 sqrt(2 log 3 / 3) = 1.0946 and 1/2 + 0.5 sqrt(2 log 3 / 2) = 1.0241; a
    second pull without a win makes it 1/2 + 0.5 sqrt(2 log 4 / 4) = 0.9163 and 1/2 + 0.5 sqrt(2 log 4 / 2) = 1.0887."""
    taken = [int(chances.argmax()) for chances in pulls("ucb1", [1, 0, 0], "setup.width=0.5")]
    assert taken == [0, 0, 1]


@pytest.mark.parametrize(
    ("discount", "wins", "losses", "index"),
    [
        (0.9, 0, 0, 0.7029), (0.9, 1, 1, 0.6346), (0.9, 2, 2, 0.6010), (0.9, 9, 1, 0.8695), (0.99, 0, 0, 0.8699),
    ],
)  # fmt: skip
def test_gittins_indices_are_those_of_the_published_table(
    discount: float, wins: int, losses: int, index: float
) -> None:
    """Gittins, Glazebrook & Weber (2011), table 8.4, as quoted in many places."""
    assert float(gittins.indices(20, discount)[wins, losses]) == pytest.approx(index, abs=6e-5)


def test_a_gittins_index_without_a_future_is_the_mean() -> None:
    table = gittins.indices(20, 1e-6)
    assert float(table[3, 1]) == pytest.approx(4 / 6, abs=1e-4)


@pytest.mark.parametrize("shape", [1.0, 2.0, 7.0, 80.0])
def test_gamma_numbers_follow_their_distribution(shape: float) -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = counting.gamma(torch.full((20_000,), shape), lambda n: torch.rand(n, generator=generator))
    assert stats.kstest(drawn.double().numpy(), "gamma", args=(shape,)).pvalue > 1e-3


def test_drawn_processes_have_the_means_of_what_was_seen() -> None:
    run = running("mdp-n10", "psrl", "tasks.states=2", "tasks.choices=2")
    leads = torch.tensor([[[4.0, 1.0], [0.0, 0.0]], [[0.0, 9.0], [2.0, 2.0]]]).expand(MANY, 1, 2, 2, 2)
    count = leads.sum(-1)
    memory = {"pulls": count, "paid": 3 * count, "leads": leads}
    generator = torch.Generator().manual_seed(1)
    rewards, chances = counting.sampled(run.learner, memory, lambda n: torch.rand(MANY, 1, n, generator=generator))
    torch.testing.assert_close(chances.mean(0), counting.mean_leads(memory)[0], atol=0.01, rtol=0)
    torch.testing.assert_close(rewards.mean(0), ((1 + 3 * count) / (1 + count))[0], atol=0.03, rtol=0)
    torch.testing.assert_close(rewards.var(0), (1 / (1 + count))[0], atol=0.04, rtol=0)


def test_the_most_favourable_transitions_move_what_they_may_to_the_best_state() -> None:
    leads = torch.tensor([0.2, 0.5, 0.3]).expand(1, 1, 3)
    found = ucrl2.favourable(leads, torch.tensor([2, 0, 1]), torch.tensor([[0.4]]))
    torch.testing.assert_close(found[0, 0], torch.tensor([0.5, 0.2, 0.3]))
    everything = ucrl2.favourable(leads, torch.tensor([2, 0, 1]), torch.tensor([[9.0]]))
    torch.testing.assert_close(everything[0, 0], torch.tensor([1.0, 0.0, 0.0]))


def test_what_an_action_leads_to_is_counted_but_not_the_return_to_the_start() -> None:
    run = running("mdp-n10", "greedy", "tasks.horizon=3", "tasks.episodes=4")
    actor = run.episodes.actor(run.meta)  # type: ignore[attr-defined]
    memories: list[Params] = []
    act = actor.act
    actor.act = lambda state, x, chance: memories.append(act(state, x, chance).state) or act(state, x, chance)
    (batch,) = run.tasks.path("test", 0, 5, key=1, rollouts=[2], actor=actor)  # type: ignore[attr-defined]
    last = memories[-1]  # before the last action is known
    assert last["pulls"].sum((-2, -1)).unique().tolist() == [11]
    assert last["leads"].sum((-3, -2, -1)).unique().tolist() == [8]
    torch.testing.assert_close(last["paid"].sum((-2, -1)), batch.rewards[..., :-1].sum(-1))


# As a test of the tasks.

MEASURED = {
    ("bandit-n10-k5", "random_actions"): (5.04, ()),
    ("bandit-n100-k5", "random_actions"): (50.1, ()),
    ("bandit-n100-k10", "random_actions"): (50.0, ()),
    ("bandit-n10-k5", "thompson"): (5.83, ()),
    ("bandit-n100-k5", "thompson"): (74.8, ()),
    ("bandit-n100-k10", "thompson"): (77.3, ()),
    ("bandit-n10-k5", "greedy"): (6.60, ("setup.ties=random",)),
    ("bandit-n100-k5", "greedy"): (75.6, ("setup.ties=random",)),
    ("bandit-n100-k10", "greedy"): (79.0, ("setup.ties=random",)),
    ("bandit-n10-k5", "ucb1"): (6.65, ("setup.width=0.1",)),
    ("bandit-n100-k5", "ucb1"): (78.6, ("setup.width=0.2",)),
    ("bandit-n100-k10", "ucb1"): (83.5, ("setup.width=0.2",)),
}
"""Mean rewards that another program measured over 4,000 tasks, with the options that make the same rule."""


def marked(recipe: str, setup: str) -> Any:
    """The trials with most arms take the longest, so they are among the slow tests."""
    return pytest.param(recipe, setup, marks=[pytest.mark.slow] * (recipe == "bandit-n100-k10"))


@pytest.mark.parametrize(("recipe", "setup"), [marked(*pair) for pair in MEASURED])
def test_rules_for_bandits_earn_what_another_program_measured(recipe: str, setup: str) -> None:
    expected, settings = MEASURED[recipe, setup]
    scores, _ = played(recipe, setup, MANY, *settings)
    assert float(scores.mean()) == pytest.approx(expected, abs=3 * (error(scores) + error(scores, 4_000)))


@pytest.mark.parametrize(
    ("recipe", "reward"), [("bandit-n100-k10", 50.0), ("mdp-n10", 100.0), ("two-step", 5.0), ("bandit-hard", 50.0)]
)
def test_random_actions_earn_the_mean_of_all(recipe: str, reward: float) -> None:
    scores, _ = played(recipe, "random_actions", 1_000)
    assert float(scores.mean()) == pytest.approx(reward, abs=3 * error(scores))


@pytest.mark.parametrize("recipe", ["bandit-n10-k50", "bandit-dependent", "mdp-n10", "two-step"])
def test_who_is_told_the_task_has_no_regret_on_average(recipe: str) -> None:
    scores, best = played(recipe, "value_iteration", 500)
    assert float((best - scores).mean()) == pytest.approx(0, abs=3 * error(best - scores))
    others, _ = played(recipe, "greedy", 500)
    assert float((scores - others).mean()) > 3 * error(scores - others)


@pytest.mark.parametrize("setup", PROCESS_RULES)
def test_rules_for_processes_learn(setup: str) -> None:
    """They earn more in 10 episodes than random actions, on the same tasks, and less than the best policy."""
    scores, best = played("mdp-n10", setup, 100)
    random, _ = played("mdp-n10", "random_actions", 100)
    assert float((scores - random).mean()) > 20
    assert float((best - scores).mean()) > 20


@pytest.mark.parametrize(
    ("setup", "tasks", "fits"),
    [(setup, tasks, tasks == "bandit") for setup in BANDIT_RULES for tasks in ("bandit", "mdp", "two_step")]
    + [(setup, tasks, tasks == "mdp") for setup in PROCESS_RULES for tasks in ("bandit", "mdp", "two_step")]
    + [(setup, tasks, tasks in ("bandit", "mdp", "two_step")) for setup in BOTH for tasks in registry.task_names()],
)
def test_a_rule_is_refused_on_tasks_that_it_is_not_made_for(setup: str, tasks: str, fits: bool) -> None:
    assert registry.offers(tasks, setup) == fits


def test_the_refusal_of_a_rule_names_the_tasks_that_it_is_for() -> None:
    with pytest.raises(MamlBenchError, match="the setup is for the tasks bandit, not for mdp"):
        resolve("mdp-n10", preset="smoke", setup="gittins")


@pytest.mark.parametrize("recipe", ["bandit-independent", "bandit-hard", "two-step"])
def test_no_value_of_another_recipe_is_published_for_tasks_that_have_figures_alone(recipe: str) -> None:
    """Wang et al. print no scores, and these recipes extend one that has published values."""
    tasks = resolve(recipe, preset="paper").tasks["name"]
    fitting = [setup for setup in registry.setup_names() if registry.offers(tasks, setup)]
    assert {setup: resolve(recipe, preset="paper", setup=setup).published for setup in fitting} == dict.fromkeys(
        fitting, ()
    )
