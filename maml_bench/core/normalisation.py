"""Batch normalisation: which statistics it uses at test time.

The default is the statistics of the current batch. A test can choose others through a context, which is read while the
network runs and while it is recorded, so that every setup's ``predict`` can be tested under each choice.
models.BatchNorm reads the context, and so does a setup that normalises by itself. The layers of torch do not: they
always use the statistics of the current batch.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from maml_bench.errors import MamlBenchError

Mode = Literal["transductive", "support", "one by one", "running"]
"""How the query is normalised at test.

``transductive``: by the statistics of the query itself, as the released MAML code does. ``support``: by those of the
support. ``one by one``: each query example separately, by the statistics of the support and itself (Reptile without
transduction, reptile.py 125-134 of openai/supervised-reptile). ``running``: by fixed statistics, as is the support.
"""
MODES = ("transductive", "support", "one by one", "running")

Moments = dict[Hashable, tuple[Tensor, Tensor]]
"""Mean and biased variance ``[channels]`` of each normalising layer."""


class _Rule(Protocol):
    def __call__(self, layer: Hashable, x: Tensor, rows: int) -> tuple[Tensor, Tensor] | None:
        """The mean and variance that normalise ``x``; None for those of ``x`` itself."""
        ...


_rule: ContextVar[_Rule | None] = ContextVar("rule", default=None)


def normalised(layer: Hashable, x: Tensor, eps: float, rows: int = 1) -> Tensor:
    """``x [examples * rows, channels, ...]``, normalised by the statistics that the context chooses for ``layer``.

    ``layer`` is the module, or a unique name where there is no module. Each example has ``rows`` consecutive rows.
    """
    rule = _rule.get()
    found = rule(layer, x, rows) if rule else None
    if found is None:
        return F.batch_norm(x, None, None, training=True, eps=eps)
    mean, variance = (moment.reshape(-1, *(1,) * (x.ndim - 2)) for moment in found)
    return (x - mean) * (variance + eps).rsqrt()


@contextmanager
def first(count: int) -> Iterator[None]:
    """Normalise a batch by the statistics of its first ``count`` examples.

    Raises:
        MamlBenchError: inside, a layer is given fewer examples than that.
    """

    def rule(layer: Hashable, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        if len(x) < count * rows:
            raise MamlBenchError(
                f"the setup shows its network {len(x) // rows} examples at once, fewer than the {count} of the "
                "support, so its query cannot be normalised by the support"
            )
        return _moments(x[: count * rows])

    with _ruled(rule):
        yield


@contextmanager
def collected() -> Iterator[Moments]:
    """Normalise each batch by its own statistics and collect them: their mean, if a layer runs several times."""
    seen: dict[Hashable, list[tuple[Tensor, Tensor]]] = {}
    found: Moments = {}

    def rule(layer: Hashable, x: Tensor, rows: int) -> None:
        seen.setdefault(layer, []).append(_moments(x))
        means, variances = zip(*seen[layer], strict=True)
        found[layer] = (sum(means) / len(means), sum(variances) / len(variances))

    with _ruled(rule):
        yield found


@contextmanager
def fixed(moments: Moments) -> Iterator[None]:
    """Normalise every batch by ``moments``.

    Raises:
        MamlBenchError: inside, a layer runs for which there are none.
    """

    def rule(layer: Hashable, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        if layer not in moments:
            raise MamlBenchError("a layer of batch-norm runs at test that did not run when its statistics were taken")
        return moments[layer]

    with _ruled(rule):
        yield


def refuse_unknowing(model: nn.Module, mode: Mode) -> None:
    """Raise MamlBenchError if a layer of ``model`` cannot use the statistics that ``mode`` asks for."""
    for name, layer in model.named_modules():
        if mode in ("support", "running") and isinstance(layer, _BatchNorm):
            raise MamlBenchError(
                f"the layer {name!r} is torch's {type(layer).__name__}, which knows the batch at hand alone, so "
                f"normalisation {mode!r} cannot be tested: use maml_bench.models.BatchNorm"
            )


@contextmanager
def _ruled(rule: _Rule) -> Iterator[None]:
    token = _rule.set(rule)
    try:
        yield
    finally:
        _rule.reset(token)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    axes = [axis for axis in range(x.ndim) if axis != 1]
    return x.mean(axes), x.var(axes, correction=0)
