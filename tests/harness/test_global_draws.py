"""Networks and setups of users that draw from torch's global generators: equal runs are equal, continued ones too."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from maml_bench import registry
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.harness.run import run
from maml_bench.harness.seeding import global_draws
from maml_bench.setups.maml import MAML
from maml_bench.tasks.sinusoid import Sinusoid
from tests.engine.test_layers import Case, network, problem
from tests.harness.test_resume import same_bits


class OfLayers(Sinusoid):
    """Layers of torch as a user writes them, with initial values from the global generator, and dropout."""

    def model(self, shape, generator):
        return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


@dataclass(frozen=True)
class Noisy(MAML):
    """A setup whose inner loop starts from parameters with noise."""

    def adapt(self, learner, meta, support, steps):
        return super().adapt(learner, {n: p + 0.01 * torch.randn_like(p) for n, p in meta.items()}, support, steps)


@pytest.fixture(params=["network", "setup"])
def drawing(request, monkeypatch):
    if request.param == "network":
        monkeypatch.setattr(registry, "build_tasks", lambda *options: OfLayers())
    else:
        monkeypatch.setattr(registry, "build_setup", lambda *options: Noisy())


def trained(tiny, options, name, **changes):
    return run(tiny(), 0, replace(options, results=options.results.with_name(name), **changes)).record


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("schedule", ["vmap", "traced"])
def test_equal_runs_are_equal_whole_or_continued(tiny, options, schedule):
    options = replace(options, schedule=schedule)
    first = trained(tiny, options, "first")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        again = trained(tiny, options, "again")
    trained(tiny, options, "parts", budget_steps=5)
    assert same_bits(again, first)
    assert same_bits(trained(tiny, options, "parts"), first)
    other = run(tiny(), 1, replace(options, results=options.results.with_name("other seed"))).record
    assert not same_bits(other, first)


def test_draws_differ_from_step_to_step_and_the_global_generator_is_as_before():
    before = torch.get_rng_state()
    found = []
    for stream in ("meta-step 0", "meta-step 1", "meta-step 0"):
        with global_draws(stream, 3):
            found.append(torch.rand(4))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_tasks_that_draw_there_are_refused(tiny, options, monkeypatch):
    class Drawing(Sinusoid):
        def sample(self, *args, **kwargs):
            torch.rand(1)
            return super().sample(*args, **kwargs)

    monkeypatch.setattr(registry, "build_tasks", lambda *options: Drawing())
    with pytest.raises(MamlBenchError, match=r"draw from torch's global generator.*manual_seed"):
        run(tiny(), 0, options)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU])
def test_each_pass_of_a_recording_draws_anew(kind):
    """Two layers on the same input draw two masks, which a recording must not take for one."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = kind()

        def forward(self, x):
            return self.layer(torch.ones_like(x) - 2) - self.layer(torch.ones_like(x) - 2) + x

    model = network([Case(Twice)]).train()
    learner, episodes = problem(model)
    step = MetaStep(MAML(), learner, schedule="traced")
    with global_draws("meta-step 0", 0):
        first, _ = step.gradient(learner.initial(), episodes)
        second, _ = step.gradient(learner.initial(), episodes)
    with global_draws("meta-step 0", 0):
        again, _ = step.gradient(learner.initial(), episodes)
    still, _ = MetaStep(MAML(), problem(model.eval())[0], schedule="vmap").gradient(learner.initial(), episodes)
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert not all(torch.equal(second[name], first[name]) for name in first)
    assert not all(torch.allclose(still[name], first[name]) for name in first)
