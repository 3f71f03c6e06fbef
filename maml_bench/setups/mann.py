"""Memory-augmented neural network (MANN). Santoro, Bartunov, Botvinick, Wierstra & Lillicrap (2016), "One-shot
Learning with Memory-Augmented Neural Networks", arXiv:1605.06065, section 3 (equations 1 to 8)."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Le
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.core.setup import Capability, Setup
from maml_bench.errors import MamlBenchError
from maml_bench.setups._shared.class_statistics import one_hot
from maml_bench.setups._shared.lstm import lstm, lstm_step
from maml_bench.setups._shared.own_parameters import beside, uniform
from maml_bench.types import Batch, Episode, Params

EPS = 1e-6
"""Added to squared lengths, so that the similarity of an empty row of the memory to any key is zero."""


@dataclass(frozen=True)
class MANN(Setup):
    """A recurrent network with a memory reads the support as a sequence and then predicts the label of each query.

    The controller is an LSTM. At each time step it is given an image (shrunk to ``size`` x ``size`` and flattened), the
    label of the image before it, and what it read from the memory in the last step. It writes its keys to the memory,
    and reads the rows by their cosine similarity to the keys. A learned gate divides the writing between the rows that
    were read last and the rows that were used least; the latter are emptied first. In training the network predicts
    every label of support and query, in their order, before it is shown. The network of the tasks is not used.

    The paper leaves some choices open. Here, each of several heads writes to another one of the least used rows; the
    gate is one learned number for all heads; keys go through a tanh; memory, usage and controller start at zero.
    """

    channels: Annotated[int, Ge(1), Doc("Channels of the images.")] = 1
    size: Annotated[int, Ge(1), Doc("Side of the images that the controller is given, in pixels.")] = 20
    units: Annotated[int, Ge(1), Doc("Units of the controller.")] = 200
    rows: Annotated[int, Ge(1), Doc("Rows of the memory.")] = 128
    width: Annotated[int, Ge(1), Doc("Width of a row of the memory.")] = 40
    heads: Annotated[int, Ge(1), Doc("Number of keys that are written and read in a step.")] = 4
    decay: Annotated[float, Ge(0), Le(1), Doc("Decay of the usage of a row from step to step, gamma in the paper.")] = (
        0.95
    )

    citation: ClassVar[str] = "Santoro et al. 2016, arXiv:1605.06065"
    capabilities: ClassVar[frozenset[Capability]] = Setup.capabilities | {Capability.CLASSIFIES}
    inner_keys: ClassVar[frozenset[str]] = frozenset()

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        read, way = self.heads * self.width, learner.way
        inputs = self.channels * self.size**2 + way
        own = {
            "key.weight": uniform(read, self.units, generator=generator),
            "key.bias": torch.zeros(read),
            "gate": torch.zeros(1),
            "answer.weight": uniform(way, self.units + read, generator=generator),
            "answer.bias": torch.zeros(way),
        }
        controller = lstm("controller", inputs, self.units + read, self.units, generator)
        return beside(learner.initial(), "mann", controller | own)

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return [self._read(meta, support)[0]]

    def predict(self, learner: Learner, meta: Params, state: Params, x: Tensor) -> Tensor:
        """Logits ``[examples, way]``; each input is separately the next one after the support."""
        drive = self._drive(meta, x, state["label"].expand(len(x), -1))
        return _answer(meta, self._step(meta, state, drive)["back"])

    def loss(self, learner: Learner, meta: Params, episode: Episode) -> Tensor:
        sequence = Batch(*(torch.cat(pair) for pair in zip(episode.support, episode.query, strict=True)))
        _, logits = self._read(meta, sequence)
        return learner.loss(lambda x: logits, sequence)

    def _read(self, meta: Params, sequence: Batch) -> tuple[Params, Tensor]:
        """State after the ``sequence`` of one task, and logits ``[length, way]``, each before its label is shown."""
        labels = one_hot(sequence.y, len(meta["mann.answer.bias"]), sequence.x)
        before = torch.cat([torch.zeros_like(labels[:1]), labels[:-1]])
        state = self._start(sequence.x)
        backs = []
        for drive in self._drive(meta, sequence.x, before).unsqueeze(1):
            state = self._step(meta, state, drive)
            backs.append(state["back"])
        return state | {"label": labels[-1:]}, _answer(meta, torch.cat(backs))

    def _start(self, like: Tensor) -> Params:
        """An empty memory. All of the state has a leading axis of 1, because the queries share it."""
        shapes = {
            "memory": (self.rows, self.width),
            "reading": (self.heads, self.rows),
            "usage": (self.rows,),
            "back": (self.units + self.heads * self.width,),
            "cell": (self.units,),
        }
        return {name: like.new_zeros(1, *shape) for name, shape in shapes.items()}

    def _drive(self, meta: Params, x: Tensor, before: Tensor) -> Tensor:
        """The controller's drive (see `lstm_step`) from images ``x [examples, C, H, W]`` and the labels ``before``."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise MamlBenchError(
                f"the setup reads images of {self.channels} channels, but one here is {tuple(x.shape[1:])}: set "
                "setup.channels"
            )
        seen = torch.cat([F.adaptive_avg_pool2d(x, self.size).flatten(1), before], dim=-1)
        return F.linear(seen, meta["mann.controller.input"], meta["mann.controller.bias"])

    def _step(self, meta: Params, state: Params, drive: Tensor) -> Params:
        """The state after one time step; ``back`` holds the controller's output and what it read."""
        hidden, cell = lstm_step(drive, state["back"], state["cell"], meta["mann.controller.hidden"])
        keys = F.linear(hidden, meta["mann.key.weight"], meta["mann.key.bias"]).tanh()
        keys = keys.reshape(-1, self.heads, self.width)
        memory, writing = self._write(state, keys, meta["mann.gate"].sigmoid())
        lengths = ((keys**2).sum(-1) + EPS).unsqueeze(-1) * ((memory**2).sum(-1) + EPS).unsqueeze(-2)
        reading = (keys @ memory.mT * lengths.rsqrt()).softmax(-1)
        back = torch.cat([hidden, (reading @ memory).flatten(-2)], dim=-1)
        usage = self.decay * state["usage"] + (reading + writing).sum(-2).detach()  # only its order matters
        return {"memory": memory, "reading": reading, "usage": usage, "back": back, "cell": cell}

    def _write(self, state: Params, keys: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """The memory with ``keys [..., heads, width]`` written into it, and the weights ``[..., heads, rows]``."""
        least = state["usage"].sort(stable=True).indices[..., : self.heads]
        unused = one_hot(least, self.rows, keys)
        writing = gate * state["reading"] + (1 - gate) * unused
        emptied = state["memory"] * (1 - unused.sum(-2)).unsqueeze(-1)
        return emptied + writing.mT @ keys, writing


def _answer(meta: Params, back: Tensor) -> Tensor:
    """Logits ``[examples, way]``."""
    return F.linear(back, meta["mann.answer.weight"], meta["mann.answer.bias"])
