"""What is stored of a data set, as the ``manifest.json`` beside its arrays says it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from maml_bench.checked import construct
from maml_bench.checksum import BLANK, is_sealed, seal

MANIFEST = "manifest.json"
SPLIT = "split.json"
"""The file with the class split of a data set of the user's, beside its arrays."""


@dataclass(frozen=True)
class ArrayInfo:
    """One stored array: its shape and dtype, the sha256 of its file, and a description of how it was made.

    ``classes`` names its rows if they differ from those of the data set; otherwise it is None. ``sizes`` are the
    numbers of images of each class where these may differ: then the array is ``[image, C, H, W]``.
    """

    shape: tuple[int, ...]
    dtype: str
    sha256: str
    how: str
    classes: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """What is stored under one name; ``source`` names the layout that it was read from.

    ``classes[i]`` names ``array[i]``. If arrays have their own classes, ``classes`` are those of all arrays together.
    ``examples_per_class`` is 0 where each array says how many there are. ``preparation`` has the fields of
    `data.preparation.Preparation`, for data sets of the user's.
    """

    name: str
    version: int
    source: str
    classes: tuple[str, ...]
    examples_per_class: int
    arrays: dict[str, ArrayInfo]
    preparation: dict[str, int | str] | None = None

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with every class name and array.

        Arrays that a store may lack do not count: the optional ``full...``, and ``area...``, which came later.
        """
        counted = sorted((name, info) for name, info in self.arrays.items() if not name.startswith(("full", "area")))
        parts = [f"{name} {info.sha256}" for name, info in counted]
        parts += [f"{name} {info.sizes}" for name, info in counted if info.sizes]
        own = [f"{name} {label}" for name, info in counted for label in info.classes or ()]
        return hashlib.sha256("\n".join([*parts, *self.classes, *own]).encode()).hexdigest()[:12]

    def classes_of(self, array: str) -> tuple[str, ...]:
        """Names of the rows of ``array``."""
        own = self.arrays[array].classes
        return self.classes if own is None else own

    def sizes_of(self, array: str) -> tuple[int, ...]:
        """Numbers of images of the classes of ``array``."""
        own = self.arrays[array].sizes
        return (self.examples_per_class,) * len(self.classes_of(array)) if own is None else own

    def to_json(self) -> str:
        """Return the manifest as JSON text with a checksum of it."""
        content = _without_none(asdict(self))
        content["arrays"] = {name: _without_none(info) for name, info in content["arrays"].items()}
        return seal(json.dumps(content | {"checksum": BLANK.decode()}, indent=1).encode()).decode()

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Inverse of :meth:`to_json`; ValueError or MamlBenchError on any other text. Older texts have no checksum."""
        content = json.loads(text)
        checksum = content.pop("checksum", None) if isinstance(content, dict) else None
        if checksum is not None and not is_sealed(text.encode(), str(checksum).encode()):
            raise ValueError("the checksum differs")
        return construct(cls, content, "the manifest")


def _without_none(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}
