"""Every task distribution with every setup keeps the promises of maml_bench.contracts; both are found by file name."""

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from _pytest.mark.structures import ParameterSet

from maml_bench import registry
from maml_bench.contracts import checks
from maml_bench.contracts.of_tasks import says_what_it_is
from maml_bench.contracts.problem import Problem, built
from maml_bench.core.setup import Capability
from maml_bench.harness.recipe import Recipe, resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.rl.protocol import acts
from tests.conftest import data_of, stored
from tests.tasks.torchmeta_data import real, write_omniglot


def marks(tasks: str, setup: str) -> list[pytest.MarkDecorator]:
    """Real data where there are; tasks that differ in their physics alone meet every setup in the slow tests only."""
    alike = acts(registry.task_class(tasks)) and tasks not in ("navigation", "bandit") and setup != "maml"
    return [pytest.mark.real_data] * (stored(tasks) is not None) + [pytest.mark.slow] * bool(alike)


PAIRS = [
    pytest.param(tasks, setup, id=f"{tasks}-{setup}", marks=marks(tasks, setup))
    for tasks in registry.task_names()
    for setup in registry.setup_names()
    if registry.offers(tasks, setup)
]
PAIRS.sort(key=lambda pair: bool(acts(registry.task_class(str(pair.values[0])))))
"""Those without actors first, so that a pair has one place in both lists of tests and is built once for all of them."""


@cache
def first_recipe(tasks: str) -> str:
    """The first shipped recipe on these tasks."""
    return next(name for name in load_files() if resolve(name, preset="smoke").tasks["name"] == tasks)


def recipe_for(tasks: str, setup: str) -> Recipe:
    """The smoke preset of the first shipped recipe on these tasks; on photographs with few filters, which take long."""
    name = first_recipe(tasks)
    asks = Capability.OWN_NETWORK not in registry.setup_class(setup).capabilities
    narrow = ["tasks.conv.filters=6"] * (
        tasks == "mini_imagenet" and asks and setup != "relation"
    )  # which wants 32 maps
    return resolve(name, preset="smoke", setup=setup, settings=[*data_of(tasks), *narrow])


@pytest.fixture(scope="module")
def problem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Problem]:
    """Everything built as the harness builds it, in float64, with two training tasks; one for all tests of a pair."""
    tasks_name, setup_name = request.param
    if data := stored(tasks_name):
        request.getfixturevalue(data)
    before = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as monkeypatch:
        if tasks_name == "torchmeta":
            real(write_omniglot, tmp_path_factory.mktemp("torchmeta"), monkeypatch)
        found = built(recipe_for(tasks_name, setup_name))
        assert torch.equal(before, torch.get_rng_state()), "the global random generator was used"
        yield found


def over(pairs: list[ParameterSet]) -> pytest.MarkDecorator:
    problems = [pytest.param(p.values, id=p.id, marks=p.marks) for p in pairs]
    return pytest.mark.parametrize("problem", problems, indirect=True)


over_pairs = over(PAIRS)
over_pairs_without_actors = over([p for p in PAIRS if not acts(registry.task_class(str(p.values[0])))])
"""In reinforcement learning, scores are of rollouts: tests/rl/test_control.py."""


@over_pairs
def test_schedules_agree_on_the_real_network(problem: Problem) -> None:
    checks.schedules_agree(problem)


@over_pairs
def test_a_small_step_against_the_gradient_lowers_the_loss_it_belongs_to(problem: Problem) -> None:
    checks.gradient_is_exact(problem)


@over_pairs_without_actors
def test_evaluation_gives_one_score_per_task_and_number_of_steps(problem: Problem) -> None:
    checks.scores_agree(problem)


@over_pairs
def test_meta_parameters_start_alike_for_all_setups_of_a_seed(problem: Problem) -> None:
    checks.starts_alike(problem)


@pytest.mark.parametrize("name", registry.task_names())
def test_task_distributions_say_what_they_are(name: str) -> None:
    cls = registry.task_class(name)
    assert cls.name == name
    says_what_it_is(cls)
    assert "normalisation" in cls.__dataclass_fields__
    assert cls.__doc__


@pytest.mark.parametrize("name", registry.setup_names())
def test_setups_name_their_source(name: str) -> None:
    cls = registry.setup_class(name)
    assert any(where in cls.citation for where in ("arXiv", "OpenReview", "doi"))
    assert cls.__doc__
