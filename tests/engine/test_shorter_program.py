"""Recordings with fewer operators: the same numbers, and what is left as it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

from maml_bench.engine.rewrites.shorter_program import simplify
from maml_bench.engine.torch_internals import traced

aten = torch.ops.aten


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def targets(module: fx.GraphModule) -> list[object]:
    return [node.target for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda p, g: p - 0.4 * g, [aten.sub.Tensor]),
        (lambda p, g: p + g * 0.4, [aten.add.Tensor]),
        (lambda p, g: p - 0.4 * -g, [aten.sub.Tensor]),
        (lambda p, g: p - torch.mul(g, 0.4).cos(), [aten.mul.Tensor, aten.cos.default, aten.sub.Tensor]),
        (lambda p, g: torch.mul(-g, 3.0), [aten.mul.Tensor]),
        (lambda p, g: torch.sub(p, 0.4 * g, alpha=2), [aten.mul.Tensor, aten.sub.Tensor]),
        (lambda p, g: p - 0.4 * g.float(), [aten._to_copy.default, aten.mul.Tensor, aten.sub.Tensor]),
    ],
)
def test_a_step_of_gradient_descent_is_one_operator(function: Callable[..., Tensor], expected: list[object]) -> None:
    p, g = drawn(7, 3), drawn(5, 7, 3)
    module = traced(lambda *v: [function(*v)], [p, g])
    right = module(p, g)[0]
    found = simplify(module)(p, g)[0]
    assert targets(module) == expected
    assert found.dtype == right.dtype
    torch.testing.assert_close(found, right, rtol=1e-15, atol=1e-15)


def test_a_product_that_is_used_twice_is_computed_in_both_places() -> None:
    p, g = drawn(4), drawn(3, 4)
    module = traced(lambda p, g: [p - (step := 0.4 * g), step], [p, g])
    right = module(p, g)
    found = simplify(module)(p, g)
    torch.testing.assert_close(found, right, rtol=1e-15, atol=1e-15)
