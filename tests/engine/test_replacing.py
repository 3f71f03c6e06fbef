"""Where the kernels go: which blocks of a network are found, and which are left alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maml_bench.engine.kernels.replacing import replace_blocks
from maml_bench.models import MLP, BatchNorm, Conv, Conv4
from tests.engine.test_kernels import random


def conv(channels: int, filters: int, **options: object) -> nn.Conv2d:
    with torch.random.fork_rng():
        return nn.Conv2d(channels, filters, 3, **{"padding": 1} | options)


class Functional(nn.Module):
    """A user's own network, with functions where others have modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 16), conv(16, 32, stride=2, bias=False)
        self.norm = nn.ModuleList(nn.BatchNorm2d(n, track_running_stats=False, eps=1e-5) for n in (16, 32))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm[0](self.first(x))), 2)
        return self.norm[1](self.second(x)).relu().flatten(1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def conv4(channels: int, size: int, downsample: str, *, normalise: str = "batch") -> nn.Module:
    conv = Conv(32, downsample=downsample, average=downsample == "stride")
    return Conv4(channels, size, 5, conv, normalise=normalise, generator=generator())


def plain(filters: int = 16, after: nn.Module | None = None, **options: object) -> nn.Module:
    return nn.Sequential(conv(3, filters, **options), BatchNorm(filters), after or nn.ReLU())


FOUND = {
    "the Omniglot network": (4, lambda: conv4(1, 28, "stride")),
    "the mini-ImageNet network": (4, lambda: conv4(3, 20, "pool")),
    "a network of functions": (2, Functional),
    "normalisation without parameters": (
        1, lambda: nn.Sequential(conv(3, 16), nn.BatchNorm2d(16, affine=False, track_running_stats=False), nn.ReLU()),
    ),
    "a pooling that the kernels do not know": (1, lambda: nn.Sequential(plain(), nn.MaxPool2d(3))),
    "average pooling": (1, lambda: nn.Sequential(plain(), nn.AvgPool2d(2))),
}  # fmt: skip
LEFT_ALONE = {
    "no normalisation": lambda: conv4(1, 28, "stride", normalise="none"),
    "no convolution": lambda: MLP([4, 3, 2], normalise="batch", generator=generator()),
    "another activation": lambda: plain(after=nn.Tanh()),
    "odd channels": lambda: plain(10),
    "dilation": lambda: plain(dilation=2, padding=2),
    "groups": lambda: nn.Sequential(conv(16, 16, groups=2), BatchNorm(16), nn.ReLU()),
    "another padding": lambda: plain(padding_mode="circular"),
    "no padding": lambda: plain(padding=0),
    "another stride": lambda: plain(stride=3),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_blocks_are_found_and_compute_the_same(name: str) -> None:
    count, make = FOUND[name]
    model = make().double()
    lowered, description = replace_blocks(model)
    assert description == f"{count} convolution block{'s' if count > 1 else ''} in kernels"
    parameters = {n: p + 0.1 * random(*p.shape, seed=i) for i, (n, p) in enumerate(model.named_parameters())}
    first = next(p for p in parameters.values() if p.ndim == 4)
    x = random(5, first.shape[1], 20 if "mini" in name else 28, 20 if "mini" in name else 28)
    expected = torch.func.functional_call(model, parameters, (x,))
    torch.testing.assert_close(torch.func.functional_call(lowered, parameters, (x,)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_networks_are_left_alone(name: str) -> None:
    assert replace_blocks(LEFT_ALONE[name]()) == (None, "torch operators")


def test_a_network_that_cannot_be_traced_is_left_alone() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    assert replace_blocks(Branching()) == (None, "torch operators (the network cannot be traced: TraceError)")
