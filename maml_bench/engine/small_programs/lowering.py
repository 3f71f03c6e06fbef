"""A recording as the steps of a small program."""

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from maml_bench.engine.small_programs.elementwise import FILLED, SAME, Expression, expression
from maml_bench.engine.small_programs.products import multiplied
from maml_bench.engine.small_programs.steps import Gather, Loop, Sum
from maml_bench.engine.small_programs.strides import Buffer, Strided, contiguous
from maml_bench.engine.small_programs.terms import Applied, Constant, Lazy, Term, Unsupported, size_of
from maml_bench.engine.small_programs.views import VIEWS, selected, sliced
from maml_bench.engine.small_programs.workspace import Workspace, lazy

aten = torch.ops.aten
FEW = 64
"""A row of numbers up to this length is written number by number."""
LONGEST = 24
"""A term with more operations than this is put into memory before it is used further."""
MEANS = (aten.mean.dim, aten.mean.default)
SUMS = (aten.sum.dim_IntList, aten.sum.default, *MEANS, aten.amax.default)
PRODUCTS = (aten.mm.default, aten.mv.default, aten.bmm.default, aten.baddbmm.default, aten.addmm.default)
FULL = {aten.full.default: 1, aten.full_like.default: 1, aten.scalar_tensor.default: 0}
"""Operators whose result is one number everywhere, and which operand is the number."""


class Lowering:
    """The steps that compute the outputs of a recording.

    A value is a tensor in memory (`Strided`), a term that is inlined where it is used (`Lazy`), or a list of them.

    Attributes:
        workspace: the steps and the buffers.
        outputs: the shapes and types of the outputs, which are contiguous.

    Raises:
        Unsupported: the recording has an operator or a type that small programs do not know.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.workspace = Workspace()
        self._values: dict[Any, Any] = {}
        nodes: list[Any] = list(module.graph.nodes)
        results: list[fx.Node] = next(node for node in nodes if node.op == "output").args[0]
        self.outputs: list[Tensor] = [node.meta["val"] for node in results]
        buffers = [self.workspace.buffer("output", value.dtype, value.numel()) for value in self.outputs]
        self._places: dict[fx.Node, Buffer] = dict(zip(reversed(results), reversed(buffers), strict=True))
        self._uses = _uses(nodes)
        for node in nodes:
            value = node.meta.get("val")
            if isinstance(value, Tensor) and value.device.type != "cpu":
                raise Unsupported(f"tensors on {value.device}")
            if node.op == "placeholder":
                self._values[node] = self._given(node.meta["val"])
            elif node.op == "call_function":
                self._values[node] = self._kept(node, self._value(node))
            elif node.op != "output":
                raise Unsupported(f"a {node.op}")
        for node, buffer in zip(results, buffers, strict=True):
            found = self._values[node]
            place = Strided(buffer, 0, found.shape, contiguous(found.shape))
            if found != place:
                self.workspace.steps.append(Loop(place, lazy(found)))

    def _given(self, tensor: Tensor) -> Strided:
        """An input, in memory as it was when the recording was made."""
        size = tensor.numel() and 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        return Strided(self.workspace.buffer("input", tensor.dtype, size), 0, tuple(tensor.shape), tensor.stride())

    def _kept(self, node: fx.Node, value: Any) -> Any:
        """The value of a node, in memory if that is where it must be."""
        if not isinstance(value, Lazy):
            return value
        buffer = self._places.get(node)
        if buffer is not None:
            place = Strided(buffer, 0, value.shape, contiguous(value.shape))
            self.workspace.steps.append(Loop(place, value))
            return place
        size = size_of(value.term)
        return self.workspace.in_memory(value) if (self._uses[node] > 1 and size) or size > LONGEST else value

    def _tensor(self, node: Any) -> Strided:
        return self.workspace.in_memory(self._values[node])

    def _value(self, node: Any) -> Any:
        """What an operator gives."""
        target, arguments, value = node.target, node.args, node.meta.get("val")
        if target == operator.getitem:
            return self._values[arguments[0]][arguments[1]]
        if target in (aten.unbind.int, aten.split_with_sizes.default, aten.split.Tensor):
            return self._split(node)
        if target in SAME:
            return self._converted(self._values[arguments[0]], value.dtype)
        if target in FILLED:
            return Lazy(tuple(value.shape), value.dtype, Constant(FILLED[target]))
        if target in FULL:
            return Lazy(tuple(value.shape), value.dtype, Constant(float(arguments[FULL[target]])))
        if target in VIEWS:
            return self._viewed(node)
        if target in PRODUCTS:
            return self._product(node)
        if target in SUMS:
            return self._sum(node)
        if target in (aten.cat.default, aten.stack.default):
            return self._concatenated(node)
        if target in (aten.slice_backward.default, aten.select_backward.default):
            return self._padded(node)
        if target == aten.arange.start and value.numel() <= FEW:
            return self._counted(value, float(arguments[0]))
        if target == aten.index.Tensor:
            return self._gathered(node)
        found = expression(node)
        if found is None:
            raise Unsupported(f"the operator {target}")
        return self._elementwise(found, tuple(value.shape), value.dtype)

    # views

    def _viewed(self, node: Any) -> Strided | Lazy:
        source = self._values[node.args[0]]
        shape = tuple(node.meta["val"].shape)

        def view(tensor: Strided) -> Strided | None:
            return VIEWS[node.target](tensor, node.args[1:], shape)

        if isinstance(source, Lazy):
            if math.prod(shape) == math.prod(source.shape) or not size_of(source.term):
                found = source.viewed(view)
                if found is not None:
                    return replace(found, shape=shape)
            source = self.workspace.in_memory(source)
        seen = view(source)
        if seen is None:
            seen = view(self.workspace.stored(source))  # contiguous memory has a view of every shape
        assert seen is not None
        return seen

    # elementwise operators

    def _converted(self, source: Any, dtype: torch.dtype) -> Strided | Lazy:
        if source.dtype == dtype:
            return source  # type: ignore[no-any-return]
        return Lazy(source.shape, dtype, Applied("{0}", (lazy(source).term,), source.dtype, source.dtype))

    def _elementwise(self, found: Expression, shape: tuple[int, ...], dtype: torch.dtype) -> Lazy:
        terms = tuple(self._term(argument, shape) for argument in found.arguments)
        if found.chooses:
            terms = (Applied("{0}", terms[:1], torch.bool, torch.bool), *terms[1:])
        return Lazy(shape, dtype, _simplified(found.template, terms, found.inside, found.dtype))

    def _term(self, argument: Any, shape: tuple[int, ...]) -> Term:
        """An operand, repeated to ``shape``. A term that would be computed again and again is put into memory first."""
        if isinstance(argument, int | float):
            return Constant(float(argument))
        if argument is None:
            raise Unsupported("an operand that is missing")
        value = self._values[argument]
        if isinstance(value, Lazy) and (isinstance(value.term, Constant) or value.shape == shape):
            return _typed(value)
        if isinstance(value, Lazy) and math.prod(value.shape) == math.prod(shape):
            found = value.viewed(lambda tensor: tensor.expanded(shape))
            assert found is not None
            return _typed(found)
        return self.workspace.in_memory(value).expanded(shape)

    # sums

    def _sum(self, node: Any) -> Strided | Lazy:
        source, result, shape = lazy(self._values[node.args[0]]), node.meta["val"], tuple(node.meta["val"].shape)
        if source.dtype != result.dtype or not result.is_floating_point():
            raise Unsupported("a sum of whole numbers")
        rank = len(source.shape)
        axes = node.args[1] if len(node.args) > 1 and node.args[1] else range(rank)
        over = [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]
        kept = [axis for axis in range(rank) if axis not in over]
        length, largest = math.prod(source.shape[axis] for axis in over), node.target == aten.amax.default
        if length == 1:
            found = source.viewed(lambda tensor: tensor.reshaped(shape))
            assert found is not None  # only axes of length 1 go
            return replace(found, shape=shape)
        if isinstance(source.term, Constant) and not largest:
            return Lazy(shape, result.dtype, Constant(source.term.value * (1 if node.target in MEANS else length)))
        ordered = source.viewed(lambda tensor: tensor.permuted(kept + over))
        assert ordered is not None
        value = replace(ordered, shape=tuple(source.shape[axis] for axis in kept + over))
        room = self.workspace.room(result.dtype, value.shape[: len(kept)])
        self.workspace.steps.append(Sum(room, value, largest))
        total = room.reshaped(shape)
        assert total is not None  # as above
        if node.target not in MEANS:
            return total
        return Lazy(
            shape, result.dtype, Applied("{0} * {1}", (total, Constant(1 / length)), result.dtype, result.dtype)
        )

    # products of matrices

    def _product(self, node: Any) -> Strided | Lazy:
        shape, dtype = tuple(node.meta["val"].shape), node.meta["val"].dtype
        left, right = (self._matrices(place) for place in node.args[-2:])
        found = multiplied(self.workspace, left, right).viewed(lambda tensor: tensor.reshaped(shape))
        assert found is not None  # only axes of length 1 go
        if len(node.args) == 2:
            return found.term if isinstance(found.term, Strided) else replace(found, shape=shape)
        alpha, beta = (Constant(float(node.kwargs.get(name, 1))) for name in ("alpha", "beta"))
        parts = (self._term(node.args[0], shape), found.term, beta, alpha)
        return Lazy(shape, dtype, Applied("{2} * {0} + {3} * {1}", parts, dtype, dtype))

    def _matrices(self, node: Any) -> Strided:
        """An operand as ``[T, rows, columns]``; a matrix has T = 1, and a vector one column."""
        tensor = self._tensor(node)
        if len(tensor.shape) == 1:
            tensor = tensor.expanded((1, *tensor.shape)).permuted([1, 0])
        return tensor if len(tensor.shape) == 3 else tensor.expanded((1, *tensor.shape))

    # parts of tensors, and tensors made of parts

    def _split(self, node: Any) -> list[Strided]:
        tensor, parts = self._tensor(node.args[0]), node.meta["val"]
        unbound = node.target == aten.unbind.int
        rest = node.args[1 if unbound else 2 :]
        axis, start, found = (rest[0] if rest else 0) % len(tensor.shape), 0, []
        for part in parts:
            length = 1 if unbound else part.shape[axis]
            piece = tensor.sliced(axis, start, length)
            found.append(piece.without(axis) if unbound else piece)
            start += length
        return found

    def _counted(self, result: Tensor, start: float) -> Strided:
        """Numbers one after the other: a constant for each."""
        room = self.workspace.room(result.dtype, result.shape)
        for number in range(result.numel()):
            value = Lazy((1,), result.dtype, Constant(start + number))
            self.workspace.steps.append(Loop(room.sliced(0, number, 1), value))
        return room

    def _gathered(self, node: Any) -> Strided:
        """The entries of one axis at the places that a list of numbers says."""
        axes = [axis for axis, index in enumerate(node.args[1]) if index is not None]
        source, result = self._tensor(node.args[0]), node.meta["val"]
        index = self._tensor(node.args[1][axes[0]])
        if len(axes) != 1 or len(index.shape) != 1 or index.dtype != torch.int64:
            raise Unsupported("an index that is not a list of numbers for one axis")
        room = self.workspace.room(result.dtype, result.shape)
        self.workspace.steps.append(Gather(room, source, index, axes[0]))
        return room

    def _concatenated(self, node: Any) -> Strided:
        """Tensors one after the other along an axis; with `stack` along a new one."""
        result, new = node.meta["val"], node.target == aten.stack.default
        axis = (node.args[1] if len(node.args) > 1 else 0) % result.dim()
        room, start = self.workspace.room(result.dtype, result.shape), 0
        for part in node.args[0]:
            value = lazy(self._values[part])
            length = 1 if new else value.shape[axis]
            place = room.sliced(axis, start, length)
            self.workspace.steps.append(Loop(place.without(axis) if new else place, value))
            start += length
        return room

    def _padded(self, node: Any) -> Strided:
        """The derivative of a slice or of an entry: a tensor in its place, and zeros around it."""
        result, value = node.meta["val"], lazy(self._values[node.args[0]])
        room = self.workspace.room(result.dtype, result.shape)
        self.workspace.steps.append(Loop(room, Lazy(room.shape, room.dtype, Constant(0.0))))
        view = sliced if node.target == aten.slice_backward.default else selected
        self.workspace.steps.append(Loop(view(room, node.args[2:], value.shape), value))
        return room


def _typed(value: Lazy) -> Term:
    """The term of a value; one of another type than its term rounds to its own first."""
    term = value.term
    if isinstance(term, Constant) or term.dtype == value.dtype:
        return term
    return Applied("{0}", (term,), value.dtype, value.dtype)


def _simplified(template: str, terms: tuple[Term, ...], inside: torch.dtype, dtype: torch.dtype) -> Term:
    """The expression, without the products with one and the sums with zero that derivatives are full of."""
    neutral = {"{0} * {1}": Constant(1.0), "{0} + {1}": Constant(0.0)}.get(template)
    for here, other in (terms, terms[::-1]) if neutral and inside == dtype else ():
        if here == neutral and not isinstance(other, Constant) and other.dtype == dtype:
            return other
    return Applied(template, terms, inside, dtype)


def _uses(nodes: Sequence[fx.Node]) -> dict[fx.Node, int]:
    """How many operations read each node, seen through views."""
    found: dict[fx.Node, int] = {}
    for node in reversed(nodes):
        found[node] = sum(found[user] if user.target in VIEWS or user.target in SAME else 1 for user in node.users)
    return found
