"""Adapted weights that are never formed: the program has none of them, and its numbers are those of the loop."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from maml_bench.core.setup import Setup
from maml_bench.engine import recording
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.rewrites.low_rank_products import reassociate
from maml_bench.engine.torch_internals import traced
from maml_bench.setups.fomaml import FOMAML
from maml_bench.setups.maml import MAML
from maml_bench.setups.meta_sgd import MetaSGD
from maml_bench.types import Params
from tests.engine.test_meta_step import gradients_agree, problem

TASKS = 5


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[fx.GraphModule]:
    """The recordings that are made meanwhile, as they are run."""
    made: list[fx.GraphModule] = []
    simplify = recording.simplify
    monkeypatch.setattr(recording, "simplify", lambda module: (made.append(module), simplify(module))[1])
    return made


def shapes(module: fx.GraphModule) -> set[tuple[int, ...]]:
    values = (node.meta.get("val") for node in module.graph.nodes)
    return {tuple(value.shape) for value in values if isinstance(value, Tensor)}


def large(module: fx.GraphModule) -> list[tuple[int, ...]]:
    """Shapes of a wide layer's weights for every task."""
    return sorted(shape for shape in shapes(module) if sorted(shape) in ([TASKS, 72, 81], [TASKS, 72, 72]))


@pytest.mark.parametrize(
    ("setup", "steps"),
    [(MAML(), 1), (MAML(), 3), (FOMAML(), 2), (FOMAML(), 3)],
    ids=["maml-1", "maml-3", "fomaml-2", "fomaml-3"],
)
def test_no_task_has_weights_of_its_own(setup: Setup, steps: int, programs: list[fx.GraphModule]) -> None:
    learner, episodes = problem("wide", steps=steps, tasks=TASKS, dtype=torch.float64)
    gradients_agree(setup, learner, episodes, "traced", 1e-10)
    assert not large(programs[-1])


def test_a_rule_that_is_no_low_rank_step_keeps_its_weights(programs: list[fx.GraphModule]) -> None:
    """A rate of its own for every entry (Meta-SGD) makes the step one of full rank."""
    learner, episodes = problem("wide", tasks=TASKS, dtype=torch.float64)
    gradients_agree(MetaSGD(), learner, episodes, "traced", 1e-10)
    assert large(programs[-1])


def test_small_matrices_are_left_alone(programs: list[fx.GraphModule]) -> None:
    learner, episodes = problem("layers", tasks=TASKS, dtype=torch.float64)
    MetaStep(MAML(), learner, schedule="traced").gradient(learner.initial(), episodes)
    assert any(shape == (TASKS, 81, 10) for shape in shapes(programs[-1]))


def recorded(function: Any, *tensors: Tensor) -> fx.GraphModule:
    module = traced(function, tensors)
    reassociate(module)
    return module


def made(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, p, q: x @ (w - 0.5 * (p @ q)),
        lambda x, w, p, q: x @ (w + (-(q.mT @ p.mT)).mT),
        lambda x, w, p, q: ((w - 0.5 * (p @ q)).mT @ x.mT).mT,
        lambda x, w, p, q: x @ (p @ q) * 2.0,
        lambda x, w, p, q: x @ (w - 0.1 * (p @ q) - 0.2 * (p @ q).neg()),
        lambda x, w, p, q: x @ torch.ops.aten.detach(w - 0.5 * (p @ q)),
        lambda x, w, p, q: x @ torch.ops.aten.alias(w - 0.5 * (p @ q)),
        lambda x, w, p, q: (p @ q).sum(0),
        lambda x, w, p, q: ((p @ q).mT * 3.0).sum(0, keepdim=True),
    ],
    ids=[
        "step",
        "transposed",
        "from the left",
        "product",
        "two steps",
        "detached",
        "detached as from torch 2.14 on",
        "sum",
        "sum of a transposed",
    ],
)
def test_products_in_another_order(function: Any) -> None:
    """Rank 2 beside 70x80, for 4 tasks: the matrix is gone and the value is the same."""
    x, w, p, q = made(4, 3, 70), made(70, 80), made(4, 70, 2), made(4, 2, 80)
    module = recorded(function, x, w, p, q)
    assert not [shape for shape in shapes(module) if sorted(shape) == [4, 70, 80]]
    torch.testing.assert_close(module(x, w, p, q), function(x, w, p, q), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, p, q: x @ (w - torch.sin(p @ q)),
        lambda x, w, p, q: x @ (w * (p @ q)),
        lambda x, w, p, q: (w - p @ q).sum(0),
        lambda x, w, p, q: (p @ q).sum(1),
    ],
    ids=["not linear", "elementwise", "sum with what is shared", "another sum"],
)
def test_what_is_no_low_rank_step_stays(function: Any) -> None:
    x, w, p, q = made(4, 3, 70), made(70, 80), made(4, 70, 2), made(4, 2, 80)
    module = recorded(function, x, w, p, q)
    assert (4, 70, 80) in shapes(module)
    torch.testing.assert_close(module(x, w, p, q), function(x, w, p, q), rtol=1e-12, atol=1e-12)


def test_weights_used_twice_in_a_step_do_not_double_the_products() -> None:
    """As in momentum or a proximal term: twelve such steps would else make 4,096 products of two."""

    def function(x: Tensor, w: Tensor, p: Tensor, q: Tensor) -> Tensor:
        adapted = w - p @ q
        for _ in range(12):
            adapted = adapted * 0.5 + adapted * 0.25
        return x @ adapted

    x, w, p, q = made(4, 3, 70), made(70, 80), made(4, 70, 2), made(4, 2, 80)
    module = recorded(function, x, w, p, q)
    products = (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default)
    assert sum(node.target in products for node in module.graph.nodes) == 2
    torch.testing.assert_close(module(x, w, p, q), function(x, w, p, q), rtol=1e-12, atol=1e-12)


def test_a_rank_that_saves_nothing_stays() -> None:
    x, w, p, q = made(4, 3, 70), made(70, 80), made(4, 70, 30), made(4, 30, 80)
    assert (4, 70, 80) in shapes(recorded(lambda x, w, p, q: x @ (w - p @ q), x, w, p, q))


def test_linear_layers_of_a_user(programs: list[fx.GraphModule]) -> None:
    """Functional layers without normalisation, five steps: the ranks add up and still pay."""

    def loss(params: Params, batch: Any) -> Tensor:
        hidden = torch.tanh(F.linear(batch[0], params["w"], params["b"]))
        return F.mse_loss(hidden @ params["v"], batch[1])

    def adapted(params: Params, x: Tensor, y: Tensor) -> Tensor:
        for _ in range(5):
            grads = torch.func.grad(loss)(params, (x, y))
            params = {n: p - 0.01 * grads[n] for n, p in params.items()}
        return loss(params, (x, y))

    def step(params: Params, x: Tensor, y: Tensor) -> Params:
        return torch.func.grad(lambda p: torch.vmap(adapted, in_dims=(None, 0, 0))(p, x, y).mean())(params)

    params = {"w": made(90, 100) / 10, "b": made(90), "v": made(90, 1) / 10}
    x, y = made(TASKS, 2, 100), made(TASKS, 2, 1)
    found = recording.Recorded(step)(params, x, y)
    assert not [shape for shape in shapes(programs[-1]) if sorted(shape) == [TASKS, 90, 100]]
    for name, grad in step(params, x, y).items():
        torch.testing.assert_close(found[name], grad, rtol=1e-10, atol=1e-12)
