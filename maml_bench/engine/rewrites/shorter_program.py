"""Making a recording shorter, without changing what it computes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from maml_bench.engine.kernels import operators

LARGE = 2**16
FLOATS = (torch.float32, torch.float64)


def simplify(module: fx.GraphModule) -> Callable[..., Any]:
    """The recording without torch's dispatcher around our kernels, and with fewer passes over adapted parameters.

    What is replaced gives the same value: a negation before a product with a constant, a product with a constant before
    a sum (a step of gradient descent has both), and on a CPU the sum over tasks of what lies densely in memory, for
    which torch has no fast path. A view becomes a reshape, which copies where a view is not possible: some operators
    lay out their results otherwise than they say in a trace, such as the derivatives of `F.elu` and `F.hardtanh` (seen
    in 2.13).
    """
    aten = torch.ops.aten
    graph = module.graph
    nodes: list[Any] = list(graph.nodes)
    for node in nodes:
        if node.op != "call_function":
            continue
        if node.target in operators.BY_OPERATOR:
            node.target = operators.BY_OPERATOR[node.target]
        elif _scales(node):
            inner = node.args[0]
            if inner.target == aten.neg.default:
                node.args = (inner.args[0], -node.args[1])
        elif node.target in (aten.add.Tensor, aten.sub.Tensor) and _adds_scaled(node):
            scaled = node.args[1]
            node.args, node.kwargs = (node.args[0], scaled.args[0]), {"alpha": scaled.args[1]}
        elif node.target == aten.sum.dim_IntList and _sums_rows(node):
            with graph.inserting_before(node):
                total = graph.call_function(operators.sum_first, (node.args[0],))
                if len(node.args) > 2 and node.args[2]:
                    total = graph.call_function(aten.unsqueeze.default, (total, 0))
            node.replace_all_uses_with(total)
    for node in graph.nodes:
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = torch.reshape
    graph.eliminate_dead_code()
    module.recompile()
    return module.forward


def shorten_views(module: fx.GraphModule) -> None:
    """Reshapes of reshapes become one, and those that lead back to where they began none; so do transpositions."""
    aten = torch.ops.aten
    graph = module.graph
    nodes: list[Any] = list(graph.nodes)
    for node in nodes:
        if reshapes(node):
            base: Any = node.args[0]
            while reshapes(base):
                base = base.args[0]
            shape = list(node.meta["val"].shape)
            if list(base.meta["val"].shape) == shape:
                node.replace_all_uses_with(base)
            elif base is not node.args[0]:
                with graph.inserting_before(node):
                    short = graph.call_function(aten.view.default, (base, shape))
                short.meta["val"] = node.meta["val"]
                node.replace_all_uses_with(short)
        elif node.target == aten.permute.default:
            base, order = node.args
            if base.target == aten.permute.default:
                base, order = base.args[0], [base.args[1][i] for i in order]
                node.args = (base, order)
            if list(order) == list(range(len(order))):
                node.replace_all_uses_with(base)
    graph.eliminate_dead_code()
    module.recompile()


def spread_thin_products(module: fx.GraphModule) -> None:
    """Matrix products with a side of length 1 as elementwise products and sums, which torch.compile fuses."""
    aten = torch.ops.aten
    graph = module.graph
    nodes: list[Any] = [node for node in graph.nodes if node.target in (aten.mm.default, aten.bmm.default)]
    for node in nodes:
        left, right = node.args
        if 1 not in (*left.meta["val"].shape[-2:], right.meta["val"].shape[-1]):
            continue
        with graph.inserting_before(node):
            columns = graph.call_function(aten.unsqueeze.default, (left, -1))
            rows = graph.call_function(aten.unsqueeze.default, (right, -3))
            products = graph.call_function(aten.mul.Tensor, (columns, rows))
            node.replace_all_uses_with(graph.call_function(aten.sum.dim_IntList, (products, [-2])))
    graph.eliminate_dead_code()
    module.recompile()


def has_kernels(module: fx.GraphModule) -> bool:
    """Whether the recording calls kernels of our own."""
    return any(node.target in operators.BY_OPERATOR for node in module.graph.nodes)


def reshapes(node: Any) -> bool:
    """Whether a node gives another shape to the same elements in the same order."""
    aten = torch.ops.aten
    same = (aten.view.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims)
    if getattr(node, "target", None) not in (*same, aten.expand.default):
        return False
    values = [place.meta.get("val") for place in (node, node.args[0])]
    return None not in values and (node.target in same or values[0].numel() == values[1].numel())


def _scales(node: Any) -> bool:
    """Whether a node is a product with a constant."""
    aten = torch.ops.aten
    return node.target in (aten.mul.Tensor, aten.mul.Scalar) and isinstance(node.args[1], float)


def _adds_scaled(node: Any) -> bool:
    """Whether a sum or a difference has a second term that is a product with a constant, all of one type."""
    terms = node.args
    if node.kwargs or not all(isinstance(term, fx.Node) for term in terms) or not _scales(terms[1]):
        return False
    values = [value.meta.get("val") for value in (*terms, terms[1].args[0])]
    return all(v is not None and v.dtype in FLOATS and v.dtype == values[0].dtype for v in values)


def _sums_rows(node: Any) -> bool:
    """Whether a sum goes over the first axis of a large tensor on a CPU."""
    tensor = node.args[0].meta.get("val")
    if node.args[1] != [0] or node.kwargs or tensor is None or tensor.device.type != "cpu":
        return False
    return tensor.numel() >= LARGE and tensor.dtype in FLOATS
