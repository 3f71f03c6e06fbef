"""The papers' networks: sizes, initial values, normalisation by the batch at hand."""

import math

import pytest
import torch

from maml_bench.models import MLP, BatchNorm, Conv, Conv4


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def conv4(**options: object) -> Conv4:
    wanted = {"channels": 1, "size": 28, "way": 5, "normalise": "batch"}
    return Conv4(**wanted | {"generator": generator()} | options)


POOLED = Conv(32, downsample="pool", average=False)


@pytest.mark.parametrize(
    ("options", "weights", "head_inputs"),
    [
        ({}, 111_749, 64),
        ({"channels": 3, "size": 84, "conv": POOLED}, 32_645, 800),
        ({"way": 20}, 111_749 + 15 * 65, 64),
    ],
    ids=["omniglot", "mini-imagenet", "twenty ways"],
)
def test_sizes_are_the_papers(options: dict, weights: int, head_inputs: int) -> None:
    """Counts without batch-norm offsets, from the shapes in maml.py of cbfinn/maml."""
    model = conv4(**options)
    assert sum(p.numel() for n, p in model.named_parameters() if not n.endswith("beta")) == weights
    assert model.head.in_features == head_inputs
    size, channels = options.get("size", 28), options.get("channels", 1)
    assert model(torch.zeros(4, channels, size, size)).shape == (4, options.get("way", 5))


def test_initial_values_are_the_released_codes() -> None:
    model = conv4()
    for layer in model.body:
        if isinstance(layer, torch.nn.Conv2d):
            bound = math.sqrt(6 / (9 * (layer.in_channels + layer.out_channels)))
            assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert not layer.bias.any()
    assert float(model.head.weight.detach().std()) == pytest.approx(1.0, rel=0.2)
    assert not model.head.bias.any()


def test_one_generator_gives_one_network() -> None:
    one, same, other = conv4(), conv4(), conv4(generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)


def test_mlp_values_are_cut_at_two_deviations() -> None:
    model = MLP([100, 200, 5], normalise="none", generator=generator())
    weight = model.body[1].weight.detach()
    assert float(weight.abs().max()) <= 0.02
    # a normal distribution cut at two deviations has 0.8796 of its deviation
    assert float(weight.std()) == pytest.approx(0.008796, rel=0.02)


def test_batch_norm_uses_the_batch_and_has_no_scale() -> None:
    """Values 1 and 3: mean 2, population variance 1, so (x - 2) / sqrt(1 + eps) + beta."""
    layer = BatchNorm(1)
    assert [n for n, _ in layer.named_parameters()] == ["beta"]
    assert not layer.state_dict().keys() - {"beta"}
    layer.beta.data += 0.5
    expected = torch.tensor([[-1.0], [1.0]]) / math.sqrt(1.001) + 0.5
    torch.testing.assert_close(layer(torch.tensor([[1.0], [3.0]])), expected)
    torch.testing.assert_close(layer.eval()(torch.tensor([[1.0], [3.0]])), expected)


@pytest.mark.parametrize(("normalise", "layer"), [("batch", BatchNorm), ("group", torch.nn.GroupNorm)])
def test_normalisation_is_a_choice(normalise: str, layer: type) -> None:
    layers = [type(module) for module in conv4(normalise=normalise).modules()]
    assert layers.count(layer) == 4
    assert layer not in [type(module) for module in conv4(normalise="none").modules()]


def test_batch_norm_can_have_a_scale() -> None:
    layer = BatchNorm(1, affine=True)
    layer.gamma.data *= 3
    expected = torch.tensor([[-3.0], [3.0]]) / math.sqrt(1.001)
    torch.testing.assert_close(layer(torch.tensor([[1.0], [3.0]])), expected)


def test_variants_of_the_four_blocks() -> None:
    """The maps of a relation network are 21x21 behind two poolings of 84; widths and leaks are those asked for."""
    relation = conv4(channels=3, size=84, conv=Conv(64, downsample="pool", halvings=2, average=False))
    assert relation.head.in_features == 64 * 21 * 21
    wide = conv4(conv=Conv(widths=(8, 16, 24, 32), leak=0.1))
    assert [m.out_channels for m in wide.modules() if isinstance(m, torch.nn.Conv2d)] == [8, 16, 24, 32]
    assert sum(isinstance(m, torch.nn.LeakyReLU) for m in wide.modules()) == 4


@pytest.mark.parametrize(("where", "shape"), [("film", (7,)), ("input", (7, 28, 28))])
def test_a_context_starts_at_zero_and_changes_the_answer(where: str, shape: tuple[int, ...]) -> None:
    model = conv4(conv=Conv(context=7, context_at=where))
    [context] = [p for n, p in model.named_parameters() if n.endswith("context")]
    assert context.shape == shape
    assert not context.any()
    x = torch.rand(3, 1, 28, 28, generator=generator())
    before = model(x)
    context.data += torch.rand(shape, generator=generator())
    assert not torch.allclose(model(x), before)
