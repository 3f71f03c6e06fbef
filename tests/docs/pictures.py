"""The folders of pictures that the pages speak of, made of stored images as a reader may have some."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from maml_bench.data import store


def write_birds(folder: Path) -> None:
    """``birds``: twenty characters of Omniglot as class folders."""
    for number, drawings in enumerate(store.load("omniglot", "grey28")[:20]):
        place = folder / "birds" / f"kind{number:02}"
        place.mkdir(parents=True)
        for drawing, pixels in enumerate(drawings):
            Image.fromarray(np.asarray(pixels[0])).save(place / f"{drawing:02}.png")


def write_photos(folder: Path) -> None:
    """``photos``: 12 classes of mini-ImageNet with 6 to 30 photographs each; ``new``: two photographs."""
    stored = store.load("mini_imagenet", "train")
    for number in range(12):
        place = folder / "photos" / f"class{number}"
        place.mkdir(parents=True)
        for k in range(6 + 7 * number % 25):
            Image.fromarray(stored[5 * number, k].transpose(1, 2, 0)).save(place / f"{k}.png")
    (folder / "new").mkdir()
    for k in (1, 2):
        Image.fromarray(stored[5 * k, -1].transpose(1, 2, 0)).save(folder / "new" / f"{k}.png")


FOLDERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "birds": ("omniglot", write_birds), "photos": ("mini_imagenet", write_photos),
}  # fmt: skip
"""The data set that each folder is made of, and what makes it."""


def folders_of(page: Path) -> list[str]:
    """Which of these folders the code of a page reads."""
    code = "".join(re.findall(r"^```.*?^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    return [name for name in FOLDERS if re.search(rf'ImageFolder\("{name}"|data add \S+ {name}\b', code)]
