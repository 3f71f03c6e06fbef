"""What is raced: a table of benches, the numbers that every peer gets, and the file that carries them.

The network is the one that all peers can express: 3x3 convolutions with bias, torch's default batch-norm (scale and
offset, eps 1e-5) on batch statistics, ReLU, a linear head with bias. In MAML and its variants all of it moves in the
inner loop, the loss is a mean, the inner rule is SGD and the outer one Adam. Shapes and rates are those of Finn et al.
(2017), appendix A, and of the authors' released code where the paper is silent. Prototypical, matching and relation
networks have no head and no inner loop; support and query are normalised as two batches, and the step is one of Adam.
Reptile has Adam with beta1 = 0 inside, its moments start at zero for every task, and its convolutions have no bias.
Their shapes are those of the paper recipes of maml-bench.

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
GRADIENT = ("maml", "fomaml", "anil")
METRIC = ("protonet", "matching", "relation")
METHODS = (*GRADIENT, *METRIC, "reptile")
RELATION_UNITS = 8
"""Between the two linear layers of the relation module (Sung et al. 2018, figure 3)."""
META_BATCHES = 2
"""Meta-batches in a file; the steps take them in turn, so that no step finds its own inputs in the cache."""

SQUARE, NOISE = 7, 0.1
"""Pixels on a side of a square of a class pattern, and the share of pixels that are noise instead."""

PARAMETER = "parameter/"
INPUTS = ("support_x", "support_y", "query_x", "query_y")


@dataclass(frozen=True)
class Layer:
    """A layer with weights. ``positions`` is the number of outputs per example and channel (1 if linear).

    ``pool``: after normalisation and ReLU, 2x2 max-pooling halves the maps.
    """

    name: str
    inputs: int
    outputs: int
    positions: int = 1
    kernel: int = 0
    stride: int = 1
    pool: bool = False
    bias: bool = True

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
    """One meta-step: a method of METHODS, a network, the shape of a meta-batch, and the inner loop.

    ``channels`` is 0 for the regression network of ``hidden`` units per layer. The first ``halvings`` of four blocks
    halve their maps, by 2x2 max-pooling with ``pool``, else by a stride of 2. The last map is averaged with
    ``average``, else flattened. In Reptile an inner step takes the next ``inner_batch`` examples of the support.
    """

    name: str
    tasks: int
    way: int
    shot: int
    query: int
    steps: int = 0
    rate: float = 0.0
    method: str = "maml"
    channels: int = 1
    size: int = 28
    hidden: int = 64
    pool: bool = False
    average: bool = True
    halvings: int = 4
    inner_batch: int = 0

    @property
    def is_regression(self) -> bool:
        return self.channels == 0

    @property
    def first_order(self) -> bool:
        return self.method == "fomaml"

    @property
    def head_only(self) -> bool:
        """Nothing but the last layer moves in the inner loop (ANIL, Raghu et al. 2020)."""
        return self.method == "anil"

    @property
    def has_head(self) -> bool:
        """Whether the network classifies; otherwise what it embeds is compared."""
        return self.method not in METRIC

    @property
    def outer_rate(self) -> float:
        """Of Adam; in Reptile the share of the way to the mean of the tasks' parameters that the step goes."""
        return 1.0 if self.method == "reptile" else OUTER_RATE

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1,) if self.is_regression else (self.channels, self.size, self.size)

    @property
    def levels(self) -> int:
        """How many values a pixel can have."""
        return 2 if self.channels == 1 else 256

    @property
    def last_map(self) -> tuple[int, int]:
        """(channels, side) of what reaches the flattening or the mean."""
        size = self.size
        for _ in range(self.halvings):
            size = size // 2 if self.pool else math.ceil(size / 2)
        return self.hidden, size

    @property
    def features(self) -> int:
        """The size of an embedding: the last map, averaged or flattened."""
        filters, side = self.last_map
        return self.hidden if self.is_regression or self.average else filters * side * side

    def body(self) -> list[Layer]:
        """All layers of the network with weights but the head, in order."""
        if self.is_regression:
            return [Layer("linear1", 1, self.hidden), Layer("linear2", self.hidden, self.hidden)]
        layers, size = [], self.size
        for i in range(4):
            halve = i < self.halvings
            stride, pool = (2 if halve and not self.pool else 1), halve and self.pool
            out = math.ceil(size / stride)
            fan_in = self.hidden if i else self.channels
            bias = self.method != "reptile"  # Adam would follow the sign of a gradient that is only rounding
            layers.append(Layer(f"conv{i + 1}", fan_in, self.hidden, out * out, 3, stride, pool, bias))
            size = out // 2 if pool else out
        return layers

    def head(self) -> Layer:
        """The last layer."""
        return Layer("head", self.features, 1 if self.is_regression else self.way)

    def relation(self) -> list[Layer]:
        """The relation module: two blocks on the maps of class and query, stacked, and two linear layers (Sung et al.
        2018, figures 2 and 3)."""
        filters, side = self.last_map
        small = side // 2
        return [
            Layer("conv1", 2 * filters, filters, side * side, 3, pool=True, bias=False),
            Layer("conv2", filters, filters, small * small, 3, pool=True, bias=False),
            Layer("linear1", filters * (small // 2) ** 2, RELATION_UNITS),
            Layer("linear2", RELATION_UNITS, 1),
        ]

    def layers(self) -> list[tuple[str, Layer]]:
        """Every layer with weights and its name in the whole network."""
        found = [(f"body.{layer.name}", layer) for layer in self.body()]
        if self.has_head:
            found.append(("head", self.head()))
        if self.method == "relation":
            found += [(f"relation.{layer.name}", layer) for layer in self.relation()]
        return found


_OMNIGLOT = {"tasks": 32, "way": 5, "shot": 1, "steps": 1, "rate": 0.4}
_FLAT = {"pool": True, "average": False}
_MINI = {"channels": 3, "size": 84, **_FLAT}

BENCHES = {
    bench.name: bench
    for bench in (
        Bench("omniglot-q1", query=1, **_OMNIGLOT),
        Bench("omniglot-q15", query=15, **_OMNIGLOT),
        Bench("omniglot-20w1s", tasks=16, way=20, shot=1, query=1, steps=5, rate=0.1),
        Bench("mini-5w1s", tasks=4, way=5, shot=1, query=15, steps=5, rate=0.01, hidden=32, **_MINI),
        Bench("sinusoid", tasks=25, way=1, shot=10, query=10, steps=1, rate=0.01, channels=0, hidden=40),
        Bench("fomaml-q1", query=1, method="fomaml", **_OMNIGLOT),
        Bench("anil-q1", query=1, method="anil", **_OMNIGLOT),
        Bench("protonet-omniglot", tasks=1, way=60, shot=1, query=5, method="protonet", **_FLAT),
        Bench("protonet-mini", tasks=1, way=30, shot=1, query=15, method="protonet", **_MINI),
        Bench("matching-omniglot", tasks=32, way=5, shot=1, query=1, method="matching", **_FLAT),
        Bench("relation-omniglot", tasks=1, way=5, shot=1, query=19, method="relation", halvings=2, **_FLAT),
        Bench(
            "reptile-omniglot",
            tasks=5,
            way=5,
            shot=10,
            query=0,
            steps=5,
            rate=1e-3,
            method="reptile",
            average=False,
            inner_batch=10,
        ),
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

    for place, layer in bench.layers():
        spread = math.sqrt(6 / ((layer.inputs + layer.outputs) * max(1, layer.kernel) ** 2))
        add(f"{place}.weight", rng.uniform(-spread, spread, layer.weight_shape))
        if layer.bias:
            add(f"{place}.bias", 0.1 * rng.standard_normal(layer.outputs))
        if layer.is_convolution:
            norm = place.replace("conv", "norm")
            add(f"{norm}.weight", 1 + 0.1 * rng.standard_normal(layer.outputs))
            add(f"{norm}.bias", 0.1 * rng.standard_normal(layer.outputs))
    return found


def write_inputs(path: Path, bench: Bench, seed: int) -> None:
    """Save initial parameters and META_BATCHES made-up meta-batches: only time is measured on them, never accuracy.

    Images are bytes, black and white for one channel and of all values for three; regression tasks are the paper's
    sinusoids. For matching networks the examples of a class have a pattern in common: between images of noise alone,
    cosines are so equal that the gradient would be lost in rounding.
    """
    rng = np.random.default_rng(seed)
    arrays = {PARAMETER + name: values for name, values in initial_parameters(bench, rng).items()}
    leading = (META_BATCHES, bench.tasks)
    amplitude = rng.uniform(0.1, 5.0, (*leading, 1, 1))
    phase = rng.uniform(0.0, math.pi, (*leading, 1, 1))
    patterns = _patterns(bench, rng) if bench.method == "matching" else None
    for part, per_class in (("support", bench.shot), ("query", bench.query)):
        examples = bench.way * per_class
        if bench.is_regression:
            x = rng.uniform(-5.0, 5.0, (*leading, examples, 1))
            arrays[f"{part}_x"] = x.astype(np.float32)
            arrays[f"{part}_y"] = (amplitude * np.sin(x - phase)).astype(np.float32)
        else:
            levels = bench.levels
            x = rng.integers(0, levels, (*leading, examples, *bench.input_shape), dtype=np.uint8)
            if bench.method == "matching":
                x = np.where(rng.random(x.shape) < NOISE, x, np.repeat(patterns, per_class, axis=2))
            arrays[f"{part}_x"] = x * np.uint8(255 // (levels - 1))
            # Reptile takes the examples in order, and each of its small batches has all classes.
            labels = np.arange(examples) % bench.way if bench.method == "reptile" else np.arange(examples) // per_class
            arrays[f"{part}_y"] = np.broadcast_to(labels, (*leading, examples))
    np.savez(path, **arrays)


def _patterns(bench: Bench, rng: np.random.Generator) -> np.ndarray:
    """A pattern of large squares for each class, ``[META_BATCHES, tasks, way, channels, size, size]``."""
    squares = -(-bench.size // SQUARE)
    shape = (META_BATCHES, bench.tasks, bench.way, bench.channels, squares, squares)
    coarse = rng.integers(0, bench.levels, shape, dtype=np.uint8)
    return coarse.repeat(SQUARE, axis=-1).repeat(SQUARE, axis=-2)[..., : bench.size, : bench.size]


def read_inputs(path: Path) -> tuple[dict[str, np.ndarray], list[MetaBatch]]:
    """Initial parameters by name and the meta-batches of a file of ``write_inputs``; bytes become floats in [0, 1]."""
    with np.load(path) as stored:
        parameters = {name[len(PARAMETER) :]: stored[name] for name in stored.files if name.startswith(PARAMETER)}
        fields = [stored[name] for name in INPUTS]
    floats = [f.astype(np.float32) / np.float32(255) if f.dtype == np.uint8 else f for f in fields]
    return parameters, [MetaBatch(*(f[i] for f in floats)) for i in range(META_BATCHES)]
