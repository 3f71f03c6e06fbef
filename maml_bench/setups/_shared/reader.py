"""The common part of the setups that read the examples of a task one by one, each with the label of the one before it.

Santoro et al. (2016), "One-shot Learning with Memory-Augmented Neural Networks", arXiv:1605.06065, section 2.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.core.evaluate import refuse_unshown
from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, OverTasks, Setup
from maml_bench.declared import WIDTH
from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared.class_statistics import one_hot
from maml_bench.setups._shared.lstm import lstm
from maml_bench.setups._shared.own_parameters import beside, uniform
from maml_bench.trees import tree_map
from maml_bench.types import Batch, Episode, Params, Stream


@dataclass(frozen=True)
class Reader(Setup):
    """Base of these setups: a recurrent controller reads a sequence of images and predicts the label of each.

    At each time step the controller is given an image (shrunk to ``size`` x ``size`` and flattened) and the label of
    the image before it. It predicts the label of the image, which it is shown in the next step. The state of a task is
    the state of the network after the support; each query is separately the next image. The outer loss is the mean
    over all predictions of support and query together, which training shows in random order. The network of the tasks
    is not used.

    All tensors of a state have a leading axis, which counts sequences: 1 in ``adapt``, the queries in ``predict``, and
    the tasks of a meta-batch in training.
    """

    channels: Annotated[int, Ge(1), WIDTH, Doc("Channels of the images.")] = 1
    size: Annotated[int, Ge(1), WIDTH, Doc("Side of the images that the controller is given, in pixels.")] = 20
    units: Annotated[int, Ge(1), WIDTH, Doc("Units of the controller.")] = 200

    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {
        Capability.OWN_NETWORK,
        Capability.CLASSIFIES,
        Capability.READS_IN_ORDER,
    }
    inner_keys: ClassVar[frozenset[str]] = frozenset()
    own: ClassVar[str]
    """What the names of its own parameters start with."""

    @property
    @abstractmethod
    def fed_back(self) -> int:
        """Length of ``back``, the part of the state that the next step is given and the label is predicted from."""

    @abstractmethod
    def start(self, count: int, like: Tensor) -> Params:
        """The state of ``count`` sequences before their first image."""

    @abstractmethod
    def step(self, meta: Params, state: Params, drive: Tensor) -> Params:
        """The state after one time step, in which ``drive [sequences, 4 * units]`` (see `lstm_step`) comes in."""

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        inputs = self.channels * self.size**2 + learner.way
        parameters = lstm("controller", inputs, self.fed_back, self.units, generator) | {
            "answer.weight": uniform(learner.way, self.fed_back, generator=generator),
            "answer.bias": torch.zeros(learner.way),
        }
        return beside(learner.initial(), self.own, parameters)

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        states, before = self.read(meta, Batch(support.x.unsqueeze(0), support.y.unsqueeze(0)))
        if not isinstance(support, Stream):
            return [states[-1] | {"label": before[:, -1]}]
        refuse_unshown(steps, len(support.places))
        whole = {name: torch.cat([state[name] for state in states]) for name in states[0]} | {"label": before[0]}
        return [{name: t[at] for name, t in whole.items()} for at in support.places[: steps + 1].unbind()]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """Logits ``[examples, way]``; each input is separately the next one after the support."""
        drive = self._drive(meta, x, state["label"].expand(len(x), -1))
        return self._answer(meta, self.step(meta, _repeated(state, len(x)), drive)["back"])

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        batch, logits = self._predicted(meta, tree_map(lambda t: t.unsqueeze(0), episode))
        return learner.loss(lambda x: logits[0], Batch(*(t[0] for t in batch)))

    def gradient(
        self, learner: Learner, meta: Params, episodes: Episode, over_tasks: OverTasks
    ) -> tuple[Params, Tensor]:
        """As Setup.gradient, but all tasks take a time step together, which needs fewer operations than a map."""

        def mean_loss(meta: Params) -> tuple[Tensor, Tensor]:
            batch, logits = self._predicted(meta, episodes)
            losses = over_tasks(lambda task: learner.loss(lambda x: task[1], task[0]), (batch, logits))
            return losses.mean(), losses.detach()

        return torch.func.grad(mean_loss, has_aux=True)(meta)  # type: ignore[no-any-return]

    def read(self, meta: Params, sequences: Batch) -> tuple[list[Params], Tensor]:
        """The states before the first of ``sequences [count, length, ...]`` and after each image, and the one-hot label
        ``[count, length + 1, way]`` that is shown with the next image: of the image before, at first zeros."""
        labels = one_hot(sequences.y, len(meta[f"{self.own}.answer.bias"]), sequences.x)
        before = torch.cat([torch.zeros_like(labels[:, :1]), labels], dim=1)
        count, length = sequences.y.shape
        drive = self._drive(meta, sequences.x.flatten(0, 1), before[:, :-1].flatten(0, 1))
        states = [self.start(count, sequences.x)]
        for now in drive.reshape(count, length, -1).unbind(1):
            states.append(self.step(meta, states[-1], now))
        return states, before

    def _predicted(self, meta: Params, episodes: Episode) -> tuple[Batch, Tensor]:
        """Support and query of each task as one sequence, and logits ``[tasks, length, way]`` for it, each predicted
        before its label is shown."""
        support, query = episodes
        if isinstance(support, Stream):
            batch = Batch(support.x, support.y)
        else:
            batch = Batch(*(torch.cat(pair, dim=1) for pair in zip(support, query, strict=True)))
        states, _ = self.read(meta, batch)
        return batch, self._answer(meta, torch.stack([state["back"] for state in states[1:]], dim=1))

    def _drive(self, meta: Params, x: Tensor, before: Tensor) -> Tensor:
        """The controller's drive (see `lstm_step`) from images ``x [images, C, H, W]`` and the labels ``before``."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise MamlBenchError(
                f"the setup reads images of {self.channels} channels, but one here is {tuple(x.shape[1:])}: set "
                "setup.channels"
            )
        seen = torch.cat([F.adaptive_avg_pool2d(x, self.size).flatten(1), before], dim=-1)
        return F.linear(seen, meta[f"{self.own}.controller.input"], meta[f"{self.own}.controller.bias"])

    def _answer(self, meta: Params, back: Tensor) -> Tensor:
        """Logits ``[..., way]``."""
        return F.linear(back, meta[f"{self.own}.answer.weight"], meta[f"{self.own}.answer.bias"])


def _repeated(state: Params, count: int) -> Params:
    """A state of one sequence for ``count`` sequences that go on from it; a state of ``count`` sequences as it is."""
    return {name: t.expand(count, *t.shape[1:]) for name, t in state.items()}
