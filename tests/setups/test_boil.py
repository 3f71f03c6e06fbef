"""BOIL: the last layer does not move, and the rest moves as in MAML."""

import torch

from maml_bench.core.outer import meta_gradient, take
from maml_bench.setups.anil import ANIL
from maml_bench.setups.boil import BOIL
from maml_bench.setups.maml import MAML
from tests.core.conftest import Make
from tests.core.test_gradients import finite_differences, relative_error


def test_one_step_of_maml_is_the_body_of_boil_and_the_head_of_anil(classification: Make) -> None:
    learner, meta, episodes = classification(outside=("*.beta",))
    support = take(episodes.support, 0)
    whole, body, head = (s.adapt(learner, meta, support, 1)[-1] for s in (MAML(), BOIL(), ANIL()))
    for name in meta:
        assert torch.equal(body[name], meta[name] if learner.is_head(name) else whole[name])
        assert torch.equal(head[name], whole[name] if learner.is_head(name) else meta[name])
    assert not torch.equal(body["body.0.weight"], meta["body.0.weight"])


def test_the_gradient_is_exact(classification: Make) -> None:
    learner, meta, episodes = classification(outside=("*.beta",))
    grads, _ = meta_gradient(BOIL(), learner, meta, episodes)
    assert relative_error(grads, finite_differences(BOIL(), learner, meta, episodes)) < 1e-6
