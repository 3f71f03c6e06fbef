"""The kernels for GPUs and the replay of a recording, where there is a GPU; elsewhere it cannot be seen."""

import pytest
import torch

from maml_bench.engine.kernels import operators
from maml_bench.engine.meta_step import MetaStep
from maml_bench.registry import setup_class
from maml_bench.types import Batch, Episode
from tests.engine.test_meta_step import problem

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

MAPS = [
    (2, 3, 9, 9, 16),
    (2, 5, 21, 21, 32),
    (3, 2, 7, 7, 64),
    (1, 40, 14, 14, 64),
    (4, 5, 84, 84, 32),
    (2, 3, 6, 5, 48),
]


def normal(*shape):
    """Standard normal numbers, the same for a shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def off(found, exact):
    """Length of the difference over the length."""
    return float((found.cpu().double() - exact.cpu().double()).norm() / exact.cpu().double().norm())


def both(function, *arguments):
    """Results on the CPU in float64, and on the GPU in float32."""
    exact = function(*(a.double() if isinstance(a, torch.Tensor) else a for a in arguments))
    found = function(*(a.cuda() if isinstance(a, torch.Tensor) else a for a in arguments))
    pack = (lambda y: y) if isinstance(exact, tuple) else (lambda y: (y,))
    return list(zip(pack(exact), pack(found), strict=True))


def assert_close(pairs, bound=1e-5):
    for exact, found in pairs:
        assert found.is_cuda
        assert off(found, exact) < bound


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize(("channels", "stride"), [(1, 2), (3, 1), (16, 1), (64, 2)])
def test_convolutions_agree_with_the_processors(maps, channels, stride):
    t, n, high, wide, out = maps
    x, w = normal(t, n, high, wide, channels), normal(t, 3, 3, channels, out)
    g = normal(t, n, (high - 1) // stride + 1, (wide - 1) // stride + 1, out)
    assert_close(both(operators.conv, x, w, stride))
    assert_close(both(operators.conv_filter, x, g, stride))
    assert_close(both(operators.conv_input, g, w, stride, high, wide))


def test_more_elements_than_32_bits_count():
    """As where a thousand tasks that share their filters are tested at once."""
    x, w = torch.zeros(1, 43_000, 28, 28, 1, device="cuda"), normal(1, 3, 3, 1, 64).cuda()
    x[0, -1] = normal(28, 28, 1).cuda()
    y = operators.conv(x, w, 1)
    assert y.numel() > 2**31
    assert off(y[:, -1:], operators.conv(x[:, -1:], w, 1)) < 1e-6
    assert not y[0, :-1].any()


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("pool", [True, False])
def test_normalisation_agrees_with_the_processors(maps, pool):
    t, *_, c = maps
    x, gamma, beta = 1 + 2 * normal(*maps), 0.5 + normal(1, t, c)[0].abs(), normal(t, c)
    y, mean, r = operators.norm(x.double(), gamma.double(), beta.double(), 1e-3, pool)
    assert_close(both(operators.norm, x, gamma, beta, 1e-3, pool))
    dy, u, a, b = normal(*y.shape), normal(1, *maps)[0], normal(2, t, c)[1], normal(3, t, c)[2]
    # A value on the edge of the ReLU or of a maximum falls to either side by rounding: few do.
    assert_close(both(operators.norm_backward, x, gamma, beta, mean.float(), r.float(), dy, pool), 5e-3)
    assert_close(both(operators.norm_double, x, gamma, beta, mean.float(), r.float(), dy, u, a, b, pool), 5e-3)


def counting(gradients):
    """Names of all but the biases that normalisation cancels, whose gradients are rounding, in float64 too."""
    size = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    return [name for name in size if size[name] > 1e-9 * max(size.values())]


def on_gpu(episode):
    return Episode(*(Batch(batch.x.float().cuda(), batch.y.cuda()) for batch in episode))


@pytest.mark.parametrize("setup", ["maml", "anil", "meta_sgd"])
@pytest.mark.parametrize("network", ["strided", "pooled", "users", "layers"])
@pytest.mark.parametrize("schedule", ["traced", "vmap"])
def test_the_meta_gradient_agrees_with_the_loops(setup, network, schedule):
    learner, episode = problem(network, steps=2, shot=2, dtype=torch.float64)
    method = setup_class(setup)()
    meta = method.init(learner, torch.Generator().manual_seed(0))
    exact, losses = MetaStep(method, learner, schedule="loop").gradient(meta, episode)
    body = MetaStep(method, learner, schedule=schedule, device="cuda")
    found, got = body.gradient({name: p.float().cuda() for name, p in meta.items()}, on_gpu(episode))
    assert off(got, losses) < 1e-5
    counted = counting(exact)
    largest = max(float(gradient.norm()) for gradient in exact.values())
    for name in exact:
        if name in counted:
            assert off(found[name], exact[name]) < 1e-3, name
        else:
            assert float(found[name].norm()) < 1e-3 * largest, name


def test_a_graph_plays_back_what_its_program_does_and_keeps_no_hold_on_the_past():
    learner, episode = problem("pooled", steps=1, dtype=torch.float32)
    method = setup_class("maml")()
    start = {name: p.cuda() for name, p in method.init(learner, torch.Generator().manual_seed(0)).items()}
    paths = []
    for schedule in ("vmap", "traced"):
        body = MetaStep(method, learner, schedule=schedule, device="cuda")
        meta, state, path = start, body.init(start), []
        for number in range(4):
            other = replace_labels(on_gpu(episode), number)
            meta, state, _ = body(meta, state, other, number, 1e-2)
            path.append(meta)
        paths.append(path)
    for plain, played in zip(*paths, strict=True):
        for name in plain:
            if name.startswith("body.") and name.endswith("bias"):
                continue  # normalisation cancels it, and Adam makes whole steps of what is rounding
            assert off(played[name], plain[name]) < 1e-3, name


def replace_labels(episode, number):
    """The episode with other labels in every step."""
    return Episode(*(batch._replace(y=(batch.y + number) % 3) for batch in episode))


def test_kernels_for_gpus_refuse_what_they_do_not_know():
    x = torch.zeros(1, 1, 4, 4, 16, dtype=torch.float64, device="cuda")
    with pytest.raises(TypeError, match="float32"):
        operators.conv(x, torch.zeros(1, 3, 3, 16, 16, dtype=torch.float64, device="cuda"), 1)


def test_four_neighbours_that_tie_pass_the_gradient_on_once():
    x = torch.zeros(1, 1, 2, 2, 16, device="cuda")
    x[..., 0] = 1
    one = torch.ones(1, 16, device="cuda")
    y, mean, r = operators.norm(torch.cat([x, -x], 1), one, one, 1e-3, True)
    dx, _, dbeta = operators.norm_backward(torch.cat([x, -x], 1), one, one, mean, r, torch.ones_like(y), True)
    assert torch.equal(dbeta[0, 1:], torch.full((15,), 2.0, device="cuda"))
    assert bool(dx.isfinite().all())
