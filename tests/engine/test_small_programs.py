"""Recordings of small networks as one C++ function: the numbers of torch, whatever the layout of what they read."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from maml_bench import native_code
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.engine import recording
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.recording import Recorded
from maml_bench.engine.small_programs import elementwise
from maml_bench.engine.small_programs.lowering import Lowering
from maml_bench.engine.small_programs.program import SmallProgram, _places
from maml_bench.engine.small_programs.strides import Buffer, Strided, contiguous
from maml_bench.engine.small_programs.terms import Unsupported
from maml_bench.engine.torch_internals import traced
from maml_bench.models import MLP
from maml_bench.registry import build_tasks, setup_class
from maml_bench.types import Shape
from tests.core.test_gradients import relative_error

pytestmark = pytest.mark.skipif(native_code.compiler() is None, reason="needs a C++ compiler: install g++")

USUAL = ("maml", "meta_sgd")
SETUPS = (
    "anil", "boil", "cavia", "context", "fomaml", "imaml", "maml", "maml_pp", "meta_lstm", "meta_sgd", "oracle",
    "pretrained", "reptile",
)  # fmt: skip


def program(function: Callable[..., Any], *tensors: Tensor) -> SmallProgram:
    return SmallProgram(traced(lambda *given: list(function(*given)), tensors))


def agrees(function: Callable[..., Any], *tensors: Tensor, limit: float = 1e-12) -> None:
    """The program has the results of torch, again at a second call, and leaves those of the first alone."""
    built = program(function, *tensors)
    found, expected = built(*tensors), list(function(*tensors))
    other = [tensor + 1 if tensor.is_floating_point() else tensor for tensor in tensors]
    torch.testing.assert_close(built(*other), list(function(*other)), rtol=limit, atol=limit, equal_nan=True)
    torch.testing.assert_close(found, expected, rtol=limit, atol=limit, equal_nan=True)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def small_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a recording goes through torch.compile instead."""

    def never(*_: object) -> None:
        raise AssertionError("not a small program")

    monkeypatch.setattr(recording, "_compiled", never)


@pytest.mark.parametrize("setup", [s if s in USUAL else pytest.param(s, marks=pytest.mark.slow) for s in SETUPS])
def test_meta_gradients_are_those_of_the_loop(setup: str, small_only: None) -> None:
    """The sizes are no multiples of a vector, and there are several tasks and steps."""
    tasks = build_tasks({"name": "sinusoid"}, "test")
    context = 3 if setup in ("cavia", "context") else 0
    model = MLP([1, 12, 10, 1], normalise="none", generator=torch.Generator().manual_seed(0), context=context).double()
    method = setup_class(setup)()
    learner = Learner(model, tasks.loss, tasks.score, Inner(0.05, 2))
    drawn = tasks.sample("train", 0, 4, key=0, shape=Shape(1, 5, 7))
    episodes = type(drawn)(*(type(part)(*(tensor.double() for tensor in part)) for part in drawn))
    meta = method.init(learner, torch.Generator().manual_seed(1))
    reference, losses = meta_gradient(method, learner, meta, episodes, schedule_name="loop")
    step = MetaStep(method, learner, schedule="compiled")
    gradient, same = step.gradient(meta, episodes)
    assert relative_error(gradient, reference) <= 1e-10
    torch.testing.assert_close(same, losses, rtol=1e-10, atol=0)


def test_a_whole_step_is_that_of_the_operators(small_only: None) -> None:
    """In single precision, outer Adam included, over several steps that continue from each other."""
    tasks = build_tasks({"name": "sinusoid"}, "test")
    learner = Learner(
        tasks.model(Shape(1, 10, 10), torch.Generator().manual_seed(0)), tasks.loss, tasks.score, Inner(0.01, 1)
    )
    method = setup_class("maml")()
    results = []
    for schedule in ("compiled", "vmap"):
        step, meta = MetaStep(method, learner, schedule=schedule), learner.initial()
        state = step.init(meta)
        for number in range(4):
            episodes = tasks.sample("train", 5 * number, 5, key=0, shape=Shape(1, 10, 10))
            meta, state, losses = step(meta, state, episodes, number, 1e-3)
        results.append((meta, losses))
    (found, losses), (expected, same) = results
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses, same, rtol=1e-4, atol=1e-5)


def test_every_elementwise_operator() -> None:
    """Also of what is not finite, of zeros, and of whole numbers beside fractions."""
    x = torch.cat(
        [normal(20), torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 2.0], dtype=torch.float64)]
    )
    y, scalar = normal(26, seed=1), torch.tensor(3.0, dtype=torch.float64)
    single = {**elementwise.UNARY}

    def function(x: Tensor, y: Tensor, scalar: Tensor) -> list[Tensor]:
        found = [operator(x) for operator in single]
        found += [packet(x, y) for packet in elementwise.COMPARISONS]
        found += [
            x * y,
            x / y,
            torch.minimum(x, y),
            torch.maximum(x, y),
            torch.remainder(x, y),
            torch.where(x > y, x, y),
        ]
        found += [
            torch.logical_and(x > 0, y > 0),
            x - 0.5 * y,
            torch.rsub(x, 2),
            torch.add(x, y, alpha=3),
            x.clamp(-0.5, 0.5),
        ]
        found += [
            x.clamp(min=0.1),
            x.clamp(max=0.1),
            x**3,
            y.abs() ** 0.5,
            0.9**scalar,
            (x > 0) * y,
            x.float() * scalar,
        ]
        found += [torch.ops.aten.tanh_backward(x, y), torch.ops.aten.sigmoid_backward(x, y)]
        found += [torch.ops.aten.threshold_backward(x, y, 0), torch.nn.functional.mse_loss(x, y, reduction="none")]
        found += [
            x.float().double(),
            (x > y).double(),
            torch.ones_like(x),
            torch.full_like(x, 2.5),
            torch.zeros_like(x) + y,
        ]
        return found

    agrees(function, x, y, scalar)


def test_sums_means_and_largest_entries() -> None:
    x, y = normal(3, 7, 5), normal(5, 3, 7, seed=1).permute(1, 2, 0)

    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        found = [
            t.sum(axes, keepdim=keep)
            for t in (x, y, x * y)
            for axes in (0, 1, 2, (0, 1), (0, 2), (1, 2))
            for keep in (False, True)
        ]
        found += [x.sum(), x.mean(), x.mean(1), (x * y).mean((0, 2)), x.amax(1), (x + y).amax((0, 2)), x[:, :1].sum(1)]
        return [*found, torch.ones_like(x).sum(1), x.mT.sum(0)]

    agrees(function, x, y)
    missing = x.clone()
    missing[0, 2, 1] = missing[1, 0, 0] = float("nan")
    agrees(lambda x: [x.amax(1), x.amax((0, 2)), x.sum(1)], missing)


def test_matrix_products_in_every_layout() -> None:
    """Each operand with rows or columns contiguous, one matrix for all tasks, and lengths around those of vectors."""
    sizes = [(5, 1, 3), (1, 17, 4), (9, 8, 1), (10, 35, 11)]
    tensors, parts = [], []
    for m, n, k in sizes:
        for a in (normal(3, m, k), normal(3, k, m).mT, normal(1, m, k).expand(3, m, k)):
            for b in (normal(3, k, n, seed=1), normal(3, n, k, seed=1).mT, normal(1, n, k).mT.expand(3, k, n)):
                parts.append((len(tensors), len(tensors) + 1))
                tensors += [a, b]

    def function(*tensors: Tensor) -> list[Tensor]:
        found = [torch.bmm(tensors[i], tensors[j]) for i, j in parts]
        found += [torch.mm(tensors[i][0], tensors[j][1]) for i, j in parts]
        found += [
            torch.baddbmm(product, tensors[i], tensors[j], alpha=-0.5)
            for product, (i, j) in zip(found, parts, strict=False)
        ]
        return found + [torch.mv(tensors[i][1], tensors[j][1, :, 0]) for i, j in parts]

    agrees(function, *tensors)


def test_parts_of_tensors() -> None:
    x, index = normal(4, 6, 5), torch.tensor([3, -1, 0])

    def function(x: Tensor, index: Tensor) -> list[Tensor]:
        first, second = x.split([2, 4], 1)
        whole = torch.cat([x.exp(), second, first.mT.reshape(4, 2, 5)], 1)
        found = [
            whole,
            torch.stack([x, 2 * x], 1),
            *x.unbind(2),
            x[1],
            x[:, 2:5],
            x[..., 1::2],
            x[-1, -2:],
            x[:, index],
            x.exp()[index],
        ]
        found += [
            torch.ops.aten.slice_backward(x, [4, 9, 5], 1, 2, 8, 1),
            torch.ops.aten.select_backward(x[0], [3, 6, 5], 0, 1),
        ]
        return [
            *found,
            torch.arange(2, 9) * x[0, 0, 0],
            x.reshape(2, 2, 30),
            x.permute(2, 0, 1).reshape(20, 6),
            x.mT.flatten(),
        ]

    agrees(function, x, index)


OPERATIONS: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    lambda a, b, whole: torch.tanh(a) - b,
    lambda a, b, whole: a * 0.5 + b,
    lambda a, b, whole: torch.relu(a),
    lambda a, b, whole: whole.permute(0, 2, 1).contiguous().mT,
    lambda a, b, whole: whole.mT @ b.expand(4, 3, 5),
    lambda a, b, whole: whole.sum(1, keepdim=True),
    lambda a, b, whole: whole.reshape(12, 5).sum(0),
    lambda a, b, whole: whole.reshape(6, 2, 5).mean(1).sigmoid().sum() * b,
    lambda a, b, whole: torch.cat([whole, b.expand(4, 3, 5)], 1)[:, 2:5],
    lambda a, b, whole: whole.reshape(2, 30).t().reshape(4, 3, 5),
)
"""Of two tensors, and of the first one repeated to ``[4, 3, 5]``."""


@pytest.mark.parametrize("seed", range(2))
def test_random_programs(seed: int) -> None:
    """Forty operations on what earlier ones gave, most of which are inlined into each other."""
    shapes = [(4, 3, 5), (4, 1, 5), (3, 5), (1,), (4, 3, 1)]
    tensors = [normal(*shape, seed=n) for n, shape in enumerate(shapes)]

    def function(*tensors: Tensor) -> list[Tensor]:
        choose, values = random.Random(seed), list(tensors)
        for _ in range(40):
            a, b = choose.choice(values), choose.choice(values)
            whole = a.expand(4, 3, 5)
            found = choose.choice(OPERATIONS)(a, b, whole)
            if found.shape in {value.shape for value in tensors}:
                values.append(found / (1 + found.abs()))
        return values[len(tensors) :]

    agrees(function, *tensors, limit=1e-10)


@settings(max_examples=300)
@given(st.data())
def test_a_reshape_is_a_view_where_torch_has_one(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    base = torch.arange(256).as_strided(lengths, data.draw(st.permutations(contiguous(lengths))))
    lengths = data.draw(st.permutations(lengths))
    strides = data.draw(st.sampled_from([base.stride(), contiguous(lengths), [0] * len(lengths)]))
    tensor = torch.arange(1024).as_strided(lengths, strides)
    shape = data.draw(st.permutations([*lengths, 1]))
    if len(shape) > 2 and data.draw(st.booleans()):
        shape = [shape[0] * shape[1], *shape[2:]]
    found = Strided(Buffer("input", 0, torch.int64, 1024), 0, tuple(lengths), tuple(strides)).reshaped(shape)
    try:
        expected = tensor.view(list(shape))
    except RuntimeError:
        assert found is None or torch.equal(
            torch.arange(1024).as_strided(found.shape, found.strides), tensor.reshape(list(shape))
        )
        return
    assert found is not None
    assert torch.equal(torch.arange(1024).as_strided(found.shape, found.strides), expected)


def test_no_two_buffers_that_are_needed_at_a_time_share_memory() -> None:
    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        for _ in range(6):
            x = torch.tanh(x @ y) @ y.t() + x
            y = y + x.sum(0).unsqueeze(1) * (x.t() @ x)[:, :9]
        return [x, y]

    steps = Lowering(traced(function, (normal(8, 12), normal(12, 9)))).workspace.steps
    places, size = _places(steps)
    reads = [[tensor.buffer for tensor in step.reads()] for step in steps]
    assert size < sum(buffer.size * 8 for buffer in places)  # memory is used again
    for number, step in enumerate(steps):
        later = {buffer for read in reads[number:] for buffer in read} & places.keys()
        alive = [buffer for buffer in later if any(s.out.buffer is buffer for s in steps[:number])]
        alive += [step.out.buffer] if step.out.buffer in places and step.out.buffer not in alive else []
        spans = sorted((places[buffer], places[buffer] + 8 * buffer.size) for buffer in alive)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_an_index_outside_of_its_axis_is_refused() -> None:
    built = program(lambda x, index: [x[index]], normal(4), torch.tensor([0]))
    assert built(normal(4), torch.tensor([3]))[0].shape == (1,)
    for wrong in (4, -5):
        with pytest.raises(IndexError, match="outside of its axis"):
            built(normal(4), torch.tensor([wrong]))


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda x: [torch.linalg.cholesky(x)], "operator"),
        (lambda x: [x.to(torch.complex128)], "complex"),
        (lambda x: [x[:0]], "empty"),
        (lambda x: [x.argmax(0)], "operator"),
        (lambda x: [torch.div(x, 2, rounding_mode="floor")], "div"),
        (lambda x: [x.long().clamp(min=0)], "clamp"),
        (lambda x: [x.long() % x.long()], "remainder"),
        (lambda x: [(x > 0) + (x < 1)], "add"),
        (lambda x: [x.long().sum(0)], "whole numbers"),
        (lambda x: [x.new_empty(3, 0)], "empty|operator"),
    ],
)
def test_what_is_not_known_is_said_by_name(function: Callable[..., Any], word: str) -> None:
    with pytest.raises(Unsupported, match=word):
        program(function, normal(3, 3))


def test_whole_numbers_and_truth_values() -> None:
    """As far as they are known: sums, products, a remainder, choices and comparisons."""
    number, x = torch.arange(-4, 5), normal(9)

    def function(number: Tensor, x: Tensor) -> list[Tensor]:
        found = [number + 2, 3 - number, number * number, number % 4, number > 0, number >= 0.5, -number]
        return [
            *found,
            torch.where(number > 1, number, 7),
            torch.where(x > 0, number, x),
            number * x,
            (x > 0) == (number > 0),
        ]

    agrees(function, number, x)


def test_rows_of_sums_may_be_long() -> None:
    """A row of a million sums fits in no stack."""
    x = normal(3, 1_000_000)
    torch.testing.assert_close(program(lambda x: [x.sum(0)], x)(x)[0], x.sum(0))


def test_weights_of_a_small_program_can_be_saved(tmp_path: Path) -> None:
    """They share the memory of their call, of which each has its own part."""
    built = program(lambda x: [x + 1, x * 2], normal(4, 3))
    weights = dict(zip("ab", built(normal(4, 3)), strict=True))
    save_file(weights, tmp_path / "weights.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "weights.safetensors"), weights)


def test_what_is_not_known_goes_through_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a recording with more arithmetic than one thread should do."""
    asked = []
    monkeypatch.setattr(recording, "_compiled", lambda module, tensors: asked.append(module) or module)
    x = normal(5, 5)
    assert torch.equal(Recorded(torch.linalg.inv, compile=True)(x), torch.linalg.inv(x))
    large = torch.ones(512, 512)
    assert torch.equal(Recorded(torch.mm, compile=True)(large, large), large @ large)
    assert len(asked) == 2
    assert torch.allclose(Recorded(torch.mm, compile=True)(x, x), x @ x)
    assert len(asked) == 2
