"""Adapted weights that are never formed: matrix products of a recording, taken in a cheaper order.

A gradient step on few examples changes a weight matrix by a product of low rank, W' = W - rate * P Q, with one row of Q
for each example of the task. Formed for every task, such matrices are most of the memory traffic of a fully connected
network; x W' is x W, one product for all tasks, and (x P) Q, which is thin. Derivatives are made of the same products,
so the pass over the recording finds them too. Nothing is approximated; only the rounding differs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

LEAST = 2**12
"""Matrices of fewer entries are left as they are: the calls would cost more than the arithmetic saved."""
GAIN = 2
"""How much less arithmetic the thin products must need."""
aten = torch.ops.aten
SAME = (aten.detach.default, aten.alias.default)
"""What a detached tensor is in a recording: `detach` up to torch 2.13, `alias` from 2.14 on."""


@dataclass(frozen=True)
class _Term:
    """``scale`` times a matrix per task: the product of ``left [T, m, r]`` and ``right [T, r, n]``, or, without
    ``right``, ``left [m, n]`` for all tasks alike; transposed if it says so."""

    scale: float
    left: fx.Node
    right: fx.Node | None
    transposed: bool = False


def reassociate(module: fx.GraphModule, least: int = LEAST) -> None:
    """Reorder the batched products of a recording, in place. Matrices of fewer than ``least`` entries stay."""
    graph = module.graph
    nodes: list[Any] = list(graph.nodes)
    for node in nodes:
        with graph.inserting_before(node):
            if node.target == aten.bmm.default:
                left, right = node.args
                found = _product(graph, left, right, least=least)
                if found is None:  # the other operand: L R = (R' L')'
                    found = _product(graph, *(_transpose(graph, side) for side in (right, left)), least=least)
                    found = found and _transpose(graph, found)
            elif node.target == aten.sum.dim_IntList and node.args[1] == [0] and not node.kwargs:
                found = _sum(graph, node, least)
            else:
                continue
            if found is not None:
                if found.meta["val"].stride() != node.meta["val"].stride():  # views of it count on that
                    found = _call(graph, aten.clone.default, found, memory_format=torch.contiguous_format)
                node.replace_all_uses_with(found)
    graph.eliminate_dead_code()
    module.recompile()


def _product(graph: fx.Graph, x: fx.Node, matrix: fx.Node, *, least: int) -> fx.Node | None:
    """``x [T, m, k]`` times ``matrix [T, k, n]`` by the terms of the matrix; None where that is not cheaper."""
    terms = _terms(matrix)
    if terms is None or not _pays(matrix, terms, least):
        return None
    total: fx.Node | None = None
    for term in sorted(terms, key=lambda term: term.right is not None):  # what all tasks share comes first
        if term.right is None:
            shared = _call(graph, aten.t.default, term.left) if term.transposed else term.left
            rows = _view(graph, x, (-1, _shape(x)[-1]))
            found = _view(graph, _call(graph, aten.mm.default, rows, shared), (*_shape(x)[:2], _shape(shared)[-1]))
        else:
            left, right = _factors(graph, term)
            thin = _call(graph, aten.bmm.default, x, left)
            if total is not None:
                total = _call(graph, aten.baddbmm.default, total, thin, right, alpha=term.scale)
                continue
            found = _call(graph, aten.bmm.default, thin, right)
        if term.scale != 1:
            found = _call(graph, aten.mul.Tensor, found, term.scale)
        total = found if total is None else _call(graph, aten.add.Tensor, total, found)
    return total


def _sum(graph: fx.Graph, node: fx.Node, least: int) -> fx.Node | None:
    """The sum over tasks of low-rank matrices: one product over tasks and ranks together."""
    matrix: Any = node.args[0]
    terms = _terms(matrix)
    if terms is None or not terms or any(term.right is None for term in terms) or not _pays(matrix, terms, least):
        return None
    total: fx.Node | None = None
    for term in terms:
        left, right = _factors(graph, term)
        columns = _call(graph, aten.permute.default, left, [0, 2, 1])
        columns = _call(graph, aten.t.default, _view(graph, columns, (-1, _shape(left)[1])))
        found = _call(graph, aten.mm.default, columns, _view(graph, right, (-1, _shape(right)[2])))
        if term.scale != 1:
            found = _call(graph, aten.mul.Tensor, found, term.scale)
        total = found if total is None else _call(graph, aten.add.Tensor, total, found)
    keep = len(node.args) > 2 and node.args[2]
    return _call(graph, aten.unsqueeze.default, total, 0) if keep else total


def _terms(node: Any) -> list[_Term] | None:
    """The terms whose sum a node is, or None where one of them is neither shared by all tasks nor of low rank.

    They are found once for each node, and equal ones are one: a rule that uses the weights twice in a step would else
    double them with each.
    """
    if not isinstance(node, fx.Node):
        return None
    if "terms" not in node.meta:
        found = _search(node)
        scales: dict[_Term, float] = {}
        for term in found or ():
            bare = replace(term, scale=1.0)
            scales[bare] = scales.get(bare, 0.0) + term.scale
        node.meta["terms"] = None if found is None else [replace(term, scale=scale) for term, scale in scales.items()]
    return node.meta["terms"]  # type: ignore[no-any-return]


def _search(node: Any) -> list[_Term] | None:
    """``_terms`` before equal ones are taken together."""
    shape = _shape(node)
    if shape is None:
        return None
    if len(shape) == 2:
        return [_Term(1.0, node, None)]
    if len(shape) != 3 or node.op != "call_function":
        return None
    target, arguments = node.target, node.args
    if target == aten.bmm.default:
        return [_Term(1.0, *arguments)]
    if target in (aten.view.default, aten._unsafe_view.default, aten.expand.default, *SAME):
        inner = _shape(arguments[0])
        same = inner == shape or (target == aten.expand.default and inner == shape[1:])
        return _terms(arguments[0]) if same else None
    if target in (aten.transpose.int, aten.permute.default):
        swaps = (
            arguments[1:] in ((1, 2), (-2, -1), (2, 1)) if target == aten.transpose.int else arguments[1] == [0, 2, 1]
        )
        return [replace(t, transposed=not t.transposed) for t in _terms(arguments[0]) or ()] or None if swaps else None
    if target == aten.neg.default:
        return _scaled(arguments[0], -1.0)
    if target in (aten.mul.Scalar, aten.mul.Tensor) and isinstance(arguments[1], float | int):
        return _scaled(arguments[0], float(arguments[1]))
    if target in (aten.add.Tensor, aten.sub.Tensor):
        parts = [place for place in arguments if isinstance(place, fx.Node) and _shape(place) in (shape, shape[1:])]
        sign = float(node.kwargs.get("alpha", 1)) * (1 if target == aten.add.Tensor else -1)
        if len(parts) == 2:
            first, second = _terms(parts[0]), _scaled(parts[1], sign)
            return None if first is None or second is None else first + second
    return None


def _scaled(node: Any, scale: float) -> list[_Term] | None:
    terms = _terms(node)
    return None if terms is None else [replace(term, scale=scale * term.scale) for term in terms]


def _pays(matrix: fx.Node, terms: list[_Term], least: int) -> bool:
    """Whether the thin products need less than the matrix would."""
    _, k, n = _shape(matrix)
    ranks = sum(_shape(term.left)[-1] for term in terms if term.right is not None)
    return bool(k * n >= least and GAIN * ranks * (k + n) <= k * n)


def _factors(graph: fx.Graph, term: _Term) -> Iterator[fx.Node]:
    """The two factors of a product, those of its transpose if it is transposed."""
    pair = (term.left, term.right)
    return iter(pair) if not term.transposed else (_transpose(graph, side) for side in reversed(pair))  # type: ignore[arg-type]


def _transpose(graph: fx.Graph, node: Any) -> fx.Node:
    if node.target == aten.transpose.int and node.args[1:] in ((1, 2), (-2, -1), (2, 1)):
        return node.args[0]  # type: ignore[no-any-return]
    return _call(graph, aten.transpose.int, node, 1, 2)


def _view(graph: fx.Graph, node: fx.Node, shape: tuple[int, ...]) -> fx.Node:
    if not node.meta["val"].is_contiguous():
        node = _call(graph, aten.clone.default, node, memory_format=torch.contiguous_format)
    return _call(graph, aten.view.default, node, list(shape))


def _shape(node: Any) -> Any:
    """The shape of a node's tensor, None for what is no tensor."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _call(graph: fx.Graph, target: Any, *arguments: Any, **options: Any) -> fx.Node:
    """A new node, with what its result looks like."""
    node = graph.call_function(target, arguments, options)
    values = [argument.meta["val"] if isinstance(argument, fx.Node) else argument for argument in arguments]
    node.meta["val"] = target(*values, **options)
    return node
