"""MANN: two steps of the memory on paper, the order of images and labels, queries that do not see each other."""

import pytest
import torch
import torch.nn.functional as F

from maml_bench.core.outer import take
from maml_bench.errors import MamlBenchError
from maml_bench.setups.mann import MANN
from maml_bench.types import Batch
from tests.setups.checks import EXACT, Smooth, drawn, hold, learner_of, tasks_of

SMALL = MANN(size=2, units=3, rows=5, width=2, heads=2)


def test_two_steps_of_the_memory_by_hand() -> None:
    """One head, three rows of two: the gate is a half; keys are (1, 0) and then (0, 1)."""
    setup = MANN(rows=3, width=2, heads=1, units=1)
    state = setup._start(torch.zeros(1, dtype=torch.float64))
    half = torch.tensor(0.5, dtype=torch.float64)

    memory, writing = setup._write(state, torch.tensor([[[1.0, 0]]], dtype=torch.float64), half)
    assert writing.tolist() == [[[0.5, 0, 0]]]  # nothing was read yet, and of unused rows the first is taken
    assert memory.tolist() == [[[0.5, 0], [0, 0], [0, 0]]]

    reading = torch.tensor([[[0.5, 0.25, 0.25]]], dtype=torch.float64)
    usage = 0.95 * state["usage"] + (reading + writing).sum(-2)
    assert usage.tolist() == [[1.0, 0.25, 0.25]]
    state |= {"memory": memory, "reading": reading, "usage": usage}
    memory, writing = setup._write(state, torch.tensor([[[0.0, 1]]], dtype=torch.float64), half)
    assert writing.tolist() == [[[0.25, 0.125 + 0.5, 0.125]]]
    assert memory.tolist() == [[[0.5, 0.25], [0, 0.625], [0, 0.125]]]


def test_what_was_used_least_is_emptied_and_each_head_has_its_own_row() -> None:
    setup = MANN(rows=3, width=1, heads=2, units=1)
    state = {
        "memory": torch.tensor([[[7.0], [8.0], [9.0]]]),
        "usage": torch.tensor([[0.2, 3.0, 0.1]]),
        "reading": torch.tensor([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]),
    }
    memory, writing = setup._write(state, torch.tensor([[[1.0], [10.0]]]), torch.tensor(0.25))
    assert writing.tolist() == [[[0, 0.25, 0.75], [0.75, 0.25, 0]]]
    assert memory.tolist() == [[[7.5], [8 + 0.25 + 2.5], [0.75]]]


def test_a_step_reads_by_the_softmax_of_cosines_with_what_is_written() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(SMALL, learner)
    [state] = SMALL.adapt(learner, meta, take(tasks_of(3, 2, 1, 4), 0).support, 0)
    drive = torch.randn(1, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    moved = SMALL._step(meta, state, drive)
    hidden = moved["back"][0, :3]
    keys = torch.tanh(meta["mann.key.weight"] @ hidden + meta["mann.key.bias"]).reshape(2, 2)
    reads = []
    for head in range(2):
        cosines = torch.stack([F.cosine_similarity(keys[head], row, dim=0) for row in moved["memory"][0]])
        torch.testing.assert_close(moved["reading"][0, head], cosines.softmax(0), rtol=1e-4, atol=0)
        reads.append(moved["reading"][0, head] @ moved["memory"][0])
    torch.testing.assert_close(moved["back"][0, 3:], torch.cat(reads), **EXACT)
    usage = 0.95 * state["usage"] + (
        moved["reading"] + SMALL._write(state, keys[None], meta["mann.gate"].sigmoid())[1]
    ).sum(1)
    torch.testing.assert_close(moved["usage"], usage, **EXACT)


def test_an_answer_comes_before_its_label_and_after_those_before_it() -> None:
    """The loss of a sequence is that of its answers one by one, each from what was shown until then."""
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(SMALL, learner)
    episode = take(tasks_of(3, 1, 2, 4), 0)
    x, y = (torch.cat(pair) for pair in zip(episode.support, episode.query, strict=True))
    logits = []
    for k in range(1, len(x)):
        [state] = SMALL.adapt(learner, meta, Batch(x[:k], y[:k]), 0)
        logits.append(SMALL.predict(learner, meta, state, x[k : k + 1]))
    losses = F.cross_entropy(torch.cat(logits), y[1:], reduction="none")
    _, first = SMALL._read(meta, Batch(x[:1], y[:1]))
    total = losses.sum() + F.cross_entropy(first, y[:1])
    torch.testing.assert_close(SMALL.loss(learner, meta, episode), total / len(x), **EXACT)


def test_queries_do_not_see_each_other() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(SMALL, learner)
    support, query = take(tasks_of(3, 1, 2, 4), 0)
    [state] = SMALL.adapt(learner, meta, support, 0)
    together = SMALL.predict(learner, meta, state, query.x)
    alone = torch.cat([SMALL.predict(learner, meta, state, x[None]) for x in query.x])
    torch.testing.assert_close(together, alone, **EXACT)


def test_the_network_of_the_tasks_has_no_part_in_it() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(SMALL, learner)
    grads = torch.func.grad(lambda meta: SMALL.loss(learner, meta, take(tasks_of(3, 1, 1, 4), 0)))(meta)
    assert all((float(g.abs().max()) == 0) == (name in learner.names) for name, g in grads.items())


def test_images_of_other_channels_are_a_sentence() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    setup = MANN(channels=3)
    support = take(tasks_of(3, 1, 1, 4), 0).support
    with pytest.raises(MamlBenchError, match=r"images of 3 channels, but one here is \(1, 4, 4\): set setup.channels"):
        setup.adapt(learner, setup.init(learner, torch.Generator().manual_seed(0)), support, 0)


@pytest.mark.slow
def test_gradient_and_schedules() -> None:
    hold(SMALL, learner_of(lambda: Smooth(3, 2), 2), tasks_of(2, 1, 2, 3))
