"""Recording a function of tensors once as a flat list of operations, and running that instead.

Nested transforms (grad of vmap of grad) cost Python and dispatch time on every call; a recording has left them behind.
What a recording holds are torch's operators and our kernels; it is valid for the shapes it was made with. On a GPU it
is played back as a CUDA graph (replay.py).
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.dialect.common.cse_pass import CSEPass

from maml_bench.engine.cuda_graph import Replayed
from maml_bench.engine.rewrites.low_rank_products import reassociate
from maml_bench.engine.rewrites.shorter_program import has_kernels, simplify, spread_thin_products


class Recorded:
    """``function`` of trees of tensors, recorded at the first call with each new set of shapes.

    Trees are dicts, lists, tuples and named tuples; whatever is no tensor is a constant. The function must be pure, and
    take the same path for all values. With ``compile`` the recording goes through torch.compile, which fuses what it
    can and takes 10 s to 100 s the first time; torch keeps the result on disk.
    """

    def __init__(self, function: Callable[..., Any], *, compile: bool = False) -> None:
        self._function = function
        self._compile = compile
        self._programs: dict[Any, tuple[Callable[..., Any], Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        tensors: list[Tensor] = []
        structure = _flatten(arguments, tensors)
        key = (structure, *((t.shape, t.stride(), t.dtype, t.device) for t in tensors))
        with torch.no_grad():
            if key not in self._programs:
                self._programs[key] = self._record(tensors, structure)
            program, out = self._programs[key]
            return _unflatten(out, iter(program(*tensors)))

    def _record(self, tensors: list[Tensor], structure: Any) -> tuple[Callable[..., Any], Any]:
        out = None

        def flat(*tensors: Tensor) -> list[Tensor]:
            nonlocal out
            found: list[Tensor] = []
            out = _flatten(self._function(*_unflatten(structure, iter(tensors))), found)
            return found

        module = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        module.graph.eliminate_dead_code()
        if any(_mutates(node) for node in module.graph.nodes):  # torch's second derivative of batch_norm does
            pure = torch.func.functionalize(module)
            module = make_fx(pure, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        if not any(_mutates(node) for node in module.graph.nodes):
            module = _without_repetitions(module)
            reassociate(module)
            module = _without_repetitions(module)
        module.recompile()
        if self._compile:
            return _compiled(module, tensors), out
        program = simplify(module)
        return (Replayed(program, tensors) if tensors[0].is_cuda else program), out


def _without_repetitions(module: fx.GraphModule) -> fx.GraphModule:
    """The recording with each operation on the same operands once."""
    result = CSEPass()(module)
    module = result.graph_module if result else module
    module.graph.eliminate_dead_code()
    return module


def _compiled(module: fx.GraphModule, tensors: list[Tensor]) -> Callable[..., Any]:
    """The recording through torch.compile, on a GPU as a CUDA graph; compiled here and now.

    Shapes are the key of a recording, so torch need not check them again at each call.
    """
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if tensors[0].device.type == "cuda":
        options["triton.cudagraphs"] = True
    elif not has_kernels(module):
        spread_thin_products(module)
        options["cpp_wrapper"] = True  # the calls between the fused loops in C++ too
    program = torch.compile(module, fullgraph=True, dynamic=False, options=options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of parts of torch that its compiler uses itself
        program(*tensors)
    return program


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


# torch's own trees would do, but take a tenth of a small step.


def _flatten(tree: Any, tensors: list[Tensor]) -> Any:
    """Append the tensors of ``tree``; what is returned is hashable and says how to build the tree again."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return Tensor
    if isinstance(tree, dict):
        return dict, tuple(tree), tuple([_flatten(value, tensors) for value in tree.values()])
    if isinstance(tree, tuple | list):
        return type(tree), None, tuple([_flatten(value, tensors) for value in tree])
    return None, None, tree


def _unflatten(structure: Any, tensors: Any) -> Any:
    """The inverse of ``_flatten``."""
    if structure is Tensor:
        return next(tensors)
    kind, names, parts = structure
    if kind is None:
        return parts
    values = [_unflatten(part, tensors) for part in parts]
    if kind is dict:
        return dict(zip(names, values, strict=True))
    return kind(values) if kind in (tuple, list) else kind(*values)
