"""SNAIL's blocks against plain loops, what each position sees, and sequences that are read in parts."""

import math

import pytest
import torch
from torch import Tensor

from maml_bench.setups._shared import snail_blocks
from maml_bench.setups._shared.snail_blocks import Attention, Block, Dense, temporal
from maml_bench.types import Params
from tests.setups.checks import EXACT

INPUTS, LENGTH = 3, 7
STACKS: dict[str, tuple[Block, ...]] = {
    "attention": (Attention(2, 4),),
    "dense": (Dense(2, 3),),
    "temporal": temporal(LENGTH, 2),
    "all": (Attention(2, 4), *temporal(LENGTH, 2), Attention(3, 2)),
}
over_stacks = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())


def drawn(stack: tuple[Block, ...]) -> tuple[Params, int]:
    """Parameters in float64, none of them zero, and the features after the stack."""
    generator = torch.Generator().manual_seed(0)
    own, outputs = snail_blocks.init(stack, "b", INPUTS, generator)
    return {n: p.double() + 0.3 * torch.randn(p.shape, generator=generator) for n, p in own.items()}, outputs


def sequence(*shape: int) -> Tensor:
    return torch.randn(*shape, INPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def read(stack: tuple[Block, ...], meta: Params, x: Tensor, past: Params | None = None) -> tuple[Tensor, Params]:
    return snail_blocks.read(stack, meta, "b", x, past or snail_blocks.start(stack, "b", INPUTS, x))


def test_attention_is_a_loop_over_positions() -> None:
    """The softmax is over the positions that are seen: the weights of each position sum to one."""
    block, x = Attention(2, 4), sequence(LENGTH)
    meta, _ = drawn((block,))
    rows = [meta["b0.weight"] @ x[t] + meta["b0.bias"] for t in range(LENGTH)]
    expected = []
    for t in range(LENGTH):
        scores = [math.exp(float(rows[t][:2] @ rows[s][2:4]) / math.sqrt(2)) for s in range(t + 1)]
        value = sum((score / sum(scores)) * rows[s][4:] for s, score in enumerate(scores))
        expected.append(torch.cat([x[t], value]))
    torch.testing.assert_close(read((block,), meta, x)[0], torch.stack(expected), **EXACT)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_dense_block_is_a_causal_convolution(dilation: int) -> None:
    """Against torch's own convolution over a sequence that starts with zeros."""
    block, x = Dense(dilation, 3), sequence(LENGTH)
    meta, _ = drawn((block,))
    kernel = meta["b0.weight"].reshape(6, 2, INPUTS).mT  # [out, in, 2], the earlier position first
    padded = torch.nn.functional.pad(x.T, (dilation, 0))
    both = torch.nn.functional.conv1d(padded[None], kernel, meta["b0.bias"], dilation=dilation)[0].T
    expected = torch.cat([x, both[:, :3].tanh() * both[:, 3:].sigmoid()], dim=1)
    torch.testing.assert_close(read((block,), meta, x)[0], expected, **EXACT)


@pytest.mark.parametrize(("length", "dilations"), [(2, [1]), (6, [1, 2, 4]), (8, [1, 2, 4]), (9, [1, 2, 4, 8])])
def test_the_last_position_of_a_temporal_block_sees_the_first_and_every_other(
    length: int, dilations: list[int]
) -> None:
    stack = temporal(length, 2)
    assert [block.dilation for block in stack] == dilations
    meta, _ = drawn(stack)
    seen = torch.func.jacrev(lambda x: read(stack, meta, x)[0][-1])(sequence(length))
    assert (seen.abs().sum((0, 2)) > 0).all()


@over_stacks
def test_a_later_input_never_changes_an_earlier_output(stack: tuple[Block, ...]) -> None:
    meta, outputs = drawn(stack)
    x = sequence(LENGTH)
    y, _ = read(stack, meta, x)
    assert y.shape == (LENGTH, outputs)
    by_input = torch.func.jacrev(lambda x: read(stack, meta, x)[0])(x).abs().sum((1, 3))  # [output place, input place]
    assert float(by_input.triu(1).max()) == 0
    assert (by_input.diagonal() > 0).all()
    assert float(by_input.tril(-1).max()) > 0


@over_stacks
def test_a_sequence_read_in_parts_is_the_sequence(stack: tuple[Block, ...]) -> None:
    """In a past that grows, and in one of fixed shapes, whose empty places nobody sees."""
    meta, _ = drawn(stack)
    x = sequence(2, LENGTH)
    whole, _ = read(stack, meta, x)
    for keep in (None, LENGTH - 1):
        past = snail_blocks.start(stack, "b", INPUTS, x, keep=keep)
        shapes = {name: p.shape[-2:] for name, p in past.items()}
        parts = []
        for part in x.split([1, 2, 1, 1, 2], dim=-2):
            y, past = read(stack, meta, part, past)
            parts.append(y)
            assert keep is None or {name: p.shape[-2:] for name, p in past.items()} == shapes
        torch.testing.assert_close(torch.cat(parts, dim=-2), whole, **EXACT)


def test_attention_of_fixed_length_forgets_what_lies_before_it() -> None:
    stack = (Attention(2, 4),)
    meta, _ = drawn(stack)
    x = sequence(LENGTH)
    past = snail_blocks.start(stack, "b", INPUTS, x, keep=2)
    for t in range(LENGTH):
        y, past = read(stack, meta, x[t : t + 1], past)
    torch.testing.assert_close(y[0], read(stack, meta, x[-3:])[0][-1], **EXACT)


@over_stacks
def test_queries_follow_on_one_past_and_do_not_see_each_other(stack: tuple[Block, ...]) -> None:
    meta, _ = drawn(stack)
    x, queries = sequence(LENGTH - 1), sequence(4, 1) + 1
    _, past = read(stack, meta, x)
    together, _ = read(stack, meta, queries, past)
    for query, found in zip(queries, together, strict=True):
        torch.testing.assert_close(found[-1], read(stack, meta, torch.cat([x, query]))[0][-1], **EXACT)
