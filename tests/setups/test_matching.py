"""Matching networks: attention on paper, the LSTM against torch's, full context step by step, gradients."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from maml_bench.harness.recipe import resolve
from maml_bench.setups._shared.lstm import lstm, lstm_step
from maml_bench.setups.matching import MatchingNet
from maml_bench.types import Batch
from tests.setups.checks import EXACT, Identity, Smooth, drawn, hold, learner_of, tasks_of


def test_probabilities_are_attention_summed_over_the_examples_of_a_class() -> None:
    """Cosines of (2, 0) with the support are 1, 0 and -1; classes are 0, 1 and 0."""
    learner = learner_of(lambda: Identity(2, 2), 2)
    x = torch.tensor([[3.0, 0], [0, 1], [-2, 0]], dtype=torch.float64)
    [state] = MatchingNet().adapt(learner, learner.initial(), Batch(x, torch.tensor([0, 1, 0])), 0)
    query = torch.tensor([[2.0, 0]], dtype=torch.float64)
    found = MatchingNet().predict(learner, learner.initial(), state, query)
    e = math.e
    total = e + 1 + 1 / e
    torch.testing.assert_close(
        found.exp(), torch.tensor([[(e + 1 / e) / total, 1 / total]], dtype=torch.float64), **EXACT
    )
    nll = learner.loss(lambda x: found, Batch(query, torch.tensor([1])))
    assert float(nll) == pytest.approx(math.log(total))


def test_scaled_cosines_can_be_surer_than_the_papers() -> None:
    """Five orthogonal classes are the best case of features that are not negative."""
    learner = learner_of(lambda: Identity(5, 5), 5)
    support = Batch(torch.eye(5, dtype=torch.float64), torch.arange(5))
    for scale in (1.0, 10.0):
        setup = MatchingNet(scale=scale)
        [state] = setup.adapt(learner, learner.initial(), support, 0)
        predict = partial(setup.predict, learner, learner.initial(), state)
        best = math.log(math.exp(scale) + 4) - scale
        assert float(learner.loss(predict, support)) == pytest.approx(best)
    assert math.log(math.e + 4) - 1 == pytest.approx(0.905, abs=5e-4)


def test_the_recipe_that_scales_differs_in_nothing_else() -> None:
    """One is the paper's, and does not count in the ids of recipes that keep it."""
    plain, scaled = (
        resolve(name, preset="paper", setup="matching") for name in ("omniglot-5w1s", "omniglot-5w1s-scaled")
    )
    assert scaled.setup == plain.setup | {"scale": 10.0}
    assert "scale" not in plain.setup
    assert (scaled.inner, scaled.outer, scaled.train, scaled.test) == (
        plain.inner,
        plain.outer,
        plain.train,
        plain.test,
    )
    assert scaled.tasks == plain.tasks
    assert not scaled.plain()["published"]


def test_the_cell_is_that_of_torch() -> None:
    """torch orders its gates input, forget, candidate, output."""
    generator = torch.Generator().manual_seed(0)
    own = {n: p.double() for n, p in lstm("a", 3, 2, 2, generator).items()}
    with torch.random.fork_rng():
        cell = nn.LSTMCell(3, 2).double()
    order = [0, 1, 2, 3, 6, 7, 4, 5]
    with torch.no_grad():
        cell.weight_ih.copy_(own["a.input"][order])
        cell.weight_hh.copy_(own["a.hidden"][order])
        cell.bias_ih.copy_(own["a.bias"][order])
        cell.bias_hh.zero_()
    x, h, c = (torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (3, 2, 2))
    found = lstm_step(x @ own["a.input"].T + own["a.bias"], h, c, own["a.hidden"])
    for ours, theirs in zip(found, cell(x, (h, c)), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), **EXACT)
    assert own["a.bias"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_full_context_follows_the_appendix_step_by_step() -> None:
    """Three support examples, one query, two reads, written out with loops over examples."""
    setup, learner = MatchingNet(full_context=True, reads=2), learner_of(lambda: Identity(2, 3), 3)
    meta = drawn(setup, learner)
    generator = torch.Generator().manual_seed(3)
    x, query = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (3, 1))
    [state] = setup.adapt(learner, meta, Batch(x, torch.arange(3)), 0)

    def step(name, value, hidden, cell):
        own = {part: meta[f"matching.{name}.{part}"] for part in ("input", "hidden", "bias")}
        return lstm_step(own["input"] @ value + own["bias"], hidden, cell, own["hidden"])

    zero = torch.zeros(2, dtype=torch.float64)
    ways = {}
    for name, order in (("forwards", [0, 1, 2]), ("backwards", [2, 1, 0])):
        h = c = zero
        for i in order:
            h, c = step(name, x[i], h, c)
            ways[name, i] = h
    g = torch.stack([x[i] + ways["forwards", i] + ways["backwards", i] for i in range(3)])
    torch.testing.assert_close(state["g"], g, **EXACT)

    f = query[0]
    h = c = zero
    for _ in range(2):
        attention = torch.softmax(torch.stack([h @ g[i] for i in range(3)]), 0)
        read = sum(a * g[i] for i, a in enumerate(attention))
        out, c = step("reading", f, torch.cat([h, read]), c)
        h = out + f
    cosines = torch.stack([torch.cosine_similarity(h, g[i], dim=0) for i in range(3)])
    expected = torch.log_softmax(cosines, 0)
    torch.testing.assert_close(setup.predict(learner, meta, state, query)[0], expected, **EXACT)


@pytest.mark.parametrize("full_context", [False, True])
@pytest.mark.slow
def test_gradient_and_schedules(full_context: bool) -> None:
    hold(MatchingNet(full_context, reads=2), learner_of(lambda: Smooth(1, 3), 3), tasks_of(3, 2, 1, 1))
