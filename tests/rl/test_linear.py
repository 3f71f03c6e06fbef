"""The linear layer of policies: torch's values, derivatives of every order, and where they lie in memory."""

import pytest
import torch
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode

from maml_bench.rl.linear import Backward, Forward, Linear, Weights

TASKS, EXAMPLES, INPUTS, OUTPUTS = 3, 5, 4, 2


@pytest.fixture(autouse=True)
def aside():
    """Checks of gradients draw from the global generator, and so do torch's layers when they begin."""
    with torch.random.fork_rng(devices=[]):
        yield


def random(*shape: int) -> torch.Tensor:
    noise = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=noise, dtype=torch.float64, requires_grad=True)


def pairs() -> dict:
    x, y, w = random(EXAMPLES, INPUTS), random(EXAMPLES, OUTPUTS), random(OUTPUTS, INPUTS)
    return {Forward: (x, w, x @ w.mT), Backward: (y, w, y @ w), Weights: (y, x, y.mT @ x)}


@pytest.mark.parametrize("which", [Forward, Backward, Weights])
def test_derivatives_of_first_and_second_order_are_those_of_finite_differences(which):
    left, right, product = pairs()[which]
    torch.testing.assert_close(which.apply(left, right), product)
    assert torch.autograd.gradcheck(which.apply, (left, right))
    assert torch.autograd.gradgradcheck(which.apply, (left, right))


@pytest.mark.parametrize("which", [Forward, Backward, Weights])
@pytest.mark.parametrize("mapped", [(0, 0), (1, 2), (0, None), (None, 0), (2, None)])
def test_mapped_it_gives_what_each_task_alone_does(which, mapped):
    left, right, _ = pairs()[which]
    many = [
        t.detach() if dim is None else torch.stack([t.detach() * (i + 1) for i in range(TASKS)], dim)
        for t, dim in zip((left, right), mapped, strict=True)
    ]
    many = [t.requires_grad_() for t in many]
    alone = torch.stack(
        [
            which.apply(*(t if dim is None else t.select(dim, i) for t, dim in zip(many, mapped, strict=True)))
            for i in range(TASKS)
        ]
    )
    function = torch.vmap(which.apply, in_dims=mapped)
    torch.testing.assert_close(function(*many), alone)
    assert torch.autograd.gradcheck(function, many)
    assert torch.autograd.gradgradcheck(function, many)


def test_maps_within_maps():
    x, w = random(2, TASKS, EXAMPLES, INPUTS), random(TASKS, OUTPUTS, INPUTS)
    found = torch.vmap(torch.vmap(Forward.apply), in_dims=(0, None))(x, w)
    torch.testing.assert_close(found, x @ w.mT)
    crossed = torch.vmap(torch.vmap(Forward.apply, in_dims=(0, None)), in_dims=(1, 0))(x, w)
    torch.testing.assert_close(crossed, (x.transpose(0, 1) @ w.mT.unsqueeze(1)))


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_torchs(bias):
    layer = Linear(INPUTS, OUTPUTS, bias=bias, dtype=torch.float64)
    x = random(EXAMPLES, INPUTS)
    torch.testing.assert_close(layer(x), linear(x, layer.weight, layer.bias))


class Watch(TorchDispatchMode):
    """Keeps the layouts of what meets in a derivative of ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[bool] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.threshold_backward.default:
            self.mixed.append(args[0].stride() != args[1].stride())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("layer", "mixed"), [(Linear, False), (torch.nn.Linear, True)])
def test_second_derivatives_over_tasks_lie_as_the_inputs_do(layer, mixed):
    """If torch's own layer comes to do so too, ours can go."""
    model = torch.nn.Sequential(layer(INPUTS, 8), torch.nn.ReLU(), layer(8, 8), torch.nn.ReLU(), layer(8, OUTPUTS))
    params = {n: torch.stack([p.detach()] * TASKS) for n, p in model.named_parameters()}
    x = torch.randn(TASKS, EXAMPLES, INPUTS, generator=torch.Generator().manual_seed(0))

    def adapted(params, x):
        def loss(params):
            return torch.func.functional_call(model, params, (x,)).pow(2).mean()

        grads = torch.func.grad(loss)(params)
        return loss({n: p - 0.1 * grads[n] for n, p in params.items()})

    with Watch() as watch:
        torch.func.grad(lambda params: torch.vmap(adapted)(params, x).mean())(params)
    assert len(watch.mixed) >= 6
    assert any(watch.mixed) == mixed
