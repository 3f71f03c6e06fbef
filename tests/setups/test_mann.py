"""MANN: two steps of the memory on paper, which row is emptied, a step with its reading and its gates."""

import pytest
import torch
import torch.nn.functional as F

from maml_bench.core.outer import take
from maml_bench.harness.recipe import resolve
from maml_bench.setups.mann import MANN
from tests.setups.checks import EXACT, Smooth, drawn, hold, learner_of, tasks_of

SMALL = MANN(size=2, units=3, rows=5, width=2, heads=2)


def test_two_steps_of_the_memory_by_hand() -> None:
    """One head, three rows of two: the gate is a half; keys are (1, 0) and then (0, 1)."""
    setup = MANN(rows=3, width=2, heads=1, units=1)
    state = setup.start(1, torch.zeros(1, dtype=torch.float64))
    half = torch.full((1, 1, 1), 0.5, dtype=torch.float64)

    memory, writing = setup.write(state, torch.tensor([[[1.0, 0]]], dtype=torch.float64), half)
    assert writing.tolist() == [[[0.5, 0, 0]]]  # nothing was read yet, and of unused rows the first is taken
    assert memory.tolist() == [[[0.5, 0], [0, 0], [0, 0]]]

    reading = torch.tensor([[[0.5, 0.25, 0.25]]], dtype=torch.float64)
    usage = 0.99 * state["usage"] + (reading + writing).sum(-2)
    assert usage.tolist() == [[1.0, 0.25, 0.25]]
    state |= {"memory": memory, "reading": reading, "usage": usage}
    memory, writing = setup.write(state, torch.tensor([[[0.0, 1]]], dtype=torch.float64), half)
    assert writing.tolist() == [[[0.25, 0.125 + 0.5, 0.125]]]
    assert memory.tolist() == [[[0.5, 0.25], [0, 0.625], [0, 0.125]]]


def test_only_the_least_used_row_is_emptied_and_each_head_has_its_own_row_and_gate() -> None:
    setup = MANN(rows=4, width=1, heads=2, units=1)
    state = {
        "memory": torch.tensor([[[7.0], [8.0], [9.0], [6.0]]]),
        "usage": torch.tensor([[0.2, 3.0, 0.1, 0.4]]),
        "reading": torch.tensor([[[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]]),
    }
    gates = torch.tensor([[[0.25], [0.5]]])
    memory, writing = setup.write(state, torch.tensor([[[1.0], [10.0]]]), gates)
    assert writing.tolist() == [[[0, 0.25, 0.75, 0], [0.5, 0.5, 0, 0]]]  # the third least used row is out
    assert memory.tolist() == [[[7.0 + 5], [8 + 0.25 + 5], [0.75], [6.0]]]


def test_a_step_reads_by_the_softmax_of_cosines_with_what_is_written() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(SMALL, learner)
    [state] = SMALL.adapt(learner, meta, take(tasks_of(3, 2, 1, 4), 0).support, 0)
    drive = torch.randn(1, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    moved = SMALL.step(meta, state, drive)
    outputs = meta["mann.heads.weight"] @ moved["back"][0, :3] + meta["mann.heads.bias"]
    keys, gates = outputs[:4].tanh().reshape(2, 2), outputs[4:].sigmoid().reshape(2, 1)
    memory, writing = SMALL.write(state, keys[None], gates[None])
    torch.testing.assert_close(moved["memory"], memory, **EXACT)
    reads = []
    for head in range(2):
        cosines = torch.stack([F.cosine_similarity(keys[head], row, dim=0) for row in moved["memory"][0]])
        torch.testing.assert_close(moved["reading"][0, head], cosines.softmax(0), rtol=1e-4, atol=0)
        reads.append(moved["reading"][0, head] @ moved["memory"][0])
    torch.testing.assert_close(moved["back"][0, 3:], torch.cat(reads), **EXACT)
    usage = 0.99 * state["usage"] + (moved["reading"] + writing).sum(1)
    torch.testing.assert_close(moved["usage"], usage, **EXACT)


def test_it_is_trained_as_published() -> None:
    recipe = resolve("omniglot-instances", preset="paper", setup="mann")
    assert (recipe.outer.optimiser, recipe.outer.rate, recipe.outer.meta_batch) == ("rmsprop", 1e-4, 16)
    assert recipe.outer.steps == 100_000
    wanted = {"units": 200, "rows": 128, "width": 40, "heads": 4, "decay": 0.99, "size": 20}
    assert {key: recipe.setup[key] for key in wanted} == wanted
    for name in ("omniglot-5w1s", "omniglot-20w5s", "mini-imagenet-5w1s"):
        same = resolve(name, preset="paper", setup="mann")
        assert same.outer == recipe.outer
        assert same.train.shot + same.train.query == 10


@pytest.mark.slow
def test_gradient_and_schedules() -> None:
    hold(SMALL, learner_of(lambda: Smooth(3, 2), 2), tasks_of(2, 1, 2, 3))
