"""Sums of matrix products as one product: the same numbers, fewer products, and what is left as it is."""

import torch
from torch import Tensor, fx

from maml_bench.engine.rewrites.joined_products import join
from maml_bench.engine.torch_internals import traced

aten = torch.ops.aten


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def count(module: fx.GraphModule, operator: object) -> int:
    return sum(node.target == operator for node in module.graph.nodes)


def test_the_gradient_of_a_weight_that_every_step_uses_is_one_product() -> None:
    x, weight = drawn(5, 3, 40), 0.1 * drawn(40, 40)

    def loss(weight: Tensor) -> Tensor:
        state = torch.zeros_like(x[0])
        for now in x:
            state = torch.tanh(now + torch.nn.functional.linear(state, weight))
        return state.square().sum()

    gradient = torch.func.grad(loss)
    module = traced(lambda weight: [gradient(weight)], [weight])
    before = count(module, aten.mm.default)
    join(module)
    torch.testing.assert_close(module(weight)[0], gradient(weight), rtol=1e-12, atol=1e-14)
    assert before - count(module, aten.mm.default) == 4  # of five products for the weight, one is left
    module.graph.lint()


def test_sums_of_plain_and_of_transposed_products_are_joined() -> None:
    matrices = [drawn(30, 2), drawn(2, 20), drawn(30, 3), drawn(3, 20), drawn(4, 30), drawn(4, 20)]

    def total(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> list[Tensor]:
        return [(a @ b + c @ d) + e.t() @ f]

    module = traced(total, matrices)
    join(module)
    assert count(module, aten.mm.default) == 1
    torch.testing.assert_close(module(*matrices)[0], total(*matrices)[0], rtol=1e-12, atol=1e-14)


def test_sums_with_something_else_large_factors_and_sums_that_are_used_again_stay() -> None:
    thin, large = [drawn(30, 2), drawn(2, 30), drawn(30, 3), drawn(3, 30)], [drawn(30, 30) for _ in range(4)]
    cases = [
        (lambda a, b, c, d: [(a @ b).exp() + c @ d], thin),
        (lambda a, b, c, d: [a @ b + c @ d], large),
        (lambda a, b, c, d: [torch.add(a @ b, c @ d, alpha=2)], thin),
        (lambda a, b, c, d: [(a @ b + c @ d) * (a @ b)], [*large[:2], *thin[2:]]),
    ]
    for function, matrices in cases:
        module = traced(function, matrices)
        before = count(module, aten.mm.default)
        join(module)
        assert count(module, aten.mm.default) == before
        torch.testing.assert_close(module(*matrices), function(*matrices), rtol=1e-12, atol=1e-14)
