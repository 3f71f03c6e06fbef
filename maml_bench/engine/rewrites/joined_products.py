"""Sums of matrix products in a recording as one product: A B + C D = [A C] [B; D].

A weight that is used at every time step of a sequence, or at every inner step, has the sum of as many products as its
gradient. Each product of few rows reads and writes a whole matrix. The joined product writes it once.
"""

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
Product = tuple[Any, Any]
"""The two factors of a product of matrices."""


def join(module: fx.GraphModule) -> None:
    """Join the sums of products of a recording, in place, where that moves less memory."""
    graph = module.graph
    inside: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        if node in inside or not _adds(node):
            continue
        products = _summands(node, inside)
        if products is None or not _pays(products, node):
            continue
        with graph.inserting_before(node):
            left = _concatenated(graph, [a for a, _ in products], 1)
            right = _concatenated(graph, [b for _, b in products], 0)
            node.replace_all_uses_with(_call(graph, aten.mm.default, left, right))
    graph.eliminate_dead_code()
    module.recompile()


def _adds(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target == aten.add.Tensor and not node.kwargs


def _summands(node: Any, inside: set[fx.Node]) -> list[Product] | None:
    """The products whose sum a node is; None where something else is in the sum. ``inside`` are the sums below it."""
    found: list[Product] = []
    open_: list[Any] = [node]
    while open_:
        here = open_.pop()
        if _adds(here) and (here is node or len(here.users) == 1):
            inside.add(here)
            open_ += here.args
            continue
        here = _without_transpositions(here)
        if not isinstance(here, fx.Node) or here.target != aten.mm.default:
            return None
        found.append((here.args[0], here.args[1]))
    return found


def _without_transpositions(node: Any) -> Any:
    """What a matrix is the transpose of the transpose of."""
    while isinstance(node, fx.Node) and node.target == aten.t.default and node.args[0].target == aten.t.default:  # type: ignore[union-attr]
        node = node.args[0].args[0]  # type: ignore[union-attr]
    return node


def _pays(products: list[Product], total: fx.Node) -> bool:
    """Whether the factors have fewer entries than the products that are added."""
    size = total.meta["val"].numel()
    return all(a.meta["val"].numel() + b.meta["val"].numel() < size for a, b in products)


def _concatenated(graph: fx.Graph, matrices: list[Any], axis: int) -> fx.Node:
    if all(matrix.target == aten.t.default for matrix in matrices):  # whose bases lie densely in memory
        joined = _call(graph, aten.cat.default, [matrix.args[0] for matrix in matrices], 1 - axis)
        return _call(graph, aten.t.default, joined)
    return _call(graph, aten.cat.default, matrices, axis)


def _call(graph: fx.Graph, target: Any, *arguments: Any) -> fx.Node:
    """A new node, with what its result looks like."""
    node = graph.call_function(target, arguments)
    node.meta["val"] = target(*fx.map_arg(arguments, lambda argument: argument.meta["val"]))
    return node
