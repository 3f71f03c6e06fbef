"""The neck of the hourglass: what tasks hand to setups, and what both promise.

Shapes: B meta-batch (tasks at once), N way, K shot, Q query examples per class. The axes of everything in an Episode
are ``[B, examples, ...]``; inside one task the leading B is gone. The core treats an Episode as an opaque tree.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from maml_bench.record import Metric

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

Params = dict[str, "Tensor"]
"""Named tensors: a network's parameters, or a setup's meta-parameters."""

MOST_SEED = 2**63 - 1
"""The largest seed of a run."""

Estimator = Literal["likelihood", "ratio", "dice"]
"""Names of the losses of policy gradients, see maml_bench.rl.losses."""

Predict = Callable[["Tensor"], "Tensor"]
"""Inputs ``[examples, ...]`` of one task to outputs ``[examples, ...]``."""


class Batch(NamedTuple):
    """Examples: inputs ``x [B, examples, ...]`` (float), targets ``y [B, examples, ...]`` (int64 labels or floats)."""

    x: "Tensor"
    y: "Tensor"


class Stream(NamedTuple):
    """A sequence of examples, each of which is to be predicted from those before it and their labels.

    ``x`` and ``y`` are as in `Batch`, in the order in which the examples are shown. ``places [B, K, N]`` are the places
    in the sequence at which an example of each of the N classes comes that was shown 0, 1, ..., K - 1 times before.
    """

    x: "Tensor"
    y: "Tensor"
    places: "Tensor"


class Shape(NamedTuple):
    """Classes per task (1 in regression), examples per class in support and in query."""

    way: int
    shot: int
    query: int


class Episode(NamedTuple):
    """Tasks to learn: adapt on ``support``, be scored on ``query``.

    ``query`` may be a list of batches, one for each number of inner steps from 0 on. So it is where ``support`` is a
    Stream: batch k has the examples at ``places[k]``, of the classes that were shown k times before.
    """

    support: Any
    query: Any

    def to_torchmeta(self) -> dict[str, tuple["Tensor", "Tensor"]]:
        """The batch dictionary of torchmeta 1.8: ``{"train": (x, y), "test": (x, y)}``."""
        return {"train": tuple(self.support), "test": tuple(self.query)}

    @classmethod
    def from_torchmeta(cls, batch: Mapping[str, Sequence["Tensor"]]) -> "Episode":
        """An Episode from torchmeta's batch dictionary; tensors are shared, not copied, and not scaled."""
        return cls(Batch(*batch["train"]), Batch(*batch["test"]))


class Family(Protocol):
    """A family of tasks: the network for it, and what counts as good."""

    @property
    def name(self) -> str:
        """The name of its file in tasks/."""
        ...

    @property
    def version(self) -> int:
        """A number that grows whenever the same call would give other episodes."""
        ...

    @property
    def metric(self) -> Metric:
        """What ``score`` measures."""
        ...

    @property
    def normalisation(self) -> str:
        """How the network normalises; ``transductive`` means by the statistics of the current batch."""
        ...

    def model(self, shape: Shape, generator: "Generator") -> "nn.Module":
        """The paper's network for ``shape``, initialised from ``generator``."""
        ...

    def loss(self, predict: Predict, batch: Any) -> "Tensor":
        """Mean loss of one task's ``batch``, a scalar."""
        ...

    def score(self, predict: Predict, batch: Any) -> "Tensor":
        """The metric on one task's ``batch``, a scalar."""
        ...

    def fingerprint(self) -> dict[str, Any] | None:
        """What identifies the data behind the tasks, for the record; None if tasks are drawn from a formula."""
        ...


class TaskDistribution(Family, Protocol):
    """p(T) of Finn et al. (2017): a family from which labelled tasks are drawn.

    Families of reinforcement learning offer rl.protocol.Acting instead.
    """

    def sample(self, split: str, first: int, count: int, *, key: int, shape: Shape, device: str = "cpu") -> Episode:
        """Episodes ``first`` to ``first + count - 1`` of ``split``.

        Episode k is a pure function of (key, split, shape, k).
        """
        ...
