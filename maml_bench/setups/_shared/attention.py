"""Attention windows that read from and write to images. Gregor, Danihelka, Graves, Rezende & Wierstra (2015), "DRAW: A
Recurrent Neural Network For Image Generation", ICML, arXiv:1502.04623, equations 19 to 29."""

from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS = 5
"""How many numbers choose a window."""
EPS = 1e-8


class Window(NamedTuple):
    """Filters ``[n, size, side]`` along the height and width of an image, and a strength ``[n, 1, 1]``."""

    down: Tensor
    across: Tensor
    strength: Tensor

    def read(self, images: Tensor) -> Tensor:
        """The patches ``[n, ..., size, size]`` of ``images [n or 1, ..., side, side]``."""
        axes = (1,) * (images.ndim - 3)
        down, across, strength = (part.reshape(len(part), *axes, *part.shape[1:]) for part in self)
        return strength * (down @ images @ across.mT)

    def write(self, patches: Tensor) -> Tensor:
        """Images ``[n, side, side]`` with ``patches [n, size, size]`` where the window is, and zeros elsewhere."""
        return self.down.mT @ patches @ self.across / self.strength


def window(numbers: Tensor, size: int, side: int) -> Window:
    """The windows of ``size`` x ``size`` Gaussian filters that ``numbers [n, 5]`` choose on images of ``side`` pixels.

    The numbers are the centre (from -1 to 1 on the image), and the logarithms of the variance, the stride and the
    strength. With zeros, the window covers the image.
    """
    x, y, log_variance, log_stride, log_strength = numbers.unbind(-1)
    stride = (side - 1) / max(size - 1, 1) * log_stride.exp()
    place = torch.arange(size, device=numbers.device).to(numbers) - (size - 1) / 2
    pixel = torch.arange(side, device=numbers.device).to(numbers)

    def filters(centre: Tensor) -> Tensor:
        middle = (centre + 1) * (side - 1) / 2
        means = middle.unsqueeze(-1) + place * stride.unsqueeze(-1)
        apart = (pixel - means.unsqueeze(-1)) ** 2 / (2 * log_variance.exp().reshape(-1, 1, 1))
        bank = (-apart).exp()
        return bank / (bank.sum(-1, keepdim=True) + EPS)

    return Window(filters(y), filters(x), log_strength.exp().reshape(-1, 1, 1))
