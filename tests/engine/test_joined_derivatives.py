"""Derivatives that one kernel finds together: the same numbers, and where a recording is left as it is."""

import operator

import pytest
import torch
from torch import Tensor, fx

from maml_bench import native_code
from maml_bench.engine.kernels import differentiable, operators
from maml_bench.engine.rewrites.joined_derivatives import (
    ADD,
    CONV_FILTER,
    FIRST_LAYER,
    NORM_BACKWARD,
    join_first_layers,
    join_sums,
)
from maml_bench.engine.rewrites.shorter_program import shorten_views
from maml_bench.engine.torch_internals import traced

pytestmark = pytest.mark.skipif(native_code.compiler() is None, reason="the kernels need a C++ compiler: install g++")


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def count(module: fx.GraphModule, target: object) -> int:
    return sum(node.target == target for node in module.graph.nodes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("pool", "stride"), [(True, 1), (False, 1), (False, 2), (True, 2)])
@pytest.mark.parametrize(
    ("tasks", "images", "high", "wide", "channels"), [(1, 7, 9, 6, 3), (3, 2, 12, 13, 1), (5, 1, 5, 5, 7)]
)
def test_the_kernel_equals_the_two_that_it_stands_for(
    dtype: torch.dtype, pool: bool, stride: int, tasks: int, images: int, high: int, wide: int, channels: int
) -> None:
    image = drawn(tasks, images, high, wide, channels).to(dtype)
    x = operators.conv(image, drawn(tasks, 3, 3, channels, 32).to(dtype), stride)
    gamma, beta = 1 + drawn(tasks, 32).to(dtype), drawn(1, tasks, 32)[0].to(dtype)
    y, mean, r = operators.norm(x, gamma, beta, 1e-3, pool)
    saved = (x, gamma, beta, mean, r, drawn(*y.shape).to(dtype))
    dx, dgamma, dbeta = operators.norm_backward(*saved, pool)
    plus = drawn(*x.shape).to(dtype) if images > 1 else None
    if plus is not None:
        assert torch.equal(operators.norm_backward(*saved, pool, plus)[0], dx + plus)
        dx = dx + plus
    expected = operators.conv_filter(image, dx, stride), dgamma, dbeta
    found = operators.first_layer(image, *saved, pool, stride, plus)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        assert float((f - e).abs().max()) <= (1e-12 if dtype == torch.float64 else 1e-4) * float(e.abs().max())


def recorded(image: Tensor, *, ask_image: bool = False) -> tuple[fx.GraphModule, list[Tensor]]:
    """The gradient of a block in its filters, scale and offset, and perhaps in the image."""
    inputs = [image, drawn(2, 3, 3, image.shape[-1], 16), 1 + drawn(2, 16), drawn(3, 2, 16)[0]]

    def loss(image: Tensor, w: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return differentiable.norm(differentiable.conv(image, w, 1), gamma, beta, 1e-3, pool=True).square().sum()

    gradient = torch.func.grad(loss, (0, 1, 2, 3) if ask_image else (1, 2, 3))
    module = traced(lambda *v: list(gradient(*v)), inputs)
    shorten_views(module)
    return module, inputs


def test_a_first_block_is_joined() -> None:
    module, inputs = recorded(drawn(2, 3, 8, 8, 3))
    expected = module(*inputs)
    join_first_layers(module)
    assert (count(module, FIRST_LAYER), count(module, CONV_FILTER), count(module, NORM_BACKWARD)) == (1, 0, 0)
    module.graph.lint()
    for found, right in zip(module(*inputs), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "ask_image"), [(16, False), (3, True)])
def test_a_later_block_and_one_whose_input_has_a_gradient_stay(channels: int, ask_image: bool) -> None:
    module, _ = recorded(drawn(2, 3, 8, 8, channels), ask_image=ask_image)
    join_first_layers(module)
    assert (count(module, FIRST_LAYER), count(module, CONV_FILTER), count(module, NORM_BACKWARD)) == (0, 1, 1)
    assert all(node.target != operator.getitem or node.users for node in module.graph.nodes)


def two_ways(*, kept: bool, early: bool) -> tuple[fx.GraphModule, list[Tensor]]:
    """A gradient that is added to another one, and perhaps is a result by itself too."""
    inputs = [drawn(2, 3, 6, 6, 16), 1 + drawn(2, 16), drawn(3, 2, 16)[0], drawn(2, 1, 3, 6, 6, 16)]

    def loss(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return differentiable.norm(x, gamma, beta, 1e-3, pool=True).square().sum()

    def function(x: Tensor, gamma: Tensor, beta: Tensor, other: Tensor) -> list[Tensor]:
        before = other.cos()
        gradient = torch.func.grad(loss)(x, gamma, beta)
        total = (before if early else other.cos()) + gradient.unsqueeze(1)
        return [total, gradient] if kept else [total]

    module = traced(function, inputs)
    shorten_views(module)
    return module, inputs


@pytest.mark.parametrize(("kept", "early"), [(False, True), (True, True), (False, False)])
def test_what_is_added_to_a_derivative_alone_is_added_by_its_kernel(kept: bool, early: bool) -> None:
    """It stays where the derivative has another use, and where the other term comes later in the recording."""
    module, inputs = two_ways(kept=kept, early=early)
    expected = module(*inputs)
    join_sums(module)
    module.graph.lint()
    assert count(module, ADD) == int(kept or not early)
    for found, right in zip(module(*inputs), expected, strict=True):
        assert found.shape == right.shape
        torch.testing.assert_close(found, right, rtol=1e-14, atol=1e-14)


def test_one_of_two_terms_is_added_by_the_kernel() -> None:
    inputs = [drawn(2, 3, 6, 6, 16), 1 + drawn(2, 16), drawn(3, 2, 16)[0], drawn(2, 3, 3, 3, 16)]

    def function(x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor) -> list[Tensor]:
        one, two = x.sin(), x.cos()
        _, mean, r = torch.ops.maml_bench.norm(x, gamma, beta, 1e-3, True)
        return [torch.ops.maml_bench.norm_backward(x, gamma, beta, mean, r, dy, True)[0] + one + two]

    module = traced(function, inputs)
    expected = module(*inputs)
    join_sums(module)
    module.graph.lint()
    assert count(module, ADD) == 1
    torch.testing.assert_close(module(*inputs), expected, rtol=1e-14, atol=1e-14)


def test_a_first_block_takes_what_is_added_with_it() -> None:
    inputs = [drawn(2, 3, 8, 8, 3), drawn(2, 3, 8, 8, 16), 1 + drawn(2, 16), drawn(3, 2, 16)[0], drawn(2, 3, 4, 4, 16)]

    def function(image: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor) -> list[Tensor]:
        other = x.sin()
        _, mean, r = torch.ops.maml_bench.norm(x, gamma, beta, 1e-3, True)
        dx, dgamma, dbeta = torch.ops.maml_bench.norm_backward(x, gamma, beta, mean, r, dy, True)
        return [torch.ops.maml_bench.conv_filter(image, other + dx, 1), dgamma, dbeta]

    module = traced(function, inputs)
    expected = module(*inputs)
    join_sums(module)
    join_first_layers(module)
    module.graph.lint()
    assert (count(module, ADD), count(module, FIRST_LAYER), count(module, NORM_BACKWARD)) == (0, 1, 0)
    for found, right in zip(module(*inputs), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
