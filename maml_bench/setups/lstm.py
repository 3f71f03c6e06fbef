"""A long short-term memory that reads the examples of a task. Hochreiter, Younger & Conwell (2001), "Learning to Learn
Using Gradient Descent", ICANN; the baseline of Santoro et al. (2016), arXiv:1605.06065, Table 1."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.setups._shared.lstm import lstm_step
from maml_bench.setups._shared.reader import Reader
from maml_bench.types import Params


@dataclass(frozen=True)
class LSTM(Reader):
    """A recurrent network reads the support as a sequence and then predicts the label of each query.

    It is the controller of the setup ``mann`` without its memory: what it knows of a task is in its cell.
    """

    citation: ClassVar[str] = "Hochreiter et al. 2001, doi:10.1007/3-540-44668-0_13; Santoro et al. 2016"
    own: ClassVar[str] = "lstm"

    @property
    def fed_back(self) -> int:
        return self.units

    def start(self, count: int, like: Tensor) -> Params:
        return {name: like.new_zeros(count, self.units) for name in ("back", "cell")}

    def step(self, meta: Params, state: Params, drive: Tensor) -> Params:
        hidden, cell = lstm_step(drive, state["back"], state["cell"], meta["lstm.controller.hidden"])
        return {"back": hidden, "cell": cell}
