"""JAX, without a network library: the whole meta-step in one jit, over tasks by vmap or by lax.map.

As in its own MAML notebook: jax.grad of a loss that itself steps along jax.grad. Layouts are JAX's usual NHWC and HWIO.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from base import Adapter, main, use_cores
from benches import NORM_EPS, OUTER_RATE, Bench, MetaBatch

Params = dict[str, Array]
DECAYS, ADAM_EPS = (0.9, 0.999), 1e-8


def network(bench: Bench, params: Params, x: Array) -> Array:
    """The features that reach the head, for ``x [examples, H, W, C]``, or ``[examples, 1]`` in regression."""
    for i, layer in enumerate(bench.body(), start=1):
        weight, bias = params[f"body.{layer.name}.weight"], params[f"body.{layer.name}.bias"]
        if layer.is_convolution:
            strides = (layer.stride, layer.stride)
            numbers = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, weight, strides, ((1, 1), (1, 1)), dimension_numbers=numbers) + bias
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            x = (x - mean) * lax.rsqrt(var + NORM_EPS) * params[f"body.norm{i}.weight"] + params[f"body.norm{i}.bias"]
        else:
            x = x @ weight + bias
        x = jax.nn.relu(x)
        if layer.pool:
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    if bench.is_regression:
        return x
    return x.mean((1, 2)) if bench.average else x.reshape(x.shape[0], -1)


def loss(bench: Bench, head: Params, features: Array, y: Array) -> Array:
    """Mean cross-entropy or squared error of the head on ``features``."""
    out = features @ head["head.weight"] + head["head.bias"]
    if bench.is_regression:
        return ((out - y) ** 2).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], axis=1).mean()


def outer_loss(bench: Bench, params: Params, task: MetaBatch) -> Array:
    """The query loss of one task after the inner loop; ``only`` the head moves in ANIL."""
    body = {name: p for name, p in params.items() if not name.startswith("head.")}
    head = {name: p for name, p in params.items() if name.startswith("head.")}

    def whole(moving: Params, x: Array, y: Array) -> Array:
        params = {**body, **moving}
        return loss(bench, params, network(bench, params, x), y)

    moving = head if bench.head_only else params
    for _ in range(bench.steps):
        grads = jax.grad(whole)(moving, task.support_x, task.support_y)
        if bench.first_order:
            grads = lax.stop_gradient(grads)
        moving = jax.tree.map(lambda p, g: p - bench.rate * g, moving, grads)
    return whole(moving, task.query_x, task.query_y)


def adam(params: Params, grads: Params, state: Any) -> tuple[Params, Any]:
    """Kingma & Ba (2015), Algorithm 1, with torch's defaults."""
    count, first, second = state
    count = count + 1
    first = jax.tree.map(lambda m, g: DECAYS[0] * m + (1 - DECAYS[0]) * g, first, grads)
    second = jax.tree.map(lambda v, g: DECAYS[1] * v + (1 - DECAYS[1]) * g * g, second, grads)
    unbias = [1 - decay**count for decay in DECAYS]
    moved = jax.tree.map(
        lambda p, m, v: p - OUTER_RATE * (m / unbias[0]) / (jnp.sqrt(v / unbias[1]) + ADAM_EPS), params, first, second
    )
    return moved, (count, first, second)


class JaxAdapter(Adapter):
    """XLA starts a thread for every core that it sees and has no option for fewer: the process keeps to its cores."""

    library = "jax"
    schedules = ("jit(grad(vmap))", "jit(grad(lax.map))")

    def __init__(
        self, bench: Bench, parameters: Mapping[str, np.ndarray], threads: int, schedule: str, double: bool
    ) -> None:
        use_cores(threads)
        jax.config.update("jax_enable_x64", double)
        self.bench, self.chosen = bench, schedule
        self.float = np.float64 if double else np.float32
        self.params: Params = {n: jnp.asarray(self.to_jax(n, p), self.float) for n, p in parameters.items()}
        zeros = jax.tree.map(jnp.zeros_like, self.params)
        self.state = (jnp.zeros((), self.float), zeros, zeros)

        def mean_loss(params: Params, batch: MetaBatch) -> Array:
            def task_loss(task: MetaBatch) -> Array:
                return outer_loss(bench, params, task)

            losses = lax.map(task_loss, batch) if "lax.map" in schedule else jax.vmap(task_loss)(batch)
            return losses.mean()

        def meta_step(params: Params, state: Any, batch: MetaBatch) -> tuple[Params, Any]:
            return adam(params, jax.grad(mean_loss)(params, batch), state)

        self.jit_gradient = jax.jit(jax.grad(mean_loss))
        self.jit_step = jax.jit(meta_step)

    def prepare(self, batch: MetaBatch) -> MetaBatch:
        def convert(values: np.ndarray) -> Array:
            if values.ndim == 5:
                values = values.transpose(0, 1, 3, 4, 2)
            return jnp.asarray(values, self.float if values.dtype.kind == "f" else np.int32)

        return MetaBatch(*map(convert, batch))

    def step(self, batch: MetaBatch) -> None:
        self.params, self.state = jax.block_until_ready(self.jit_step(self.params, self.state, batch))

    def gradient(self, batch: MetaBatch) -> dict[str, np.ndarray]:
        return {name: self.to_torch(name, np.asarray(g)) for name, g in self.jit_gradient(self.params, batch).items()}

    def to_jax(self, name: str, values: np.ndarray) -> np.ndarray:
        """OIHW to HWIO, ``[outputs, inputs]`` to its transpose; a head on flattened maps reads them channels last."""
        if values.ndim == 4:
            return values.transpose(2, 3, 1, 0)
        if name == "head.weight" and not self.bench.average:
            filters, side = self.bench.last_map
            return values.reshape(-1, filters, side, side).transpose(2, 3, 1, 0).reshape(-1, len(values))
        return values.T

    def to_torch(self, name: str, values: np.ndarray) -> np.ndarray:
        """The inverse of ``to_jax``."""
        if values.ndim == 4:
            return values.transpose(3, 2, 0, 1)
        if name == "head.weight" and not self.bench.average:
            filters, side = self.bench.last_map
            return values.reshape(side, side, filters, -1).transpose(3, 2, 0, 1).reshape(values.shape[1], -1)
        return values.T

    def versions(self) -> dict[str, str | None]:
        return {"library_version": jax.__version__, "torch": None}

    def schedule(self) -> str:
        return self.chosen


if __name__ == "__main__":
    main(JaxAdapter)
