"""The operations of a meta-step: the formula against torch's own counter on small networks."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from peers.arithmetic import model_gflop
from peers.benches import BENCHES, Bench
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode
from torch_network import body, head, relation

SMALL = {"tasks": 1, "way": 2, "shot": 1, "query": 3, "rate": 0.1, "size": 16, "hidden": 4}
REGRESSION = {"tasks": 1, "way": 1, "shot": 3, "query": 5, "rate": 0.1, "channels": 0, "hidden": 8}


def counted(bench: Bench) -> int:
    """Operations of one task's meta-gradient by plain autograd."""
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(OrderedDict(body=nn.Sequential(body(bench)), head=head(bench)))
    loss = F.mse_loss if bench.is_regression else F.cross_entropy

    def batch(examples: int):
        y = torch.ones(examples, 1) if bench.is_regression else torch.arange(bench.way).repeat(examples // bench.way)
        return torch.linspace(0, 1, examples).view(-1, *[1] * len(bench.input_shape)).expand(-1, *bench.input_shape), y

    (x, y), (query_x, query_y) = batch(bench.way * bench.shot), batch(bench.way * bench.query)
    params = dict(net.named_parameters())
    with FlopCounterMode(display=False) as counter:
        features = net.body(x) if bench.head_only else None
        fast = {name: p for name, p in params.items() if not bench.head_only or name.startswith("head.")}
        for _ in range(bench.steps):
            if bench.head_only:
                out = F.linear(features, fast["head.weight"], fast["head.bias"])
            else:
                out = functional_call(net, fast, (x,))
            grads = torch.autograd.grad(loss(out, y), list(fast.values()), create_graph=not bench.first_order)
            fast = {name: p - bench.rate * g for (name, p), g in zip(fast.items(), grads, strict=True)}
        torch.autograd.grad(loss(functional_call(net, {**params, **fast}, (query_x,)), query_y), list(params.values()))
    return counter.get_total_flops()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "bench",
    [
        pytest.param({**SMALL, "method": "fomaml"}, id="first order"),
        pytest.param({**SMALL, "method": "anil"}, id="head only"),
        pytest.param(REGRESSION, id="regression"),
    ],
)
def test_the_formula_is_what_torch_counts(bench, steps):
    made = Bench("small", steps=steps, **bench)
    assert model_gflop(made) * 1e9 == pytest.approx(counted(made), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
def test_second_order_needs_less_than_torch_does_by_the_first_layers_input(steps):
    """Torch differentiates the first convolution by its input too, once per step, though nobody asks for it."""
    made = Bench("small", steps=steps, **{**SMALL, "pool": True, "average": False, "size": 21})
    unasked = 2 * steps * made.way * made.shot * made.body()[0].multiply_adds
    assert model_gflop(made) * 1e9 == pytest.approx(counted(made) - unasked, rel=1e-12)


METRIC = {"tasks": 1, "way": 2, "shot": 1, "query": 3, "size": 16, "hidden": 4, "pool": True, "average": False}


@pytest.mark.parametrize("method", ["protonet", "matching"])
def test_networks_that_compare_pass_every_example_once(method):
    made = Bench("small", method=method, **METRIC)
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(body(made))
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(made.way * (made.shot + made.query), *made.input_shape)).sum().backward()
    assert model_gflop(made) * 1e9 == counter.get_total_flops()


def test_the_relation_module_is_counted_for_pairs_but_for_its_first_layer():
    made = Bench("small", method="relation", halvings=2, **METRIC)
    with torch.random.fork_rng(devices=[]):
        net, module = nn.Sequential(body(made)), relation(made)
    pairs = made.way * made.way * made.query
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(made.way * (made.shot + made.query), *made.input_shape)).sum().backward()
        stacked = torch.zeros(pairs, 2 * made.hidden, 4, 4, requires_grad=True)
        module(stacked).sum().backward()
    first = made.relation()[0].multiply_adds
    spared = 6 * (pairs - (made.way + made.way * made.query) / 2) * first
    assert model_gflop(made) * 1e9 == pytest.approx(counter.get_total_flops() - spared, rel=1e-12)


def test_reptile_is_first_order_on_its_small_batches():
    made = Bench("small", method="reptile", steps=3, inner_batch=2, **{**SMALL, "query": 0, "average": False})
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(OrderedDict(body=nn.Sequential(body(made)), head=head(made)))
    with FlopCounterMode(display=False) as counter:
        for _ in range(made.steps):
            net(torch.zeros(made.inner_batch, *made.input_shape)).sum().backward()
    assert model_gflop(made) * 1e9 == counter.get_total_flops()


def test_tasks_multiply_and_first_order_is_half_of_one_step():
    full, first, head_only = (model_gflop(BENCHES[name]) for name in ("omniglot-q1", "fomaml-q1", "anil-q1"))
    assert full == pytest.approx(9.985, rel=1e-3)
    assert first < 0.51 * full
    assert head_only == pytest.approx(first, rel=1e-3)
    assert model_gflop(Bench("twice", steps=1, **{**SMALL, "tasks": 2})) == 2 * model_gflop(
        Bench("once", steps=1, **SMALL)
    )
