"""Every layer of torch.nn that a network may contain, under every schedule, beside a loop of torch.autograd."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maml_bench.core.learner import Inner, Learner
from maml_bench.engine.meta_step import MetaStep
from maml_bench.errors import MamlBenchError
from maml_bench.setups.maml import MAML
from maml_bench.types import Batch, Episode, Params
from tests.core.test_gradients import relative_error
from tests.engine.test_meta_step import COMPILER, EAGER

FEATURES, EXAMPLES, TASKS, STEPS, RATE = 12, 4, 3, 1, 0.1
Make = Callable[[], nn.Module]


class Case(NamedTuple):
    """A layer, the shape of one example that it is given, and what stands for it in the reference where torch has no
    second derivative of it."""

    make: Make
    shape: tuple[int, ...] = (FEATURES,)
    reference: Make | None = None


class As(nn.Module):
    """A function as a layer; with ``layer`` it gets that layer as its first argument."""

    def __init__(self, function: Callable[..., Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) if self.layer is None else self.function(self.layer, x)


def of_indices(layer: nn.Module) -> nn.Module:
    """Six indices, which depend on the input alone, so that the derivative is that of the table."""
    return As(lambda layer, x: layer((4 * x.detach().abs()).long().clamp(max=5)), layer)


def first_output(layer: nn.Module) -> nn.Module:
    return As(lambda layer, x: layer(x)[0], layer)


def through_time(cell: nn.Module) -> nn.Module:
    def last(cell: nn.Module, x: Tensor) -> Tensor:
        state = None
        for part in x.unbind(1):
            state = cell(part, state)
        return state[0] if isinstance(state, tuple) else state

    return As(last, cell)


def of_pairs(layer: nn.Module) -> nn.Module:
    return As(lambda layer, x: layer(x, x.flip(1)), layer)


def attending(**options: Any) -> nn.Module:
    return As(lambda layer, x: layer(x, x, x, **options)[0], nn.MultiheadAttention(4, 2, batch_first=True))


def unpooled(pool: nn.Module, unpool: nn.Module) -> nn.Module:
    return As(lambda layers, x: layers[1](*layers[0](x)), nn.ModuleList([pool, unpool]))


def fractional(kind: type[nn.Module], axes: int) -> nn.Module:
    samples = torch.full((EXAMPLES, 1, axes), 0.3, dtype=torch.float64)
    return kind(1, output_size=1, _random_samples=samples)


def simple(*kinds: type[nn.Module], shape: tuple[int, ...] = (FEATURES,), **options: Any) -> list[Case]:
    return [Case(lambda kind=kind: kind(**options), shape) for kind in kinds]


LINE, PLANE, VOLUME, SEQUENCE = (4, 3), (2, 2, 3), (1, 2, 2, 3), (3, 4)
CASES: dict[str, list[Case]] = {
    "linear": [
        Case(lambda: nn.Linear(FEATURES, 5)), Case(lambda: of_pairs(nn.Bilinear(FEATURES, FEATURES, 3))),
        *simple(nn.Identity, nn.Flatten), Case(lambda: nn.Unflatten(1, (3, 4))),
    ],
    "convolutions": [
        Case(lambda: nn.Conv1d(4, 3, 2), LINE), Case(lambda: nn.Conv2d(2, 4, 2, groups=2), PLANE),
        Case(lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), PLANE),
        Case(lambda: nn.Conv3d(1, 2, 2), VOLUME), Case(lambda: nn.ConvTranspose1d(4, 3, 2), LINE),
        Case(lambda: nn.ConvTranspose2d(2, 3, 2), PLANE), Case(lambda: nn.ConvTranspose3d(1, 2, 2), VOLUME),
    ],
    "normalisations": [
        Case(lambda: nn.BatchNorm1d(FEATURES, track_running_stats=False)),
        Case(lambda: nn.BatchNorm2d(2, track_running_stats=False), PLANE),
        Case(lambda: nn.BatchNorm3d(1, track_running_stats=False), VOLUME),
        Case(lambda: nn.SyncBatchNorm(2, track_running_stats=False), PLANE),
        Case(lambda: nn.BatchNorm1d(FEATURES, affine=False, track_running_stats=False)),
        Case(lambda: nn.InstanceNorm1d(4, affine=True), LINE), Case(lambda: nn.InstanceNorm2d(2, affine=True), PLANE),
        Case(lambda: nn.InstanceNorm3d(1, affine=True), VOLUME), Case(lambda: nn.LayerNorm(FEATURES)),
        Case(lambda: nn.LayerNorm((2, 3)), PLANE), Case(lambda: nn.GroupNorm(3, FEATURES)),
        Case(lambda: nn.GroupNorm(2, 2), PLANE), Case(lambda: nn.RMSNorm(FEATURES)),
        Case(lambda: nn.LocalResponseNorm(2), PLANE),
    ],
    "embeddings": [
        Case(lambda: of_indices(nn.Embedding(6, 3))), Case(lambda: of_indices(nn.Embedding(6, 3, padding_idx=1))),
        Case(lambda: of_indices(nn.Embedding(6, 3, padding_idx=-6))),
        Case(lambda: of_indices(nn.Embedding(6, 3, sparse=True)), reference=lambda: of_indices(nn.Embedding(6, 3))),
    ],
    "recurrent cells": [
        Case(lambda: through_time(nn.RNNCell(4, 3)), SEQUENCE), Case(lambda: through_time(nn.LSTMCell(4, 3)), SEQUENCE),
        Case(lambda: through_time(nn.RNNCell(4, 3, nonlinearity="relu")), SEQUENCE),
        Case(lambda: through_time(nn.GRUCell(4, 3, bias=False)), SEQUENCE),
    ],
    "recurrent layers": [
        Case(lambda: first_output(nn.RNN(4, 3, 2, bidirectional=True)), SEQUENCE),
        Case(lambda: first_output(nn.RNN(4, 3, nonlinearity="relu", batch_first=True)), SEQUENCE),
        Case(lambda: first_output(nn.GRU(4, 3, bias=False, batch_first=True)), SEQUENCE),
        Case(lambda: first_output(nn.LSTM(4, 3, batch_first=True, bidirectional=True)), SEQUENCE),
        Case(lambda: As(lambda layer, x: layer(x)[1][1][-1], nn.LSTM(4, 3, proj_size=2, batch_first=True)), SEQUENCE),
    ],
    "attention": [
        Case(lambda: attending(need_weights=False), SEQUENCE), Case(attending, SEQUENCE),
        Case(lambda: As(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), SEQUENCE),
    ],
    "transformers": [Case(lambda: of_pairs(nn.Transformer(4, 2, 1, 1, 5, batch_first=True)), SEQUENCE)],
    "pooling": [
        *simple(nn.MaxPool1d, nn.AvgPool1d, kernel_size=2, shape=LINE),
        *simple(nn.MaxPool2d, nn.AvgPool2d, kernel_size=2, shape=PLANE),
        *simple(nn.MaxPool3d, nn.AvgPool3d, kernel_size=2, shape=VOLUME),
        *simple(nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, output_size=2, shape=LINE),
        *simple(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, output_size=2, shape=PLANE),
        *simple(nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d, output_size=2, shape=VOLUME),
        Case(lambda: nn.LPPool1d(2, 2), LINE), Case(lambda: nn.LPPool2d(2, 2), PLANE),
        Case(lambda: nn.LPPool3d(2, 2), VOLUME), Case(lambda: nn.MaxPool2d(2, 1), PLANE),
    ],
    "unpooling": [
        Case(lambda: unpooled(nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)), SEQUENCE),
        Case(lambda: unpooled(nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)), (3, 2, 2)),
        Case(lambda: unpooled(nn.MaxPool3d((1, 2, 2), return_indices=True), nn.MaxUnpool3d((1, 2, 2))), (1, 3, 2, 2)),
        Case(lambda: fractional(nn.FractionalMaxPool2d, 2), (1, 3, 4)),
        Case(lambda: fractional(nn.FractionalMaxPool3d, 3), (1, 2, 2, 3)),
    ],
    "shapes": [
        Case(lambda: nn.Unfold(2), PLANE), Case(lambda: nn.Fold((2, 2), 2), (12, 1)),
        Case(lambda: nn.PixelShuffle(2), (4, 3, 1)), Case(lambda: nn.PixelUnshuffle(2), (1, 2, 6)),
        Case(lambda: nn.ChannelShuffle(2), (4, 3, 1)), Case(lambda: of_pairs(nn.CosineSimilarity()), LINE),
        Case(lambda: As(lambda layer, x: layer(x, x.flip(1)).unsqueeze(1), nn.PairwiseDistance())),
    ],
    "sizes": [
        *simple(nn.Upsample, scale_factor=2, mode="bicubic", shape=PLANE),
        *simple(nn.Upsample, scale_factor=2, mode="linear", shape=LINE),
        *simple(nn.Upsample, scale_factor=2, mode="trilinear", shape=VOLUME),
        *simple(nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d, scale_factor=2, shape=PLANE),
    ],
    "paddings": [
        *(
            Case(lambda kind=kind, axes=axes, options=options: getattr(nn, f"{kind}Pad{axes}d")(1, **options), shape)
            for axes, shape in ((1, LINE), (2, PLANE), (3, VOLUME))
            for kind, options in (
                ("Zero", {}), ("Constant", {"value": 0.5}), ("Circular", {}), ("Reflection", {}), ("Replication", {}),
            )
        ),
    ],
    "activations": [
        *simple(
            nn.ELU, nn.Hardshrink, nn.Hardtanh, nn.Hardswish, nn.LeakyReLU, nn.LogSigmoid, nn.PReLU, nn.ReLU,
            nn.ReLU6, nn.RReLU, nn.SELU, nn.CELU,
        ),
        Case(lambda: nn.ELU(1.7)),
    ],
    "more activations": [
        *simple(nn.GELU, nn.Sigmoid, nn.SiLU, nn.Mish, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink),
        *simple(nn.Softmin, nn.Softmax, nn.LogSoftmax, nn.GLU, dim=1), *simple(nn.Softmax2d, shape=PLANE),
        Case(lambda: nn.GELU("tanh")), Case(lambda: nn.Threshold(0.1, 0.2)),
        Case(nn.Hardsigmoid, reference=lambda: As(lambda x: (x / 6 + 0.5).clamp(0, 1))),
    ],
    "dropout at rest": [
        *simple(nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout), *simple(nn.Dropout1d, shape=LINE),
        *simple(nn.Dropout2d, shape=PLANE), *simple(nn.Dropout3d, shape=VOLUME),
    ],
}  # fmt: skip
REFUSED: dict[str, tuple[Make, str]] = {
    "max_norm": (lambda: of_indices(nn.Embedding(6, 3, max_norm=1.0)), r"nn\.Embedding .*leave max_norm out"),
    "by frequency": (
        lambda: of_indices(nn.Embedding(6, 3, scale_grad_by_freq=True)),
        r"nn\.Embedding .*leave scale_grad_by_freq out",
    ),
    "bag": (lambda: of_indices(nn.EmbeddingBag(6, 3)), r"nn\.EmbeddingBag .*use nn\.Embedding"),
    "packed": (
        lambda: As(
            lambda layer, x: (
                layer(nn.utils.rnn.pack_padded_sequence(x.unsqueeze(-1), [FEATURES] * len(x), True))[0].data
            ),
            nn.GRU(1, 3, batch_first=True),
        ),
        "pack_padded_sequence .*padded",
    ),
    "across channels": (
        lambda: nn.Sequential(nn.Unflatten(1, PLANE), nn.CrossMapLRN2d(2)),
        r"'layers\.0\.1' is nn\.CrossMapLRN2d.*use nn\.LocalResponseNorm",
    ),
    "running statistics": (lambda: nn.BatchNorm1d(FEATURES), "keeps running statistics.*track_running_stats=False"),
}
NO_LAYERS = {
    "Container", "DataParallel", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "RNNBase",
    "RNNCellBase", "Sequential", "NLLLoss2d",
}  # fmt: skip


class Beside(nn.Module):
    """Layers beside each other, between two linear layers: the error of one is not hidden by the others."""

    def __init__(self, layers: list[nn.Module], shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.front = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in layers)
        self.layers, self.shapes = nn.ModuleList(layers), shapes
        self.out = nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        places = zip(self.front, self.layers, self.shapes, strict=True)
        found = [layer(front(x).reshape(len(x), *shape)) for front, layer, shape in places]
        return self.out(torch.tanh(torch.cat([y.flatten(1) for y in found], 1)))


def network(cases: list[Case], *, reference: bool = False) -> nn.Module:
    """The layers of the cases at values that do not depend on how torch initialises them, and without dropout."""
    with torch.random.fork_rng():
        model = Beside(
            [(case.reference if reference and case.reference else case.make)() for case in cases],
            [case.shape for case in cases],
        )
        model = model.double().eval()
        model(torch.zeros(EXAMPLES, FEATURES, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = 0.6 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return model


def problem(model: nn.Module) -> tuple[Learner, Episode]:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(TASKS, 2 * EXAMPLES, n, generator=generator, dtype=torch.float64) for n in (FEATURES, 2))
    learner = Learner(model, lambda p, b: F.mse_loss(p(b.x), b.y), lambda p, b: p(b.x).mean(), Inner(RATE, STEPS))
    k = EXAMPLES
    return learner, Episode(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]))


def by_autograd(model: nn.Module, episodes: Episode) -> Params:
    """The meta-gradient with torch.autograd and nothing of ours: task by task, attention by its definition."""
    leaves = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}

    def loss(params: Params, batch: Batch, task: int) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return F.mse_loss(torch.func.functional_call(model, params, (batch.x[task],)), batch.y[task])

    total = torch.zeros((), dtype=torch.float64)
    for task in range(TASKS):
        params = dict(leaves)
        for _ in range(STEPS):
            grads = torch.autograd.grad(
                loss(params, episodes.support, task), list(params.values()), create_graph=True, materialize_grads=True
            )
            params = {name: p - RATE * g for (name, p), g in zip(params.items(), grads, strict=True)}
        total = total + loss(params, episodes.query, task) / TASKS
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), materialize_grads=True), strict=True))


def agree(kind: str, schedules: tuple[str, ...]) -> None:
    cases = CASES[kind]
    learner, episodes = problem(network(cases))
    expected = by_autograd(network(cases, reference=True), episodes)
    for schedule in schedules:
        found, _ = MetaStep(MAML(), learner, schedule=schedule).gradient(learner.initial(), episodes)
        assert relative_error(found, expected) < 1e-10, schedule


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch takes nn.Bilinear task by task
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind == "transformers" else []) for kind in CASES]
)
def test_the_meta_gradient_is_that_of_a_loop_of_autograd(kind: str) -> None:
    agree(kind, EAGER)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler: install g++")
@pytest.mark.parametrize("kind", CASES)
def test_so_it_is_where_the_recording_is_compiled(kind: str) -> None:
    agree(kind, ("compiled",))


@pytest.mark.parametrize("schedule", EAGER)
@pytest.mark.parametrize("kind", REFUSED)
def test_a_layer_without_an_exact_derivative_is_refused(kind: str, schedule: str) -> None:
    make, sentence = REFUSED[kind]
    model = network([Case(make)])

    def gradient() -> None:
        learner, episodes = problem(model)
        MetaStep(MAML(), learner, schedule=schedule).gradient(learner.initial(), episodes)

    with pytest.raises(MamlBenchError, match=sentence):
        gradient()


def test_every_layer_of_torch_is_here() -> None:
    """A new version of torch may have new ones."""
    kinds = {
        name for name in dir(nn) if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    layers = {name for name in kinds if not name.endswith("Loss") and not name.startswith("Lazy")} - NO_LAYERS
    with torch.random.fork_rng():
        made = [case.make() for cases in CASES.values() for case in cases] + [make() for make, _ in REFUSED.values()]
    assert not layers - {type(module).__name__ for one in made for module in one.modules()}
