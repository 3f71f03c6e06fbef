"""Pictures of the user's in classes: a folder of class folders, a CSV file, or a data set in Python.

Nothing is decoded here. Each layout is read as a `Listing`, which says what was ignored, and where each picture is.
"""

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from maml_bench.data.preparation import SUFFIXES, Picture, shown
from maml_bench.errors import MamlBenchError, shortened

PARTS = {
    **{"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"},
    "test": "test",
}
"""The names that folders and CSV files have for the parts of a split, and ours."""


@runtime_checkable
class Dataset(Protocol):
    """A data set as torchvision has them: pairs of a picture and a label; ``classes`` may name the labels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, Any]: ...


Source = str | os.PathLike[str] | Dataset


class Item(NamedTuple):
    """One picture: what it is called in messages, and what reads it."""

    what: str
    read: Callable[[], Picture]


@dataclass(frozen=True)
class OneClass:
    """A class: its name, the part of the split that the layout puts it in, if any, and its pictures in order."""

    name: str
    part: str | None
    items: tuple[Item, ...]


@dataclass
class Listing:
    """What was found: the layout in words, the classes by name, and how many things of each kind were ignored."""

    layout: str
    classes: list[OneClass] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def listed(source: Source) -> Listing:
    """Read the layout of ``source``: a folder, a CSV file, or a data set in Python.

    Raises:
        MamlBenchError: it is none of them, it holds no pictures, or it cannot be read; or its classes have unfit names.
    """
    if isinstance(source, str | os.PathLike):
        try:
            place = Path(source).expanduser()
        except RuntimeError:  # Python's word for a home folder that nobody knows
            raise MamlBenchError(f"{shown(Path(source))} is in no home folder that there is") from None
        if not os.path.lexists(place):
            raise MamlBenchError(f"{shown(place)} does not exist; name a folder of class folders, or a CSV file")
        if place.is_dir():
            found = _of_folder(place)
        elif place.suffix.lower() == ".csv":
            found = _of_csv(place)
        else:
            raise MamlBenchError(f"{shown(place)} is no folder; name a folder of class folders, or a CSV file")
    elif isinstance(source, Dataset):
        place, found = Path("the data set"), _of_dataset(source)
    else:
        raise MamlBenchError(
            f"{shortened(source)} holds no pictures; give a folder, a CSV file, or a data set with __len__ and "
            "__getitem__"
        )
    if not found.classes:
        ignored = f" (ignored: {in_words(found.ignored)})" if found.ignored else ""
        raise MamlBenchError(
            f"{shown(place)} holds no pictures in class folders{ignored}; it must hold a folder for each class, with "
            f"files that end in {', '.join(SUFFIXES)}"
        )
    _refuse_alike(found.classes)
    found.classes.sort(key=lambda one: (one.name, one.part or ""))
    return found


_MANY = {
    "hidden file": "hidden files",
    "symbolic link, which is not followed": "symbolic links, which are not followed",
    "file that is no picture": "files that are no pictures",
    "empty file": "empty files",
    "folder within a class folder": "folders within class folders",
    "picture outside of the class folders": "pictures outside of the class folders",
    "class without pictures": "classes without pictures",
}
"""What a layout can ignore, in words for one and for many."""


def in_words(counts: Counter[str]) -> str:
    """``2 hidden files, 1 empty file`` for numbers of what was ignored."""
    return ", ".join(f"{count:,} {what if count == 1 else _MANY[what]}" for what, count in sorted(counts.items()))


def _of_folder(root: Path) -> Listing:
    """``root/<class>/<picture>``, or with folders of the parts between them."""
    found = Listing("")
    top = _folders(root, found.ignored)
    inside = {folder: _content(folder, found.ignored) for folder in top}
    parts = {
        folder for folder in top if folder.name.lower() in PARTS and inside[folder].folders and not inside[folder].files
    }
    classes = [folder for folder in top if folder not in parts]
    if parts and any(inside[folder].files for folder in classes):
        other = next(folder.name for folder in classes if inside[folder].files)
        raise MamlBenchError(
            f"{shown(root)} holds folders of a split, such as {min(parts).name}, beside {shown(Path(other))}: put "
            "every class into a part, or none"
        )
    if parts:
        found.ignored["class without pictures"] += len(classes)
    else:
        for folder in classes:
            found.ignored["folder within a class folder"] += len(inside[folder].folders)
            _add(found, folder.name, None, shown(folder), _items(inside[folder].files))
    found.layout = "class folders in folders of a split" if parts else "class folders"
    named: dict[str, Path] = {}
    for folder in sorted(parts):
        part = PARTS[folder.name.lower()]
        if part in named:
            raise MamlBenchError(
                f"{shown(root)} holds {named[part].name} and {folder.name}, which are one part: join them"
            )
        named[part] = folder
        for of_class in inside[folder].folders:
            content = _content(of_class, found.ignored)
            found.ignored["folder within a class folder"] += len(content.folders)
            _add(found, of_class.name, part, shown(of_class), _items(content.files))
    found.ignored = +found.ignored
    return found


class _Content(NamedTuple):
    folders: list[Path]
    files: list[Path]


def _folders(root: Path, ignored: Counter[str]) -> list[Path]:
    content = _content(root, ignored)
    ignored["picture outside of the class folders"] += len(content.files)
    return content.folders


def _content(folder: Path, ignored: Counter[str]) -> _Content:
    """The folders and the pictures in a folder, sorted by name. Symbolic links are not followed."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if entry.name.startswith(".") or entry.name in ("__MACOSX", "Thumbs.db", "desktop.ini"):
                    ignored["hidden file"] += 1
                elif entry.is_symlink():
                    ignored["symbolic link, which is not followed"] += 1
                elif entry.is_dir():
                    folders.append(path)
                elif not entry.is_file() or path.suffix.lower() not in SUFFIXES:
                    ignored["file that is no picture"] += 1
                elif entry.stat().st_size == 0:
                    ignored["empty file"] += 1
                else:
                    files.append(path)
    except OSError as error:
        raise MamlBenchError(f"{shown(folder)} cannot be read: {error.strerror}") from None
    return _Content(folders, files)


def _items(files: Iterable[Path]) -> list[Item]:
    return [_item(path, shown(path)) for path in files]


def _item(path: Path, what: str) -> Item:
    return Item(what, lambda: path)


def _of_csv(place: Path) -> Listing:
    """Columns ``path``, ``label`` and, if wanted, ``split``; paths are relative to the folder of the file."""
    found, classes = Listing("a CSV file"), dict[tuple[str, str | None], list[Item]]()
    lines: dict[Path, int] = {}
    for number, row in _rows(place):
        where = f"line {number} of {shown(place)}"
        path, label, split = Path(row["path"]), row["label"].strip(), row.get("split")
        if not row["path"].strip() or not label:
            raise MamlBenchError(f"{where} has no {'label' if row['path'].strip() else 'path'}")
        if path.is_absolute():
            raise MamlBenchError(f"{where} has the absolute path {shown(path)}; paths must be relative to the CSV file")
        whole = Path(os.path.normpath(place.parent / path))
        if whole in lines:
            raise MamlBenchError(f"{where} names {shown(path)} again, which line {lines[whole]} names too")
        lines[whole] = number
        if not whole.is_file():
            raise MamlBenchError(f"{where} names {shown(path)}, but there is no file {shown(whole)}")
        if split is not None and split.strip().lower() not in PARTS:
            raise MamlBenchError(f"{where} has the split {split!r}; it must be train, validation or test")
        part = None if split is None else PARTS[split.strip().lower()]
        classes.setdefault((label, part), []).append(_item(whole, shown(whole)))
    for (label, part), items in classes.items():
        _add(found, label, part, shown(place), items)
    return found


def _rows(place: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with the number of their line."""
    needed = ("path", "label")
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            columns = [str(name).strip().lower() for name in rows.fieldnames or ()]
            missing = [name for name in needed if name not in columns]
            if missing:
                has = f"only {shortened(', '.join(columns))}" if columns else "no columns"
                raise MamlBenchError(
                    f"{shown(place)} has no column {missing[0]!r}, but {has}; it needs path,label and may have split"
                )
            rows.fieldnames = columns
            for row in rows:
                if None in row or None in row.values():
                    raise MamlBenchError(f"line {rows.line_num} of {shown(place)} has not as many fields as the header")
                yield rows.line_num, row
    except UnicodeDecodeError:
        raise MamlBenchError(f"{shown(place)} is not UTF-8") from None
    except csv.Error as error:
        raise MamlBenchError(f"{shown(place)} cannot be read as CSV: {error}") from None
    except OSError as error:
        raise MamlBenchError(f"{shown(place)} cannot be read: {error.strerror}") from None


def _of_dataset(source: Dataset) -> Listing:
    """Pairs of a picture and a label. Where it has as many ``targets``, no picture is read for its label."""
    found, count = Listing("a data set in Python"), len(source)
    targets = getattr(source, "targets", None)
    labels: Sequence[Any] = (
        targets
        if targets is not None and len(targets) == count
        else [_pair(source, index)[1] for index in range(count)]
    )
    names = getattr(source, "classes", None)
    items: dict[str, list[Item]] = {}
    for index, label in enumerate(labels):
        label = label.item() if hasattr(label, "item") else label
        try:
            name = str(label if names is None or isinstance(label, str) else names[label])
        except (IndexError, KeyError, TypeError):
            raise MamlBenchError(
                f"item {index} of the data set has the label {label!r}, which `classes` does not name"
            ) from None
        read = lambda index=index: cast(Picture, _pair(source, index)[0])  # noqa: E731
        items.setdefault(name, []).append(Item(f"item {index} of the data set", read))
    for name, of_class in items.items():
        _add(found, name, None, "the data set", of_class)
    return found


def _pair(source: Dataset, index: int) -> tuple[Any, Any]:
    found: Any = source[index]
    try:
        picture, label = found
    except (TypeError, ValueError):
        raise MamlBenchError(f"item {index} of the data set is no pair of a picture and a label") from None
    return picture, label


def _add(found: Listing, name: str, part: str | None, where: str, items: Sequence[Item]) -> None:
    """Add a class; one without pictures is counted as ignored. MamlBenchError if its name cannot be written."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise MamlBenchError(f"the class name of {where} is not UTF-8: rename it") from None
    if not name.isprintable():
        raise MamlBenchError(f"the class name {name!r} of {where} has characters that cannot be printed: rename it")
    if items:
        found.classes.append(OneClass(unicodedata.normalize("NFC", name), part, tuple(items)))
    else:
        found.ignored["class without pictures"] += 1


def _refuse_alike(classes: Sequence[OneClass]) -> None:
    """Raise MamlBenchError if two class names differ only by case, or in how Unicode writes them."""
    met: dict[str, str] = {}
    places: set[tuple[str, str | None]] = set()
    for one in classes:
        other = met.setdefault(unicodedata.normalize("NFKC", one.name).casefold(), one.name)
        if other != one.name or (one.name, one.part) in places:
            raise MamlBenchError(
                f"the classes {other!r} and {one.name!r} differ only by case, or in how Unicode writes their letters: "
                "join them or rename one"
            )
        places.add((one.name, one.part))
