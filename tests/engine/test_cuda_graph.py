"""What can be seen of the paths for GPUs without one: arguments and results of a replayed program, on a stand-in for
CUDA that runs it at each replay, and what the kernels refuse."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from maml_bench.engine.cuda_graph import Replayed
from maml_bench.engine.kernels import operators


class Graph:
    """Runs the program on the captured arguments, and puts what it finds where it was found at the capture."""

    def __init__(self):
        self.again = lambda: None

    def replay(self):
        self.again()


@pytest.fixture
def calls(monkeypatch):
    """How often a program ran; CUDA's names stand for nothing."""
    nothing = SimpleNamespace(wait_stream=lambda other: None)
    for name, stand_in in {
        "Stream": lambda: nothing,
        "current_stream": lambda: nothing,
        "stream": lambda stream: nullcontext(),
        "device": lambda device: nullcontext(),
        "CUDAGraph": Graph,
        "graph": lambda graph: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return []


def program(calls):
    def run(x, labels):
        calls.append(x.data_ptr())
        return [x + 1, labels * 2]

    return run


def test_arguments_are_copied_in_and_results_outlive_the_next_call(calls):
    run = program(calls)
    replayed = Replayed(run, [torch.zeros(3), torch.zeros(2, dtype=torch.int64)])
    assert len(set(calls)) == 1, "always on the same memory"

    def again():
        for place, found in zip(replayed._found, run(*replayed._given), strict=True):
            place.copy_(found)

    replayed._graph.again = again
    first = replayed(torch.full((3,), 4.0), torch.tensor([1, 2]))
    second = replayed(torch.full((3,), 5.0), torch.tensor([3, 4]))
    assert [t.tolist() for t in first] == [[5.0] * 3, [2, 4]]
    assert [t.tolist() for t in second] == [[6.0] * 3, [6, 8]]
    assert len(set(calls)) == 1


def test_what_cannot_be_captured_runs_as_it_is(calls, monkeypatch):
    def refuse(graph):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    replayed = Replayed(program(calls), [torch.zeros(3), torch.zeros(2, dtype=torch.int64)])
    assert [t.tolist() for t in replayed(torch.ones(3), torch.tensor([1, 2]))] == [[2.0] * 3, [2, 4]]


def test_what_the_kernels_cannot_count_is_refused():
    large = torch.empty(2, 2**31, device="meta")
    operators.refuse_uncounted("conv", 2, (large,))
    operators.refuse_uncounted("norm", 3, (large, 1e-3))
    with pytest.raises(ValueError, match="norm has 2,147,483,648 elements in one task"):
        operators.refuse_uncounted("norm", 2, (large, 1e-3))
