"""Which policy losses have the derivative they promise, where every expectation is a sum.

A batch lists all that can happen, weighted (in its mask) with how likely it is: losses are then expectations, and
meta-gradients can be held against finite differences of the expected return itself.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from maml_bench.core.inner import SGD, adapt
from maml_bench.rl import losses
from maml_bench.rl.actions import Categorical
from maml_bench.rl.trajectories import Trajectories, discounted, spread
from maml_bench.types import Params

ARMS = torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64)
START = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
RATE = 1.5
STEP = 1e-6
actions = Categorical()
CLIP = 0.3
LOSSES = {**losses.ESTIMATORS, "clipped": partial(losses.clipped, clip=CLIP)}


def everything(policy: Tensor, rewards: Tensor, done: Tensor, weights: Tensor) -> Trajectories:
    """Rollouts ``done [R, T]`` that earn ``rewards [R, T]``, with their probabilities, without a baseline."""
    zero = torch.zeros_like(rewards)
    behaviour = policy.detach().expand(*done.shape, policy.shape[-1])
    mask = weights.detach().unsqueeze(1).expand_as(rewards)
    time = torch.arange(done.shape[-1], dtype=torch.float64).expand(done.shape)
    gains = discounted(rewards, 1.0, time)
    return Trajectories(torch.zeros(*done.shape, 1), done, behaviour, rewards, zero, gains, mask, time)


def pulls(policy: Tensor) -> Trajectories:
    """All arms of the bandit, as the policy's logits choose them."""
    return everything(policy, ARMS.unsqueeze(1), torch.arange(3).unsqueeze(1), policy.softmax(0))


PAIRS = torch.tensor(list(product(range(2), repeat=2)))
EARNED = torch.tensor([[0.5, 1.0], [0.5, -1.0], [0.0, -0.5], [0.0, 2.0]], dtype=torch.float64)
"""Two choices of two: what the second earns depends on the first."""


def walks(policy: Tensor) -> Trajectories:
    """All pairs of choices, each made with the same two logits."""
    return everything(policy, EARNED, PAIRS, policy.softmax(0)[PAIRS].prod(1))


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Central differences."""
    steps = STEP * torch.eye(len(at), dtype=at.dtype)
    return torch.stack([(function(at + s) - function(at - s)) / (2 * STEP) for s in steps])


def expected(batch: Trajectories) -> Tensor:
    return (batch.rewards.sum(1) * batch.mask[:, 0]).sum()


def loss_of(estimator: str, params: Params, batch: Trajectories) -> Tensor:
    outputs = params["logits"].expand(*batch.actions.shape, -1)
    return LOSSES[estimator](actions, outputs, batch)


def adapted(everything_of: Callable[[Tensor], Trajectories], logits: Tensor) -> Tensor:
    """Logits after one step along the exact gradient of the expected return per step."""
    probabilities = torch.func.grad(lambda at: expected_return(everything_of, at))
    return logits + RATE * probabilities(logits) / everything_of(logits).mask.shape[1]


def expected_return(everything_of: Callable[[Tensor], Trajectories], logits: Tensor) -> Tensor:
    batch = everything_of(logits)
    chances = logits.softmax(0)[batch.actions].prod(1)
    return (batch.rewards.sum(1) * chances).sum()


def meta_gradient(everything_of: Callable[[Tensor], Trajectories], estimator: str, start: Tensor) -> Tensor:
    """As MAML takes it: an inner step on ``estimator``, the ratio outside."""
    support = everything_of(start)
    scale = float(spread(support.advantages, support.mask)) if estimator == "dice" else 1.0

    def outer(logits: Tensor) -> Tensor:
        rule = SGD(RATE * scale)
        after = adapt(partial(loss_of, estimator), {"logits": logits}, support, rule, 1)["logits"]
        return loss_of("ratio", {"logits": after}, everything_of(after))

    return -torch.func.grad(outer)(start) * support.mask.shape[1]


@pytest.mark.parametrize("estimator", LOSSES)
@pytest.mark.parametrize("everything_of", [pulls, walks])
def test_all_estimators_have_the_first_derivative(everything_of, estimator):
    start = START[: 3 if everything_of is pulls else 2]
    batch = everything_of(start)
    scale = float(spread(batch.advantages, batch.mask)) if estimator == "dice" else 1.0
    found = -torch.func.grad(lambda at: loss_of(estimator, {"logits": at}, batch))(start) * scale * batch.mask.shape[1]
    torch.testing.assert_close(found, slope(partial(expected_return, everything_of), start), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("everything_of", "estimator"), [(pulls, "ratio"), (pulls, "dice"), (walks, "dice")], ids=lambda v: str(v)[:16]
)
def test_meta_gradients_of_unbiased_estimators_are_those_of_the_expected_return(everything_of, estimator):
    start = START[: 3 if everything_of is pulls else 2]
    truth = slope(lambda at: expected_return(everything_of, adapted(everything_of, at)), start)
    torch.testing.assert_close(meta_gradient(everything_of, estimator, start), truth, rtol=1e-5, atol=1e-8)


def test_the_papers_inner_loss_is_biased_and_by_how_much(record_property):
    """The second derivative of log-probability times reward lacks the policy's own share (docs/reinforcement.md)."""
    truth = slope(lambda at: expected_return(pulls, adapted(pulls, at)), START)
    bias = meta_gradient(pulls, "likelihood", START) - truth
    share = float(bias.norm() / truth.norm())
    record_property("relative bias", share)
    assert 0.1 < share < 1


def test_e_maml_is_unbiased_where_the_support_is_drawn_and_maml_is_not():
    """Of one pull to adapt on: the expectation over it is a sum over arms, of which each leads to another policy."""

    def one(arm: int, policy: Tensor) -> Trajectories:
        return everything(policy, ARMS[arm].reshape(1, 1), torch.tensor([[arm]]), torch.ones(1, dtype=policy.dtype))

    def after(arm: int, logits: Tensor) -> Tensor:
        step = adapt(partial(loss_of, "likelihood"), {"logits": logits}, one(arm, START), SGD(RATE), 1)
        return step["logits"]

    def truth(logits: Tensor) -> Tensor:
        returns = torch.stack([(after(arm, logits).softmax(0) * ARMS).sum() for arm in range(3)])
        return (logits.softmax(0) * returns).sum()

    def estimate(credited: bool) -> Tensor:
        total = torch.zeros(3, dtype=torch.float64)
        for arm in range(3):
            query = pulls(after(arm, START))
            scale = float(spread(query.advantages, query.mask))
            standard = query._replace(advantages=query.advantages / scale)

            def outer(logits: Tensor, arm: int = arm, query: Trajectories = standard) -> Tensor:
                loss = loss_of("ratio", {"logits": after(arm, logits)}, query)
                credit = losses.credit(actions, logits.expand(1, 1, 3), one(arm, START), query)
                return loss - credit if credited else loss

            total -= START.softmax(0)[arm] * scale * torch.func.grad(outer)(START)
        return total

    exact = slope(truth, START)
    torch.testing.assert_close(estimate(credited=True), exact, rtol=1e-5, atol=1e-8)
    assert float((estimate(credited=False) - exact).norm() / exact.norm()) > 0.1


def test_the_clipped_loss_is_flat_where_the_ratio_has_left_the_range():
    batch = pulls(START)
    far = {"logits": START + torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)}
    good = batch._replace(advantages=torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64))
    found = torch.func.grad(lambda at: loss_of("clipped", {"logits": at}, good))(far["logits"])
    assert (found == 0).all()
    assert float(loss_of("clipped", far, good)) == pytest.approx(-(1 + CLIP) * float(START.softmax(0)[0]))


@pytest.mark.parametrize("name", [*LOSSES, "credit"])
def test_episodes_one_after_the_other_are_worth_what_they_are_side_by_side(name):
    """Values and both derivatives; the policy answers the step's own observation."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    done = torch.randint(3, (2, 3), generator=generator)
    rewards, values, gains = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)
    time = torch.arange(3, dtype=torch.float64).expand(2, 3)
    behaviour = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    side = Trajectories(seen, done, behaviour, rewards, values, gains, torch.ones(2, 3, dtype=torch.float64), time)
    after = Trajectories(*(field.flatten(0, 1).unsqueeze(0) for field in side))
    weights = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    def loss(weights, batch):
        outputs = batch.observations @ weights
        if name == "credit":
            return losses.credit(actions, outputs, batch, batch, 0.9)
        more = {"discount": 0.9} if name == "dice" else {}
        return LOSSES[name](actions, outputs, batch, **more)

    def curvature(loss):
        return torch.func.jacrev(torch.func.grad(loss))

    for derivative in (lambda f: f, torch.func.grad, curvature):
        torch.testing.assert_close(*(derivative(loss)(weights, batch) for batch in (side, after)))
