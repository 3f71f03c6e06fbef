"""Averaging in parameter space. Finn, Abbeel & Levine (2017), arXiv:1703.03400, appendix B: one regressor for each of
many tasks, and fine-tuning from the mean of their parameters."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.outer import take, tasks_in
from maml_bench.core.setup import RULE_KEYS, Capability, OverTasks, Setup
from maml_bench.declared import When
from maml_bench.types import Episode, Params

PREFIX = "regressors."


@dataclass(frozen=True)
class MultiTask(Setup):
    """Task k of a pool trains regressor k on its support alone, and at test their mean is adapted.

    The gradient of a regressor is that of its own loss, whatever their number, plus ``strength`` times its parameters
    (``l2``) or their distance from the mean of all (``mean``). The paper trains them one after the other, so that its
    mean is that of those before; here they go side by side. Their initial values are the network's, shuffled within
    each tensor. The network's own parameters stay as they are.
    """

    regressors: Annotated[int, Ge(1), Doc("Training tasks, each with a network of its own.")] = 500
    regulariser: Annotated[
        Literal["none", "l2", "mean"], Doc("What the networks are pulled to: nothing, zero, or their mean.")
    ] = "none"
    strength: Annotated[float, Ge(0), When("regulariser", ("l2", "mean")), Doc("Strength of that pull.")] = 0.0

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, appendix B"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.TRAINS, Capability.NEEDS_POOL})
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS - {"steps"}

    @property
    def pool(self) -> int:
        return self.regressors

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        theta = learner.initial()
        many = {}
        for name, p in theta.items():
            order = torch.rand(self.regressors, p.numel(), generator=generator).argsort(dim=1).to(p.device)
            many[PREFIX + name] = p.flatten()[order].reshape(self.regressors, *p.shape)
        return theta | many

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        mean = {name: meta[PREFIX + name].mean(0) for name in learner.names}
        return learner.adapt(mean, support, learner.inner.rule(), steps)

    def gradient(
        self, learner: Learner, meta: Params, episodes: Episode, over_tasks: OverTasks
    ) -> tuple[Params, Tensor]:
        count = tasks_in(episodes)
        all_of_them = {name: meta[PREFIX + name] for name in sorted(learner.names)}
        own = torch.func.grad_and_value(learner.batch_loss)
        with torch.no_grad():
            grads, losses = over_tasks(lambda task: own(*task), (take(all_of_them, slice(count)), episodes.support))
            found = {name: torch.zeros_like(p) for name, p in meta.items()}
            for name, p in all_of_them.items():
                pull = p - p.mean(0) if self.regulariser == "mean" else p
                idle = torch.zeros_like(p[count:])
                found[PREFIX + name] = torch.cat([grads[name], idle])
                if self.regulariser != "none":
                    found[PREFIX + name] = found[PREFIX + name] + self.strength * pull
        return found, losses
