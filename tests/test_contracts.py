"""Every task distribution with every setup keeps the same promises; both are found by file name."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from _pytest.mark.structures import ParameterSet

from maml_bench import registry
from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Learner
from maml_bench.core.outer import meta_gradient, tasks_in
from maml_bench.core.setup import Capability, Setup
from maml_bench.harness.build import build
from maml_bench.harness.recipe import Recipe, resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.seeding import generator, stream_key
from maml_bench.record import Metric
from maml_bench.rl.protocol import acts
from maml_bench.types import Episode, Params, TaskDistribution
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

STEP = 1e-9
"""So small that hardly one of millions of ReLUs and maxima changes sides, where an inner gradient jumps."""


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


Problem = tuple[Recipe, TaskDistribution, Setup, Learner, Params, Episode]


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


def built(recipe: Recipe) -> Problem:
    setup = registry.build_setup(recipe.setup, "test")
    tasks = registry.build_tasks(recipe.tasks, "test")
    run = build(recipe, 0, "cpu", "vmap")
    run.learner.model.double()
    meta = {name: p.double() for name, p in run.meta.items()}
    single = {name: p.float() for name, p in meta.items()}
    key = stream_key("train", 0)
    drawn = build(recipe, 0, "cpu", "vmap").episodes.draw(single, "train", 0, 2, key=key, shape=recipe.train.shape)
    episodes = double(drawn)
    return recipe, tasks, setup, run.learner, meta, episodes


def double(tree: Episode) -> Episode:
    return torch.utils._pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, tree)


def over(pairs: list[ParameterSet]) -> pytest.MarkDecorator:
    problems = [pytest.param(p.values, id=p.id, marks=p.marks) for p in pairs]
    return pytest.mark.parametrize("problem", problems, indirect=True)


over_pairs = over(PAIRS)
over_pairs_without_actors = over([p for p in PAIRS if not acts(registry.task_class(str(p.values[0])))])
"""In reinforcement learning, scores are of rollouts: tests/rl/test_control.py."""


@over_pairs
def test_schedules_agree_on_the_real_network(problem: Problem) -> None:
    """SGD inside Reptile: Adam makes whole steps of the rounding noise in biases that batch-norm cancels."""
    _, _, setup, learner, meta, episodes = problem
    if hasattr(setup, "inner_optimiser"):
        setup = replace(setup, inner_optimiser="sgd")
    reference, _ = meta_gradient(setup, learner, meta, episodes, schedule_name="loop")
    grads, losses = meta_gradient(setup, learner, meta, episodes, schedule_name="vmap")
    assert list(reference) == list(meta)  # in the same order in every process, or sums are rounded differently
    assert losses.shape == (tasks_in(episodes),)  # a batch that mixes its tasks is one
    scale = max(float(g.abs().max()) for g in reference.values())
    assert scale > 0 or Capability.TRAINS not in setup.capabilities
    assert max(float((grads[n] - reference[n]).abs().max()) for n in grads) <= 1e-10 * scale


@over_pairs
def test_a_small_step_against_the_gradient_lowers_the_loss_it_belongs_to(problem: Problem) -> None:
    """For an exact gradient; a displacement (Reptile) and first-order ones (FOMAML, MetaLSTM) promise to be finite."""
    _, _, setup, learner, meta, episodes = problem
    noise = generator("noise", 0)  # where training starts, maxima over white patches of a photograph can be ties
    meta = {n: p + 1e-3 * torch.randn(p.shape, generator=noise, dtype=p.dtype) for n, p in meta.items()}
    grads, losses = meta_gradient(setup, learner, meta, episodes)
    assert all(g.isfinite().all() for g in grads.values())
    if (
        "gradient" in type(setup).__dict__
        or Capability.TRAINS not in setup.capabilities
        or type(setup).__name__ in ("FOMAML", "MetaLSTM")
    ):
        return
    norm = sum(float((g**2).sum()) for g in grads.values())
    moved = {name: p - STEP / norm**0.5 * grads[name] for name, p in meta.items()}
    _, after = meta_gradient(setup, learner, moved, episodes)
    assert float(losses.mean() - after.mean()) == pytest.approx(STEP * norm**0.5, rel=1e-2)


@over_pairs_without_actors
def test_evaluation_gives_one_score_per_task_and_number_of_steps(problem: Problem) -> None:
    recipe, tasks, setup, learner, meta, _ = problem
    test = recipe.test[0]
    episodes = double(tasks.sample("test", 0, 3, key=0, shape=test.shape))
    learner = learner.with_way(test.way)
    together = evaluate(setup, learner, meta, episodes, test.inner_steps)
    assert together.shape == (3, len(test.inner_steps))
    assert together.isfinite().all()
    one_by_one = evaluate(setup, learner, meta, episodes, test.inner_steps, schedule_name="loop", chunk=1)
    torch.testing.assert_close(together, one_by_one, rtol=1e-6, atol=1e-8)


@over_pairs
def test_meta_parameters_start_alike_for_all_setups_of_a_seed(problem: Problem) -> None:
    recipe, tasks, setup, learner, meta, _ = problem
    if getattr(setup, "start", "") == "he":  # relation networks start as their released code does
        meta = replace(setup, start="xavier").init(learner, generator("init", 0))
    network = tasks.model(recipe.train.shape, generator("init", 0)).double()
    for name, p in network.named_parameters():
        assert torch.equal(meta[name], p)


@pytest.mark.parametrize("name", registry.task_names())
def test_task_distributions_say_what_they_are(name: str) -> None:
    cls = registry.task_class(name)
    assert cls.name == name
    assert isinstance(cls.metric, Metric)
    assert cls.version >= 1
    assert "normalisation" in cls.__dataclass_fields__
    assert cls.__doc__


@pytest.mark.parametrize("name", registry.setup_names())
def test_setups_name_their_source(name: str) -> None:
    cls = registry.setup_class(name)
    assert any(where in cls.citation for where in ("arXiv", "OpenReview", "doi"))
    assert cls.__doc__
