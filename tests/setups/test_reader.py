"""Setups that read a task in order: labels that come one step late, queries, streams, what labels alone can tell."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maml_bench.core.evaluate import evaluate
from maml_bench.core.outer import meta_gradient, take
from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build, rehearse
from maml_bench.harness.recipe import resolve
from maml_bench.setups._shared.reader import Reader
from maml_bench.setups.lstm import LSTM
from maml_bench.setups.mann import MANN
from maml_bench.tasks.omniglot_instances import by_showing
from maml_bench.types import Batch, Episode, Shape, Stream
from tests.golden.adapter import small_store
from tests.setups.checks import EXACT, Smooth, drawn, hold, learner_of, tasks_of

READERS: dict[str, Reader] = {
    "mann": MANN(size=2, units=3, rows=5, width=2, heads=2),
    "lstm": LSTM(size=2, units=3),
}
over_readers = pytest.mark.parametrize("setup", READERS.values(), ids=READERS)


@over_readers
def test_an_answer_comes_before_its_label_and_after_those_before_it(setup: Reader) -> None:
    """The loss of a sequence is that of its answers one by one, each from what was shown until then."""
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(setup, learner)
    episode = take(tasks_of(3, 1, 2, 4), 0)
    x, y = (torch.cat(pair) for pair in zip(episode.support, episode.query, strict=True))
    losses = []
    for k in range(1, len(x)):
        [state] = setup.adapt(learner, meta, Batch(x[:k], y[:k]), 0)
        losses.append(F.cross_entropy(setup.predict(learner, meta, state, x[k : k + 1]), y[k : k + 1]))
    first = setup.loss(learner, meta, Episode(Batch(x[:1], y[:1]), Batch(x[:0], y[:0])))
    torch.testing.assert_close(setup.loss(learner, meta, episode), (first + sum(losses)) / len(x), **EXACT)


@over_readers
def test_queries_do_not_see_each_other(setup: Reader) -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(setup, learner)
    support, query = take(tasks_of(3, 1, 2, 4), 0)
    [state] = setup.adapt(learner, meta, support, 0)
    together = setup.predict(learner, meta, state, query.x)
    alone = torch.cat([setup.predict(learner, meta, state, x[None]) for x in query.x])
    torch.testing.assert_close(together, alone, **EXACT)


@over_readers
def test_the_network_of_the_tasks_has_no_part_in_it(setup: Reader) -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    meta = drawn(setup, learner)
    grads = torch.func.grad(lambda meta: setup.loss(learner, meta, take(tasks_of(3, 1, 1, 4), 0)))(meta)
    assert all((float(g.abs().max()) == 0) == (name in learner.names) for name, g in grads.items())


def test_images_of_other_channels_are_a_sentence() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    setup = MANN(channels=3)
    support = take(tasks_of(3, 1, 1, 4), 0).support
    with pytest.raises(MamlBenchError, match=r"images of 3 channels, but one here is \(1, 4, 4\): set setup.channels"):
        setup.adapt(learner, setup.init(learner, torch.Generator().manual_seed(0)), support, 0)


def streams() -> Episode:
    """Two tasks, three classes of three images in an order that is not in rounds, as a family would hand them out."""
    x = tasks_of(3, 3, 0, 4).support.x
    y = torch.tensor([[2, 2, 0, 1, 0, 2, 1, 1, 0], [0, 1, 2, 2, 2, 1, 0, 0, 1]])
    places = by_showing(y, Shape(3, 3, 0))
    rows = torch.arange(2).unsqueeze(-1)
    return Episode(Stream(x, y, places), [Batch(x[rows, at], y[rows, at]) for at in places.unbind(1)])


def test_places_are_those_of_the_first_second_and_third_time() -> None:
    assert streams().support.places[0].tolist() == [[0, 2, 3], [1, 4, 6], [5, 7, 8]]
    assert [batch.y[0].tolist() for batch in streams().query] == [[2, 0, 1], [2, 0, 1], [2, 1, 0]]


@over_readers
def test_a_stream_is_scored_at_each_place_from_all_that_came_before_it(setup: Reader) -> None:
    """Against the answers one by one; and the loss is that of all of them."""
    learner = learner_of(lambda: Smooth(4, 3), 3)
    learner.score = learner.loss
    meta = drawn(setup, learner)
    scores = evaluate(setup, learner, meta, streams(), (0, 1, 2))
    whole = []
    for task in range(2):
        x, y, places = take(streams().support, task)
        answers = [setup.predict(learner, meta, before(setup, learner, meta, x, y, t), x[t : t + 1]) for t in range(9)]
        losses = torch.stack([F.cross_entropy(answers[t], y[t : t + 1]) for t in range(9)])
        torch.testing.assert_close(scores[task], losses[places].mean(-1), **EXACT)
        whole.append(losses.mean())
    _, found = meta_gradient(setup, learner, meta, streams())
    torch.testing.assert_close(found, torch.stack(whole), **EXACT)


def before(setup: Reader, learner, meta, x: Tensor, y: Tensor, t: int):
    """The state after the first ``t`` examples."""
    if t == 0:
        return setup.start(1, x) | {"label": torch.zeros(1, 3, dtype=torch.float64)}
    return setup.adapt(learner, meta, Batch(x[:t], y[:t]), 0)[-1]


def test_a_score_after_more_showings_than_there_are_is_a_sentence() -> None:
    learner = learner_of(lambda: Smooth(4, 3), 3)
    setup = READERS["lstm"]
    with pytest.raises(MamlBenchError, match="no score after 3 inner steps: a class is shown 3 times"):
        evaluate(setup, learner, drawn(setup, learner), streams(), (0, 3))


@pytest.mark.parametrize(
    ("settings", "setup", "why"),
    [
        ((), "maml", "omniglot_instances shows its examples one by one, and the setup does not predict each from"),
        (
            ("train.query=1",),
            "lstm",
            "train.query is 1, but must be 0: omniglot_instances has no query",
        ),
        (("validation.inner_steps=10",), "lstm", "no score after 10 inner steps: a class is shown 10 times"),
        (("validation.shot=1",), "mann", "no score after 1 inner steps: a class is shown 1 times"),
        (("setup.decay=1.5",), "mann", "setup.decay is 1.5, but must be at most 1"),
        (("outer.momentum=1",), "mann", "outer.momentum is 1, but must be below 1"),
        (("outer.optimiser=adam", "outer.smoothing=0.5"), "mann", "'adam' does not read it; 'rmsprop' does"),
    ],
)
def test_bad_input_is_a_sentence_before_the_run(settings: tuple[str, ...], setup: str, why: str) -> None:
    with small_store(), pytest.raises(MamlBenchError, match=why):
        rehearse(build(resolve("omniglot-instances", preset="smoke", setup=setup, settings=settings), 0, "cpu", "vmap"))


def best_loss_by_labels(y: Tensor, shots: int) -> float:
    """The mean loss of who knows that each class comes ``shots`` times, and sees labels but no image."""
    same = (y.unsqueeze(-1) == y.unsqueeze(-2)).tril(-1).sum(-1)
    left = y.shape[1] - torch.arange(y.shape[1])
    return float(-((shots - same) / left).log().mean())


def test_training_that_looks_at_labels_alone_learns_next_to_nothing() -> None:
    """In rounds of all classes it would come to log(5!) / 5 = 0.957; guessing is log 5 = 1.609."""
    with small_store():
        recipe = resolve("omniglot-5w1s", preset="paper", setup="mann")
        run = build(recipe, 0, "cpu", "vmap")
        shape = recipe.train.shape
        assert (shape.way, shape.shot + shape.query) == (5, 10)
        rounds = run.tasks.sample("train", 0, 200, key=3, shape=shape)
        mixed = run.episodes.draw(run.meta, "train", 0, 200, key=3, shape=shape)
        test = run.episodes.draw(run.meta, "test", 0, 2, key=3, shape=shape)
        later = run.episodes.draw(run.meta, "train", 150, 10, key=3, shape=shape)
    position = torch.arange(50) % 5
    assert math.log(120) / 5 == pytest.approx(float((5 - position).log().mean()))
    y = torch.cat([mixed.support.y, mixed.query.y], 1)
    assert best_loss_by_labels(y, 10) >= 1.45
    assert torch.equal(y.sort(1).values, torch.arange(5).repeat_interleave(10).expand(200, -1))
    assert test.query.y.unflatten(1, (9, 5)).sort(-1).values.eq(torch.arange(5)).all()  # a test is in rounds
    assert torch.equal(later.support.x, mixed.support.x[150:160])  # a task depends on its number alone
    x = torch.cat([mixed.support.x, mixed.query.x], 1).flatten(2).sum(-1)
    same = torch.cat([rounds.support.x, rounds.query.x], 1).flatten(2).sum(-1)
    assert torch.equal(x.sort(1).values, same.sort(1).values)
    assert not torch.equal(x, same)


@pytest.mark.slow
def test_gradient_and_schedules_of_the_lstm() -> None:
    hold(READERS["lstm"], learner_of(lambda: Smooth(3, 2), 2), tasks_of(2, 1, 2, 3))
