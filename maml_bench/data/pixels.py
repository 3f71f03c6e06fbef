"""Images gathered from an array of bytes as floats, turned by quarters where the task says so.

If an array is small enough, the work that is the same for every meta-batch is done once: turning its images, and
dividing black-and-white images by 255.
"""

import ctypes
from collections.abc import MutableMapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from maml_bench.data.draws import Integers
from maml_bench.native_code import NoCompiler, library

SOURCE = Path(__file__).with_name("pixels.cpp")
COPIES_BYTES = 2**28
"""Prepared copies of an array are kept if its four turns fit this: Omniglot takes 102 MB, or 25 MB unturned."""


class Ready(NamedTuple):
    """Rows of bytes ``[turns * images, C, H, W]`` (None: those of the array itself), and the byte that means 1."""

    rows: Tensor | None
    white: int


_kept: MutableMapping[Tensor, dict[tuple[int, bool], Ready]] = WeakIdKeyDictionary()


def gathered(images: Tensor, place: Integers, turn: Integers | None = None) -> Tensor:
    """The images at ``place``, each turned counter-clockwise by ``turn`` quarters.

    Args:
        images: uint8 ``[class, example, C, H, W]`` or ``[image, C, H, W]`` on any device; H = W for ``turn``.
        place: ``[n]``, the number of an image: class * examples + example where classes have an axis.
        turn: ``[n]``, 0 to 3; None leaves every image as it is.

    Returns:
        float32 in [0, 1] ``[n, C, H, W]`` on the device of ``images``.
    """
    rows, white = _ready(images, turn is not None) if 4 * images.numel() <= COPIES_BYTES else Ready(None, 255)
    if rows is not None and turn is not None:
        place = turn * (len(rows) // 4) + place
    source = images.flatten(0, -4) if rows is None else rows
    if source.device.type == "cpu" and (rows is not None or turn is None) and _has_kernels():
        return gather_rows(source, torch.from_numpy(place), white)  # one pass instead of torch's two
    pixels = source.index_select(0, torch.from_numpy(place).to(images.device))
    if rows is None and turn is not None:
        pixels = turned(pixels, torch.from_numpy(turn).to(images.device))
    x = pixels.to(torch.float32)
    return x if white == 1 else x.div_(white)


@cache
def _has_kernels() -> bool:
    try:
        library(SOURCE)
    except NoCompiler:
        return False
    return True


def gather_rows(rows: Tensor, place: Tensor, white: int) -> Tensor:
    """``rows[place] / white`` as float32, for contiguous bytes ``[r, ...]``, int64 ``[n]``, and 1 <= white <= 255.

    Raises:
        IndexError: a place is out of range.
    """
    if len(place):
        least, most = place.aminmax()
        if int(least) < 0 or int(most) >= len(rows):
            raise IndexError(f"places must be 0 to {len(rows) - 1}")
    place, found = place.contiguous(), torch.empty(len(place), *rows.shape[1:], dtype=torch.float32)
    sizes = (ctypes.c_long(size) for size in (len(place), rows[0].numel(), white))
    library(SOURCE).gather_rows(*sizes, *(ctypes.c_void_p(t.data_ptr()) for t in (rows, place, found)))
    return found


def turned(pixels: Tensor, turn: Tensor) -> Tensor:
    """Images ``[n, C, H, W]``, each turned by its own number of quarters ``turn [n]``, one quarter after the other."""
    found = pixels.clone()
    for quarter in (1, 2, 3):
        these = (turn == quarter).nonzero().squeeze(1)
        found[these] = torch.rot90(pixels[these], quarter, (-2, -1))
    return found


def _ready(images: Tensor, turns: bool) -> Ready:
    """``images``, turned if asked for, and with 1 instead of 255 if none is grey; kept until they change."""
    kept = _kept.get(images)
    if kept is None:
        kept = _kept[images] = {}
    wanted = (images._version, turns)
    if wanted not in kept:
        for old in [key for key in kept if key[0] != images._version]:
            del kept[old]
        rows = images.flatten(0, -4)
        ones = rows.bitwise_and(1)
        rows, white = (ones, 1) if torch.equal(ones * 255, rows) else (rows, 255)
        if turns:
            rows = torch.cat([torch.rot90(rows, quarter, (-2, -1)) for quarter in range(4)])
        kept[wanted] = Ready(rows if turns or white == 1 else None, white)
    return kept[wanted]
