"""Images in memory or in a memory map, in classes that may differ in size: what episodes are drawn from."""

from dataclasses import dataclass

from torch import Tensor

from maml_bench.data.preparation import Preparation

__all__ = ["Images", "Preparation"]


@dataclass(frozen=True)
class Images:
    """Classes of images that have one size.

    Attributes:
        pixels: uint8 ``[images, C, H, W]`` in the order of the classes, sum(sizes) images in all.
        sizes: the number of images of each class.
        classes: the name of each class.
        how: how pictures were prepared, so that others can be prepared alike.
    """

    pixels: Tensor
    sizes: tuple[int, ...]
    classes: tuple[str, ...]
    how: Preparation
