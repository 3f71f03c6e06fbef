"""The meta-learner LSTM. Ravi & Larochelle (2017), "Optimization as a Model for Few-Shot Learning", ICLR, OpenReview
rJY0-Kcll, sections 3 and 4; where the paper is silent, model/lstm of twitter-research/meta-learning-lstm."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Gt
from torch import Generator, Tensor

from maml_bench.core.inner import Update
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Setup
from maml_bench.declared import AT_ONCE, LARGE, WIDTH
from maml_bench.setups._shared.classifier import in_turn
from maml_bench.setups._shared.lstm import lstm, lstm_step
from maml_bench.setups._shared.own_parameters import beside
from maml_bench.types import Params


@dataclass(frozen=True)
class MetaLSTM(Setup):
    """The inner loop is a recurrent network, which is learned together with the initial parameters.

    The parameters of the task's network are the cell of an LSTM, and its gates are a forget rate and a learning rate
    for each of them. The gates depend on the loss, on the gradient, on the parameter and on their own last values. An
    LSTM of ``units`` units reads the loss and the gradient before them. It has the same weights for every parameter and
    a state for each. All of this is the update rule of the inner loop.

    A step takes the next ``batch`` examples of the support; after the last follows the first again. With
    ``first_order`` the gradients of the inner loop are constants of the outer derivative, as in the paper.
    """

    units: Annotated[int, Ge(1), WIDTH, Doc("Units of the LSTM that reads the loss and the gradient.")] = 20
    batch: Annotated[int, Ge(1), AT_ONCE, Doc("Support examples in each inner step.")] = 5
    scale: Annotated[
        float, Gt(0), LARGE, Doc("Logarithms of losses and gradients are divided by it, p in the paper.")
    ] = 10.0
    first_order: Annotated[bool, Doc("Whether second derivatives are dropped, as in the paper.")] = True

    citation: ClassVar[str] = "Ravi & Larochelle 2017, OpenReview rJY0-Kcll"
    inner_keys: ClassVar[frozenset[str]] = frozenset({"steps", "reduction", "outside"})

    def init(self, learner: Learner, generator: Generator) -> Params:
        """As in the code: small weights, and gates that start near plain gradient descent with a small rate."""

        def drawn(low: float, high: float) -> Callable[[Tensor], Tensor]:
            return lambda like: low + (high - low) * torch.rand(like.shape, generator=generator)

        own = {name: drawn(-0.01, 0.01)(p) for name, p in lstm("reader", 4, self.units, self.units, generator).items()}
        for gate, low in (("forget", 4.0), ("enter", -5.0)):
            own[f"{gate}.weight"] = drawn(-0.01, 0.01)(torch.empty(self.units + 2))
            own[f"{gate}.bias"] = drawn(low, low + 1)(torch.empty(()))
        return beside(learner.initial(), "meta_lstm", own)

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        batches = support if len(support.y) <= self.batch else in_turn(support, self.batch)
        own = {name.removeprefix("meta_lstm."): p for name, p in meta.items() if name.startswith("meta_lstm.")}
        return learner.adapt(meta, batches, Learned(own, self.scale), steps, first_order=self.first_order)


@dataclass(frozen=True)
class Learned:
    """The learned update rule (equations 2 to 4 of the paper). ``own`` are its parameters, and ``loss`` is that of the
    parameters before the step."""

    own: Params
    scale: float
    loss: Tensor | None = None

    def given(self, loss: Tensor) -> Update:
        return replace(self, loss=loss)

    def init(self, params: Params) -> Params:
        """The states of the two LSTMs: of the reader, and the gates before their sigmoid."""
        count, units = sum(p.numel() for p in params.values()), self.own["reader.hidden"].shape[1]
        like = next(iter(params.values()))
        shapes = {"hidden": (count, units), "cell": (count, units), "forget": (count,), "enter": (count,)}
        return {name: like.new_zeros(shape) for name, shape in shapes.items()}

    def __call__(self, step: int | Tensor, params: Params, grads: Params, state: Params) -> tuple[Params, Params]:
        assert self.loss is not None
        theta, gradient = (torch.cat([t.flatten() for t in tree.values()]) for tree in (params, grads))
        of_loss = [part.expand_as(gradient) for part in preprocessed(self.loss, self.scale)]
        seen = torch.stack([*of_loss, *preprocessed(gradient, self.scale)], dim=-1)
        drive = F.linear(seen, self.own["reader.input"], self.own["reader.bias"])
        hidden, cell = lstm_step(drive, state["hidden"], state["cell"], self.own["reader.hidden"])
        gates = {}
        for gate in ("forget", "enter"):
            inputs = torch.cat([hidden, theta.unsqueeze(-1), state[gate].unsqueeze(-1)], dim=-1)
            gates[gate] = inputs @ self.own[f"{gate}.weight"] + self.own[f"{gate}.bias"]
        moved = gates["forget"].sigmoid() * theta - gates["enter"].sigmoid() * gradient
        parts = torch.split(moved, [p.numel() for p in params.values()])
        named = {name: part.reshape(p.shape) for (name, p), part in zip(params.items(), parts, strict=True)}
        return named, {"hidden": hidden, "cell": cell, **gates}


def preprocessed(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Two numbers for each entry (Andrychowicz et al. 2016, arXiv:1606.04474, appendix A): the logarithm of its size
    divided by ``scale`` and its sign, or -1 and the entry times exp(``scale``) where that is below 1."""
    size = x.abs()
    large = size > math.exp(-scale)
    return size.clamp(min=math.exp(-scale)).log() / scale, torch.where(large, x.sign(), x * math.exp(scale))
