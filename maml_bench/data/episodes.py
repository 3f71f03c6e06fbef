"""The index sampler: whole meta-batches of N-way K-shot image episodes from one array, never image by image.

Indices are drawn on the host for a block of episodes at once and kept for the next call; images are gathered as bytes
and become floats while they lie in the cache.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from maml_bench.data.draws import Integers, below, choose, key_of, words_by_draw
from maml_bench.data.pixels import gathered
from maml_bench.errors import MamlBenchError
from maml_bench.types import Batch, Episode, Shape

Rotations = Literal["per class", "extra classes", "none"]

BLOCK_IMAGES = 2**14
"""How many images' indices are drawn at once, roughly: few enough for one episode, enough to keep numpy busy."""


def in_random_order(batch: Batch, first: int, *, key: int) -> Batch:
    """The examples of tasks ``first``, ``first + 1``, ..., each in an order that depends on ``key`` and its number."""
    count, length = batch.y.shape[:2]
    drawn = choose(words_by_draw(key_of(key, "order"), first, count, length), length)
    order = torch.from_numpy(np.ascontiguousarray(drawn.T)).to(batch.y.device)
    rows = torch.arange(count, device=order.device).unsqueeze(-1)
    return Batch(*(t[rows, order] for t in batch))


class Indices(NamedTuple):
    """Labels, class positions, example positions and quarter turns, each int64 ``[count, K + Q, N]``."""

    label: Integers
    row: Integers
    example: Integers
    turn: Integers


def sample_images(
    images: Tensor,
    classes: np.ndarray,
    first: int,
    count: int,
    *,
    key: int,
    stream: tuple[str, ...],
    shape: Shape,
    sizes: Sequence[int] | None = None,
    rotations: Rotations = "none",
    joint: bool = False,
    device: str = "cpu",
) -> Episode:
    """Episodes ``first`` to ``first + count - 1``, each a pure function of (key, stream, shape, its number).

    Args:
        images: uint8 ``[class, example, C, H, W]``, or with ``sizes`` ``[image, C, H, W]`` in the order of the classes;
            H = W where images are rotated. `pixels` may keep copies.
        classes: the classes that tasks are made of, by their place in ``images``.
        key: 64-bit stream key; ``stream`` tells streams of one key apart.
        shape: N classes, K support and Q query examples per class.
        sizes: the number of examples of every class in ``images``; None where all have as many.
        rotations: see tasks.omniglot.
        joint: label an example by its class: the place of its row in ``classes``, times 4 plus the quarter turns where
            those make extra classes.

    Returns:
        x float32 in [0, 1] ``[count, N * (K or Q), C, H, W]``, y int64 labels ``[count, N * (K or Q)]``. The classes
        of a task get labels 0 to N - 1 in random order; examples come in rounds of all classes in random order.

    Raises:
        MamlBenchError: more classes or examples are asked for than there are.
    """
    shot, rows = shape.shot, np.asarray(classes, dtype=np.int64)
    if sizes is None:
        examples: int | Integers = images.shape[1]
        start = rows * images.shape[1]
    else:
        of_all = np.asarray(sizes, dtype=np.int64)
        examples, start = of_all[rows], (of_all.cumsum() - of_all)[rows]
    drawn = draw_indices(len(rows), examples, first, count, key=key_of(key, *stream), shape=shape, rotations=rotations)
    order = _support_first(count, shape)
    place = start.take(drawn.row) + drawn.example
    turn = None if rotations == "none" else drawn.turn.take(order)
    x = gathered(images.to(device), place.take(order), turn)
    k, q, image = shape.way * shot, shape.way * shape.query, images.shape[-3:]
    label = drawn.label
    if joint:
        label = 4 * drawn.row + drawn.turn if rotations == "extra classes" else drawn.row
    y_support, y_query = (torch.from_numpy(y.copy()).to(device) for y in (label[:, :shot], label[:, shot:]))
    return Episode(
        Batch(x[: count * k].view(count, k, *image), y_support.view(count, k)),
        Batch(x[count * k :].view(count, q, *image), y_query.view(count, q)),
    )


def draw_indices(
    classes: int, examples: int | Integers, first: int, count: int, *, key: int, shape: Shape, rotations: Rotations
) -> Indices:
    """The indices of episodes ``first`` to ``first + count - 1``, read-only.

    ``examples`` is the number of examples of each class, one for all or an array ``[classes]``. Support and query share
    no example: the K + Q examples of a class are drawn without replacement. With ``extra classes`` position 4 * c + r
    is class c turned r times.

    Raises:
        MamlBenchError: more classes or examples are asked for than there are.
    """
    way, rounds = shape.way, shape.shot + shape.query
    kinds = classes * (4 if rotations == "extra classes" else 1)
    if not 1 <= way <= kinds:
        raise MamlBenchError(f"way is {way}, but this split has {kinds} classes: choose 1 to {kinds}")
    least = examples if isinstance(examples, int) else int(examples.min())
    if shape.shot < 0 or shape.query < 0 or not 1 <= rounds <= least:
        raise MamlBenchError(
            f"shot {shape.shot} and query {shape.query} need {rounds} examples of each class, but there are {least}"
        )
    of_class: int | tuple[int, ...] = least
    if not isinstance(examples, int) and least < examples.max():
        of_class = tuple(examples.tolist())
    size = 2 ** max(0, (BLOCK_IMAGES // (way * rounds)).bit_length() - 1)
    parts = []
    for block in range(first // size, (first + max(count, 1) - 1) // size + 1):
        start = block * size
        inside = slice(max(first - start, 0), first + count - start)
        drawn = _block(kinds, of_class, start, size, key, way, rounds, rotations)
        parts.append(drawn if inside == slice(0, size) else Indices(*(field[inside] for field in drawn)))
    return parts[0] if len(parts) == 1 else Indices(*map(np.concatenate, zip(*parts, strict=True)))


@lru_cache(maxsize=8)
def _block(
    kinds: int,
    examples: int | tuple[int, ...],
    first: int,
    count: int,
    key: int,
    way: int,
    rounds: int,
    rotations: Rotations,
) -> Indices:
    """Draw the indices of a block; while they are drawn, the episode is the last axis, as in draws."""
    words = words_by_draw(key, first, count, way * (2 + 2 * rounds))
    of_class, of_turn, of_example, of_order = np.split(words, np.cumsum([way, way, way * rounds]))
    kind = choose(of_class, kinds)
    turn = below(of_turn, 4) if rotations == "per class" else np.zeros_like(kind)
    if rotations == "extra classes":
        kind, turn = kind // 4, kind % 4
    there = examples if isinstance(examples, int) else np.array(examples, dtype=np.int64)[kind]
    chosen = choose(of_example.reshape(way, rounds, count).swapaxes(0, 1), there)
    label = choose(of_order.reshape(rounds, way, count).swapaxes(0, 1), way)
    of_task = label * count + np.arange(count)
    of_round = of_task + np.arange(rounds).reshape(-1, 1) * (way * count)
    drawn = (label, kind.take(of_task), chosen.take(of_round), turn.take(of_task))
    found = Indices(*(np.ascontiguousarray(field.transpose(2, 1, 0)) for field in drawn))
    for field in found:
        field.flags.writeable = False
    return found


@lru_cache(maxsize=8)
def _support_first(count: int, shape: Shape) -> Integers:
    """Positions in ``[count, round, way]``: the support of all episodes, then their query."""
    rounds = shape.shot + shape.query
    place = np.arange(count * rounds * shape.way).reshape(count, rounds, shape.way)
    return np.concatenate([place[:, : shape.shot].reshape(-1), place[:, shape.shot :].reshape(-1)])
