"""Evaluation: adapt on the support, score on the query; one number per episode and number of inner steps."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import Mode, Moments, collected, first, fixed
from maml_bench.core.outer import schedule, take, tasks_in
from maml_bench.core.setup import Setup
from maml_bench.errors import MamlBenchError
from maml_bench.trees import tree_map
from maml_bench.types import Episode, Params, Predict, Shape

AT_ONCE_ELEMENTS = 2**20
"""Elements of the inputs in one pass, where each query example is normalised separately."""


class Request(NamedTuple):
    """What is to be scored: the first ``episodes`` tasks of ``split``, drawn by ``key``, after each of ``steps``.

    ``mode`` and ``moments`` are those of `evaluate`.
    """

    split: str
    shape: Shape
    episodes: int
    steps: tuple[int, ...]
    key: int
    mode: Mode = "transductive"
    moments: Sequence[Sequence[Moments]] = ()


def evaluate(
    setup: Setup,
    learner: Learner,
    meta: Params | Sequence[Params],
    episodes: Episode,
    steps: Sequence[int],
    *,
    schedule_name: str = "vmap",
    chunk: int | None = None,
    mode: Mode = "transductive",
    moments: Sequence[Sequence[Moments]] = (),
) -> Tensor:
    """Scores ``[B, len(steps)]`` of B tasks after each number of inner steps in ``steps``.

    One run of ``max(steps)`` inner steps gives the states after all of these numbers, and only these are kept in
    memory. A setup whose state does not depend on steps has the same score at each.

    Args:
        meta: meta-parameters, or those of several models: then the mean of their outputs is scored. For classes these
            are the logits, as in the released code of MAML++ (experiment_builder.py of
            AntreasAntoniou/HowToTrainYourMAMLPytorch, which averages before any softmax).
        schedule_name: a key of outer.SCHEDULES.
        chunk: tasks evaluated at once (default: all).
        mode: how the query is normalised. All modes except ``transductive`` need the plain network and inputs x.
        moments: only for ``running``: the `population` statistics of each model for each of ``steps``.
    """
    models = [meta] if isinstance(meta, dict) else list(meta)
    given = moments or [()] * len(models)

    def scores(episode: Episode) -> Tensor:
        found = [
            predictors(setup, learner, model, episode.support, steps, mode, own)
            for model, own in zip(models, given, strict=True)
        ]
        batches = [asked(episode.query, k) for k in steps]
        together = [_together(predict) for predict in zip(*found, strict=True)]
        return torch.stack([learner.score(predict, batch) for predict, batch in zip(together, batches, strict=True)])

    with torch.no_grad():
        return torch.cat(_over_chunks(scores, episodes, schedule_name, chunk))


def population(
    setup: Setup,
    learner: Learner,
    meta: Params,
    supports: Any,
    steps: Sequence[int],
    *,
    schedule_name: str = "vmap",
    chunk: int | None = None,
) -> list[Moments]:
    """The statistics that running averages of batch statistics converge to, for each number of ``steps``.

    For every normalising layer, they are the mean over tasks of the mean and of the biased variance of the support
    batch in the network that was adapted to it. ``supports`` is the support of many tasks.
    """

    def moments(support: Any) -> list[Moments]:
        found = []
        for predict in predictors(setup, learner, meta, support, steps):
            with collected() as seen:
                predict(support.x)
            found.append(seen)
        return found

    with torch.no_grad():
        parts = _over_chunks(moments, supports, schedule_name, chunk)
    return tree_map(lambda *tasks: torch.cat(tasks).mean(0), *parts)  # type: ignore[no-any-return]


def predictors(
    setup: Setup,
    learner: Learner,
    meta: Params,
    support: Any,
    steps: Sequence[int],
    mode: Mode = "transductive",
    moments: Sequence[Moments] = (),
) -> list[Predict]:
    """What answers the queries of one task after each number of inner steps in ``steps`` on ``support``.

    Under the modes ``support`` and ``one by one`` the answer to an input does not depend on the inputs beside it.
    """
    if mode == "running":
        return [_running(setup, learner, meta, support, k, m) for k, m in zip(steps, moments, strict=True)]
    states = setup.states(learner.keeping(steps), meta, support, max(steps))
    plain = [partial(setup.predict, learner, meta, states[min(k, len(states) - 1)]) for k in steps]
    if mode == "transductive":
        return list(plain)
    rule = _by_support if mode == "support" else _one_by_one
    return [rule(predict, support.x) for predict in plain]


def answer(
    setup: Setup,
    learner: Learner,
    meta: Params,
    support: Any,
    x: Tensor,
    steps: Sequence[int],
    *,
    draw: bool = False,
) -> dict[int, Tensor]:
    """Outputs of one task on inputs ``x [examples, ...]`` after each number of inner steps on ``support``.

    With ``draw``, ``x`` is noise, and new examples are drawn from it instead (Setup.draw).
    """
    with torch.no_grad():
        states = setup.states(learner.keeping(steps), meta, support, max(steps))
        answers = setup.draw if draw else setup.predict
        return {k: answers(learner, meta, states[min(k, len(states) - 1)], x) for k in steps}


def asked(query: Any, steps: int) -> Any:
    """The batch that is scored after that many inner steps, see types.Episode.

    Raises:
        MamlBenchError: there is none after so many.
    """
    if not isinstance(query, list):
        return query
    refuse_unshown(steps, len(query))
    return query[steps]


def refuse_unshown(steps: int, shown: int) -> None:
    """Raise MamlBenchError where a class of a stream, which is ``shown`` so many times, is never seen after ``steps``
    earlier times."""
    if steps >= shown:
        raise MamlBenchError(
            f"there is no score after {steps} inner steps: a class is shown {shown} times, so it was shown at most "
            f"{shown - 1} times before"
        )


def _over_chunks(function: Callable[[Any], Any], tasks: Any, schedule_name: str, chunk: int | None) -> list[Any]:
    """The results of ``function`` for every task, stacked in parts of ``chunk`` tasks."""
    size = chunk or tasks_in(tasks)
    over_tasks = schedule(schedule_name)
    return [over_tasks(function, take(tasks, slice(at, at + size))) for at in range(0, tasks_in(tasks), size)]


def _running(setup: Setup, learner: Learner, meta: Params, support: Any, steps: int, moments: Moments) -> Predict:
    """The network in evaluation mode: fixed statistics normalise every batch, also the support in the inner loop."""
    with fixed(moments):
        state = setup.states(learner.keeping((steps,)), meta, support, steps)[-1]

    def predict(x: Tensor) -> Tensor:
        with fixed(moments):
            return setup.predict(learner, meta, state, x)

    return predict


def _by_support(predict: Predict, support: Tensor) -> Predict:
    def by_support(x: Tensor) -> Tensor:
        with first(len(support)):
            return predict(torch.cat([support, x]))[len(support) :]

    return by_support


def _one_by_one(predict: Predict, support: Tensor) -> Predict:
    size = max(1, AT_ONCE_ELEMENTS // (support.numel() + support[0].numel()))

    def last(one: Tensor) -> Tensor:
        return predict(torch.cat([support, one.unsqueeze(0)]))[-1]

    def one_by_one(x: Tensor) -> Tensor:
        return torch.vmap(last, randomness="different", chunk_size=size)(x)

    return one_by_one


def _together(predictors: Sequence[Predict]) -> Predict:
    """A predictor whose outputs are the mean of those of several models."""
    if len(predictors) == 1:
        return predictors[0]
    return lambda x: torch.stack([predict(x) for predict in predictors]).mean(0)
