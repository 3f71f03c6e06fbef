"""Memory-augmented neural network (MANN). Santoro, Bartunov, Botvinick, Wierstra & Lillicrap (2016), "One-shot
Learning with Memory-Augmented Neural Networks", arXiv:1605.06065, section 3 (equations 1 to 8)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge, Le
from torch import Tensor

from maml_bench.core.learner import Learner
from maml_bench.declared import WIDTH
from maml_bench.setups._shared.class_statistics import one_hot
from maml_bench.setups._shared.lstm import lstm_step
from maml_bench.setups._shared.own_parameters import uniform
from maml_bench.setups._shared.reader import Reader
from maml_bench.types import Params

EPS = 1e-6
"""Added to squared lengths, so that the similarity of an empty row of the memory to any key is zero."""


@dataclass(frozen=True)
class MANN(Reader):
    """A recurrent network with a memory reads the support as a sequence and then predicts the label of each query.

    At each time step the controller, an LSTM, is also given what it read from the memory in the last step. It writes
    its keys to the memory, and reads the rows by their cosine similarity to the keys. A gate divides the writing of a
    key between the rows that were read last and one of the rows that were used least, and the least used row of all
    is set to zero first (least recently used access, section 3.2).

    The paper leaves some choices open. Here each head has one key, which it writes and reads by, and a gate, which are
    outputs of the controller; keys go through a tanh. The paper's weights of the least used rows are 1 for as many
    rows as there are heads; here each head writes to another one of these rows, the first head to the row that was
    emptied. Memory, usage, reading weights and controller start at zero.
    """

    rows: Annotated[int, Ge(1), WIDTH, Doc("Rows of the memory.")] = 128
    width: Annotated[int, Ge(1), WIDTH, Doc("Width of a row of the memory.")] = 40
    heads: Annotated[int, Ge(1), WIDTH, Doc("Number of keys that are written and read in a step.")] = 4
    decay: Annotated[float, Ge(0), Le(1), Doc("Decay of the usage of a row from step to step, gamma in the paper.")] = (
        0.99
    )

    citation: ClassVar[str] = "Santoro et al. 2016, arXiv:1605.06065"
    own: ClassVar[str] = "mann"

    @property
    def fed_back(self) -> int:
        return self.units + self.heads * self.width

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        outputs = self.heads * (self.width + 1)
        own = {
            "mann.heads.weight": uniform(outputs, self.units, generator=generator),
            "mann.heads.bias": torch.zeros(outputs),
        }
        found = super().init(learner, generator)
        return found | {name: p.to(found["mann.answer.bias"]) for name, p in own.items()}

    def start(self, count: int, like: Tensor) -> Params:
        """An empty memory."""
        shapes = {
            "memory": (self.rows, self.width),
            "reading": (self.heads, self.rows),
            "usage": (self.rows,),
            "back": (self.fed_back,),
            "cell": (self.units,),
        }
        return {name: like.new_zeros(count, *shape) for name, shape in shapes.items()}

    def step(self, meta: Params, state: Params, drive: Tensor) -> Params:
        hidden, cell = lstm_step(drive, state["back"], state["cell"], meta["mann.controller.hidden"])
        outputs = F.linear(hidden, meta["mann.heads.weight"], meta["mann.heads.bias"])
        keys, gates = torch.split(outputs, [self.heads * self.width, self.heads], dim=-1)
        keys = keys.tanh().reshape(-1, self.heads, self.width)
        memory, writing = self.write(state, keys, gates.sigmoid().unsqueeze(-1))
        reading = cosines(keys, memory).softmax(-1)
        back = torch.cat([hidden, (reading @ memory).flatten(1)], dim=-1)
        usage = self.decay * state["usage"] + (reading + writing).detach().sum(1)  # only its order matters
        return {"memory": memory, "reading": reading, "usage": usage, "back": back, "cell": cell}

    def write(self, state: Params, keys: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """The memory after ``keys [sequences, heads, width]`` are written into it, and the weights
        ``[sequences, heads, rows]``; ``gates [sequences, heads, 1]`` divide them (equations 5 to 8)."""
        least = state["usage"].sort(stable=True).indices[:, : self.heads]
        unused = one_hot(least, self.rows, keys)
        writing = torch.lerp(unused, state["reading"], gates)
        kept = state["memory"] * (1 - unused[:, 0]).unsqueeze(-1)
        return torch.baddbmm(kept, writing.mT, keys), writing


def cosines(keys: Tensor, memory: Tensor) -> Tensor:
    """Cosines ``[sequences, heads, rows]`` of the keys with the rows of the memory (equation 2)."""
    lengths = (memory.square().sum(-1) + EPS).rsqrt().unsqueeze(1)
    own = (keys.square().sum(-1, keepdim=True) + EPS).rsqrt()
    return (keys * own) @ memory.mT * lengths
