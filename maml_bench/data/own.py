"""Data sets of the user's: any pictures in classes, stored once as arrays ``train``, ``validation`` and ``test``.

Each array is uint8 ``[image, C, H, W]`` in the order of its classes, which may differ in size. Beside the arrays lies
``split.json``, the class split, which can be passed on.
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from maml_bench.data import sources, store
from maml_bench.data.class_draws import ChosenSplit, split
from maml_bench.data.disk import Array
from maml_bench.data.kept_pictures import KeptPictures, kept_pictures
from maml_bench.data.layouts.pictures import Item, Listing, Source, in_words, listed
from maml_bench.data.preparation import Picture, Preparation, quiet
from maml_bench.data.threads import each
from maml_bench.errors import MamlBenchError, Notice, nearest, some
from maml_bench.files import refuse_unfit_name

USUAL_WAY = 5
"""The number of classes of a task in the recipes of this package."""
RESERVED = ("torchmeta",)
"""Names of folders that have another meaning in the data folder."""


class Seen(NamedTuple):
    """What was met while pictures were decoded: a hash of the pixels of each, and how many of each kind there were."""

    digests: list[bytes]
    notes: Counter[str]


def add(
    name: str,
    source: Source,
    *,
    how: Preparation | None = None,
    split_file: Path | None = None,
    parts: Sequence[float] | None = None,
    seed: int | None = None,
    allow_duplicates: bool = False,
    progress: store.Progress | None = None,
) -> store.Manifest:
    """Store the pictures of ``source`` as the data set ``name``, in place of what was stored under it before.

    A call that does not end well keeps the files that it decoded, and the next call for ``name`` goes on from there.

    Args:
        name: any name that can be a part of a file name, other than those of data sets that this package knows.
        source: a folder of class folders, a CSV file with the columns path, label and perhaps split, or a data set in
            Python with ``__len__`` and ``__getitem__``, which returns a picture and its label.
        how: the size, the colours, and the way to resize.
        split_file: a class split; see `data.class_draws.split`, also for ``parts`` and ``seed``.
        allow_duplicates: whether two parts may hold pictures that are the same.
        progress: counts pictures, then bytes hashed.

    A `Notice` tells what was ignored, left out or converted.

    Raises:
        MamlBenchError: the name is taken or unfit; a picture is damaged; two parts hold the same picture; there are too
            few classes; or the store cannot be written.
    """
    refuse_taken(name)
    how = how or Preparation()
    try:
        listing = listed(source)
    except MamlBenchError as error:
        hint = nearest(name, map(sources.shown, sources.names()))
        raise MamlBenchError(f"{error}{hint if 'did you mean' in hint else ''}") from None
    chosen = split(listing, file=split_file, parts=parts, seed=seed)
    with store.drafting(name) as draft, kept_pictures(store.data_home(), name, how) as kept:
        shape = (how.channels, how.size, how.size)
        sizes = {part: [len(one.items) for one in classes] for part, classes in chosen.parts.items() if classes}
        files = {part: draft.array(part, (sum(of_part), *shape)) for part, of_part in sizes.items()}
        places = [(file, row) for file in files.values() for row in range(file.shape[0])]

        def put(place: int, pixels: Array) -> None:
            file, row = places[place]
            file.fill(row, pixels)

        seen = decoded(items_of(chosen), how, put, progress, kept)
        told = [f"an earlier call had already read {kept.found:,} of the pictures"] if kept.found else []
        told += [*about(listing, chosen, seen), *repeated(chosen, seen.digests, allow_duplicates), *_too_small(chosen)]
        draft.text(store.SPLIT, json.dumps(chosen.content(name), indent=1) + "\n")
        manifest = draft.finish(
            version=store.OWN_VERSION,
            source=listing.layout,
            classes=sorted(label for names in chosen.names.values() for label in names),
            how={part: _how(how, seen.notes, chosen) for part in files},
            own={part: chosen.names[part] for part in files},
            sizes=sizes,
            preparation={"size": how.size, "colour": how.colour, "resize": how.resize},
            progress=progress,
        )
    for sentence in told:
        warnings.warn(f"{name}: {sentence}", Notice, stacklevel=2)
    return manifest


def refuse_taken(name: str) -> None:
    """Raise MamlBenchError if ``name`` cannot be that of a user's data set."""
    refuse_unfit_name(name, "the data set")
    alike = name.casefold()
    if sources.is_known(alike) or alike in RESERVED or alike.endswith(".toml"):
        raise MamlBenchError(f"the name {name!r} has a meaning of its own here: choose another name for your data set")


def items_of(chosen: ChosenSplit) -> list[Item]:
    """The pictures of all parts, in the order in which they are stored."""
    return [item for classes in chosen.parts.values() for one in classes for item in one.items]


def decoded(
    items: Sequence[Item],
    how: Preparation,
    put: Callable[[int, Array], None],
    progress: store.Progress | None = None,
    kept: KeptPictures | None = None,
) -> Seen:
    """Prepare every picture on all cores and give its place and its pixels to ``put``, which threads call at once.

    Files that are in ``kept`` are not decoded again, and those that are decoded are put there.

    Raises:
        MamlBenchError: a picture cannot be read or decoded.
    """
    seen = Seen([b""] * len(items), Counter())

    def work(found: tuple[int, Item, Picture]) -> tuple[int, bytes, tuple[str, ...]]:
        place, item, picture = found
        file = picture if isinstance(picture, Path) else None
        prepared = kept.get(file) if kept and file else None
        if prepared is None:
            prepared = how.prepared(picture, item.what)
            if kept and file:
                kept.put(file, prepared)
        put(place, prepared.pixels)
        return place, hashlib.blake2b(prepared.pixels.data, digest_size=16).digest(), prepared.notes

    def stream() -> Iterator[tuple[int, Item, Picture]]:  # one thread reads it, so a data set need not be thread-safe
        for place, item in enumerate(items):
            yield place, item, item.read()

    with quiet(), closing(each([stream()], work)) as done:
        for count, (place, digest, notes) in enumerate(done, 1):
            seen.digests[place] = digest
            seen.notes.update(notes)
            if progress:
                progress(count, len(items), "reading images")
    return seen


def about(listing: Listing, chosen: ChosenSplit, seen: Seen) -> list[str]:
    """Sentences about what was ignored, left out and converted."""
    found = [f"ignored: {in_words(listing.ignored)}"] if listing.ignored else []
    found += chosen.notes
    return found + ([f"images {_converted(seen.notes)}"] if seen.notes else [])


def _too_small(chosen: ChosenSplit) -> list[str]:
    """A sentence about parts that have fewer classes than tasks of the recipes."""
    few = {part: len(classes) for part, classes in chosen.parts.items() if 0 < len(classes) < USUAL_WAY}
    if not few:
        return []
    count = sum(map(len, chosen.parts.values()))
    better = f", such as --parts {count - 2 * USUAL_WAY},{USUAL_WAY},{USUAL_WAY}" if count >= 3 * USUAL_WAY else ""
    parts = " and ".join(f"{classes} {part} {'class' if classes == 1 else 'classes'}" for part, classes in few.items())
    return [f"there are only {parts}, too few for the usual tasks of {USUAL_WAY} classes; take larger parts{better}"]


def repeated(chosen: ChosenSplit, digests: Sequence[bytes], allowed: bool) -> list[str]:
    """Sentences about pictures that are the same after they were prepared.

    Raises:
        MamlBenchError: two are in different parts, and this is not ``allowed``.
    """
    places = [
        (part, one.name, item.what) for part, classes in chosen.parts.items() for one in classes for item in one.items
    ]
    first: dict[bytes, int] = {}
    across, between, within = [], 0, 0
    for place, digest in enumerate(digests):
        other = first.setdefault(digest, place)
        if other == place:
            continue
        if places[other][0] != places[place][0]:
            across.append(f"{places[other][2]} ({places[other][0]}) and {places[place][2]} ({places[place][0]})")
        elif places[other][1] != places[place][1]:
            between += 1
        else:
            within += 1
    told = []
    if across:
        leak = f"two parts hold the same picture, so that the test is not of new ones: {some(across, 3, '; ')}"
        if not allowed:
            raise MamlBenchError(f"{leak}; remove one of each, or allow it with `--allow-duplicates`")
        told.append(leak)
    if between:
        told.append(f"pictures that are the same as one of another class of their part: {between:,}")
    if within:
        told.append(f"pictures that are the same as another one of their class: {within:,}")
    return told


def _converted(notes: Counter[str]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in sorted(notes.items()))


def _how(how: Preparation, notes: Counter[str], chosen: ChosenSplit) -> str:
    words = {"crop": "central square", "stretch": "whole picture, proportions not kept", "pad": "black bars added"}
    colour = "RGB" if how.colour == "rgb" else "grey"
    done = f"; {_converted(notes)} (all parts)" if notes else ""
    scaled = f"{how.size}x{how.size} {colour} by PIL's Lanczos filter, {words[how.resize]}"
    return f"{scaled}{done}; classes {chosen.rule}"
