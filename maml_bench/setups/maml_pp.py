"""MAML++. Antoniou, Edwards & Storkey (2019), "How to Train Your MAML", ICLR, arXiv:1810.09502, section 4; where the
paper is silent, few_shot_learning_system.py of AntreasAntoniou/HowToTrainYourMAMLPytorch."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.inner import SGD, steps_kept
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.setup import Setup
from maml_bench.declared import COUNT, When
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class MAMLPlusPlus(Setup):
    """MAML is extended by a loss after every inner step, learned inner rates and a normalisation for every step.

    In the first ``multi_step_epochs`` epochs of ``epoch`` meta-steps, the outer loss is a weighted mean of the query
    losses after each inner step. The weights move from equal ones to almost all on the last step. After these epochs
    only the loss after the last step counts. With ``learn_rates`` each parameter tensor has a meta-learned rate for
    each step. With ``per_step_norm`` the parameters that the recipe keeps outside of the inner loop (scale and offset
    of the normalisation) have a value for each step; the network's own value is that of the first step. At test, steps
    beyond those of training use the last rate and value. All derivatives are exact from the start.
    """

    multi_step_epochs: Annotated[int, Ge(0), COUNT, Doc("Epochs with a loss after every inner step, 0 for none.")] = 10
    epoch: Annotated[int, Ge(1), COUNT, When("multi_step_epochs"), Doc("Meta-steps in an epoch.")] = 500
    learn_rates: Annotated[bool, Doc("Whether a separate inner rate is meta-learned for every tensor and step.")] = True
    per_step_norm: Annotated[bool, Doc("Whether parameters outside the inner loop have a value for every step.")] = True

    citation: ClassVar[str] = "Antoniou et al. 2019, arXiv:1810.09502"

    def unread(self, inner: Inner, *, acting: bool) -> dict[str, str]:
        if inner.steps < 2:
            keys = ("multi_step_epochs", "epoch", "per_step_norm")
            return dict.fromkeys(keys, "it is read where inner.steps is at least 2")
        return {} if inner.outside else {"per_step_norm": "it is read where inner.outside names parameters"}

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        theta, steps = learner.initial(), max(learner.inner.steps, 1)
        more = {}
        for name, p in theta.items():
            if learner.moves(name) and self.learn_rates:
                more[f"rate.{name}"] = p.new_full((steps,), learner.inner.rate)
            if steps > 1 and not learner.moves(name) and self.per_step_norm:
                more[f"later.{name}"] = p.expand(steps - 1, *p.shape).clone()
        return theta | more

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        state = {name: meta[name] for name in learner.names}
        kept = steps_kept(learner.kept, steps)
        path = [state if 0 in kept else {}]
        for step in range(steps):
            here = state | (_row(meta, "later.", step - 1) if step else {})
            rates = _row(meta, "rate.", step) if self.learn_rates else learner.inner.rate
            state = learner.adapt(here, support, SGD(rates), 1)[-1]
            path.append(state if step + 1 in kept else {})
        return path

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        if learner.inner.steps < 2 or not self.multi_step_epochs:
            return super().loss(learner, meta, episode)
        states = self.adapt(learner, meta, episode.support, learner.inner.steps)[1:]
        losses = torch.stack([learner.batch_loss(state, episode.query) for state in states])
        return (self.weights(learner.number, len(states)).to(losses.device, losses.dtype) * losses).sum()

    def weights(self, number: int | Tensor, steps: int) -> Tensor:
        """Weights ``[steps]`` of the losses after each inner step at meta-step ``number``; they sum to one."""
        epoch = torch.floor(torch.as_tensor(number, dtype=torch.float64) / self.epoch)
        early = torch.clamp(1 - epoch / self.multi_step_epochs, min=0.03) / steps
        early = torch.where(epoch < self.multi_step_epochs, early, torch.zeros_like(early))
        return torch.stack([*[early] * (steps - 1), 1 - (steps - 1) * early])


def _row(meta: Params, kind: str, index: int) -> Params:
    """Entry ``index`` of each stack of that kind, or the last entry where the stack is shorter."""
    stacks = {name.removeprefix(kind): stack for name, stack in meta.items() if name.startswith(kind)}
    return {name: stack[min(index, len(stack) - 1)] for name, stack in stacks.items()}
