"""What the adapters on torch share: the network from a bench's table, its loss, the tensors, the outer optimiser."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base import Adapter
from benches import NORM_EPS, Bench, Layer, MetaBatch


class Mean(nn.Module):
    """The mean over each map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))


class Task(NamedTuple):
    """One task's tensors; of a meta-batch, with a leading axis."""

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor


def body(bench: Bench, layers: Any = nn) -> OrderedDict[str, nn.Module]:
    """All but the head, by name. ``layers`` brings Conv2d, BatchNorm2d and Linear: torch.nn, or a library's own.

    Relation networks compare maps, so theirs are not flattened.
    """
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in bench.body():
        found.update(block(layer, layers))
        if not layer.is_convolution:
            found[layer.name.replace("linear", "relu")] = nn.ReLU()
    if not bench.is_regression and bench.method != "relation":
        found["features"] = Mean() if bench.average else nn.Flatten()
    return found


def block(layer: Layer, layers: Any = nn) -> OrderedDict[str, nn.Module]:
    """A convolution with its normalisation, ReLU and pooling, or a linear layer alone."""
    if not layer.is_convolution:
        return OrderedDict({layer.name: layers.Linear(layer.inputs, layer.outputs)})
    more = {} if layer.bias else {"bias": False}
    conv = layers.Conv2d(layer.inputs, layer.outputs, 3, stride=layer.stride, padding=1, **more)
    found = OrderedDict({layer.name: conv})
    number = layer.name[len("conv") :]
    found[f"norm{number}"] = layers.BatchNorm2d(layer.outputs, eps=NORM_EPS, track_running_stats=False)
    found[f"relu{number}"] = nn.ReLU()
    if layer.pool:
        found[f"pool{number}"] = nn.MaxPool2d(2)
    return found


def relation(bench: Bench) -> nn.Module:
    """The relation module, from stacked maps to a score from 0 to 1."""
    *blocks, first, second = bench.relation()
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in blocks:
        found.update(block(layer))
    found["flatten"] = nn.Flatten()
    found.update(block(first))
    found["relu"] = nn.ReLU()
    found.update(block(second))
    found["sigmoid"] = nn.Sigmoid()
    return nn.Sequential(found)


def head(bench: Bench, layers: Any = nn) -> nn.Module:
    """The last layer."""
    return layers.Linear(bench.head().inputs, bench.head().outputs)  # type: ignore[no-any-return]


class TorchAdapter(Adapter):
    """An adapter whose library works on torch modules: the network, its loss, and the tensors."""

    def __init__(
        self, bench: Bench, parameters: Mapping[str, np.ndarray], threads: int, schedule: str, double: bool
    ) -> None:
        torch.set_num_threads(threads)
        self.bench, self.asked = bench, schedule
        self.dtype = torch.float64 if double else torch.float32
        self.loss = F.mse_loss if bench.is_regression else F.cross_entropy
        self.network = self.build().to(self.dtype)
        self.load({name: torch.from_numpy(values) for name, values in parameters.items()})
        self.start()

    def load(self, parameters: dict[str, Tensor]) -> None:
        """Give the network its initial values."""
        self.network.load_state_dict(parameters)

    def build(self) -> nn.Module:
        """The network, with children ``body`` and, if the bench has them, ``head`` and ``relation``."""
        parts: OrderedDict[str, nn.Module] = OrderedDict(body=nn.Sequential(body(self.bench)))
        if self.bench.has_head:
            parts["head"] = head(self.bench)
        if self.bench.method == "relation":
            parts["relation"] = relation(self.bench)
        return nn.Sequential(parts)

    @abstractmethod
    def start(self) -> None:
        """Make ready what the steps need, once the network has its parameters."""

    def prepare(self, batch: MetaBatch) -> Task:
        tensors = [torch.from_numpy(np.ascontiguousarray(values)) for values in batch]
        return Task(*(t.to(self.dtype) if t.is_floating_point() else t for t in tensors))

    def versions(self) -> dict[str, str | None]:
        return {"library_version": self.library_version(), "torch": torch.__version__}

    @abstractmethod
    def library_version(self) -> str: ...


class AutogradAdapter(TorchAdapter):
    """An adapter that leaves gradients in ``grad``, for torch's own Adam; it brings ``accumulate``."""

    def start(self) -> None:
        self.parameters = dict(self.network.named_parameters())
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=self.bench.outer_rate)
        self.wrap()

    def wrap(self) -> None:
        """Whatever the library wraps around the network, once."""

    @abstractmethod
    def accumulate(self, batch: Task) -> None:
        """Leave the mean meta-gradient in the ``grad`` of every parameter, which is None or zero before."""

    def step(self, batch: Task) -> None:
        self.optimiser.zero_grad()
        self.accumulate(batch)
        self.optimiser.step()

    def gradient(self, batch: Task) -> dict[str, np.ndarray]:
        self.optimiser.zero_grad()
        self.accumulate(batch)
        return {name: p.grad.numpy() for name, p in self.parameters.items()}

    def divide_gradient(self) -> None:
        """Turn a sum over tasks into their mean."""
        for p in self.parameters.values():
            p.grad.div_(self.bench.tasks)


def tasks(batch: Task) -> Iterator[Task]:
    """The tasks of a meta-batch one by one."""
    for fields in zip(*batch):
        yield Task(*fields)
