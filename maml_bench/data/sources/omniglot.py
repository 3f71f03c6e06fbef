"""Omniglot (Lake, Salakhutdinov and Tenenbaum 2015): 1,623 characters of 50 alphabets, 20 drawings of each.

Read from the official layout, ``images_<half>/<alphabet>/<character>/<drawing>.png`` with 1-bit images of 105 x 105,
zipped or extracted, checked completely, and stored with ink = 255 and paper = 0 in the sizes that the field uses.
"""

import json
import math
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maml_bench.data import store
from maml_bench.errors import MamlBenchError, nearest, some

if TYPE_CHECKING:
    from PIL.Image import Image

NAME = "omniglot"
VERSION = 1
HALVES = ("background", "evaluation")
DRAWINGS = 20
SIDE = 105
BASE_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
HASHES = {
    "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
HOW = {
    "binary28": "1-bit image resized to 28x28 by nearest neighbour (the original MAML code); ink 255, paper 0",
    "grey28": "converted to grey, inverted, resized from 105 to 28 by PIL's bilinear filter (torchmeta); ink up to 255",
    "area28": "each pixel of 28x28 is the share of ink in its area of 3.75x3.75 pixels, rounded to 255 levels; ink 255",
    "full105": "as drawn, 105x105; ink 255, paper 0",
}


def _cover(small: int, large: int) -> Any:
    """How much of each of ``large`` pixels in a line lies in each of ``small`` equal parts of it ``[small, large]``.

    The unit is a quarter of a pixel where 105 pixels become 28.
    """
    unit = math.gcd(small, large)
    part, pixel = large // unit, small // unit
    starts, at = part * np.arange(small).reshape(-1, 1), pixel * np.arange(large)
    return np.clip(np.minimum(starts + part, at + pixel) - np.maximum(starts, at), 0, None)


_COVER = _cover(28, SIDE)


class _Half(NamedTuple):
    """One half of the data as a flat list of files, be it a zip or a folder.

    ``names`` are relative to ``images_<half>``, those of folders end in ``/``.
    """

    where: Path
    names: set[str]
    read: Callable[[str], bytes]


def add(path: Path, *, progress: store.Progress | None = None, keep_105: bool = False) -> store.Manifest:
    """Store Omniglot from ``path``: a folder with the two zips or the two extracted folders, or one of these.

    Stores ``binary28``, ``grey28`` and ``area28``, uint8 ``[1623, 20, 1, 28, 28]``, and with ``keep_105`` also
    ``full105``. Classes are named ``<half>/<alphabet>/<character>`` and sorted, drawings sorted by file name.
    ``progress`` counts drawings. MamlBenchError in one sentence for whatever is missing, too much, damaged or not of
    Omniglot's form.
    """
    place = _find(Path(path))
    with ExitStack() as stack:
        halves = {half: _open(place, half, stack) for half in HALVES}
        drawings = {name: names for half in HALVES for name, names in _drawings(half, halves[half]).items()}
        classes = sorted(drawings)
        sides = {"binary28": 28, "grey28": 28, "area28": 28} | ({"full105": SIDE} if keep_105 else {})
        arrays = {key: np.empty((len(classes), DRAWINGS, 1, s, s), dtype=np.uint8) for key, s in sides.items()}
        for index, name in enumerate(classes):
            half = halves[name.split("/")[0]]
            for example, drawing in enumerate(drawings[name]):
                image = _decode(half, drawing)
                for key, array in arrays.items():
                    array[index, example, 0] = _convert(image, key)
            if progress:
                progress((index + 1) * DRAWINGS, len(classes) * DRAWINGS, "reading drawings")
    return store.write(
        NAME,
        version=VERSION,
        source=_layout(half.where for half in halves.values()),
        classes=classes,
        arrays={key: (array, HOW[key]) for key, array in arrays.items()},
    )


def download(
    *,
    progress: store.Progress | None = None,
    base_url: str = BASE_URL,
    hashes: Mapping[str, str] = HASHES,
    keep_105: bool = False,
) -> store.Manifest:
    """Fetch the official zips (14 MB) from ``base_url``, check them against ``hashes`` and :func:`add` them.

    ``progress`` counts bytes, then drawings. MamlBenchError if the server cannot be reached, has no such file, breaks
    off or sends something else; nothing is left behind then.
    """
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("CRITICAL")
    try:
        with tempfile.TemporaryDirectory(prefix="maml-bench-") as folder:
            for name, known in hashes.items():
                url = base_url.rstrip("/") + "/" + name
                downloader = pooch.HTTPDownloader(progressbar=_Bar(progress, f"downloading {name}"), timeout=30)
                try:
                    pooch.retrieve(url, known_hash=known, fname=name, path=folder, downloader=downloader)
                except ValueError:  # pooch's word for a wrong hash
                    raise MamlBenchError(
                        f"what {url} sent has not the known checksum {known} and was thrown away; "
                        f"try again, or get the file by other means and use `maml-bench data add {NAME} PATH`"
                    ) from None
                except OSError as error:
                    raise MamlBenchError(
                        f"could not download {url} ({_reason(error)}); "
                        f"try again, or get the file by other means and use `maml-bench data add {NAME} PATH`"
                    ) from None
            return add(Path(folder), progress=progress, keep_105=keep_105)
    finally:
        logger.setLevel(level)


class _Bar:
    """The progress bar that pooch expects, passing on to a Progress."""

    def __init__(self, progress: store.Progress | None, what: str) -> None:
        self.progress, self.what = progress, what
        self.total = self.done = 0

    def update(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        if self.progress:
            self.progress(self.done, self.total, self.what)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        response.close()  # it was opened as a stream, and pooch does not
        return f"the server answered {response.status_code} {response.reason}"
    kind = type(error).__name__
    if kind == "ChunkedEncodingError":
        return "the transfer broke off"
    return "no answer in time" if "Timeout" in kind else error.strerror or "no connection to the server"


@cache
def alphabets() -> dict[str, dict[str, int]]:
    """Return the number of characters by half and alphabet, counted once from the complete data set."""
    table: dict[str, dict[str, int]] = json.loads((files(__package__) / "omniglot-alphabets.json").read_text("utf-8"))
    return table


def _find(path: Path) -> Path:
    """Return the folder in which both halves lie, starting from what the user named."""
    if not path.exists():
        raise MamlBenchError(f"{path} does not exist; name the folder that holds images_background.zip and its sibling")
    if path.name.removesuffix(".zip") in {f"images_{half}" for half in HALVES}:
        return path.absolute().parent
    if not path.is_dir():
        raise MamlBenchError(
            f"{path} is neither images_background.zip nor images_evaluation.zip nor a folder with both"
        )
    places = [path, *sorted(child for child in path.iterdir() if child.is_dir())]  # such as omniglot-py/ or python/
    for place in places:
        if any((place / f"images_{half}{end}").exists() for half in HALVES for end in ("", ".zip")):
            return place
    raise MamlBenchError(f"{path} holds neither images_background.zip and images_evaluation.zip nor folders so named")


def _layout(places: Iterable[Path]) -> str:
    zips = sum(place.suffix == ".zip" for place in places)
    return ("two folders", "a zip and a folder", "two zips")[zips]


def _open(place: Path, half: str, stack: ExitStack) -> _Half:
    folder = f"images_{half}"
    where = place / f"{folder}.zip"
    if where.is_dir():
        raise MamlBenchError(f"{where} is a folder where a zip file should be")
    if not where.exists():
        where = place / folder
        if not where.is_dir():
            raise MamlBenchError(
                f"{place} lacks {folder}.zip; Omniglot needs both images_background and images_evaluation"
            )
        names = {path.relative_to(where).as_posix() + "/" * path.is_dir() for path in where.rglob("*")}
        return _Half(where, names, lambda name: (where / name).read_bytes())
    try:
        archive = stack.enter_context(zipfile.ZipFile(where))
    except (zipfile.BadZipFile, OSError):
        raise MamlBenchError(f"{where} is not a whole zip file, it may have been cut off; download it again") from None
    for name in archive.namelist():
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise MamlBenchError(f"{where} has an entry that points outside it ({name!r}) and was not read")
    twice = [name for name, times in Counter(archive.namelist()).items() if times > 1]
    if twice:
        raise MamlBenchError(f"{where} has the entry {twice[0]!r} more than once and was not read")
    prefix = folder + "/"
    names = {name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)}
    return _Half(where, names, lambda name: archive.read(prefix + name))


def _drawings(half: str, files_of: _Half) -> dict[str, list[str]]:
    """Return the sorted drawings of each class after checking that all are there and nothing else is."""
    where = files_of.where
    found: dict[str, dict[str, list[str]]] = {}
    for name in sorted(files_of.names):
        parts = name.split("/")
        if len(parts) >= 3 and parts[2].lower().endswith(".png") and not any(part.startswith(".") for part in parts):
            if len(parts) > 3:
                raise MamlBenchError(f"{'/'.join(parts[:3])} in {where} is a folder where a drawing should be")
            found.setdefault(parts[0], {}).setdefault(parts[1], []).append(name)
    if not found:
        raise MamlBenchError(f"{where} holds no drawings named images_{half}/<alphabet>/<character>/<drawing>.png")
    expected = alphabets()[half]
    _compare(f"{where}", "alphabet", set(expected), set(found))
    for alphabet, count in expected.items():
        characters = {f"character{number:02d}" for number in range(1, count + 1)}
        _compare(f"{alphabet} in {where}", "character", characters, set(found[alphabet]))
        for character, names in found[alphabet].items():
            if len(names) != DRAWINGS:
                raise MamlBenchError(
                    f"{alphabet}/{character} in {where} has {len(names)} drawings instead of {DRAWINGS}"
                )
    return {f"{half}/{a}/{c}": names for a, characters in found.items() for c, names in characters.items()}


def _compare(where: str, kind: str, expected: set[str], found: set[str]) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing:
        instead = f", but has {', '.join(extra[:5])} instead" if extra else ""
        raise MamlBenchError(f"{where} lacks the {kind}{'s' * (len(missing) > 1)} {some(missing)}{instead}")
    if extra:
        raise MamlBenchError(f"{where} has {extra[0]!r}, which is no {kind} of Omniglot{nearest(extra[0], expected)}")


def _decode(half: _Half, name: str) -> "Image":
    from PIL import Image

    what = f"{name} in {half.where}"
    try:
        content = half.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError):
        raise MamlBenchError(f"{what} is damaged or cannot be read; download the file again") from None
    try:
        image = Image.open(BytesIO(content), formats=["PNG"])
        if image.size == (SIDE, SIDE) and image.mode == "1":
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise MamlBenchError(f"{what} is not a whole PNG image") from None
    width, height = image.size
    raise MamlBenchError(
        f"{what} is a {width}x{height} image of mode {image.mode!r}; Omniglot's drawings are {SIDE}x{SIDE} of mode '1'"
    )


def _convert(image: "Image", array: str) -> store.Array:
    """Return a 1-bit drawing (ink black) in the form of one stored array, uint8 ``[side, side]`` with ink = 255."""
    from PIL import Image, ImageOps

    if array == "grey28":
        return np.asarray(ImageOps.invert(image.convert("L")).resize((28, 28), Image.Resampling.BILINEAR))
    if array == "area28":
        ink = _COVER @ ~np.asarray(image) @ _COVER.T  # 0 to 225, in sixteenths of a pixel of the drawing
        return np.asarray((2 * 255 * ink + 225) // (2 * 225), dtype=np.uint8)
    if array == "binary28":
        image = image.resize((28, 28), Image.Resampling.NEAREST)
    return np.where(np.asarray(image), np.uint8(0), np.uint8(255))
