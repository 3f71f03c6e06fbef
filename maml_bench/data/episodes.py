"""The index sampler: whole meta-batches of N-way K-shot image episodes from one array, never image by image."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from maml_bench.data.draws import below, choose, key_of, words
from maml_bench.errors import MamlBenchError
from maml_bench.types import Batch, Episode, Shape

Rotations = Literal["per class", "extra classes", "none"]


def sample_images(
    images: Tensor,
    classes: np.ndarray,
    first: int,
    count: int,
    *,
    key: int,
    stream: tuple[str, ...],
    shape: Shape,
    rotations: Rotations = "none",
    device: str = "cpu",
) -> Episode:
    """Episodes ``first`` to ``first + count - 1``, each a pure function of (key, stream, shape, its number).

    Args:
        images: uint8 ``[class, example, C, H, W]``; H = W where images are rotated.
        classes: rows of ``images`` that tasks are made of.
        key: 64-bit stream key; ``stream`` tells streams of one key apart.
        shape: N classes, K support and Q query examples per class.
        rotations: see tasks.omniglot.

    Returns:
        x float32 in [0, 1] ``[count, N * (K or Q), C, H, W]``, y int64 labels ``[count, N * (K or Q)]``. The classes
        of a task get labels 0 to N - 1 in random order; examples come in rounds of all classes in random order.

    Raises:
        MamlBenchError: more classes or examples are asked for than there are.
    """
    label, row, example, turn = draw_indices(
        len(classes),
        images.shape[1],
        first,
        count,
        key=key_of(key, *stream),
        shape=shape,
        rotations=rotations,
        device=device,
    )
    row = torch.from_numpy(np.asarray(classes, dtype=np.int64)).to(device)[row]
    pixels = images.to(device).flatten(0, 1)[(row * images.shape[1] + example).flatten()]
    turn = turn.flatten()
    for quarter in (1, 2, 3):
        turned = (turn == quarter).nonzero().squeeze(1)
        if len(turned):
            pixels[turned] = torch.rot90(pixels[turned], quarter, (-2, -1))
    x = pixels.to(torch.float32).div_(255).reshape(count, -1, *images.shape[2:])
    k = shape.way * shape.shot
    return Episode(Batch(x[:, :k], label[:, :k]), Batch(x[:, k:], label[:, k:]))


def draw_indices(
    classes: int,
    examples: int,
    first: int,
    count: int,
    *,
    key: int,
    shape: Shape,
    rotations: Rotations,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels, class positions, example positions and quarter turns, each int64 ``[count, N * (K + Q)]``, in rounds.

    Support and query share no example: the K + Q examples of a class are drawn without replacement. With ``extra
    classes`` position 4 * c + r is class c turned r times.

    Raises:
        MamlBenchError: more classes or examples are asked for than there are.
    """
    way, rounds = shape.way, shape.shot + shape.query
    kinds = classes * (4 if rotations == "extra classes" else 1)
    if not 1 <= way <= kinds:
        raise MamlBenchError(f"way is {way}, but this split has {kinds} classes: choose 1 to {kinds}")
    if shape.shot < 0 or shape.query < 0 or not 1 <= rounds <= examples:
        raise MamlBenchError(
            f"shot {shape.shot} and query {shape.query} need {rounds} examples of each class, but there are {examples}"
        )
    random = words(key, first, count, way * (2 + 2 * rounds), device)
    of_class, of_turn, of_example, of_order = torch.split(random, [way, way, way * rounds, way * rounds], dim=1)
    kind = choose(of_class, kinds)
    chosen = choose(of_example.reshape(count, way, rounds), examples)
    turn = below(of_turn, 4) if rotations == "per class" else torch.zeros_like(kind)
    if rotations == "extra classes":
        kind, turn = kind // 4, kind % 4
    label = choose(of_order.reshape(count, rounds, way), way)
    flat = label.flatten(1)
    example = chosen.transpose(1, 2).gather(2, label).flatten(1)
    return flat, kind.gather(1, flat), example, turn.gather(1, flat)
