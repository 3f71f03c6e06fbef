"""Building the C++ function of a small recording, and calling it."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, fx

from maml_bench.engine.small_programs.lowering import Lowering
from maml_bench.engine.small_programs.steps import Step
from maml_bench.engine.small_programs.strides import Buffer
from maml_bench.engine.small_programs.terms import C_TYPES, Unsupported
from maml_bench.engine.small_programs.workspace import Workspace
from maml_bench.engine.torch_internals import unflattened
from maml_bench.native_code import function_of

HERE = Path(__file__).parent
HEADERS = (HERE.parent / "kernels" / "lanes.h", HERE / "functions.h", HERE / "products.h")
"""The C++ files that every program includes, in order."""
MOST_STEPS = 2000
"""A longer program takes too long to compile."""
MOST_WORK = 2**26
"""Multiplications and entries of loops; with more of them, torch's own operators are as fast in several threads."""
LINE = 64
"""Buffers begin at multiples of this number of bytes, the length of a line of the cache."""


class SmallProgram:
    """A recording as one C++ function of one thread; called like the recording.

    Args:
        module: the recording.

    Attributes:
        text: the C++ function.

    Raises:
        Unsupported: the recording is not one of a small network, or has an operator that is not known.
        NoCompiler: there is no C++ compiler, or it cannot compile the function.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        lowered = Lowering(module)
        made = lowered.workspace
        if len(made.steps) > MOST_STEPS or sum(step.work() for step in made.steps) > MOST_WORK:
            raise Unsupported("a recording of so much work")
        places, size = _places(made.steps)
        self.text = _text(made, places)
        self._function = function_of(self.text, HEADERS)
        self._memory = torch.empty(size + LINE, dtype=torch.uint8)
        start = self._memory.data_ptr()
        self._start = start + -start % LINE
        self._shapes: dict[torch.dtype, list[Tensor]] = {}
        for value in lowered.outputs:
            self._shapes.setdefault(value.dtype, []).append(torch.empty(value.shape, dtype=value.dtype, device="meta"))
        self._dtypes = [value.dtype for value in lowered.outputs]
        self._pointers = ctypes.c_void_p * (1 + len(self._dtypes) + len(made.of_kind("input")))

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """The outputs, new tensors that share the memory of their call.

        Raises:
            IndexError: an index that the recording computes is outside of its axis.
        """
        new = {dtype: iter(unflattened(shapes, dtype)) for dtype, shapes in self._shapes.items()}
        outputs = [next(new[dtype]) for dtype in self._dtypes]
        places = [tensor.data_ptr() for tensor in (*outputs, *tensors)]
        if self._function(self._pointers(self._start, *places)):
            raise IndexError("an index of a tensor is outside of its axis")
        return outputs


def _text(made: Workspace, places: dict[Buffer, int]) -> str:
    """The C++ function: pointers to all buffers, then the steps."""
    lines = [f'#include "{path.name}"' for path in HEADERS]
    lines += ["", 'extern "C" int program(void** places) {', "    char* const memory = (char*)places[0];"]
    for number, buffer in enumerate([*made.of_kind("output"), *made.of_kind("input")], 1):
        kind = C_TYPES[buffer.dtype]
        lines.append(f"    {kind}* const {buffer.name} = ({kind}*)places[{number}];")
    for buffer in places:
        kind = C_TYPES[buffer.dtype]
        lines.append(f"    {kind}* const {buffer.name} = ({kind}*)(memory + {places[buffer]});")
    lines += [f"    {step.text()}" for step in made.steps]
    return "\n".join([*lines, "    return 0;", "}", ""])


def _places(steps: Sequence[Step]) -> tuple[dict[Buffer, int], int]:
    """The first byte of each temporary buffer, and the bytes of all. Buffers that are needed no more make room."""
    last: dict[Buffer, int] = {}
    for number, step in enumerate(steps):
        for tensor in (step.out, *step.reads()):
            last[tensor.buffer] = number
    found: dict[Buffer, int] = {}
    free: list[tuple[int, int]] = []
    end = 0
    for number, step in enumerate(steps):
        buffer = step.out.buffer
        if buffer.kind == "temporary" and buffer not in found:
            size = _bytes(buffer)
            fitting = [piece for piece in free if piece[1] >= size]
            if fitting:
                start, room = min(fitting, key=lambda piece: piece[1])
                free.remove((start, room))
                if room > size:
                    free.append((start + size, room - size))
            else:
                start, end = end, end + size
            found[buffer] = start
        for done in {tensor.buffer for tensor in (step.out, *step.reads())}:
            if done.kind == "temporary" and last[done] == number:
                free = _with(free, (found[done], _bytes(done)))
    return found, end


def _bytes(buffer: Buffer) -> int:
    return -(-buffer.size * buffer.dtype.itemsize // LINE) * LINE


def _with(free: list[tuple[int, int]], piece: tuple[int, int]) -> list[tuple[int, int]]:
    """The free pieces with another one, joined where they touch."""
    joined: list[tuple[int, int]] = []
    for start, size in sorted([*free, piece]):
        if joined and sum(joined[-1]) == start:
            joined[-1] = (joined[-1][0], joined[-1][1] + size)
        else:
            joined.append((start, size))
    return joined
