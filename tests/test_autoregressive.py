"""The autoregressive density: it sums to one, draws what it says, and sees only what comes before."""

import itertools

import pytest
import torch

from maml_bench.core.evaluate import evaluate
from maml_bench.core.learner import Inner, Learner
from maml_bench.models import Autoregressive
from maml_bench.setups.maml import MAML
from maml_bench.tasks.omniglot_generation import OmniglotGeneration
from maml_bench.types import Batch, Episode
from tests.setups.checks import hold


def network(side: int, planes: int, filters: int = 3, layers: int = 2) -> Autoregressive:
    """In float64, with parameters that make no pixel like another."""
    generator = torch.Generator().manual_seed(0)
    model = Autoregressive(side, filters, layers, planes, generator).double()
    for p in model.parameters():
        p.data += 0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return model


def learner(model: Autoregressive, rate: float = 0.05) -> Learner:
    tasks = OmniglotGeneration()
    return Learner(model, tasks.loss, tasks.score, Inner(rate, 2))


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


@pytest.mark.parametrize(("height", "width", "planes"), [(2, 2, 2), (3, 2, 0), (3, 3, 1)])
def test_the_density_sums_to_one_over_all_images(height: int, width: int, planes: int) -> None:
    model = network(height, planes)
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=height * width))).double()
    with torch.no_grad():
        found = model(every.reshape(-1, 1, height, width))
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(found.max() - found.min()) > 1


def test_images_are_drawn_as_often_as_the_density_says() -> None:
    model = network(2, 2)
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4))).double()
    noise = torch.rand(20_000, 1, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        chance, drawn = model(every.reshape(-1, 1, 2, 2)).exp(), model(noise, draw=True)
    place = (drawn.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1).long()
    share = place.bincount(minlength=16) / len(noise)
    assert (share - chance).abs().max() < 4 * (0.25 / len(noise)) ** 0.5


def test_drawing_row_by_row_is_drawing_from_the_whole_network() -> None:
    """Rows that a pixel cannot see are left out; with more rows than that, the images are those of all rows."""
    model = network(12, 1, layers=1)
    noise = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        drawn = model(noise, draw=True)
        chance = model.logits(drawn, model.shown(drawn)).sigmoid()
    assert torch.equal(drawn, (noise < chance).double())


def test_gradients_of_maml_are_those_of_finite_differences_and_its_inner_step_is_on_the_density() -> None:
    weight = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).double()
    episodes = Episode(
        Batch(images(2, 3, 1, 4, 4), weight), Batch(images(2, 2, 1, 4, 4, seed=2), torch.ones(2, 2).double())
    )
    hold(MAML(), learner(network(4, 1, filters=1, layers=1)), episodes)


def test_steps_without_examples_change_nothing() -> None:
    model = network(4, 1)
    built, x = learner(model), images(2, 3, 1, 4, 4)
    episodes = Episode(Batch(x[:, :0], torch.zeros(2, 0).double()), Batch(x, torch.ones(2, 3).double()))
    found = evaluate(MAML(), built, built.initial(), episodes, (0, 1, 2))
    alone = torch.stack([-model(one).mean() for one in x]).detach()
    torch.testing.assert_close(found, alone.unsqueeze(1).expand(2, 3), rtol=1e-12, atol=1e-12)
