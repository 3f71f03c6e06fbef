"""Any module as a pure function: what is accepted, what is refused, which parameters are whose."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maml_bench.core.evaluate import answer, evaluate
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.errors import MamlBenchError
from maml_bench.setups.anil import ANIL
from maml_bench.setups.maml import MAML
from maml_bench.types import Batch, Episode
from tests.core.conftest import Make, SmoothConv, built, by_hand


def learner_of(model: nn.Module) -> Learner:
    return Learner(model, lambda p, b: (p(b.x) ** 2).mean(), lambda p, b: p(b.x).mean(), Inner(0.1, 1))


def test_running_statistics_are_refused_with_advice() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(MamlBenchError, match=r"layer '1' keeps running statistics.*track_running_stats=False"):
        learner_of(model)


def test_a_pattern_that_names_no_parameter_is_refused() -> None:
    model = built(lambda: nn.Linear(2, 2))
    with pytest.raises(MamlBenchError, match=r"'\*\.betta', which matches no parameter"):
        Learner(model, lambda p, b: p(b.x).mean(), lambda p, b: p(b.x).mean(), Inner(0.1, 1, outside=("*.betta",)))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.BatchNorm1d(4, track_running_stats=False),
        lambda: nn.LayerNorm(4),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU()),
        lambda: nn.Dropout(0.5),
    ],
    ids=["batch-norm without running statistics", "layer-norm", "nested", "dropout"],
)
def test_modules_of_others_work_unchanged(layer) -> None:
    model = built(lambda: nn.Sequential(nn.Linear(3, 4), layer(), nn.Linear(4, 2)))
    learner = learner_of(model)
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    episodes = Episode(Batch(x, x), Batch(x, x))
    with torch.random.fork_rng():
        grads, losses = meta_gradient(MAML(), learner, learner.initial(), episodes)
    assert grads.keys() == dict(model.named_parameters()).keys()
    assert losses.shape == (2,)
    assert all(g.isfinite().all() for g in grads.values())


def test_the_head_is_the_submodule_of_that_name_or_else_the_last_layer() -> None:
    named = learner_of(built(SmoothConv))
    assert sorted(n for n in named.names if named.is_head(n)) == ["head.bias", "head.weight"]
    plain = learner_of(built(lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Tanh())))
    assert sorted(n for n in plain.names if plain.is_head(n)) == ["2.bias", "2.weight"]


def test_anil_moves_the_head_only_and_beta_stays_outside(classification: Make) -> None:
    learner, meta, episodes = classification(outside=("*.beta",))
    support = Batch(episodes.support.x[0], episodes.support.y[0])
    moved = {
        setup: {n for n, p in setup.adapt(learner, meta, support, 1)[-1].items() if not torch.equal(p, meta[n])}
        for setup in (ANIL(), MAML())
    }
    assert moved[ANIL()] == {"head.weight", "head.bias"}
    assert moved[MAML()] == {n for n in meta if not n.endswith("beta") and not n.endswith("bias")} | {"head.bias"}


def test_evaluation_scores_every_number_of_steps_as_if_it_were_the_only_one(classification: Make) -> None:
    learner, meta, episodes = classification(tasks=5)
    scores = evaluate(MAML(), learner, meta, episodes, (0, 1, 3), chunk=2)
    assert scores.shape == (5, 3)
    for column, steps in enumerate((0, 1, 3)):
        for task in range(5):
            leaves = {n: p.clone().requires_grad_() for n, p in meta.items()}
            support = Batch(episodes.support.x[task], episodes.support.y[task])
            query = Batch(episodes.query.x[task], episodes.query.y[task])
            adapted = by_hand(learner, leaves, support, steps, graph=False)
            assert scores[task, column] == learner.score(lambda x, a=adapted: learner.apply(a, x), query)


def test_answers_are_the_adapted_networks_outputs(regression: Make) -> None:
    learner, meta, episodes = regression()
    support = Batch(episodes.support.x[0], episodes.support.y[0])
    outputs = answer(MAML(), learner, meta, support, episodes.query.x[0], (0, 2))
    torch.testing.assert_close(outputs[0], learner.apply(meta, episodes.query.x[0]))
    leaves = {n: p.clone().requires_grad_() for n, p in meta.items()}
    adapted = by_hand(learner, leaves, support, 2, graph=False)
    torch.testing.assert_close(outputs[2], learner.apply(adapted, episodes.query.x[0]).detach())


@pytest.mark.parametrize("model", [SmoothConv, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Linear(3, 1))])
def test_an_embedding_is_what_the_last_layer_is_given(model) -> None:
    network = built(model)
    learner = learner_of(network)
    x = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    given = learner.embed(learner.initial(), x)
    torch.testing.assert_close(network.get_submodule(learner.head)(given), network(x))
    assert not network.get_submodule(learner.head)._forward_pre_hooks


def test_a_learner_can_face_fewer_classes_and_knows_its_meta_step() -> None:
    learner = Learner(built(lambda: nn.Linear(2, 2)), F.mse_loss, F.mse_loss, Inner(0.1, 1, "per shot"), way=20)
    assert (learner.scale, learner.with_way(5).scale, learner.with_way(5).way) == (20.0, 5.0, 5)
    assert (learner.number, learner.at_step(7).number, learner.number) == (0, 7, 0)
