"""Recording a function of tensors once as a flat list of operations, and running that instead.

Nested transforms (grad of vmap of grad) cost Python and dispatch time on every call; a recording has left them behind.
What a recording holds are torch's operators and our kernels; it is valid for the shapes it was made with. On a GPU it
is played back as a CUDA graph (cuda_graph.py).
"""

import copy
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, fx

from maml_bench.engine.cuda_graph import Replayed
from maml_bench.engine.rewrites.joined_derivatives import join_first_layers, join_sums
from maml_bench.engine.rewrites.joined_products import join
from maml_bench.engine.rewrites.low_rank_products import reassociate
from maml_bench.engine.rewrites.shorter_program import has_kernels, shorten_views, simplify, spread_thin_products
from maml_bench.engine.small_programs.program import SmallProgram
from maml_bench.engine.small_programs.terms import Unsupported
from maml_bench.engine.torch_internals import compile_options, mutates, traced, without_repetitions
from maml_bench.native_code import NoCompiler
from maml_bench.trees import flatten, unflatten

SMALLEST = 2**8
"""Where a call costs nothing, products of low rank pay for matrices of fewer entries than they do in torch."""


class Recorded:
    """``function`` of trees of tensors, recorded at the first call with each new set of shapes and each ``state()``.

    ``state`` says what else the function depends on. Whatever it does not name stays in the recording as it was.
    Trees are dicts, lists, tuples and named tuples; whatever is no tensor is a constant. The function must be pure, and
    take the same path for all values. With ``compile`` the recording goes through torch.compile, which fuses what it
    can and takes 10 s to 100 s the first time; torch keeps the result on disk. A recording of a small network on a CPU
    becomes one C++ function instead.
    """

    def __init__(
        self, function: Callable[..., Any], *, compile: bool = False, state: Callable[[], Hashable] = lambda: None
    ) -> None:
        self._function = function
        self._compile = compile
        self._state = state
        self._programs: dict[Any, tuple[Callable[..., Any], Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        tensors: list[Tensor] = []
        structure = flatten(arguments, tensors)
        key = (structure, self._state(), *((t.shape, t.stride(), t.dtype, t.device) for t in tensors))
        with torch.no_grad():
            if key not in self._programs:
                self._programs[key] = self._record(tensors, structure)
            program, out = self._programs[key]
            return unflatten(out, iter(program(*tensors)))

    def _record(self, tensors: list[Tensor], structure: Any) -> tuple[Callable[..., Any], Any]:
        out = None

        def flat(*tensors: Tensor) -> list[Tensor]:
            nonlocal out
            found: list[Tensor] = []
            out = flatten(self._function(*unflatten(structure, iter(tensors))), found)
            return found

        module = traced(flat, tensors)
        module.graph.eliminate_dead_code()
        if any(mutates(node) for node in module.graph.nodes):  # torch's second derivative of batch_norm does
            module = traced(torch.func.functionalize(module), tensors)
        if self._compile and (small := _small(module)) is not None:
            return small, out
        if not any(mutates(node) for node in module.graph.nodes):
            module = without_repetitions(module)
            reassociate(module)
            join(module)
            module = without_repetitions(module)
        module.recompile()
        if self._compile:
            return _compiled(module, tensors), out
        shorten_views(module)
        join_sums(module)
        join_first_layers(module)
        program = simplify(module)
        return (Replayed(program, tensors) if tensors[0].is_cuda else program), out


def _small(module: fx.GraphModule) -> SmallProgram | None:
    """The recording of a small network on a CPU as one C++ function, or None where that cannot be made."""
    if any(mutates(node) for node in module.graph.nodes) or has_kernels(module):
        return None
    module = without_repetitions(copy.deepcopy(module))
    reassociate(module, least=SMALLEST)
    try:
        return SmallProgram(without_repetitions(module))
    except (Unsupported, NoCompiler):
        return None


def _compiled(module: fx.GraphModule, tensors: list[Tensor]) -> Callable[..., Any]:
    """The recording through torch.compile, on a GPU as a CUDA graph; compiled here and now.

    Shapes are the key of a recording, so torch need not check them again at each call.
    """
    device, kernels = tensors[0].device.type, has_kernels(module)
    if device != "cuda" and not kernels:
        spread_thin_products(module)
    options = compile_options(device, has_kernels=kernels)
    program = torch.compile(module, fullgraph=True, dynamic=False, options=options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of parts of torch that its compiler uses itself
        warnings.filterwarnings("ignore", "CUTLASS backend is not supported")  # of torch 2.12, where no GPU is used too
        program(*tensors)
    return program
