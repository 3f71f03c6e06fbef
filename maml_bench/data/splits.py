"""Pinned class splits: which classes of a data set are for training, validation and test.

Splits are data files, ``class_splits/<dataset>-<name>.json``, that state their rule, their origin, their counts and a
hash of their content; nothing is ever drawn when a program runs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from maml_bench.errors import MamlBenchError, nearest

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """The classes of each part (train, validation, test) by name, and the sha256 of them all."""

    name: str
    parts: dict[str, tuple[str, ...]]
    sha256: str


def load_split(dataset: str, name: str) -> Split:
    """Return the split ``name`` of ``dataset``.

    MamlBenchError if there is none, or if its file puts a class in two parts or differs from its own counts or hash.
    """
    folder = files("maml_bench.data") / "class_splits"
    stems = [file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json")]
    known = [stem.removeprefix(f"{dataset}-") for stem in stems if stem.startswith(f"{dataset}-")]
    if not known:
        raise MamlBenchError(f"there is no class split for {dataset!r}")
    if name not in known:
        raise MamlBenchError(f"{dataset} has no class split {name!r}{nearest(name, known)}")
    return parse(json.loads((folder / f"{dataset}-{name}.json").read_text(encoding="utf-8")))


def parse(content: Mapping[str, Any]) -> Split:
    """Return the split in the ``content`` of a split file after checking it against its own statements."""
    what = f"the class split {content['name']!r} of {content['dataset']}"
    parts = {part: tuple(content[part]) for part in PARTS}
    owner: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name in owner:
                raise MamlBenchError(f"{what} has {name} in {owner[name]} and again in {part}")
            owner[name] = part
        if len(names) != content["counts"][part]:
            raise MamlBenchError(f"{what} states {content['counts'][part]} {part} classes but has {len(names)}")
    digest = content_hash(parts)
    if digest != content["sha256"]:
        raise MamlBenchError(f"{what} does not have the content that its sha256 states")
    return Split(content["name"], parts, digest)


def content_hash(parts: Mapping[str, Sequence[str]]) -> str:
    """Return the sha256 of the lines ``<part> <class>``, in the order of the parts and of their classes."""
    lines = [f"{part} {name}" for part in PARTS for name in parts[part]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def indices(split: Split, part: str, classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where the classes of ``part`` stand in ``classes`` (the stored array's first axis): int64, in split order.

    MamlBenchError if ``part`` is unknown or the data lack one of its classes.
    """
    if part not in split.parts:
        raise MamlBenchError(f"a class split has no part {part!r}{nearest(part, split.parts)}")
    position = {name: index for index, name in enumerate(classes)}
    missing = [name for name in split.parts[part] if name not in position]
    if missing:
        raise MamlBenchError(
            f"the stored data lack {len(missing)} of the {len(split.parts[part])} {part} classes of the split "
            f"{split.name!r}, {missing[0]} for one"
        )
    return np.array([position[name] for name in split.parts[part]], dtype=np.int64)
