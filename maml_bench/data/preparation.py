"""From a picture as users have it to the bytes that are stored: one function for the store, for pictures in memory, and
for a picture whose class is to be predicted."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import RLock
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from maml_bench.data.disk import Array
from maml_bench.errors import MamlBenchError, nearest, shortened
from maml_bench.files import read_bytes

Colour = Literal["rgb", "grey"]
Resize = Literal["crop", "stretch", "pad"]
Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor
"""A picture: the path of a file, a PIL image, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[C, H, W]``."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
LARGEST_SIZE = 1024
_16_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_lock = RLock()


class Prepared(NamedTuple):
    """Pixels uint8 ``[C, H, W]``, and what had to be done to the picture beside scaling it, each in a few words."""

    pixels: Array
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Preparation:
    """How pictures are brought to one size and to one number of channels.

    The picture is turned as its EXIF data say, 16 bits become 8, what is transparent becomes white, and the colours
    become RGB or grey (ITU-R 601-2). Then it is scaled with PIL's Lanczos filter, which is antialiased.

    Attributes:
        size: height and width in pixels, 1 to 1024.
        colour: ``rgb`` for 3 channels or ``grey`` for 1.
        resize: ``crop`` scales the central square of the picture, so that proportions stay and nothing is added;
            ``stretch`` scales the whole picture and does not keep its proportions; ``pad`` scales the whole picture,
            keeps its proportions, and adds black bars.
    """

    size: int = 84
    colour: Colour = "rgb"
    resize: Resize = "crop"

    def __post_init__(self) -> None:
        """MamlBenchError: a value that is not among those above."""
        if not isinstance(self.size, int) or not 1 <= self.size <= LARGEST_SIZE:
            raise MamlBenchError(f"the size is {shortened(self.size)}, but must be 1 to {LARGEST_SIZE} pixels")
        for what, value, known in (
            ("colour", self.colour, get_args(Colour)),
            ("way to resize", self.resize, get_args(Resize)),
        ):
            if value not in known:
                raise MamlBenchError(f"there is no {what} {shortened(value)}{nearest(str(value), known)}")

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return 3 if self.colour == "rgb" else 1

    def prepare(self, picture: Picture) -> Tensor:
        """Return ``picture`` as the store would hold it.

        Args:
            picture: a path, a PIL image, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[H, W]`` or ``[C, H, W]``,
                with C = 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha). Arrays and tensors hold bytes,
                16-bit integers, booleans, or floats in [0, 1].

        Returns:
            uint8 ``[channels, size, size]``.

        Raises:
            MamlBenchError: the file is missing, damaged, too large or of another format; or the array has another
                shape, another type, or values outside of its range.
        """
        with quiet():
            return torch.from_numpy(self.prepared(picture).pixels)

    def prepared(self, picture: Picture, what: str | None = None) -> Prepared:
        """As `prepare`, with notes, and ``what`` names the picture in messages. Call it inside of `quiet`.

        Several threads may call it at once.
        """
        if isinstance(picture, str | os.PathLike):
            what = what or shown(Path(picture))
            image = _opened(Path(picture), what)
        else:
            what = what or "the picture"
            image = picture if isinstance(picture, Image.Image) else _of_array(_channels_last(picture), what, picture)
        try:
            return self._scaled(image, what)
        except MamlBenchError:
            raise
        except Exception as error:  # a damaged file can raise anything while it is decoded
            raise MamlBenchError(f"{what} cannot be decoded: {_one_line(error)}") from None

    def _scaled(self, image: Image.Image, what: str) -> Prepared:
        notes = []
        if image.mode in _16_BITS or image.mode == "F":
            notes.append("scaled to 8 bits" if image.mode in _16_BITS else "scaled from floats")
            image = _to_bytes(image, what)
        turned = ImageOps.exif_transpose(image)
        if image.getexif().get(0x0112, 1) != 1:
            notes.append("turned as their EXIF data say")
        image = turned
        if image.has_transparency_data:
            seen = image.convert("RGBA")
            if seen.getchannel("A").getextrema()[0] < 255:  # type: ignore[operator]
                notes.append("composited on white")
            image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
        mode = "RGB" if self.colour == "rgb" else "L"
        if image.mode != mode:
            image = image.convert("RGB").convert(mode)
        pixels = np.asarray(self._resized(image))
        return Prepared(
            np.ascontiguousarray(pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]), tuple(notes)
        )

    def _resized(self, image: Image.Image) -> Image.Image:
        (width, height), side = image.size, self.size
        if self.resize == "stretch":
            return image.resize((side, side), Image.Resampling.LANCZOS)
        if self.resize == "crop":
            short = min(width, height)
            left, top = (width - short) // 2, (height - short) // 2
            box = (left, top, left + short, top + short)
            return image.resize((side, side), Image.Resampling.LANCZOS, box=box)
        return ImageOps.pad(image, (side, side), Image.Resampling.LANCZOS)


def shown(path: Path) -> str:
    """A path as it can be printed in one line, also where its name is not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PIL from warning about odd files, and let it refuse pictures of very many pixels before it decodes them.

    Filters of warnings belong to the whole process. So one thread opens this block, and the others work inside of it.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        yield


def _opened(path: Path, what: str) -> Image.Image:
    """The image in a file, whose pixels are not decoded yet."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise MamlBenchError(f"{what} cannot be read: {error.strerror}") from None
    if not content:
        raise MamlBenchError(f"{what} is an empty file")
    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise MamlBenchError(
            f"{what} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, so it is not decoded: make it smaller first"
        ) from None
    except UnidentifiedImageError:
        raise MamlBenchError(f"{what} is not a JPEG, PNG, WebP, TIFF or BMP image that can be read") from None
    except Exception as error:  # a damaged header can raise anything
        raise MamlBenchError(f"{what} is damaged: {_one_line(error)}") from None


def _to_bytes(image: Image.Image, what: str) -> Image.Image:
    """A grey image of 16 bits, or of floats in [0, 1], as one of 8 bits; 65535 and 1.0 become 255."""
    values = np.asarray(image)
    if image.mode == "F":
        return _of_array(values, what, values)
    if values.min() < 0 or values.max() > 65535:
        raise MamlBenchError(f"{what} has values from {values.min()} to {values.max()}, but must have 0 to 65535")
    found = Image.fromarray(((values.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    found.info |= image.info
    return found


def _channels_last(picture: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not isinstance(picture, Tensor):
        return np.asarray(picture)
    array = picture.detach().cpu()
    array = array.to(torch.float32) if array.is_floating_point() else array
    return (array.permute(1, 2, 0) if array.ndim == 3 else array).numpy()


def _of_array(array: npt.NDArray[Any], what: str, given: Any) -> Image.Image:
    """The image in an array ``[H, W]`` or ``[H, W, C]``, which was made of ``given``; see `Preparation.prepare`."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4) or 0 in array.shape:
        raise MamlBenchError(
            f"{what} is an array of the shape {list(getattr(given, 'shape', ()))}, but must be [height, width] or "
            "[height, width, channels] with 1 to 4 channels (a tensor: [channels, height, width])"
        )
    if array.dtype == np.bool_:
        return Image.fromarray(255 * array.astype(np.uint8))
    if array.dtype == np.uint16:
        return Image.fromarray(((array.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise MamlBenchError(
                f"{what} has values from {array.min():g} to {array.max():g}, but floats must be 0 to 1"
            )
        return Image.fromarray(np.rint(255 * array.astype(np.float64)).astype(np.uint8))
    if array.dtype != np.uint8:
        raise MamlBenchError(f"{what} is an array of {array.dtype}, but must be one of uint8, or of floats from 0 to 1")
    return Image.fromarray(np.ascontiguousarray(array))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
