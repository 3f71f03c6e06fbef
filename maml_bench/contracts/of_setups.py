"""The contracts of a setup of the user's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from maml_bench.contracts.checks import Broken, gradient_is_exact, of, schedules_agree, scores_agree
from maml_bench.contracts.problem import Problem, in_type
from maml_bench.contracts.watching import Watch
from maml_bench.core.outer import meta_gradient, take
from maml_bench.core.setup import Capability
from maml_bench.harness.outputs import refuse_wrong_outputs
from maml_bench.rl.protocol import acts
from maml_bench.trees import leaves
from maml_bench.types import Batch, Episode, Params

STEPS = (0, 1, 3)


def states_are_listed(problem: Problem) -> None:
    """``adapt`` returns a list of one state for each number of steps, and a state is a dict of tensors."""
    setup = problem.setup
    for steps in STEPS:
        for state in _states(problem, steps):
            if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
                raise Broken(
                    f"{of(setup, 'adapt')}: adapt returned a list of {type(state).__name__}, but a state must be a "
                    "dict of tensors by name, such as the parameters of the network"
                )


def nothing_is_drawn(problem: Problem) -> None:
    """``adapt`` and ``predict`` draw nothing from torch's global generator."""
    for name, place in _watched(problem).drawn:
        raise Broken(
            f"{place}: `{name}` draws from torch's global generator, so a task would have another result in another "
            "batch: draw in `init`, from its `generator`, and keep the numbers among the meta-parameters"
        )


def nothing_is_changed(problem: Problem) -> None:
    """``adapt`` and ``predict`` leave the meta-parameters and the support as they are."""
    for name, place in _watched(problem).changed:
        raise Broken(
            f"{place}: `{name}` changes the meta-parameters or the support in place, so the next task would start from "
            "other values: make new tensors, such as `{n: p - 0.1 * grads[n] for n, p in params.items()}`"
        )


def equal_calls_are_equal(problem: Problem) -> None:
    """Two calls of ``adapt`` with equal arguments return equal states."""
    first, second = (leaves(_states(problem, 2)) for _ in range(2))
    if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
        raise Broken(
            f"{of(problem.setup, 'adapt')}: two equal calls of adapt return different states: let it depend on its "
            "arguments alone"
        )


def outputs_have_the_shape_of_targets(problem: Problem) -> None:
    """``predict`` returns one output for each target, or one for each class of it."""
    query = _task(problem).query
    if isinstance(query, Batch):
        state = _states(problem, problem.learner.inner.steps)[-1]
        outputs = problem.setup.predict(problem.learner, problem.meta, state, query.x)
        refuse_wrong_outputs(outputs, query, problem.learner.way, of(problem.setup, "predict"), "predict")


def capabilities_are_true(problem: Problem) -> None:
    """What ``capabilities`` and ``inner_keys`` say of the query, of the rate and of training is what the setup does."""
    _, _, setup, learner, meta, episodes = problem
    place, can = of(setup, "adapt"), setup.capabilities
    if Capability.TRAINS not in can or acts(problem.tasks):
        return
    reference, _ = meta_gradient(setup, learner, meta, episodes)
    query = episodes.query
    if isinstance(query, Batch) and Capability.READS_IN_ORDER not in can:
        other = Episode(episodes.support, query._replace(x=query.x.flip(1) + 0.1))
        reads = _differ(reference, meta_gradient(setup, learner, meta, other)[0])
        if reads and not setup.asks_query():
            raise Broken(f"{place}: training reads the query: add Capability.NEEDS_QUERY to `capabilities`")
        if not reads and setup.asks_query():
            raise Broken(
                f"{place}: training does not read the query: leave Capability.NEEDS_QUERY out of `capabilities`"
            )
    for key, value in (("rate", 2 * learner.inner.rate + 0.01), ("steps", max(1, learner.inner.steps) + 1)):
        reads = _reads(problem, key, value)
        if reads and key not in setup.inner_keys:
            raise Broken(f"{place}: the setup reads inner.{key}: add {key!r} to `inner_keys`")
        if not reads and key in setup.inner_keys:
            raise Broken(
                f"{place}: `inner_keys` has {key!r}, but inner.{key} has no effect: leave it "
                "out, so that the key is refused where it is set"
            )


SETUP: dict[str, Callable[[Problem], None]] = {
    "adapt returns one state for each number of steps": states_are_listed,
    "nothing is drawn from the global generator": nothing_is_drawn,
    "the meta-parameters and the support stay as they are": nothing_is_changed,
    "equal calls give equal states": equal_calls_are_equal,
    "outputs have the shape of the targets": outputs_have_the_shape_of_targets,
    "the schedules loop and vmap agree": schedules_agree,
    "the gradient is finite and agrees with finite differences": gradient_is_exact,
    "capabilities and inner_keys say what the setup does": capabilities_are_true,
    "a task has the same score in every batch": scores_agree,
}
"""The contracts of a setup, in the order in which they are checked."""


def _task(problem: Problem) -> Episode:
    """One task whose labels are its own: of the test, where training examples are labelled by all classes."""
    if Capability.TRAINS_JOINTLY not in problem.setup.capabilities:
        return take(problem.episodes, 0)  # type: ignore[no-any-return]
    drawn = problem.tasks.sample("test", 0, 1, key=0, shape=problem.recipe.train.shape)
    return take(in_type(drawn, next(iter(problem.meta.values())).dtype), 0)  # type: ignore[no-any-return]


def _states(problem: Problem, steps: int) -> list[Params]:
    support = _task(problem).support
    return problem.setup.states(problem.learner, problem.meta, support, steps)


def _watched(problem: Problem) -> Watch:
    """What one call of ``adapt`` and of ``predict`` do on the side. Copies of the tensors are passed in."""
    support, query = _task(problem)
    meta = {name: p.clone() for name, p in problem.meta.items()}
    watch = Watch([*meta.values(), *leaves(support)])
    with torch.random.fork_rng(devices=[]), watch:
        state = problem.setup.states(problem.learner, meta, support, 2)[-1]
        if isinstance(query, Batch) and not acts(problem.tasks):
            problem.setup.predict(problem.learner, meta, state, query.x)
    return watch


def _with_inner(problem: Problem, **values: Any) -> Any:
    """The learner of the problem with other values in the section ``inner``."""
    other = problem.learner.keeping(True)  # type: ignore[arg-type]
    other.inner = replace(problem.learner.inner, **values)
    return other


def _reads(problem: Problem, key: str, value: Any) -> bool:
    """Whether another value of a key of ``inner`` gives another meta-gradient or other states."""
    _, _, setup, learner, meta, episodes = problem
    steps = max(1, learner.inner.steps)
    usual, other = (_with_inner(problem, **{"steps": steps} | change) for change in ({}, {key: value}))
    if _differ(*(meta_gradient(setup, one, meta, episodes)[0] for one in (usual, other))):
        return True
    if key == "steps":  # a test says itself after how many steps it scores
        return False
    support = _task(problem).support
    first, second = (setup.states(one, meta, support, one.inner.steps) for one in (usual, other))
    return _differ(first[-1], second[-1])


def _differ(first: Params, second: Params) -> bool:
    return any(not torch.allclose(first[name], second[name], rtol=1e-9, atol=0.0) for name in first)
