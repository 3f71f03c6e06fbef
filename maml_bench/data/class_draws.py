"""Which classes of a user's data set are for training, validation and test: by its layout, by a file, or drawn."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml_bench.data.draws import choose, key_of, words_by_draw
from maml_bench.data.layouts.pictures import Listing, OneClass
from maml_bench.data.preparation import shown
from maml_bench.data.splits import PARTS, content_hash, parse
from maml_bench.errors import MamlBenchError, nearest, some
from maml_bench.files import read_bytes

DEFAULT_PARTS = (0.64, 0.16, 0.2)
"""The fractions of classes for training, validation and test, as those of mini-ImageNet."""
LEAST_IMAGES = 2
"""A class with fewer images is left out: an episode needs one for the support and one for the query."""


@dataclass(frozen=True)
class ChosenSplit:
    """The classes of each part, the rule they were chosen by, and sentences about what was left out."""

    rule: str
    parts: dict[str, list[OneClass]]
    notes: tuple[str, ...]

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of the classes of each part."""
        return {part: [one.name for one in classes] for part, classes in self.parts.items()}

    def content(self, dataset: str) -> dict[str, Any]:
        """The content of a split file, which `split` reads and `splits.parse` checks."""
        names = self.names
        counts = {part: len(of_part) for part, of_part in names.items()}
        stated = {"dataset": dataset, "name": "own", "rule": self.rule, "counts": counts}
        return {**stated, "sha256": content_hash(names), **names}


def numbers_of(text: str) -> tuple[float, ...]:
    """``0.64,0.16,0.2`` or ``60,16,20`` as three fractions, or three whole numbers.

    Raises:
        MamlBenchError: it is neither.
    """
    words = [word.strip() for word in text.split(",")]
    try:
        found = tuple(int(word) if word.isdecimal() else float(word) for word in words)
    except ValueError:
        found = ()
    if len(found) != len(PARTS):
        raise MamlBenchError(
            f"the parts are {text!r}, but must be three numbers of classes such as 60,16,20, or three fractions such "
            "as 0.64,0.16,0.2 (training, validation, test)"
        )
    return found


def split(
    listing: Listing, *, file: Path | None = None, parts: Sequence[float] | None = None, seed: int | None = None
) -> ChosenSplit:
    """Split the classes of ``listing`` by ``file``, or draw ``parts``; by default as its layout says, or else drawn.

    Where the layout is not asked, the pictures that it has of one class in several parts are joined. Classes with fewer
    than two pictures are left out.

    Args:
        listing: the classes that there are.
        file: a split file, in the format of maml_bench/data/class_splits.
        parts: three numbers of classes, or three fractions of them.
        seed: of the draw; the default is 0.

    Raises:
        MamlBenchError: nothing is drawn, but a seed is given; a class is in two parts; the file lacks something or
            names a class that is not there; or there are too few classes.
    """
    if file is not None and parts is not None:
        raise MamlBenchError("a split is read from a file or drawn: name a split file or parts, not both")
    by_layout = any(one.part for one in listing.classes) and file is None and parts is None
    if seed is not None and (by_layout or file is not None):
        said_by = f"the {listing.layout}" if by_layout else shown(file or Path())
        raise MamlBenchError(f"the seed {seed} has no effect, because the parts are given by {said_by}")
    if by_layout:
        classes, notes = _large_enough(listing.classes)
        _refuse_in_two_parts(classes)
        return ChosenSplit(
            f"the parts that the {listing.layout} name",
            {part: [one for one in classes if one.part == part] for part in PARTS}, notes,
        )  # fmt: skip
    classes, notes = _large_enough(_joined(listing.classes))
    if file is not None:
        return _by_file(classes, file, notes)
    return _drawn(classes, DEFAULT_PARTS if parts is None else parts, seed or 0, notes)


def _large_enough(classes: Sequence[OneClass]) -> tuple[list[OneClass], tuple[str, ...]]:
    """The classes that are not left out, and a sentence about those that are."""
    found = [one for one in classes if len(one.items) >= LEAST_IMAGES]
    small = [one.name for one in classes if len(one.items) < LEAST_IMAGES]
    if not small:
        return found, ()
    if not found:
        raise MamlBenchError(
            f"none of the {len(small)} classes has {LEAST_IMAGES} images or more, which an episode needs"
        )
    return found, (f"left out, because they have fewer than {LEAST_IMAGES} images: {some(small)}",)


def _joined(classes: Sequence[OneClass]) -> list[OneClass]:
    """One class of each name, with the pictures of all parts."""
    found: dict[str, OneClass] = {}
    for one in classes:
        before = found[one.name].items if one.name in found else ()
        found[one.name] = OneClass(one.name, None, (*before, *one.items))
    return list(found.values())


def _refuse_in_two_parts(classes: Sequence[OneClass]) -> None:
    owner: dict[str, str | None] = {}
    for one in classes:
        if one.name in owner:
            raise MamlBenchError(
                f"the class {one.name!r} is in {owner[one.name]} and again in {one.part}, but a class belongs to one "
                "part alone, because the test is on new classes: draw a split by class instead, with `--parts "
                f"{','.join(map(str, DEFAULT_PARTS))}`, which joins the pictures of a class"
            )
        owner[one.name] = one.part


def _by_file(classes: Sequence[OneClass], file: Path, notes: tuple[str, ...]) -> ChosenSplit:
    content = _content(file)
    by_name = {one.name: one for one in classes}
    parts = {}
    for part in PARTS:
        missing = [name for name in content[part] if name not in by_name]
        if missing:
            raise MamlBenchError(
                f"the split file {shown(file)} has the {part} class {missing[0]!r}, which the data lack or have fewer "
                f"than {LEAST_IMAGES} images of{nearest(missing[0], by_name) if len(by_name) < 20 else ''}"
            )
        parts[part] = [by_name[name] for name in sorted(content[part])]
    left = len(classes) - sum(map(len, parts.values()))
    if left:
        notes += (f"{left} of {len(classes)} classes are in no part of {shown(file)}, so they are not stored",)
    return ChosenSplit(str(content["rule"]), parts, notes)


def _content(file: Path) -> dict[str, Any]:
    """The content of a split file of the user's, whose counts and hash may be missing."""
    wrong = f"the split file {shown(file)} must be JSON with the lists train, validation and test of class names"
    try:
        content = json.loads(read_bytes(file).decode("utf-8-sig"))
    except OSError as error:
        raise MamlBenchError(f"the split file {shown(file)} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise MamlBenchError(wrong) from None
    if not isinstance(content, dict) or not all(_are_texts(content.get(part)) for part in PARTS):
        raise MamlBenchError(wrong)
    if not any(content[part] for part in PARTS):
        raise MamlBenchError(f"the split file {shown(file)} has no classes")
    stated: dict[str, Any] = {
        "dataset": "a data set",
        "name": file.stem,
        "rule": f"the split file {file.name}",
    } | content
    stated |= {"counts": content.get("counts") or {part: len(content[part]) for part in PARTS}}
    stated |= {"sha256": content.get("sha256") or content_hash({part: content[part] for part in PARTS})}
    if not isinstance(stated["counts"], Mapping) or not set(PARTS) <= set(stated["counts"]):
        raise MamlBenchError(wrong)
    parse(stated)
    return stated | {part: [unicodedata.normalize("NFC", name) for name in stated[part]] for part in PARTS}


def _are_texts(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _drawn(classes: Sequence[OneClass], parts: Sequence[float], seed: int, notes: tuple[str, ...]) -> ChosenSplit:
    """The classes in an order that depends on the seed and on how many there are, cut into parts, which are sorted."""
    counts = _counts(len(classes), parts)
    order = choose(words_by_draw(key_of("class split", seed), 0, 1, len(classes)), len(classes))[:, 0]
    found, start = {}, 0
    for part, count in zip(PARTS, counts, strict=True):
        found[part] = [classes[place] for place in sorted(order[start : start + count].tolist())]
        start += count
    if start < len(classes):
        notes += (f"{len(classes) - start} of {len(classes)} classes are in no part, so they are not stored",)
    shares = "/".join(map(str, counts))
    return ChosenSplit(f"drawn by class: {shares} of {len(classes)} classes, seed {seed}", found, notes)


def _counts(classes: int, parts: Sequence[float]) -> list[int]:
    """How many classes each part gets. A part whose fraction is not 0 gets one at least."""
    shown_parts = ",".join(map(str, parts))
    if len(parts) != len(PARTS) or not all(part >= 0 for part in parts) or not any(parts):
        raise MamlBenchError(f"the parts are {shown_parts}, but must be three numbers of at least 0, and not all 0")
    if all(isinstance(part, int) for part in parts):
        counts = [int(part) for part in parts]
        if sum(counts) > classes:
            raise MamlBenchError(
                f"the parts {shown_parts} need {sum(counts)} classes with at least {LEAST_IMAGES} images each, but "
                f"there are {classes}"
            )
        return counts
    if sum(parts) > 1 + 1e-9:
        raise MamlBenchError(
            f"the parts {shown_parts} are fractions of the classes, but their sum is {sum(parts):g}, not 1"
        )
    counts = [int(part * classes + 1e-9) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda place: counts[place] - parts[place] * classes)
    for place in by_rest[: round(sum(parts) * classes) - sum(counts)]:
        counts[place] += 1
    for place, part in enumerate(parts):
        if part and not counts[place]:
            largest = counts.index(max(counts))
            if counts[largest] < 2:
                raise MamlBenchError(
                    f"{classes} {'class' if classes == 1 else 'classes'} with at least {LEAST_IMAGES} images cannot "
                    f"fill the parts {shown_parts}; to make all of them test classes, say `--parts 0,0,{classes}`"
                )
            counts[largest], counts[place] = counts[largest] - 1, 1
    return counts
