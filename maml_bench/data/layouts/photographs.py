"""Photographs on their way to uint8 84x84x3: decoded, and counted where they had another size or another mode."""

from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import numpy as np

from maml_bench.data.disk import Array
from maml_bench.errors import MamlBenchError

SIDE = 84
_MODES = {"L": "grey", "CMYK": "CMYK"}


class Photo(NamedTuple):
    """``pixels`` uint8 ``[84, 84, 3]``; its name in messages; ``size`` (width, height) and ``mode`` as found."""

    pixels: Array
    what: str
    size: tuple[int, int] = (SIDE, SIDE)
    mode: str = "RGB"


@dataclass
class Seen:
    """How many photographs there were, how many had another size, and how many each mode other than RGB.

    ``odd`` are some that were not 84x84 RGB, in words.
    """

    count: int = 0
    resized: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)

    def note(self, photo: Photo) -> None:
        """Count ``photo``."""
        self.count += 1
        if photo.size != (SIDE, SIDE) or photo.mode != "RGB":
            width, height = photo.size
            self.resized += photo.size != (SIDE, SIDE)
            self.modes.update([photo.mode] if photo.mode != "RGB" else [])
            self.odd = sorted([*self.odd, f"{photo.what} is {width}x{height} of mode {photo.mode!r}"])[:1]

    def __add__(self, other: "Seen") -> "Seen":
        odd = sorted(self.odd + other.odd)[:1]
        return Seen(self.count + other.count, self.resized + other.resized, self.modes + other.modes, odd)

    def refuse_mixtures(self) -> None:
        """A copy is of originals, or is 84x84 and RGB throughout.

        Raises:
            MamlBenchError: half of the photographs or more are 84x84, but not all are, or not all are RGB.
        """
        if 2 * self.resized > self.count or not self.odd:
            return
        wrong = f"{self.resized:,} of {self.count:,} images are not 84x84"
        if not self.resized:
            wrong = f"{self.modes.total():,} of {self.count:,} images are not RGB"
        raise MamlBenchError(f"{wrong}, as only originals may be: {self.odd[0]}")

    def __str__(self) -> str:
        """What was done to them, for the manifest."""
        if not self.odd:
            return "84x84 RGB as found, nothing resized or converted"
        found = (
            f"{self.resized:,} of {self.count:,} resized to 84x84 by PIL's Lanczos filter, aspect ratio not kept "
            "(proc_images.py of cbfinn/maml, which then stores JPEG again)"
        )
        converted = [f"{count:,} {_MODES[mode]}" for mode, count in sorted(self.modes.items())]
        return found + (f"; {' and '.join(converted)} converted to RGB" if converted else "")


def decode(content: bytes, what: str) -> Photo:
    """Return the photograph in ``content``, a JPEG file (or PNG: a few originals are, under the name of a JPEG file).

    Other sizes are resized to 84x84, grey and CMYK are converted to RGB: it is for the caller to allow that or not.

    Raises:
        MamlBenchError: it is no whole image, or one of another mode; names it as ``what``.
    """
    from PIL import Image

    try:
        image = Image.open(BytesIO(content), formats=["JPEG", "PNG"])
        size, mode = image.size, image.mode
        if mode != "RGB" and mode not in _MODES:
            raise MamlBenchError(f"{what} has mode {mode!r}; images must be RGB (originals: or grey, or CMYK)")
        whole = image if mode == "RGB" else image.convert("RGB")
        if size != (SIDE, SIDE):
            whole = whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        return Photo(np.asarray(whole), what, size, mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise MamlBenchError(f"{what} is not a whole JPEG image") from None
