"""Baseline++: the cosine layer on paper, its training as torch's weight normalisation, what each layer starts from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from maml_bench.core.outer import meta_gradient
from maml_bench.setups.baseline_pp import BaselinePP, cosines
from maml_bench.types import Batch
from tests.core.conftest import built
from tests.setups.test_classifiers import CLASSES, WAY, episodes_of, learner_of, start_of


def test_a_logit_by_hand() -> None:
    """Cosines of (3, 4) with the axes are 0.6 and 0.8, whatever the length of the direction."""
    layer = {"direction": torch.tensor([[5.0, 0.0], [0.0, 0.1]]), "length": torch.tensor([0.5, 2.0])}
    torch.testing.assert_close(cosines(layer, torch.tensor([[3.0, 4.0]]), 10.0), torch.tensor([[3.0, 16.0]]))


def test_the_loss_is_that_of_cosines_with_all_training_classes() -> None:
    learner, episodes = learner_of("strided"), episodes_of("strided", labels=CLASSES)
    setup = BaselinePP(base_scale=7.0)
    meta = start_of(setup, learner)
    _, losses = meta_gradient(setup, learner, meta, episodes)
    z = learner.embed(meta, episodes.support.x[0])
    logits = 7 * meta["base.length"] * F.cosine_similarity(z.unsqueeze(1), meta["base.direction"], dim=-1)
    assert losses[0].item() == pytest.approx(F.cross_entropy(logits, episodes.support.y[0]).item())


def test_layers_start_as_torchs_linear_and_new_ones_are_never_trained() -> None:
    learner, episodes = learner_of("layers"), episodes_of("layers", labels=CLASSES)
    meta = start_of(BaselinePP(), learner)
    features = meta["head.weight"].shape[1]
    assert meta["base.direction"].shape == (CLASSES, features)
    assert meta["new.direction"].shape == (WAY, features)
    for layer in ("base", "new"):
        assert meta[f"{layer}.direction"].abs().max() <= features**-0.5
        torch.testing.assert_close(meta[f"{layer}.length"], meta[f"{layer}.direction"].norm(dim=1))
    assert meta["base.direction"].std() == pytest.approx((3 * features) ** -0.5, rel=0.2)
    grads, _ = meta_gradient(BaselinePP(), learner, meta, episodes)
    assert {n for n, g in grads.items() if not g.any()} == {"new.direction", "new.length", "head.weight", "head.bias"}


@pytest.mark.parametrize("batch", [0, 4])
def test_it_is_a_layer_with_weight_normalisation_trained_by_torch(batch: int) -> None:
    learner, episodes = learner_of("strided"), episodes_of("strided", labels=WAY)
    support, x = Batch(*(t[0] for t in episodes.support)), episodes.query.x[0]
    setup = BaselinePP(batch=batch, scale=5.0)
    meta = start_of(setup, learner)
    state = setup.adapt(learner, meta, support, 9)[-1]

    z, q = (F.normalize(learner.embed(meta, images)) for images in (support.x, x))
    layer = built(lambda: nn.Linear(z.shape[1], WAY, bias=False)).double()
    layer.weight.data = meta["new.direction"].clone()
    layer = weight_norm(layer, dim=0)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, dampening=0.9, weight_decay=0.001)
    for step in range(9):
        rows = [(step * batch + i) % len(z) for i in range(batch or len(z))]
        optimiser.zero_grad()
        F.cross_entropy(5 * layer(z[rows]), support.y[rows]).backward()
        optimiser.step()
    torch.testing.assert_close(setup.predict(learner, meta, state, x), 5 * layer(q).detach(), rtol=1e-9, atol=1e-12)
