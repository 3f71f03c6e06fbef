"""The contracts that every setup keeps on every family of tasks. Each check raises `Broken` where one is not kept."""

from dataclasses import replace
from typing import Any

import torch

from maml_bench import own_code
from maml_bench.contracts.problem import Problem, in_type
from maml_bench.core.evaluate import evaluate
from maml_bench.core.outer import meta_gradient, tasks_in
from maml_bench.core.setup import Capability
from maml_bench.errors import MamlBenchError
from maml_bench.harness.seeding import generator
from maml_bench.types import Params

ROUNDING = 1e-12
"""A difference of two losses in float64 is not known more exactly."""
STEP = 1e-9
"""The length of a step for finite differences: hardly one of millions of ReLUs and maxima changes sides on the way,
where an inner gradient jumps."""
INEXACT = ("FOMAML", "MetaLSTM")
"""Setups whose gradient is of first order by definition, so that finite differences do not agree with it."""


class Broken(MamlBenchError):
    """A contract that code does not keep."""


class Unchecked(MamlBenchError):
    """Why a contract says nothing of this code."""


def schedules_agree(problem: Problem, tolerance: float = 1e-10) -> None:
    """The meta-gradient of tasks one by one is that of all tasks at once, up to ``tolerance`` of its largest entry.

    SGD inside Reptile: Adam makes whole steps of the rounding noise in biases that batch-norm cancels.
    """
    _, _, setup, learner, meta, episodes = problem
    if hasattr(setup, "inner_optimiser"):
        setup = replace(setup, inner_optimiser="sgd")  # type: ignore[call-arg]
    reference, _ = meta_gradient(setup, learner, meta, episodes, schedule_name="loop")
    grads, losses = meta_gradient(setup, learner, meta, episodes, schedule_name="vmap")
    where = of(setup, "gradient")
    if list(reference) != list(meta):  # in the same order in every process, or sums are rounded differently
        raise Broken(
            f"{where}: the gradient has the names {list(reference)}, but must have those of the meta-parameters"
        )
    if losses.shape != (tasks_in(episodes),):  # a batch that mixes its tasks is one
        raise Broken(f"{where}: the losses have the shape {list(losses.shape)}, but must be one for each task")
    scale = _largest(reference)
    if scale == 0 and Capability.TRAINS in setup.capabilities:
        raise Broken(
            f"{where}: the meta-gradient is zero, so training changes nothing: let the outer loss depend on the "
            "meta-parameters, without `detach` on the way, or leave Capability.TRAINS out"
        )
    if not max(float((grads[n] - reference[n]).abs().max()) for n in grads) <= tolerance * scale:
        raise Broken(
            f"{where}: the meta-gradient of the tasks one by one differs from that of all tasks at once: let `adapt`, "
            "`predict` and `loss` depend on their arguments alone"
        )


def gradient_is_exact(problem: Problem) -> None:
    """A small step against the gradient lowers the loss that it belongs to by as much as the gradient says.

    It is for exact gradients. Of a displacement (Reptile) and of first-order ones, only that they are finite.
    """
    _, _, setup, learner, meta, episodes = problem
    noise = generator("noise", 0)  # where training starts, maxima over white patches of a photograph can be ties
    meta = {n: p + 1e-3 * torch.randn(p.shape, generator=noise, dtype=p.dtype) for n, p in meta.items()}
    grads, losses = meta_gradient(setup, learner, meta, episodes)
    if not all(bool(g.isfinite().all()) for g in grads.values()):
        raise Broken(f"{of(setup, 'gradient')}: the meta-gradient is not finite at the start of training")
    inexact = "gradient" in type(setup).__dict__ or type(setup).__name__ in INEXACT
    if inexact or Capability.TRAINS not in setup.capabilities:
        return
    length = sum(float((g**2).sum()) for g in grads.values()) ** 0.5
    moved = {name: p - STEP / length * grads[name] for name, p in meta.items()}
    _, after = meta_gradient(setup, learner, moved, episodes)
    found, expected = float(losses.mean() - after.mean()), STEP * length
    if not abs(found - expected) <= max(1e-2 * expected, ROUNDING):
        raise Broken(
            f"{of(setup, 'gradient')}: a step of length {STEP:g} against the meta-gradient lowers the outer loss by "
            f"{found:.4g}, but the gradient says {expected:.4g}: keep the derivative of every step of `adapt` (no "
            "`detach`, no `torch.no_grad`), or define `gradient` where it is meant to be another one"
        )


def scores_agree(problem: Problem) -> None:
    """Evaluation gives one finite score for each task and number of steps, and a task has it in any batch."""
    recipe, tasks, setup, learner, meta, _ = problem
    test = recipe.test[0]
    dtype = next(iter(meta.values())).dtype if meta else torch.float64
    episodes = in_type(tasks.sample("test", 0, 3, key=0, shape=test.shape), dtype)
    learner = learner.with_way(test.way)
    together = evaluate(setup, learner, meta, episodes, test.inner_steps)
    if together.shape != (3, len(test.inner_steps)):
        raise Broken(f"{of(tasks, 'score')}: score has more than one number for a task, but must return a scalar")
    if not bool(together.isfinite().all()):
        raise Broken(f"{of(setup, 'predict')}: a score is not finite before any training")
    one_by_one = evaluate(setup, learner, meta, episodes, test.inner_steps, schedule_name="loop", chunk=1)
    if not torch.allclose(together, one_by_one, rtol=1e-6 if dtype == torch.float64 else 1e-3, atol=1e-8):
        raise Broken(f"{of(setup, 'predict')}: a task has another score in a batch of tasks than alone")


def starts_alike(problem: Problem) -> None:
    """The network of a seed starts from the same values for every setup."""
    recipe, tasks, setup, learner, meta, _ = problem
    if getattr(setup, "start", "") == "he":  # relation networks start as their released code does
        meta = replace(setup, start="xavier").init(learner, generator("init", 0))  # type: ignore[call-arg]
    network = tasks.model(recipe.train.shape, generator("init", 0)).double()
    for name, p in network.named_parameters():
        if not torch.equal(meta[name], p):
            raise Broken(f"{of(setup, 'init')}: the parameter {name!r} does not start from the network's own values")


def of(thing: Any, method: str) -> str:
    """Where a method of a user's class stands, or where it has none of its own, what it must have instead."""
    cls = type(thing)
    own = [name for name in (method, "adapt", "sample") if name in vars(cls)]
    return own_code.place_of(getattr(cls, own[0])) if own else own_code.place_of(cls)


def _largest(tree: Params) -> float:
    return max(float(g.abs().max()) for g in tree.values())
