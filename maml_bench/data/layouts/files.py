"""mini-ImageNet as JPEG files, in folders or tar archives by class, with or without the lists of Ravi & Larochelle."""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from maml_bench.data.layouts.archives import ARCHIVE, WNID, archived, by_folder, by_list, is_image
from maml_bench.data.layouts.found import BY_NAME, SPLITS, Layout, Lists, OneClass, three
from maml_bench.data.layouts.photographs import decode
from maml_bench.errors import MamlBenchError


def jpegs(place: Path, examples: int) -> Layout | None:
    """Return what ``place`` holds of photographs in files; None if there are none.

    Lists say which images count and what their classes are. Without them that is for the folders to say, on disk or in
    archives; of a split that is there as a folder no archive is read.

    Raises:
        MamlBenchError: a list is missing or cannot be read, or lacks its images.
    """
    archives, lists = _archives(place), _lists(place)
    some = f"{len(archives)} tar archives" if len(archives) > 1 else "a tar archive"
    if lists:
        listed = _listed(place, lists)
        if listed:
            return Layout("images with lists", BY_NAME, listed, [])
        if not archives:
            raise MamlBenchError(f"{place} holds lists, but none of the images that they name")
        order = f"{BY_NAME}; which ones, by the lists"
        return Layout(f"{some} with lists", order, [], [archived(path, examples, by_list(lists)) for path in archives])
    listed = [
        _of_files(folder.name, split or None, str(folder), {path.name: path for path in _images(folder)})
        for split in (*SPLITS, "")
        for folder in (sorted((place / split).iterdir()) if (place / split).is_dir() else ())
        if WNID.fullmatch(folder.name) and folder.is_dir()
    ]
    if not listed and not archives:
        return None
    name = "folders" if not archives else f"folders and {some}" if listed else some
    return Layout(name, BY_NAME, listed, [archived(path, examples, by_folder) for path in archives])


def _archives(place: Path) -> list[Path]:
    """Those named after a split that is no folder, or where no folder or archive is, all that there are."""
    folders = tuple(split for split in SPLITS if (place / split).is_dir())
    found = [path for path in sorted(place.iterdir()) if ARCHIVE.search(path.name) and path.is_file()]
    named = [path for path in found if path.name.startswith(tuple(SPLITS))]
    return [path for path in named if not path.name.startswith(folders)] if named or folders else found


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_image(path.name)]


def _of_files(wnid: str, split: str | None, where: str, paths: Mapping[str, Path]) -> OneClass:
    names = sorted(paths)

    def content(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise MamlBenchError(f"{path} cannot be read ({error.strerror})") from None

    return OneClass(
        wnid, split, where, names, lambda: (decode(content(paths[name]), str(paths[name])) for name in names)
    )


def _lists(place: Path) -> Lists:
    """The split and the file names of each class by Ravi & Larochelle's lists; empty if there are none."""
    found: Lists = {}
    for split, path in three(place, "{}.csv").items():
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [(row["filename"], row["label"]) for row in csv.DictReader(file)]
            if not all(name and wnid for name, wnid in rows):
                raise ValueError
        except (KeyError, ValueError, csv.Error):
            raise MamlBenchError(f"{path} is no list with the columns filename and label") from None
        for name, wnid in rows:
            if found.setdefault(wnid, (split, []))[0] != split:
                raise MamlBenchError(f"{wnid} stands in {found[wnid][0]}.csv and again in {split}.csv of {place}")
            found[wnid][1].append(name)
    return found


def _listed(place: Path, lists: Lists) -> list[OneClass]:
    """The listed images, in one folder or in folders by class; empty if there is no folder with any.

    Raises:
        MamlBenchError: some of them are there and some are not.
    """

    @cache
    def names(folder: Path) -> frozenset[str]:
        return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()

    found, lacking = [], ""
    for wnid, (split, wanted) in lists.items():
        places = ("images", "", f"images/{wnid}", wnid, split, f"{split}/{wnid}", f"train/{wnid}")
        paths = {
            name: place / folder / name for folder in reversed(places) for name in names(place / folder) & set(wanted)
        }
        if len(paths) < len(set(wanted)):
            missing = sorted(set(wanted) - set(paths))
            lacking = lacking or (
                f"{place} lacks {len(missing)} of the {len(wanted)} images of {wnid} in {split}.csv, "
                f"{missing[0]} for one"
            )
        if paths:
            one = _of_files(wnid, split, f"{split}.csv of {place}", paths)
            found.append(one._replace(names=sorted(wanted)))  # a name listed twice is still there
    if found and lacking:
        raise MamlBenchError(lacking)
    return found
