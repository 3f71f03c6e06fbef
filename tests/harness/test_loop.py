"""The pieces of the training loop whose numbers can be had on paper."""

import math

import pytest
import torch

from maml_bench.core import outer as outer_module
from maml_bench.harness import episodes as sources
from maml_bench.harness import loop as module
from maml_bench.harness.build import build
from maml_bench.harness.loop import score, train, validate
from maml_bench.harness.run_state import Silent
from maml_bench.harness.sections import Adam
from maml_bench.record import Metric
from maml_bench.tasks.sinusoid import Sinusoid
from maml_bench.types import Shape


@pytest.fixture
def training(tiny):
    """Begin a training of the tiny recipe, with further settings and another setup if named."""
    torch.set_num_threads(1)
    return lambda *settings, setup="maml", seed=0: build(tiny(*settings, setup=setup), seed, "cpu", "vmap")


def go(run, observer=None):
    train(run, observer or Silent(), stop=lambda: False, after_step=lambda: None)
    return run


@pytest.mark.parametrize(
    ("decay", "rates"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.5, 0.25 * (1 + math.sqrt(0.5)), 0.25, 0.25 * (1 - math.sqrt(0.5))]),
    ],
)
def test_outer_rates_by_step(decay, rates):
    outer = Adam(steps=4, meta_batch=1, rate=0.5, decay=decay)
    assert [outer.rate_at(step) for step in range(4)] == pytest.approx(rates, rel=1e-15)


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
def test_a_setup_without_training_has_an_outer_rate_to_show(decay):
    assert Adam(steps=0, meta_batch=1, rate=0.5, decay=decay).rate_at(0) == 0.5


def test_one_step_of_sgd_is_rate_times_gradient_with_entries_clipped(training, monkeypatch):
    sizes = iter(torch.linspace(-3, 3, 100))

    def gradient(setup, learner, meta, batch, **options):
        return {name: torch.full_like(p, float(next(sizes))) for name, p in meta.items()}, torch.ones(2)

    monkeypatch.setattr(outer_module, "meta_gradient", gradient)
    for clip, bound in ((0.0, math.inf), (2.95, 2.95)):
        sizes = iter(torch.linspace(-3, 3, 100))
        run = training("outer.steps=1", "outer.optimiser=sgd", "outer.rate=0.5", f"outer.clip={clip}")
        before = {name: p.clone() for name, p in run.meta.items()}
        go(run)
        for i, (name, p) in enumerate(run.meta.items()):
            g = float(torch.linspace(-3, 3, 100)[i])
            expected = before[name] - 0.5 * max(-bound, min(bound, g))
            torch.testing.assert_close(p, expected)


def test_the_curve_has_a_point_at_the_start_at_each_interval_and_at_the_end(training, monkeypatch):
    run = training("outer.steps=6", "validation.every=4")
    losses = iter([1.0, 2.0, 3.0, 6.0, 10.0, 20.0])
    real = outer_module.meta_gradient

    def gradient(*arguments, **options):
        grads, values = real(*arguments, **options)
        return grads, torch.full_like(values, next(losses))

    monkeypatch.setattr(outer_module, "meta_gradient", gradient)
    go(run)
    assert run.curve["step"] == [0, 4, 6]
    assert run.curve["train_loss"] == [None, 3.0, 15.0]
    assert len(run.curve["validation"]) == len(run.curve["validation_ci95"]) == 3
    assert run.curve["seconds"] == sorted(run.curve["seconds"])


def test_validation_is_off_the_training_clock(training):
    run = training()
    validate(run, Silent())
    assert run.train_s == 0
    assert run.clock.total_s("validate") > 0


def test_without_validation_episodes_the_curve_holds_losses_only(training):
    run = go(training("validation.episodes=0", "outer.steps=4"))
    assert run.curve["validation"] == [None, None]
    assert run.curve["train_loss"][1] > 0
    assert "validate" not in run.clock.summary_s()


def test_a_step_goes_through_every_task_once_whatever_is_drawn_at_once(training, monkeypatch):
    asked = []
    real = Sinusoid.sample

    def sample(self, split, first, count, **options):
        asked.append((split, first, count))
        return real(self, split, first, count, **options)

    monkeypatch.setattr(Sinusoid, "sample", sample)
    monkeypatch.setattr(sources, "SAMPLE_STEPS", 5)
    losses = go(training("validation.episodes=0")).curve["train_loss"]
    assert asked == [("train", 0, 2), ("train", 2, 10), ("train", 12, 10), ("train", 22, 10)]
    monkeypatch.setattr(sources, "SAMPLE_BYTES", {"cpu": 1})
    asked.clear()
    assert go(training("validation.episodes=0")).curve["train_loss"] == losses
    assert asked == [("train", 2 * step, 2) for step in range(12)]


def test_scores_do_not_depend_on_how_many_are_evaluated_at_once(training, monkeypatch):
    run = training()
    shape = Shape(1, 5, 5)
    at_once = score(run, "test", shape, 7, (0, 2))
    monkeypatch.setattr(sources, "CHUNK_ELEMENTS", {"cpu": 60})
    parts = score(run, "test", shape, 7, (0, 2))
    assert [len(column) for column in parts] == [7, 7]
    torch.testing.assert_close(torch.tensor(parts), torch.tensor(at_once))


def test_all_setups_and_seeds_meet_the_same_tests_and_only_seeds_train_on_others(training, monkeypatch):
    met = []
    real = Sinusoid.sample

    def sample(self, split, first, count, *, key, **options):
        met.append((split, key))
        return real(self, split, first, count, key=key, **options)

    monkeypatch.setattr(Sinusoid, "sample", sample)

    def keys(setup, seed):
        met.clear()
        run = go(training("outer.steps=1", setup=setup, seed=seed))
        score(run, "test", Shape(1, 5, 5), 1, (0,))
        return dict(met)

    first = keys("maml", 0)
    assert set(first) == {"train", "validation", "test"}
    assert keys("pretrained", 0) == first
    other = keys("maml", 1)
    assert {split: other[split] == first[split] for split in first} == {
        "train": False,
        "validation": False,
        "test": True,
    }


def test_setups_of_one_seed_start_from_the_same_network(training):
    starts = [training(setup=setup, seed=seed).meta for setup, seed in (("maml", 0), ("anil", 0), ("maml", 1))]
    assert all(torch.equal(p, starts[1][name]) for name, p in starts[0].items())
    assert not all(torch.equal(p, starts[2][name]) for name, p in starts[0].items())


def test_a_validation_with_a_task_that_is_not_finite_never_beats_one_without(training, monkeypatch, listener):
    """Mean squared error: low is good. Of validations with such tasks, fewer are better, and then the mean counts."""
    run = training("outer.steps=7", "validation.every=1", "validation.episodes=2")
    nan, inf = float("nan"), float("inf")
    found = iter([[9.0, 9.0], [8.0, 8.0], [0.1, nan], [nan, inf], [7.0, 9.5], [0.2, inf], [nan, 0.05], [nan, -inf]])
    monkeypatch.setattr(module, "score", lambda *arguments: [next(found)])
    go(run, listener)
    assert run.curve["validation_nonfinite"] == [0, 0, 1, 2, 0, 1, 1, 2]
    assert [(mean, step) for mean, step, _ in run.kept] == [(8.0, 1), (8.25, 4), (0.05, 6), (0.1, 2), (0.2, 5)]
    assert [sentence for sentence in listener.sentences if "finite" in sentence] == [
        "validation at step 2: the score of 1 of 2 tasks is not finite. The mean leaves them out, and a validation "
        "without such tasks counts as better"
    ]


@pytest.mark.parametrize(
    ("higher", "best"), [(True, [(0.9, 0), (0.5, 0), (1.0, 1)]), (False, [(0.5, 0), (0.9, 0), (1.0, 1)])]
)
def test_the_order_of_validations(higher, best):
    order = Metric("score", higher_is_better=higher).order
    assert sorted([(1.0, 1), (0.5, 0), (0.9, 0)], key=lambda one: order(*one)) == best


def test_the_best_five_by_validation_are_kept(training, monkeypatch):
    """Mean squared error: low is good; step 0 is no candidate and of equal ones the earlier stays."""
    run = training("outer.steps=8", "validation.every=1")
    found = iter([9.0, 5.0, 3.0, float("nan"), 3.0, 4.0, 6.0, 2.0, 7.0])
    monkeypatch.setattr(module, "mean_ci95", lambda values: (next(found), 0.0))
    go(run)
    assert [(mean, step) for mean, step, _ in run.kept] == [(2.0, 7), (3.0, 2), (3.0, 4), (4.0, 5), (5.0, 1)]
    assert all(meta.keys() == run.meta.keys() for _, _, meta in run.kept)
