"""What torch's elementwise operators compute, as C++ expressions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

UNARY = {
    aten.neg.default: "-{0}",
    aten.sqrt.default: "std::sqrt({0})",
    aten.rsqrt.default: "1 / std::sqrt({0})",
    aten.exp.default: "std::exp({0})",
    aten.log.default: "std::log({0})",
    aten.tanh.default: "std::tanh({0})",
    aten.sin.default: "std::sin({0})",
    aten.cos.default: "std::cos({0})",
    aten.abs.default: "std::abs({0})",
    aten.reciprocal.default: "1 / {0}",
    aten.square.default: "square({0})",
    aten.sigmoid.default: "1 / (1 + std::exp(-{0}))",
    aten.relu.default: "relu({0})",
    aten.floor.default: "std::floor({0})",
    aten.ceil.default: "std::ceil({0})",
    aten.log1p.default: "std::log1p({0})",
    aten.sign.default: "sign_of({0})",
}
"""Operators of one tensor. The functions that are not of the standard library are in functions.h."""

BINARY = {
    aten.mul: "{0} * {1}",
    aten.div: "{0} / {1}",
    aten.minimum: "smaller({0}, {1})",
    aten.maximum: "larger({0}, {1})",
    aten.tanh_backward: "{0} * (1 - square({1}))",
    aten.sigmoid_backward: "{0} * slope_of_sigmoid({1})",
    aten.threshold_backward: "kept_above({0}, {1}, {2})",
    aten.remainder: "remainder_of({0}, {1})",
    aten.logical_and: "{0} && {1}",
    aten.where: "chosen({0}, {1}, {2})",
}
"""Operators of several tensors or numbers, whatever their overload."""

COMPARISONS = {
    aten.gt: "{0} > {1}",
    aten.ge: "{0} >= {1}",
    aten.lt: "{0} < {1}",
    aten.le: "{0} <= {1}",
    aten.eq: "{0} == {1}",
    aten.ne: "{0} != {1}",
}

OPTIONS: dict[Any, set[str]] = {
    aten.add: {"alpha"},
    aten.sub: {"alpha"},
    aten.rsub: {"alpha"},
    aten.clamp: {"min", "max"},
}
"""The options of operators that are read. An operator with another one is not known, such as a division that rounds."""

WHOLE = (aten.add, aten.sub, aten.rsub, aten.mul, aten.neg, aten.relu)
"""Operators whose expression is right for whole numbers too."""

FILLED: dict[Any, float] = {
    aten.ones_like.default: 1.0,
    aten.zeros_like.default: 0.0,
    aten.new_zeros.default: 0.0,
    aten.new_ones.default: 1.0,
    aten.zeros.default: 0.0,
    aten.ones.default: 1.0,
}
"""Operators whose result is the same number everywhere."""

SAME = (
    aten.detach.default,
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten._to_copy.default,
)
"""Operators that keep the values; `_to_copy` may change the type."""


@dataclass(frozen=True)
class Expression:
    """A template over operands: nodes of the recording or numbers. Fields as in `terms.Applied`.

    ``chooses`` says that the first operand is true or false, whatever the type of the others.
    """

    template: str
    arguments: Sequence[Any]
    inside: torch.dtype
    dtype: torch.dtype
    chooses: bool = False


def expression(node: fx.Node) -> Expression | None:
    """What an elementwise operator computes; None if it is none that is known."""
    target: Any = node.target
    value, operands = node.meta.get("val"), list(node.args)
    if not isinstance(value, Tensor) or not isinstance(target, torch._ops.OpOverload):
        return None
    packet: Any = target.overloadpacket
    if not _is_usual(packet, operands, node.kwargs, value.dtype):
        return None
    if packet in COMPARISONS:
        return Expression(COMPARISONS[packet], operands, _common_type(operands), torch.bool)
    found = _of_its_own_type(target, packet, operands, node.kwargs)
    return found and Expression(*found, value.dtype, value.dtype, packet is aten.where)


def _is_usual(packet: Any, operands: Sequence[Any], options: Any, dtype: torch.dtype) -> bool:
    """Whether the operator has no option that changes what it computes, and an expression for results of this type."""
    if options.keys() - OPTIONS.get(packet, set()):
        return False
    if dtype.is_floating_point or packet in COMPARISONS or packet in (aten.where, aten.logical_and):
        return True
    if packet is aten.remainder:  # C++ ends the process where a whole number is divided by zero
        return dtype == torch.int64 and isinstance(operands[1], int) and operands[1] != 0
    return dtype == torch.int64 and packet in WHOLE


def _of_its_own_type(target: Any, packet: Any, operands: list[Any], options: Any) -> tuple[str, list[Any]] | None:
    """The template and the operands of an operator that computes in the type of its result."""
    if target in UNARY:
        return UNARY[target], operands
    if packet in BINARY:
        return BINARY[packet], operands
    if packet in (aten.add, aten.sub, aten.rsub):
        first, second = operands[1::-1] if packet is aten.rsub else operands[:2]
        scale = options.get("alpha", operands[2] if len(operands) > 2 else 1)
        sign = "+" if packet is aten.add else "-"
        if scale == 1:
            return f"{{0}} {sign} {{1}}", [first, second]
        return f"{{0}} {sign} {{1}} * {{2}}", [first, second, scale]
    if target == aten.pow.Tensor_Scalar:
        return _power(float(operands[1])), operands[:1]
    if packet is aten.pow:
        return "std::pow({0}, {1})", operands
    if target == aten.mse_loss.default and operands[2:] == [0]:
        return "square({0} - {1})", operands[:2]
    if target == aten.mse_loss_backward.default and operands[3:] == [0]:
        return "2 * ({1} - {2}) * {0}", operands[:3]
    if target in (aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default):
        rest = [*operands[1:], None, None]
        low, high = (None, rest[0]) if target == aten.clamp_max.default else (options.get("min", rest[0]), rest[1])
        high = options.get("max", high)
        bounds = [-math.inf if low is None else low, math.inf if high is None else high]
        return "at_most(at_least({0}, {1}), {2})", [operands[0], *bounds]
    return None


def _power(exponent: float) -> str:
    """The template of a power with a known exponent."""
    known = {0.5: "std::sqrt({0})", 1.0: "{0}", 2.0: "square({0})", -1.0: "1 / {0}"}
    return known.get(exponent, f"std::pow({{0}}, {exponent!r})")


def _common_type(operands: Sequence[Any]) -> torch.dtype:
    """The type in which two operands are compared."""
    first, second = (place.meta["val"] if isinstance(place, fx.Node) else place for place in operands[:2])
    dtype = torch.result_type(first, second)
    return torch.int64 if dtype == torch.bool else dtype
