"""Folders of class folders for the tests of users' own images. Every picture has a colour of its own."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {"ant": 3, "bee": 5, "cat": 2, "dog": 4, "emu": 3}


def picture(number: int, size: int = 12) -> Image.Image:
    """A gradient that no other number has; it is not square."""
    down, right = np.meshgrid(np.arange(size + 4), np.arange(size), indexing="ij")
    pixels = np.stack([7 * down + number, 5 * right + number // 256, down + right + 3 * number], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def write(root: Path, sizes: dict[str, int], first: int = 0) -> Path:
    """``root/<class>/<number>.png`` with so many pictures of each class; ``first`` is the number of the first."""
    for name, count in sizes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture(first).save(root / name / f"{number:03}.png")
            first += 1
    return root
