"""A flat program of torch operators and kernels as a CUDA graph: one launch where there were thousands."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from maml_bench.engine.torch_internals import copy_all

WARM_UP = 2


class Replayed:
    """``program`` of so many tensors, captured here and now on tensors that look like ``tensors``.

    A graph reads and writes fixed places in memory: arguments are copied in, and what is found is copied out, so that
    it outlives the next call. A program with an operator that cannot be captured, as torch's solver of linear systems
    on some GPUs, stays as it is.
    """

    def __init__(self, program: Callable[..., Any], tensors: list[Tensor]) -> None:
        self._given = [tensor.clone() for tensor in tensors]
        with torch.cuda.device(tensors[0].device):
            aside, here = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):  # libraries choose their kernels and workspaces now, which a capture forbids
                    program(*self._given)
            here.wait_stream(aside)
            self._graph: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(self._graph):
                    self._found = program(*self._given)
            except RuntimeError:
                self._graph, self._given = None, []
        self._program = program

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        if self._graph is None:
            return list(self._program(*tensors))
        copy_all(self._given, tensors)
        self._graph.replay()
        found = [torch.empty_like(tensor) for tensor in self._found]
        copy_all(found, self._found)
        return found
