"""Whose statistics normalise the query: numbers on paper, and every mode against what it says it is."""

import math
from copy import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_bench.core.evaluate import evaluate, population
from maml_bench.core.inner import SGD
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.normalisation import MODES, collected, first, fixed, normalised
from maml_bench.core.outer import take
from maml_bench.core.setup import Setup
from maml_bench.engine.execution import Execution
from maml_bench.engine.scoring import Scorer
from maml_bench.errors import MamlBenchError
from maml_bench.models import BatchNorm
from maml_bench.setups.maml import MAML
from maml_bench.types import Batch, Episode
from tests.core.conftest import Make, built, fill

STEPS = (0, 2)
X = torch.tensor([[1.0], [3.0], [7.0]], dtype=torch.float64)
EPS = 1e-3


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


@pytest.fixture
def problem(classification: Make):
    """Two convolutions with batch-norm, scored by the query loss, which tells more than accuracy."""
    learner, meta, episodes = classification(tasks=3, outside=("*.beta",))
    learner = copy(learner)
    learner.score = learner.loss
    return learner, meta, episodes


def test_contexts_on_paper() -> None:
    """Of 1 and 3 the mean is 2 and the variance 1; of 1, 3 and 7 they are 11/3 and 56/9."""
    layer = BatchNorm(1, EPS).double()
    own = (X - 11 / 3) / math.sqrt(56 / 9 + EPS)
    torch.testing.assert_close(layer(X), own)
    with first(2):
        torch.testing.assert_close(layer(X), column(-1, 1, 5) / math.sqrt(1 + EPS))
    with collected() as seen:
        torch.testing.assert_close(layer(X), own)
        torch.testing.assert_close(seen[layer], (column(11 / 3)[0], column(56 / 9)[0]))
        layer(X[:2])
    torch.testing.assert_close(seen[layer], (column((11 / 3 + 2) / 2)[0], column((56 / 9 + 1) / 2)[0]))
    with fixed({layer: (column(2)[0], column(4)[0])}):
        torch.testing.assert_close(layer(X), column(-1, 1, 5) / math.sqrt(4 + EPS))
    torch.testing.assert_close(layer(X), own)


def test_maps_have_statistics_over_examples_and_places() -> None:
    layer = BatchNorm(2, EPS).double()
    maps = torch.rand(5, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with first(5):
        torch.testing.assert_close(layer(maps), layer(maps))
    with collected() as seen:
        layer(maps)
    with fixed(seen):
        torch.testing.assert_close(layer(maps[:1]), F.batch_norm(maps, None, None, training=True, eps=EPS)[:1])


def test_rows_of_one_example_belong_together() -> None:
    pairs = column(1, 3, 7, 100)
    with first(1):
        found = normalised("a module of a setup", pairs, EPS, rows=2)
    torch.testing.assert_close(found, column(-1, 1, 5, 98) / math.sqrt(1 + EPS))


def test_an_error_ends_the_context() -> None:
    layer = BatchNorm(1, EPS).double()
    before = layer(X)
    with pytest.raises(MamlBenchError, match="shows its network 3 examples at once, fewer than the 4 of"), first(4):
        layer(X)
    with pytest.raises(MamlBenchError, match="that did not run when its statistics were taken"), fixed({}):
        layer(X)
    assert torch.equal(layer(X), before)


@pytest.mark.parametrize("mode", MODES)
def test_vmap_equals_the_loop(problem, mode: str) -> None:
    learner, meta, episodes = problem
    moments = {s: population(MAML(), learner, meta, episodes.support, STEPS, schedule_name=s) for s in ("loop", "vmap")}
    found = [
        evaluate(
            *(MAML(), learner, meta, episodes, STEPS), schedule_name=s, mode=mode,
            moments=[moments[s]] if mode == "running" else (),
        )
        for s in ("loop", "vmap")
    ]  # fmt: skip
    torch.testing.assert_close(*found, rtol=1e-10, atol=0)
    others = [m for m in MODES[:3] if m != mode]
    for other in others:
        assert not torch.allclose(found[0], evaluate(MAML(), learner, meta, episodes, STEPS, mode=other))


def test_support_equals_transductive_where_the_query_is_the_support(problem) -> None:
    learner, meta, episodes = problem
    same = Episode(episodes.support, episodes.support)
    found, expected = (evaluate(MAML(), learner, meta, same, STEPS, mode=m) for m in ("support", "transductive"))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_support_does_not_let_queries_help_each_other(problem) -> None:
    """A query is answered alike beside any others; transductive it is not."""
    learner, meta, episodes = problem
    learner.score = lambda predict, batch: predict(batch.x)[0].sum()
    alone = Episode(episodes.support, Batch(episodes.query.x[:, :1], episodes.query.y[:, :1]))
    for mode, same in (("support", True), ("one by one", True), ("transductive", False)):
        found = [evaluate(MAML(), learner, meta, e, STEPS, mode=mode) for e in (alone, episodes)]
        assert torch.allclose(*found, rtol=1e-10, atol=1e-12) is same


def test_one_by_one_is_a_forward_of_the_support_and_each_query(problem, monkeypatch) -> None:
    learner, meta, episodes = problem
    expected = []
    for task in range(3):
        support, query = take(episodes.support, task), take(episodes.query, task)
        for steps in STEPS:
            params = learner.adapt(meta, support, SGD(learner.inner.rate), steps)[-1]
            rows = [learner.apply(params, torch.cat([support.x, x.unsqueeze(0)]))[-1] for x in query.x]
            expected.append(F.cross_entropy(torch.stack(rows), query.y))
    for at_once in (2**20, 1, 700):
        monkeypatch.setattr("maml_bench.core.evaluate.AT_ONCE_ELEMENTS", at_once)
        found = evaluate(MAML(), learner, meta, episodes, STEPS, mode="one by one")
        torch.testing.assert_close(found, torch.stack(expected).reshape(3, 2), rtol=1e-10, atol=0)


def test_running_statistics_of_one_task_are_those_of_its_support(problem) -> None:
    """Unadapted, so that the network is the same: its own support is then answered as it is transductively."""
    learner, meta, episodes = problem
    one = take(episodes, slice(0, 1))
    moments = population(MAML(), learner, meta, one.support, (0,))
    found = evaluate(MAML(), learner, meta, one, (0,), mode="running", moments=[moments])
    torch.testing.assert_close(found, evaluate(MAML(), learner, meta, one, (0,), mode="support"), rtol=1e-12, atol=0)


def test_running_statistics_are_means_over_tasks_after_each_number_of_steps(problem) -> None:
    learner, meta, episodes = problem
    together = population(MAML(), learner, meta, episodes.support, STEPS, chunk=2)
    layers = [layer for layer in learner.model.modules() if isinstance(layer, BatchNorm)]
    assert len(together) == 2
    for at, steps in enumerate(STEPS):
        single = [
            population(MAML(), learner, meta, take(episodes.support, slice(i, i + 1)), (steps,))[0] for i in range(3)
        ]
        for layer in layers:
            for kind in (0, 1):
                expected = torch.stack([found[layer][kind] for found in single]).mean(0)
                torch.testing.assert_close(together[at][layer][kind], expected)


def test_running_statistics_hold_in_the_inner_loop_too(problem) -> None:
    """By hand: both the inner steps and the query by the fixed statistics, as of a network in evaluation mode."""
    learner, meta, episodes = problem
    [moments] = population(MAML(), learner, meta, episodes.support, (2,))
    expected = []
    for task in range(3):
        support, query = take(episodes.support, task), take(episodes.query, task)
        with fixed(moments):
            params = learner.adapt(meta, support, SGD(learner.inner.rate), 2)[-1]
            expected.append(learner.batch_loss(params, query))
    found = evaluate(MAML(), learner, meta, episodes, (2,), mode="running", moments=[[moments]])
    torch.testing.assert_close(found[:, 0], torch.stack(expected), rtol=1e-10, atol=0)


def test_without_batch_norm_all_modes_are_one(regression: Make) -> None:
    learner, meta, episodes = regression()
    expected = evaluate(MAML(), learner, meta, episodes, STEPS)
    moments = population(MAML(), learner, meta, episodes.support, STEPS)
    assert moments == [{}, {}]
    for mode in MODES[1:]:
        found = evaluate(MAML(), learner, meta, episodes, STEPS, mode=mode, moments=[moments])
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


class Constant(Setup):
    """Answers every input with the logits that are its meta-parameters."""

    def adapt(self, learner, meta, support, steps):
        return [meta]

    def predict(self, learner, meta, state, x):
        return state["logits"].expand(len(x), -1)


def test_an_ensemble_averages_logits_before_the_arg_max(classification: Make) -> None:
    """Two of three models vote for class 0; the mean logits (0, 1, 0) are for class 1, the mean softmax for class 0."""
    learner, _, episodes = classification()
    learner.score = lambda predict, batch: predict(batch.x).mean(0).argmax().double()
    logits = ((3.0, 0.0, 0.0), (3.0, 0.0, 0.0), (-6.0, 3.0, 0.0))
    models = [{"logits": torch.tensor(values, dtype=torch.float64)} for values in logits]
    assert F.softmax(torch.tensor(logits), dim=1).mean(0).argmax() == 0
    found = evaluate(Constant(), learner, models, episodes, (0,))
    assert found.tolist() == [[1.0], [1.0]]
    assert evaluate(Constant(), learner, models[0], episodes, (0,)).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("schedule", ["vmap", "traced"])
def test_a_scorer_knows_every_mode_and_ensembles(problem, schedule: str) -> None:
    learner, meta, episodes = problem
    other = {name: p + 0.1 for name, p in meta.items()}
    scorer = Scorer(MAML(), Execution(learner, schedule))
    for mode in MODES:
        running = mode == "running"
        moments = [scorer.population(m, episodes.support, STEPS) for m in (meta, other)] if running else ()
        found = scorer.scores([meta, other], episodes, STEPS, mode=mode, moments=moments)
        expected = evaluate(MAML(), learner, [meta, other], episodes, STEPS, mode=mode, moments=moments)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
        assert not torch.allclose(found, scorer.scores(meta, episodes, STEPS, mode=mode, moments=moments[:1]))


def test_torchs_own_batch_norm_is_refused_where_it_does_not_know() -> None:
    model = fill(built(lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False))), 0)
    learner = Learner(model, F.cross_entropy, lambda p, b: p(b.x).mean(), Inner(0.1, 1))
    learner.loss = lambda p, b: F.cross_entropy(p(b.x), b.y)
    x = torch.rand(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch(x, torch.arange(3).expand(2, -1))
    scorer = Scorer(MAML(), Execution(learner))
    for mode in ("support", "running"):
        with pytest.raises(MamlBenchError, match=f"layer '1' is torch's BatchNorm1d.*normalisation '{mode}' cannot"):
            scorer.scores(learner.initial(), Episode(batch, batch), (1,), mode=mode)
    assert scorer.scores(learner.initial(), Episode(batch, batch), (1,), mode="one by one").isfinite().all()
