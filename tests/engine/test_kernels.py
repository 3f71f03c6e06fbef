"""The kernels: equal to torch's operators and to finite differences, and built once."""

import platform
import shutil
from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from maml_bench import files, native_code
from maml_bench.engine.kernels import differentiable, operators
from maml_bench.errors import Notice

pytestmark = pytest.mark.skipif(native_code.compiler() is None, reason="the kernels need a C++ compiler: install g++")
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
    found, expected = (derivatives(lambda *v, f=f: f(*v, stride), x, w) for f in (differentiable.conv, plain_conv))
    agree(found, expected, 1e-12 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_more_images_than_are_taken_at_once(stride: int) -> None:
    x, w = random(1, 5, 24, 24, 32), random(1, 3, 3, 32, 32)
    found, expected = (derivatives(lambda *v, f=f: f(*v, stride), x, w) for f in (differentiable.conv, plain_conv))
    agree(found, expected, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("high", "wide"), [(6, 6), (14, 14), (7, 14), (13, 8), (21, 20), (7, 7)])
def test_convolution_by_minimal_filtering(dtype: torch.dtype, stride: int, high: int, wide: int) -> None:
    """Maps that are large and many enough for it. In float32 its sums of differences round as the definition does."""
    x, w = random(2, 55, high, wide, 16), random(2, 3, 3, 16, 32)
    exact = derivatives(lambda *v: plain_conv(*v, stride), x, w)
    found = derivatives(lambda *v: differentiable.conv(*v, stride), x.to(dtype), w.to(dtype))
    for f, e in zip(found, exact, strict=True):
        assert float((f - e).abs().max() / e.abs().max()) < (1e-13 if dtype == torch.float64 else 4e-6)


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
    found = derivatives(lambda *v: differentiable.norm(*v, EPS, pool=pool), x, gamma, beta)
    expected = derivatives(lambda *v: plain_norm(*v, pool), x, gamma, beta)
    agree(found, expected, 1e-11 if dtype == torch.float64 else 2e-4)


def test_derivatives_equal_finite_differences() -> None:
    with torch.random.fork_rng():  # the fast mode draws directions
        check_finite_differences()


def check_finite_differences() -> None:
    x, w = random(2, 2, 3, 3, 16).requires_grad_(), random(2, 3, 3, 16, 16, seed=1).requires_grad_()
    some = {"fast_mode": True, "atol": 1e-7}
    for stride in (1, 2):
        assert gradcheck(lambda a, b, s=stride: differentiable.conv(a, b, s), (x, w), **some)
        assert gradgradcheck(lambda a, b, s=stride: differentiable.conv(a, b, s), (x, w), **some)
    gamma, beta = (random(2, 16, seed=s).requires_grad_() for s in (2, 3))
    for pool in (False, True):
        assert gradcheck(lambda *v, p=pool: differentiable.norm(*v, EPS, pool=p), (x, gamma, beta), **some)
        assert gradgradcheck(lambda *v, p=pool: differentiable.norm(*v, EPS, pool=p), (x, gamma, beta), **some)


@pytest.mark.parametrize("mapped", list(product([True, False], repeat=2))[:-1])
def test_vmap_folds_what_is_mapped_and_shares_what_is_not(mapped: tuple[bool, bool]) -> None:
    x = random(4, 1, 2, 5, 5, 16) if mapped[0] else random(1, 2, 5, 5, 16)
    w = random(4, 1, 3, 3, 16, 32) if mapped[1] else random(1, 3, 3, 16, 32)
    dims = tuple(0 if m else None for m in mapped)
    found = torch.vmap(lambda a, b: differentiable.conv(a, b, 2), dims)(x, w)
    for i in range(4):
        expected = plain_conv(x[i] if mapped[0] else x, w[i] if mapped[1] else w, 2)
        torch.testing.assert_close(found[i], expected)


def test_vmap_of_an_inner_axis_and_inside_another() -> None:
    x, w = random(1, 2, 5, 3, 3, 16), random(1, 3, 3, 16, 16)
    inner = torch.vmap(lambda a: differentiable.conv(a, w, 1), in_dims=2, out_dims=2)(x.movedim(2, 2))
    torch.testing.assert_close(inner[:, :, 3], plain_conv(x[:, :, 3], w, 1))
    y, gamma = random(2, 3, 1, 2, 4, 4, 16), random(3, 1, 16)
    both = torch.vmap(torch.vmap(lambda a, g: differentiable.norm(a, g, g, EPS)), (0, None))(y, gamma)
    torch.testing.assert_close(both[1, 2], plain_norm(y[1, 2], gamma[2], gamma[2], False))


def test_a_pooled_tie_goes_to_the_first_and_all_negative_to_none() -> None:
    x = torch.zeros(1, 1, 2, 4, 16, dtype=torch.float64)
    x[:, :, :, :2] = 1.0  # left window: four equal values above the mean; right: four below
    x.requires_grad_()
    one, zero = torch.ones(1, 16).double(), torch.zeros(1, 16).double()
    found, expected = (
        torch.autograd.grad(y.sum(), x)[0]
        for y in (differentiable.norm(x, one, zero, EPS, pool=True), plain_norm(x, one, zero, True))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("pool", [False, True])
def test_what_is_not_a_number_stays_visible(pool: bool) -> None:
    x = random(1, 2, 4, 4, 16)
    x[0, 0, 0, 0, 3] = float("nan")
    y = differentiable.norm(x, torch.ones(1, 16).double(), torch.zeros(1, 16).double(), EPS, pool=pool)
    assert y[..., 3].isnan().all()
    assert y[..., :3].isfinite().all()


def test_a_large_mean_costs_no_digits() -> None:
    x = random(1, 5, 14, 14, 16, dtype=torch.float32)
    one, zero = torch.ones(1, 16), torch.zeros(1, 16)
    shifted = differentiable.norm(x + 1000, one, zero, EPS)
    torch.testing.assert_close(shifted, differentiable.norm(x, one, zero, EPS), atol=1e-3, rtol=0)


def test_the_sum_over_tasks_keeps_the_order_of_memory() -> None:
    dense = random(5, 3, 3, 8, 16).permute(0, 4, 3, 1, 2)
    found = operators.sum_first(dense)
    torch.testing.assert_close(found, dense.sum(0))
    assert found.stride() == dense.stride()[1:]
    for gappy in (random(5, 8, 4)[:, ::2], random(4, 5).T, random(1, 4).expand(6, 4)):
        torch.testing.assert_close(operators.sum_first(gappy), gappy.sum(0))


def test_other_types_are_refused() -> None:
    x = torch.zeros(1, 1, 3, 3, 16, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"the kernels know float32 and float64, not torch\.bfloat16"):
        differentiable.conv(x, torch.zeros(1, 3, 3, 16, 16, dtype=torch.bfloat16), 1)


def test_third_derivatives_are_refused() -> None:
    x, one = random(1, 2, 2, 2, 16).requires_grad_(), torch.ones(1, 16).double()
    y = differentiable.norm(x, one, one, EPS).sum()
    for _ in range(2):
        y = torch.autograd.grad(y, x, create_graph=True)[0].pow(2).sum()
    with pytest.raises(NotImplementedError, match="no third derivative"):
        torch.autograd.grad(y, x)


# ---- Building.


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing built yet; the built library of other tests comes back afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files.cache_folder.cache_clear()
    native_code.library.cache_clear()
    yield tmp_path / "maml-bench" / "kernels"
    native_code.library.cache_clear()
    files.cache_folder.cache_clear()
    operators._kernel.cache_clear()


def test_without_a_cache_folder_the_library_is_compiled_into_a_temporary_one(fresh, monkeypatch, tmp_path) -> None:
    (tmp_path / "maml-bench").write_text("a file in place of the folder")
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }')
    with pytest.warns(Notice, match="the cache cannot be written.*a temporary folder is used instead"):
        assert native_code.library(source).one() == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are instruction sets of x86-64")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_narrower_vectors_compute_the_same(fresh, monkeypatch, processor: str) -> None:
    """Processors without AVX-512, or without AVX: other tiles of registers. They take long to optimise fully."""
    instead = {"-march=native": f"-march={processor}", "-O3": "-O1"}
    monkeypatch.setattr(native_code, "FLAGS", tuple(instead.get(flag, flag) for flag in native_code.FLAGS))
    operators._kernel.cache_clear()
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        x, w = random(2, 7, 6, 5, 16, dtype=dtype), random(2, 3, 3, 16, 48, dtype=dtype)
        for stride in (1, 2):
            both = (derivatives(lambda *v, f=f, s=stride: f(*v, s), x, w) for f in (differentiable.conv, plain_conv))
            agree(*both, limit)
        gamma = random(2, 16, seed=5, dtype=dtype)
        found = derivatives(lambda *v: differentiable.norm(*v, EPS, pool=True), x, gamma, gamma)
        agree(found, derivatives(lambda *v: plain_norm(*v, True), x, gamma, gamma), limit)


def test_the_kernels_are_built_once(fresh, monkeypatch) -> None:
    monkeypatch.setattr(native_code, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in native_code.FLAGS))
    native_code.library(operators.SOURCE)
    (path,) = fresh.iterdir()
    written = path.stat().st_mtime_ns
    native_code.library.cache_clear()
    native_code.library(operators.SOURCE)
    assert [p.stat().st_mtime_ns for p in fresh.iterdir()] == [written]


def test_no_compiler_is_a_sentence(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(native_code.NoCompiler, match=r"needs a C\+\+ compiler: install g\+\+, or name one in CXX"):
        native_code.library(operators.SOURCE)


def test_a_compiler_that_fails_is_a_sentence_and_leaves_nothing(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", shutil.which("false") or "false")
    with pytest.raises(native_code.NoCompiler, match=r"cannot compile kernels\.cpp: no message"):
        native_code.library(operators.SOURCE)
    assert list(fresh.iterdir()) == []
