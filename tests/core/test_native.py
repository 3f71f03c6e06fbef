"""The kernels: equal to torch's operators and to finite differences, and put in the right places of a network."""

import platform
import shutil
from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from maml_bench.core.native import build, kernels, ops
from maml_bench.core.native.lower import lower
from maml_bench.models import MLP, BatchNorm, Conv, Conv4

pytestmark = pytest.mark.skipif(build.compiler() is None, reason="the kernels need a C++ compiler: install g++")
EPS = 1e-3


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def plain_conv(x: Tensor, w: Tensor, stride: int) -> Tensor:
    """The convolution of each task by torch."""
    tasks = max(len(x), len(w))
    pairs = zip(x.expand(tasks, *x.shape[1:]), w.expand(tasks, *w.shape[1:]), strict=True)
    found = [F.conv2d(a.permute(0, 3, 1, 2), b.permute(3, 2, 0, 1), stride=stride, padding=1) for a, b in pairs]
    return torch.stack(found).permute(0, 1, 3, 4, 2)


def plain_norm(x: Tensor, gamma: Tensor, beta: Tensor, pool: bool) -> Tensor:
    """Batch normalisation, ReLU and pooling of each task by their definitions."""
    mean = x.mean((1, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean((1, 2, 3), keepdim=True)
    scale, offset = (p.reshape(-1, 1, 1, 1, p.shape[-1]) for p in (gamma, beta))
    y = ((x - mean) / (var + EPS).sqrt() * scale + offset).relu()
    return (
        F.max_pool2d(y.flatten(0, 1).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
        if pool
        else y
    )


def derivatives(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """Value, first derivatives of a weighted sum of squares, and those of their weighted sum: all that MAML takes."""
    inputs = tuple(v.clone().requires_grad_() for v in inputs)
    value = function(*inputs)
    first = torch.autograd.grad(
        (value.square() * random(*value.shape, seed=1).to(value)).sum(), inputs, create_graph=True
    )
    joined = sum((d * random(*d.shape, seed=2 + i).to(d)).sum() for i, d in enumerate(first))
    return [v.detach() for v in (value, *first, *torch.autograd.grad(joined, inputs, materialize_grads=True))]


def agree(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        assert float((f - e).abs().max()) <= tolerance * max(1.0, float(e.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "filters"), [(1, 16), (3, 32), (7, 16), (16, 16), (32, 64), (16, 48)])
@pytest.mark.parametrize(("tasks", "images", "high", "wide"), [(1, 1, 1, 1), (3, 2, 4, 7), (2, 13, 5, 2), (1, 5, 9, 8)])
def test_convolution_equals_torchs_to_the_second_derivative(
    dtype: torch.dtype, stride: int, channels: int, filters: int, tasks: int, images: int, high: int, wide: int
) -> None:
    x, w = random(tasks, images, high, wide, channels, dtype=dtype), random(tasks, 3, 3, channels, filters, dtype=dtype)
    found, expected = (derivatives(lambda *v, f=f: f(*v, stride), x, w) for f in (ops.conv, plain_conv))
    agree(found, expected, 1e-12 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_more_images_than_are_taken_at_once(stride: int) -> None:
    x, w = random(1, 5, 24, 24, 32), random(1, 3, 3, 32, 32)
    found, expected = (derivatives(lambda *v, f=f: f(*v, stride), x, w) for f in (ops.conv, plain_conv))
    agree(found, expected, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(  # the last has more pixels than a line and more channels than are taken together
    "shape", [(1, 2, 2, 2, 16), (3, 5, 7, 4, 32), (2, 3, 5, 9, 48), (2, 3, 9, 9, 144)]
)
def test_normalisation_equals_its_definition_to_the_second_derivative(
    dtype: torch.dtype, pool: bool, shape: tuple[int, ...]
) -> None:
    x = 3 + random(*shape, dtype=dtype)
    gamma, beta = (random(shape[0], shape[-1], seed=seed, dtype=dtype) for seed in (5, 6))
    found = derivatives(lambda *v: ops.norm(*v, EPS, pool=pool), x, gamma, beta)
    expected = derivatives(lambda *v: plain_norm(*v, pool), x, gamma, beta)
    agree(found, expected, 1e-11 if dtype == torch.float64 else 2e-4)


def test_derivatives_equal_finite_differences() -> None:
    with torch.random.fork_rng():  # the fast mode draws directions
        check_finite_differences()


def check_finite_differences() -> None:
    x, w = random(2, 2, 3, 3, 16).requires_grad_(), random(2, 3, 3, 16, 16, seed=1).requires_grad_()
    some = {"fast_mode": True, "atol": 1e-7}
    for stride in (1, 2):
        assert gradcheck(lambda a, b, s=stride: ops.conv(a, b, s), (x, w), **some)
        assert gradgradcheck(lambda a, b, s=stride: ops.conv(a, b, s), (x, w), **some)
    gamma, beta = (random(2, 16, seed=s).requires_grad_() for s in (2, 3))
    for pool in (False, True):
        assert gradcheck(lambda *v, p=pool: ops.norm(*v, EPS, pool=p), (x, gamma, beta), **some)
        assert gradgradcheck(lambda *v, p=pool: ops.norm(*v, EPS, pool=p), (x, gamma, beta), **some)


@pytest.mark.parametrize("mapped", list(product([True, False], repeat=2))[:-1])
def test_vmap_folds_what_is_mapped_and_shares_what_is_not(mapped: tuple[bool, bool]) -> None:
    x = random(4, 1, 2, 5, 5, 16) if mapped[0] else random(1, 2, 5, 5, 16)
    w = random(4, 1, 3, 3, 16, 32) if mapped[1] else random(1, 3, 3, 16, 32)
    dims = tuple(0 if m else None for m in mapped)
    found = torch.vmap(lambda a, b: ops.conv(a, b, 2), dims)(x, w)
    for i in range(4):
        expected = plain_conv(x[i] if mapped[0] else x, w[i] if mapped[1] else w, 2)
        torch.testing.assert_close(found[i], expected)


def test_vmap_of_an_inner_axis_and_inside_another() -> None:
    x, w = random(1, 2, 5, 3, 3, 16), random(1, 3, 3, 16, 16)
    inner = torch.vmap(lambda a: ops.conv(a, w, 1), in_dims=2, out_dims=2)(x.movedim(2, 2))
    torch.testing.assert_close(inner[:, :, 3], plain_conv(x[:, :, 3], w, 1))
    y, gamma = random(2, 3, 1, 2, 4, 4, 16), random(3, 1, 16)
    both = torch.vmap(torch.vmap(lambda a, g: ops.norm(a, g, g, EPS)), (0, None))(y, gamma)
    torch.testing.assert_close(both[1, 2], plain_norm(y[1, 2], gamma[2], gamma[2], False))


def test_a_pooled_tie_goes_to_the_first_and_all_negative_to_none() -> None:
    x = torch.zeros(1, 1, 2, 4, 16, dtype=torch.float64)
    x[:, :, :, :2] = 1.0  # left window: four equal values above the mean; right: four below
    x.requires_grad_()
    one, zero = torch.ones(1, 16).double(), torch.zeros(1, 16).double()
    found, expected = (
        torch.autograd.grad(y.sum(), x)[0]
        for y in (ops.norm(x, one, zero, EPS, pool=True), plain_norm(x, one, zero, True))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("pool", [False, True])
def test_what_is_not_a_number_stays_visible(pool: bool) -> None:
    x = random(1, 2, 4, 4, 16)
    x[0, 0, 0, 0, 3] = float("nan")
    y = ops.norm(x, torch.ones(1, 16).double(), torch.zeros(1, 16).double(), EPS, pool=pool)
    assert y[..., 3].isnan().all()
    assert y[..., :3].isfinite().all()


def test_a_large_mean_costs_no_digits() -> None:
    x = random(1, 5, 14, 14, 16, dtype=torch.float32)
    one, zero = torch.ones(1, 16), torch.zeros(1, 16)
    shifted = ops.norm(x + 1000, one, zero, EPS)
    torch.testing.assert_close(shifted, ops.norm(x, one, zero, EPS), atol=1e-3, rtol=0)


def test_the_sum_over_tasks_keeps_the_order_of_memory() -> None:
    dense = random(5, 3, 3, 8, 16).permute(0, 4, 3, 1, 2)
    found = kernels.sum_first(dense)
    torch.testing.assert_close(found, dense.sum(0))
    assert found.stride() == dense.stride()[1:]
    for gappy in (random(5, 8, 4)[:, ::2], random(4, 5).T, random(1, 4).expand(6, 4)):
        torch.testing.assert_close(kernels.sum_first(gappy), gappy.sum(0))


def test_rows_are_gathered_to_the_bit_and_places_are_checked() -> None:
    rows = torch.arange(256, dtype=torch.uint8).repeat(30).reshape(-1, 1, 16, 16)
    place = torch.tensor([29, 0, 7, 7])
    assert torch.equal(kernels.gather_rows(rows, place, 255), rows[place].float() / 255)
    assert torch.equal(kernels.gather_rows(rows, place, 1), rows[place].float())
    assert kernels.gather_rows(rows, place[:0], 1).shape == (0, 1, 16, 16)
    for outside in (-1, 30):
        with pytest.raises(IndexError, match="places must be 0 to 29"):
            kernels.gather_rows(rows, torch.tensor([3, outside]), 255)


def test_other_types_are_refused() -> None:
    x = torch.zeros(1, 1, 3, 3, 16, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"the kernels know float32 and float64, not torch\.bfloat16"):
        ops.conv(x, torch.zeros(1, 3, 3, 16, 16, dtype=torch.bfloat16), 1)


def test_third_derivatives_are_refused() -> None:
    x, one = random(1, 2, 2, 2, 16).requires_grad_(), torch.ones(1, 16).double()
    y = ops.norm(x, one, one, EPS).sum()
    for _ in range(2):
        y = torch.autograd.grad(y, x, create_graph=True)[0].pow(2).sum()
    with pytest.raises(NotImplementedError, match="no third derivative"):
        torch.autograd.grad(y, x)


# ---- Where the kernels go.


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
    lowered, words = lower(model)
    assert words == f"{count} convolution block{'s' if count > 1 else ''} in kernels"
    parameters = {n: p + 0.1 * random(*p.shape, seed=i) for i, (n, p) in enumerate(model.named_parameters())}
    first = next(p for p in parameters.values() if p.ndim == 4)
    x = random(5, first.shape[1], 20 if "mini" in name else 28, 20 if "mini" in name else 28)
    expected = torch.func.functional_call(model, parameters, (x,))
    torch.testing.assert_close(torch.func.functional_call(lowered, parameters, (x,)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_networks_are_left_alone(name: str) -> None:
    assert lower(LEFT_ALONE[name]()) == (None, "torch operators")


def test_a_network_that_cannot_be_traced_is_left_alone() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    assert lower(Branching()) == (None, "torch operators (the network cannot be traced: TraceError)")


# ---- Building.


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing built yet; the built library of other tests comes back afterwards."""
    monkeypatch.setattr(build, "user_cache_path", lambda name: tmp_path / name)
    build.library.cache_clear()
    yield tmp_path / "maml-bench" / "kernels"
    build.library.cache_clear()
    kernels._kernel.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are instruction sets of x86-64")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_narrower_vectors_compute_the_same(fresh, monkeypatch, processor: str) -> None:
    """Processors without AVX-512, or without AVX: other tiles of registers."""
    flags = tuple(f"-march={processor}" if flag == "-march=native" else flag for flag in build.FLAGS)
    monkeypatch.setattr(build, "FLAGS", flags)
    kernels._kernel.cache_clear()
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        x, w = random(2, 7, 6, 5, 16, dtype=dtype), random(2, 3, 3, 16, 48, dtype=dtype)
        agree(*(derivatives(lambda *v, f=f: f(*v, 2), x, w) for f in (ops.conv, plain_conv)), limit)
        gamma = random(2, 16, seed=5, dtype=dtype)
        found = derivatives(lambda *v: ops.norm(*v, EPS, pool=True), x, gamma, gamma)
        agree(found, derivatives(lambda *v: plain_norm(*v, True), x, gamma, gamma), limit)


def test_the_kernels_are_built_once(fresh) -> None:
    build.library()
    (path,) = fresh.iterdir()
    written = path.stat().st_mtime_ns
    build.library.cache_clear()
    build.library()
    assert [p.stat().st_mtime_ns for p in fresh.iterdir()] == [written]


def test_no_compiler_is_a_sentence(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.NoCompiler, match=r"needs a C\+\+ compiler: install g\+\+, or name one in CXX"):
        build.library()


def test_a_compiler_that_fails_is_a_sentence_and_leaves_nothing(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", shutil.which("false") or "false")
    with pytest.raises(build.NoCompiler, match="cannot compile the kernels for convolutions: no message"):
        build.library()
    assert list(fresh.iterdir()) == []
