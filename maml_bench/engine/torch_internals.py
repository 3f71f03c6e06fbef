"""The private interfaces of torch that the engine needs, all in one place, each with what it is for.

A new version of torch may change any of them. What breaks then breaks here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode


class TorchDispatchMode(DispatchMode):  # type: ignore[no-untyped-call]
    """Inside it, every operation of torch goes through ``__torch_dispatch__`` of a subclass."""


def traced(function: Callable[..., Any], tensors: Sequence[Tensor]) -> fx.GraphModule:
    """``function`` of tensors as a flat graph of operators, with every nested transform carried out.

    torch.export and torch.compile do not accept a gradient inside a gradient inside vmap; ``make_fx`` does. Tensors
    that ``function`` closes over become constants of the graph.
    """
    return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)


def without_repetitions(module: fx.GraphModule) -> fx.GraphModule:
    """The graph with each operation on the same operands once, but for those that draw random numbers."""
    targets = {node.target for node in module.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    drawing = {target.overloadpacket for target in targets if torch.Tag.nondeterministic_seeded in target.tags}
    result = CSEPass(banned_ops=drawing)(module)
    module = result.graph_module if result else module
    module.graph.eliminate_dead_code()
    return module


def mutates(node: fx.Node) -> bool:
    """Whether the operator of a node writes into one of its operands."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def has_no_memory(tensor: Tensor) -> bool:
    """Whether a tensor is one of a trace, which has a shape but no values."""
    return isinstance(tensor, FakeTensor)


def copy_all(to: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Copy tensor for tensor, all of one type in one kernel; the public ``copy_`` launches one kernel each."""
    for dtype in {tensor.dtype for tensor in to}:
        pairs = [(a, b) for a, b in zip(to, tensors, strict=True) if a.dtype == dtype]
        torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])


def compile_options(device: str, *, has_kernels: bool) -> dict[str, Any]:
    """Options of torch.compile for a recording, whose shapes are known not to change.

    The guards are left out, since the shapes are the key of a recording. On a GPU the program is a CUDA graph; on a CPU
    the calls between fused loops are compiled to C++ too, unless kernels of ours stand between them.
    """
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if device == "cuda":
        options["triton.cudagraphs"] = True
    elif not has_kernels:
        options["cpp_wrapper"] = True
    return options


def unflattened(shapes: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """New tensors of one type that lie one after the other in one block of memory.

    ``shapes`` are tensors without memory. One call makes all views; as many calls of ``torch.empty`` take a tenth of a
    small meta-step.
    """
    block = torch.empty(sum(shape.numel() for shape in shapes), dtype=dtype)
    return torch._C._nn.unflatten_dense_tensors(block, shapes)
