"""The meta-learner LSTM: its inputs on paper, a step by hand, gradients with and without second derivatives."""

import math
from dataclasses import replace

import pytest
import torch

from maml_bench.core.outer import meta_gradient, take
from maml_bench.harness.recipe import resolve
from maml_bench.setups.meta_lstm import Learned, MetaLSTM, preprocessed
from maml_bench.types import Batch, Episode
from tests.core.conftest import Make
from tests.core.test_gradients import finite_differences, relative_error
from tests.setups.checks import EXACT, drawn

SMALL = MetaLSTM(units=2, batch=3)


def test_large_entries_become_logarithm_and_sign_and_small_ones_are_scaled() -> None:
    x = torch.tensor([1.0, -math.exp(5), math.exp(-10) / 2, 0.0], dtype=torch.float64)
    size, rest = preprocessed(x, 10.0)
    torch.testing.assert_close(size, torch.tensor([0.0, 0.5, -1, -1], dtype=torch.float64), **EXACT)
    torch.testing.assert_close(rest, torch.tensor([1.0, -1, 0.5, 0], dtype=torch.float64), **EXACT)


def test_two_steps_by_hand(regression: Make) -> None:
    """One parameter after the other, with torch's own cell, whose gates stand in the order i, f, g, o."""
    learner, _, episodes = regression(steps=2)
    meta = drawn(SMALL, learner)
    support = take(episodes, 0).support
    path = SMALL.adapt(learner, meta, support, 2)
    order = [0, 1, 2, 3, 6, 7, 4, 5]
    with torch.random.fork_rng(), torch.no_grad():
        cell = torch.nn.LSTMCell(4, 2).double()
        cell.weight_ih.copy_(meta["meta_lstm.reader.input"][order])
        cell.weight_hh.copy_(meta["meta_lstm.reader.hidden"][order])
        cell.bias_ih.copy_(meta["meta_lstm.reader.bias"][order])
        cell.bias_hh.zero_()
    states = {name: [[torch.zeros(1, 2).double()] * 2, [0.0, 0.0]] for name in learner.names}
    states = {n: [[*states[n]] for _ in range(meta[n].numel())] for n in learner.names}
    for step in range(2):
        loss = learner.batch_loss(path[step], support)
        grads = torch.func.grad(learner.batch_loss)({n: path[step][n] for n in learner.names}, support)
        for name in learner.names:
            for i in range(meta[name].numel()):
                theta, g = path[step][name].flatten()[i], grads[name].flatten()[i]
                (hidden, memory), last = states[name][i]
                seen = torch.stack([*preprocessed(loss, 10.0), *preprocessed(g, 10.0)])[None]
                with torch.no_grad():
                    hidden, memory = cell(seen, (hidden, memory))
                gates = [
                    meta[f"meta_lstm.{gate}.weight"] @ torch.tensor([*hidden[0], theta, before]).double()
                    + meta[f"meta_lstm.{gate}.bias"]
                    for gate, before in zip(("forget", "enter"), last, strict=True)
                ]
                states[name][i] = [[hidden, memory], [float(gate) for gate in gates]]
                expected = gates[0].sigmoid() * theta - gates[1].sigmoid() * g
                torch.testing.assert_close(path[step + 1][name].flatten()[i], expected, rtol=1e-7, atol=1e-9)


def test_it_starts_near_gradient_descent_with_a_small_rate(regression: Make) -> None:
    learner, _, episodes = regression(steps=1)
    meta = SMALL.init(learner, torch.Generator().manual_seed(0))
    assert all(torch.equal(meta[name], p) for name, p in learner.initial().items())
    support = take(episodes, 0).support
    _, moved = SMALL.adapt(learner, meta, support, 1)
    grads = torch.func.grad(learner.batch_loss)(learner.initial(), support)
    for name, p in learner.initial().items():
        rate, keep = torch.tensor([-4.5, 4.5], dtype=torch.float64).sigmoid()
        away = (moved[name] - (keep * p - rate * grads[name])).abs()
        assert (away <= 0.01 * (p.abs() + grads[name].abs())).all()  # the gates' biases lie within half of these


def test_batches_are_taken_in_turn() -> None:
    """Two steps of three of six examples: first the one half, then the other."""
    seen: list[torch.Tensor] = []

    class Watching:
        names = ("w",)

        def adapt(self, params, support, update, steps, *, first_order):
            assert isinstance(update, Learned)
            seen.extend(batch.x for batch in support[:2])
            return [params]

    x = torch.arange(6.0)
    SMALL.adapt(Watching(), {"w": torch.zeros(1)}, Batch(x, x), 2)
    assert [batch.tolist() for batch in seen] == [[0, 1, 2], [3, 4, 5]]


def test_the_exact_gradient_is_that_of_finite_differences(regression: Make) -> None:
    setup = replace(SMALL, first_order=False)
    learner, _, episodes = regression(tasks=2, steps=2)
    meta = drawn(setup, learner)
    grads, _ = meta_gradient(setup, learner, meta, episodes, schedule_name="loop")
    assert relative_error(grads, finite_differences(setup, learner, meta, episodes)) < 1e-6


def test_first_order_differentiates_all_but_the_inner_gradients(regression: Make) -> None:
    """The finite differences of the outer loss when the losses and gradients of the inner loop are kept."""
    learner, _, episodes = regression(tasks=1, steps=2)
    meta = drawn(SMALL, learner)
    grads, _ = meta_gradient(SMALL, learner, meta, episodes)
    task = take(episodes, 0)
    path = SMALL.adapt(learner, meta, task.support, 2)
    kept = [
        torch.func.grad_and_value(learner.batch_loss)({n: p[n].detach() for n in learner.names}, task.support)
        for p in path[:2]
    ]

    class Kept(MetaLSTM):
        def adapt(self, learner, meta, support, steps):
            own = {n.removeprefix("meta_lstm."): p for n, p in meta.items() if n.startswith("meta_lstm.")}
            rule = Learned(own, self.scale)
            theta = {n: meta[n] for n in learner.names}
            state = rule.init(theta)
            path = [theta]
            for step, (gradient, loss) in enumerate(kept):
                theta, state = rule.given(loss)(step, theta, gradient, state)
                path.append(theta)
            return path

    expected = finite_differences(Kept(units=2, batch=3), learner, meta, Episode(*episodes))
    assert relative_error(grads, expected) < 1e-6


def test_it_is_trained_as_published() -> None:
    found = resolve("mini-imagenet-5w1s", preset="paper", setup="meta_lstm")
    assert (found.outer.rate, found.outer.norm, found.outer.clip, found.outer.meta_batch) == (1e-3, 0.25, 0.0, 1)
    assert (found.outer.steps, found.inner.steps, found.setup["units"]) == (75_000, 12, 20)
    five = resolve("mini-imagenet-5w5s", preset="paper", setup="meta_lstm")
    assert (five.outer.steps, five.inner.steps) == (50_000, 8 * 25 // 5)
    assert [(row.value, row.normalisation) for row in five.published if row.setup == "meta_lstm"] == [
        (0.606, "running")
    ]


@pytest.mark.slow
def test_schedules_agree(regression: Make) -> None:
    from maml_bench.engine.meta_step import MetaStep

    learner, _, episodes = regression(tasks=2, steps=2)
    meta = drawn(SMALL, learner)
    expected, _ = meta_gradient(SMALL, learner, meta, episodes, schedule_name="loop")
    for schedule in ("vmap", "traced"):
        found, _ = MetaStep(SMALL, learner, schedule=schedule).gradient(meta, episodes)
        assert relative_error(found, expected) < 1e-10
