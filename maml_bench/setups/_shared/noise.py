"""Random numbers that are a pure function of an image: the same under every schedule, and when a run is resumed.

Images that are sampled anew in every episode bring enough randomness of their own; a hash of their pixels starts a
counter-based generator (splitmix64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
"""

import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_BITS = 24
"""Random bits of a uniform number, as many as a float32 can hold."""


def key_of_images(x: Tensor) -> Tensor:
    """A key ``[n]`` (int64) of each image ``x [n, ...]`` of zeros and ones."""
    ink = x.flatten(1) > 0.5
    place = torch.arange(ink.shape[1], device=x.device)
    return (ink * _mixed(place)).sum(1)


def normal(key: Tensor, first: int, count: int, like: Tensor) -> Tensor:
    """Standard normal numbers ``first`` to ``first + count - 1`` of each of the streams ``key [n]``: ``[n, count]``, in
    the dtype of ``like``. ``first`` is even."""
    pairs = -(-count // 2)
    place = torch.arange(first // 2, first // 2 + pairs, device=key.device)
    words = _mixed(key.unsqueeze(1) + place * _signed(_GOLDEN))
    lower, upper = ((_shifted(words, by) & (2**_BITS - 1)).to(like) for by in (0, 64 - _BITS))
    radius = (-2 * torch.log((upper + 0.5) * 2.0**-_BITS)).sqrt()  # Box & Muller 1958
    angle = (2 * math.pi * 2.0**-_BITS) * lower
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)[:, :count]


def _mixed(words: Tensor) -> Tensor:
    """The words after splitmix64's mixing; products are modulo 2^64."""
    words = words + _signed(_GOLDEN)
    for by, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        words = (words ^ _shifted(words, by)) * _signed(multiplier)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, by: int) -> Tensor:
    """Shifted to the right, with zeros coming in: torch's own shift of a signed integer brings in its sign."""
    return (words >> by) & (2 ** (64 - by) - 1) if by else words


def _signed(word: int) -> int:
    """The 64 bits of ``word`` as a signed integer, as torch has them."""
    return word - 2**64 if word >= 2**63 else word
