"""One meta-step as a whole, meta-gradient and outer optimiser, and one evaluation batch, under any schedule.

``loop`` and ``vmap`` run operation by operation. ``traced`` records the whole once as a flat program, with the
convolution blocks of the network on kernels of our own; on a GPU the program is one CUDA graph. ``compiled`` takes the
same recording through torch.compile (not yet run on a GPU).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from maml_bench.core import outer
from maml_bench.core.evaluate import evaluate, population
from maml_bench.core.inner import SGD, Adam, Update
from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import Mode, Moments, refuse_unknowing
from maml_bench.core.setup import Setup
from maml_bench.engine.kernels.build import NoCompiler, refuse_without_compiler
from maml_bench.engine.kernels.differentiable import innermost
from maml_bench.engine.recording import Recorded
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.rl.actor import Actor
from maml_bench.rl.trust_region import Trust, TrustRegion
from maml_bench.types import Episode, Params

RECORDED = ("traced", "compiled")
SCHEDULES = (*outer.SCHEDULES, *RECORDED)
TRUST_REGION = "trpo"
RULES: dict[str, Callable[[Any], Update]] = {"adam": Adam, "sgd": SGD}


def refuse_unknown(schedule: str) -> None:
    """Raises MamlBenchError where there is no schedule of that name."""
    if schedule not in SCHEDULES:
        raise MamlBenchError(f"no schedule {schedule!r}{nearest(schedule, SCHEDULES)}")


class MetaStep:
    """The outer loop's body as a function: ``step(meta, state, episodes, number, rate) -> (meta, state, losses)``.

    Args:
        setup: the method.
        learner: network and loss.
        optimiser: a key of RULES, the outer optimiser, or ``trpo`` with the settings ``trust``.
        clip: bound of each entry of the meta-gradient, 0 for none.
        schedule: one of SCHEDULES.
        chunk: tasks differentiated at once, for less memory; None for all.
        device: where the tensors will be.
        repeats: steps of the outer optimiser on the same episodes.

    Attributes:
        words: how the network runs under this schedule, for the record.

    Raises:
        MamlBenchError: no such schedule.
        NoCompiler: ``compiled`` on a CPU, where the machine has no C++ compiler.
    """

    def __init__(
        self,
        setup: Setup,
        learner: Learner,
        *,
        optimiser: str = "adam",
        clip: float = 0.0,
        schedule: str = "vmap",
        chunk: int | None = None,
        device: str = "cpu",
        trust: Trust | None = None,
        repeats: int = 1,
    ) -> None:
        refuse_unknown(schedule)
        self._setup, self._rule, self._clip = setup, RULES.get(optimiser, SGD), clip
        self._chunk, self.schedule, self._repeats, self._device = chunk, schedule, repeats, device
        self._mapping = "vmap" if schedule in RECORDED else schedule
        self._plain = learner
        self._learner, self.words = _for(learner, schedule, device)
        self._recorded = Recorded(self._step, compile=schedule == "compiled") if schedule in RECORDED else None
        self._gradient: Recorded | None = None
        self._trust: TrustRegion | None = None
        if optimiser == TRUST_REGION:
            self._trust = self._trust_region(trust or Trust())
        self._acting: dict[str, Callable[..., Any]] = {}
        self._scores: dict[tuple[int, tuple[int, ...]], Recorded] = {}

    def init(self, meta: Params) -> Any:
        """The outer optimiser's state before the first step."""
        return self._rule(0.0).init(self._laid_out(meta))

    def __call__(
        self, meta: Params, state: Any, episodes: Episode, number: int, rate: float
    ) -> tuple[Params, Any, Tensor]:
        """Meta-parameters and state after meta-step ``number`` (from 0) at ``rate``, and the outer losses ``[B]``."""
        if self._trust is not None:
            meta, losses = self._trust(meta, episodes)
            return meta, state, losses
        if self._recorded is None:
            with torch.no_grad():
                return self._step(meta, state, episodes, number, rate)
        scalars = torch.tensor((number, rate), dtype=torch.float64, device=next(iter(meta.values())).device)
        return self._recorded(self._laid_out(meta), state, episodes, scalars[0], scalars[1])  # type: ignore[no-any-return]

    def scores(
        self,
        meta: Params | Sequence[Params],
        episodes: Episode,
        steps: Sequence[int],
        way: int | None = None,
        *,
        mode: Mode = "transductive",
        moments: Sequence[Sequence[Moments]] = (),
    ) -> Tensor:
        """As ``evaluate``, ``[B, len(steps)]``; recorded too, but never compiled, since it runs a few times only.

        ``way`` is the number of classes of these tasks, where it is not that of training. Modes other than
        ``transductive`` run operation by operation on the plain network, whose layers ask for the statistics.

        Raises:
            MamlBenchError: a layer of the network does not know the statistics that ``mode`` needs.
        """
        if mode != "transductive":
            refuse_unknowing(self._plain.model, mode)
            plain, how = self._plain.facing(way or self._plain.way), self._mapping
            return evaluate(self._setup, plain, meta, episodes, steps, schedule_name=how, mode=mode, moments=moments)
        learner = self._learner.facing(way or self._learner.way)
        wanted = (learner.way, tuple(steps))

        def run(models: tuple[Params, ...], episodes: Episode) -> Tensor:
            return evaluate(self._setup, learner, models, episodes, wanted[1], schedule_name=self._mapping)

        models = (meta,) if isinstance(meta, dict) else tuple(meta)
        if self._recorded is None:
            return run(models, episodes)
        laid_out = tuple(self._laid_out(model) for model in models)
        return self._scores.setdefault(wanted, Recorded(run))(laid_out, episodes)  # type: ignore[no-any-return]

    def population(
        self, meta: Params, supports: Any, steps: Sequence[int], way: int | None = None, *, chunk: int | None = None
    ) -> list[Moments]:
        """As ``evaluate.population``, for the mode ``running`` of ``scores``."""
        plain, how = self._plain.facing(way or self._plain.way), self._mapping
        return population(self._setup, plain, meta, supports, steps, schedule_name=how, chunk=chunk)

    def gradient(self, meta: Params, episodes: Episode, number: int = 0) -> tuple[Params, Tensor]:
        """The meta-gradient of meta-step ``number`` alone, before clipping, and the outer losses ``[B]``."""
        if self._recorded is None:
            return self._meta_gradient(meta, episodes, number)
        if self._gradient is None:
            self._gradient = Recorded(self._meta_gradient, compile=self.schedule == "compiled")
        at = torch.tensor(number, dtype=torch.float64, device=next(iter(meta.values())).device)
        return self._gradient(self._laid_out(meta), episodes, at)  # type: ignore[no-any-return]

    def actor(self, meta: Params, measure: Callable[[str], AbstractContextManager[None]]) -> Actor:
        """Who acts with ``meta`` while episodes are drawn whose data depend on it."""
        setup, learner, over_tasks = self._setup, self._learner, outer.schedule(self._mapping)

        def adapt(meta: Params, path: list[Any]) -> Params:
            return over_tasks(lambda path: setup.adapt(learner, meta, path, len(path))[-1], path)  # type: ignore[no-any-return]

        def answer(meta: Params, states: Params, x: Tensor) -> Tensor:
            return over_tasks(lambda task: setup.predict(learner, meta, *task), (states, x))  # type: ignore[no-any-return]

        def shared(meta: Params, x: Tensor) -> Tensor:
            return setup.predict(learner, meta, setup.adapt(learner, meta, [], 0)[0], x)

        if not self._acting:
            plain = torch.no_grad()
            kept = Recorded if self.schedule in RECORDED else plain
            once = plain if learner.geometry.varies else kept  # a recording is good for one length
            self._acting = {"adapt": once(adapt), "answer": kept(answer), "shared": kept(shared)}
        return Actor(meta, **self._acting, steps=learner.inner.steps, measure=measure)

    def _trust_region(self, trust: Trust) -> TrustRegion:
        if self._learner.geometry is None:
            raise MamlBenchError("the outer optimiser 'trpo' needs tasks in which somebody acts; take 'adam' or 'sgd'")
        if self._chunk:
            raise MamlBenchError("the outer optimiser 'trpo' takes all tasks at once: leave --chunk out")
        over_tasks, plain = outer.schedule(self._mapping), self.schedule == "loop"
        if self._mapping == "vmap" and self._device == "cpu":
            over_tasks = outer.in_parts
        return TrustRegion(self._setup, self._learner, self._learner.geometry, trust, over_tasks, plain=plain)

    def _meta_gradient(self, meta: Params, episodes: Episode, number: Any) -> tuple[Params, Tensor]:
        learner = self._learner.at(number)
        return outer.meta_gradient(self._setup, learner, meta, episodes, schedule_name=self._mapping, chunk=self._chunk)

    def _laid_out(self, meta: Params) -> Params:
        return innermost(meta) if self._learner.network is not self._learner.model else meta

    def _step(self, meta: Params, state: Any, episodes: Episode, number: Any, rate: Any) -> tuple[Params, Any, Tensor]:
        before: list[Tensor] = []
        for turn in range(self._repeats):
            grads, losses = self._meta_gradient(meta, episodes, number)
            before.append(losses)
            if self._clip:
                grads = {name: g.clamp(-self._clip, self._clip) for name, g in grads.items()}
            meta, state = self._rule(rate)(number * self._repeats + turn, meta, grads, state)
        return meta, state, before[0]


def _for(learner: Learner, schedule: str, device: str) -> tuple[Learner, str]:
    """The learner as ``schedule`` runs it on ``device``, and in words what that is."""
    if schedule not in RECORDED:
        return learner, "torch operators"
    if schedule == "compiled" and device == "cpu":
        refuse_without_compiler()
    try:
        return learner.with_kernels(device)
    except NoCompiler:
        missing = "C++ compiler" if device == "cpu" else "Triton"
        return learner, f"torch operators (no {missing} for the kernels)"
