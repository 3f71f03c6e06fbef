"""Averaging in parameter space. Finn, Abbeel & Levine (2017), arXiv:1703.03400, appendix B: one regressor is trained
for each of many tasks, and fine-tuning starts from the mean of their parameters."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.outer import take, tasks_in
from maml_bench.core.setup import RULE_KEYS, Capability, OverTasks, Setup
from maml_bench.declared import AT_ONCE, LARGE, When
from maml_bench.types import Episode, Params

PREFIX = "regressors."


@dataclass(frozen=True)
class MultiTask(Setup):
    """Train a separate network for each of many tasks; at test, take gradient steps from the mean of their parameters.

    Task k of a pool trains regressor k on its support. The gradient of a regressor is that of its own loss, without
    division by their number, plus ``strength`` times its parameters (``l2``) or its difference from the mean of all
    regressors (``mean``). The paper trains them one after the other, so its mean is over the earlier ones; here they
    are trained at the same time. Initial values are those of the network, shuffled within each tensor. The network's
    own parameters are not trained.
    """

    regressors: Annotated[int, Ge(1), AT_ONCE, Doc("Number of training tasks, each with its own network.")] = 500
    regulariser: Annotated[
        Literal["none", "l2", "mean"], Doc("Where the networks are pulled to: nowhere, to zero, or to their mean.")
    ] = "none"
    strength: Annotated[float, Ge(0), LARGE, When("regulariser", ("l2", "mean")), Doc("Strength of that pull.")] = 0.0

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
