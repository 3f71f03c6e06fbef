"""Fine-tuning: the first step on paper, and the rest as gradient descent with torch.autograd."""

import torch

from maml_bench.setups._shared.classifier import new_head
from maml_bench.setups.fine_tuning import FineTuning
from maml_bench.types import Batch
from tests.core.conftest import by_hand
from tests.setups.test_classifiers import CLASSES, WAY, episodes_of, learner_of

RATE = 0.1


def task() -> Batch:
    return Batch(*(t[0] for t in episodes_of("strided", labels=WAY).support))


def test_the_first_step_moves_the_head_alone_by_the_paper_formula() -> None:
    """All logits are zero, so the gradient of class c's row is the mean of (1 / way - [y = c]) z."""
    learner, support = learner_of("strided"), task()
    meta = learner.initial()
    before, after = FineTuning().adapt(learner, meta, support, 1)
    assert before["head.weight"].shape == (WAY, meta["head.weight"].shape[1])
    assert not before["head.weight"].any()
    z = learner.embed(meta, support.x)
    for c in range(WAY):
        weight = (support.y == c).double() - 1 / WAY
        expected = RATE * (weight.unsqueeze(1) * z).mean(0)
        torch.testing.assert_close(after["head.weight"][c], expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(after["head.bias"], torch.zeros(WAY, dtype=torch.float64), rtol=0, atol=1e-15)
    assert all(torch.equal(after[n], meta[n]) for n in meta if not learner.is_head(n))


def test_later_steps_move_the_whole_network() -> None:
    learner, support = learner_of("strided"), task()
    meta = learner.initial()
    leaves = {n: p.clone().requires_grad_() for n, p in (meta | new_head(learner, meta)).items()}
    expected = by_hand(learner, leaves, support, 4, graph=False)
    found = FineTuning().adapt(learner, meta, support, 4)[-1]
    for name, p in found.items():
        torch.testing.assert_close(p, expected[name].detach(), rtol=1e-9, atol=1e-12)
    moved = {n for n in meta if not learner.is_head(n) and not torch.allclose(found[n], meta[n], rtol=0, atol=1e-9)}
    assert {n for n in meta if "weight" in n and not learner.is_head(n)} <= moved
    assert meta["head.weight"].shape[0] == CLASSES
