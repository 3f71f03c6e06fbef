"""What is raced: a table of benches, the numbers that every peer gets, and the file that carries them.

The network is the one that all peers can express: 3x3 convolutions with bias, torch's default batch-norm (scale and
offset, eps 1e-5) on batch statistics, ReLU, a linear head with bias. All of it moves in the inner loop, the loss is a
mean, the inner rule is SGD and the outer one Adam. Shapes and rates are those of Finn et al. (2017), appendix A, and
of the authors' released code where the paper is silent.

Imported by the driver and by every adapter: Python 3.9 and numpy suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

OUTER_RATE = 1e-3
NORM_EPS = 1e-5
META_BATCHES = 2
"""Meta-batches in a file; the steps take them in turn, so that no step finds its own inputs in the cache."""

PARAMETER = "parameter/"
INPUTS = ("support_x", "support_y", "query_x", "query_y")


@dataclass(frozen=True)
class Layer:
    """A layer with weights. ``positions`` is the number of outputs per example and channel (1 if linear)."""

    name: str
    inputs: int
    outputs: int
    positions: int = 1
    kernel: int = 0

    @property
    def is_convolution(self) -> bool:
        return self.kernel > 0

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """As in torch: ``[outputs, inputs]``, followed by the kernel's two sides."""
        return (self.outputs, self.inputs) + (self.kernel, self.kernel) * self.is_convolution

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass of one example."""
        return math.prod(self.weight_shape) * self.positions


@dataclass(frozen=True)
class Bench:
    """One meta-step: a network, the shape of a meta-batch, and the inner loop.

    ``channels`` is 0 for the regression network of ``hidden`` units per layer. ``pool`` halves maps by 2x2 max-pooling
    and flattens the last; without it the convolutions have stride 2 and the last map is averaged. ``head_only`` moves
    nothing but the last layer in the inner loop (ANIL, Raghu et al. 2020).
    """

    name: str
    tasks: int
    way: int
    shot: int
    query: int
    steps: int
    rate: float
    channels: int = 1
    size: int = 28
    hidden: int = 64
    pool: bool = False
    first_order: bool = False
    head_only: bool = False

    @property
    def is_regression(self) -> bool:
        return self.channels == 0

    @property
    def stride(self) -> int:
        return 1 if self.pool else 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1,) if self.is_regression else (self.channels, self.size, self.size)

    @property
    def last_map(self) -> tuple[int, int]:
        """(channels, side) of what reaches the flattening or the mean."""
        size = self.size
        for _ in range(4):
            size = size // 2 if self.pool else math.ceil(size / 2)
        return self.hidden, size

    def body(self) -> list[Layer]:
        """All layers with weights but the head, in order."""
        if self.is_regression:
            return [Layer("linear1", 1, self.hidden), Layer("linear2", self.hidden, self.hidden)]
        layers, size = [], self.size
        for i in range(4):
            out = math.ceil(size / self.stride)
            fan_in = self.hidden if i else self.channels
            layers.append(Layer(f"conv{i + 1}", fan_in, self.hidden, positions=out * out, kernel=3))
            size = out // 2 if self.pool else out
        return layers

    def head(self) -> Layer:
        """The last layer."""
        if self.is_regression:
            return Layer("head", self.hidden, 1)
        filters, side = self.last_map
        return Layer("head", filters * side * side if self.pool else filters, self.way)


_OMNIGLOT = {"tasks": 32, "way": 5, "shot": 1, "steps": 1, "rate": 0.4}
_MINI = {"channels": 3, "size": 84, "hidden": 32, "pool": True}

BENCHES = {
    bench.name: bench
    for bench in (
        Bench("omniglot-q1", query=1, **_OMNIGLOT),
        Bench("omniglot-q15", query=15, **_OMNIGLOT),
        Bench("omniglot-20w1s", tasks=16, way=20, shot=1, query=1, steps=5, rate=0.1),
        Bench("mini-5w1s", tasks=4, way=5, shot=1, query=15, steps=5, rate=0.01, **_MINI),
        Bench("sinusoid", tasks=25, way=1, shot=10, query=10, steps=1, rate=0.01, channels=0, hidden=40),
        Bench("fomaml-q1", query=1, first_order=True, **_OMNIGLOT),
        Bench("anil-q1", query=1, head_only=True, **_OMNIGLOT),
    )
}


class MetaBatch(NamedTuple):
    """Inputs ``[tasks, examples, ...]`` (float32) and targets (int64 ``[tasks, examples]``, or float32 values)."""

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray


def initial_parameters(bench: Bench, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Xavier weights; biases, scales and offsets a little off their usual start, so that a check sees each of them."""
    found: dict[str, np.ndarray] = {}

    def add(name: str, values: np.ndarray) -> None:
        found[name] = values.astype(np.float32)

    for layer in [*bench.body(), bench.head()]:
        place = layer.name if layer.name == "head" else f"body.{layer.name}"
        spread = math.sqrt(6 / ((layer.inputs + layer.outputs) * max(1, layer.kernel) ** 2))
        add(f"{place}.weight", rng.uniform(-spread, spread, layer.weight_shape))
        add(f"{place}.bias", 0.1 * rng.standard_normal(layer.outputs))
        if layer.is_convolution:
            norm = place.replace("conv", "norm")
            add(f"{norm}.weight", 1 + 0.1 * rng.standard_normal(layer.outputs))
            add(f"{norm}.bias", 0.1 * rng.standard_normal(layer.outputs))
    return found


def write_inputs(path: Path, bench: Bench, seed: int) -> None:
    """Save initial parameters and META_BATCHES made-up meta-batches: only time is measured on them, never accuracy.

    Images are bytes, black and white for one channel and of all values for three; regression tasks are the paper's
    sinusoids.
    """
    rng = np.random.default_rng(seed)
    arrays = {PARAMETER + name: values for name, values in initial_parameters(bench, rng).items()}
    leading = (META_BATCHES, bench.tasks)
    amplitude = rng.uniform(0.1, 5.0, (*leading, 1, 1))
    phase = rng.uniform(0.0, math.pi, (*leading, 1, 1))
    for part, per_class in (("support", bench.shot), ("query", bench.query)):
        examples = bench.way * per_class
        if bench.is_regression:
            x = rng.uniform(-5.0, 5.0, (*leading, examples, 1))
            arrays[f"{part}_x"] = x.astype(np.float32)
            arrays[f"{part}_y"] = (amplitude * np.sin(x - phase)).astype(np.float32)
        else:
            levels = 2 if bench.channels == 1 else 256
            x = rng.integers(0, levels, (*leading, examples, *bench.input_shape), dtype=np.uint8)
            arrays[f"{part}_x"] = x * np.uint8(255 // (levels - 1))
            labels = np.repeat(np.arange(bench.way), per_class)
            arrays[f"{part}_y"] = np.broadcast_to(labels, (*leading, examples))
    np.savez(path, **arrays)


def read_inputs(path: Path) -> tuple[dict[str, np.ndarray], list[MetaBatch]]:
    """Initial parameters by name and the meta-batches of a file of ``write_inputs``; bytes become floats in [0, 1]."""
    with np.load(path) as stored:
        parameters = {name[len(PARAMETER) :]: stored[name] for name in stored.files if name.startswith(PARAMETER)}
        fields = [stored[name] for name in INPUTS]
    floats = [f.astype(np.float32) / np.float32(255) if f.dtype == np.uint8 else f for f in fields]
    return parameters, [MetaBatch(*(f[i] for f in floats)) for i in range(META_BATCHES)]
