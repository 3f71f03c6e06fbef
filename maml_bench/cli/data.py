"""``maml-bench data``: put a data set where the loaders find it, list what is there, verify it."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.terminal import AsJson, counting, keeping, print_json, print_table, say

if TYPE_CHECKING:
    from maml_bench.data.store import Manifest

app = typer.Typer(
    no_args_is_help=True,
    help="Add, download, list, verify and remove data sets. They live in the user's cache folder, or in "
    "$MAML_BENCH_DATA.\n\nYour own images: put them into one folder for each class, then "
    "[cyan]maml-bench data add birds FOLDER[/cyan] and [cyan]maml-bench run images-5w1s --data birds[/cyan].",
)
Name = Annotated[
    str, typer.Argument(help="Data set: omniglot, mini-imagenet, or a name that you choose for your own images.")
]
Known = Annotated[str, typer.Argument(help="Data set: omniglot or mini-imagenet.")]
Keep105 = Annotated[bool, typer.Option("--keep-105", help="Omniglot: keep the 105x105 drawings too (0.3 GB more).")]
Copy = Annotated[
    Path,
    typer.Argument(
        help="Your own images: a folder of class folders, perhaps within folders train, val and test; or a CSV file "
        "with the columns path, label and perhaps split. Omniglot: the two zips, the folder that holds them, or the "
        "folders. mini-ImageNet: the folder of train, val and test (folders or tar archives), of images and csv lists, "
        "of pickles, or of HDF5 files."
    ),
]
KEPT = "nothing new is stored, and what was stored before stays as it was"
KEPT_PICTURES = f"{KEPT}; the pictures that were read are kept, and the same command continues from there"
OWN = "Your own images"


@app.command()
def add(
    name: Name,
    path: Copy,
    keep_105: Keep105 = False,
    size: Annotated[
        int | None, typer.Option(help="Height and width in pixels. Default: 84.", rich_help_panel=OWN)
    ] = None,
    colour: Annotated[str | None, typer.Option(help="rgb or grey. Default: rgb.", rich_help_panel=OWN)] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            help="crop takes the central square, stretch changes the proportions, pad adds black bars. Default: crop.",
            rich_help_panel=OWN,
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Class split: JSON with the lists train, validation and test.", rich_help_panel=OWN
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Draw the split by class: fractions, or numbers of classes such as 60,16,20, for training, validation "
            "and test. Default: the parts of the folders or of the CSV file, else 0.64,0.16,0.2.",
            rich_help_panel=OWN,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of that draw. Default: 0.", rich_help_panel=OWN)] = None,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Let two parts hold the same picture.", rich_help_panel=OWN)
    ] = False,
) -> None:
    """Add your own images, or your own copy of Omniglot or mini-ImageNet.

    Examples: [cyan]maml-bench data add birds ~/pictures/birds[/cyan] ·
    [cyan]maml-bench data add birds birds.csv --parts 60,16,20 --seed 1[/cyan] ·
    [cyan]maml-bench data add omniglot ~/Downloads/omniglot[/cyan] ·
    [cyan]maml-bench data add mini-imagenet ~/Downloads/mini-imagenet[/cyan]
    """
    from maml_bench.data import sources

    given = {
        "--size": size, "--colour": colour, "--resize": resize, "--split": split, "--parts": parts, "--seed": seed,
        "--allow-duplicates": allow_duplicates or None,
    }  # fmt: skip
    if not sources.is_known(name):
        _options(lambda: None, name, keep_105)
        _say_stored(_add_own(name, path, {option: value for option, value in given.items() if value is not None}))
        return
    from maml_bench.errors import MamlBenchError

    for option, value in given.items():
        if value is not None:
            raise MamlBenchError(f"{option} is an option of your own images, not of {sources.shown(name)}")
    source = sources.find(name)
    options = _options(source.add, name, keep_105)
    with keeping(KEPT), counting(f"adding {sources.shown(name)}") as progress:
        manifest = source.add(path, progress=progress, **options)
    _say_stored(manifest)


def _add_own(name: str, path: Path, given: dict[str, Any]) -> "Manifest":
    """Store the user's own images with the options that are given."""
    from maml_bench.data import own
    from maml_bench.data.class_draws import numbers_of
    from maml_bench.data.preparation import Preparation

    how = Preparation(**{field: given[f"--{field}"] for field in ("size", "colour", "resize") if f"--{field}" in given})
    with keeping(KEPT_PICTURES), counting(f"adding {name}") as progress:
        return own.add(
            name, path, how=how, split_file=given.get("--split"),
            parts=numbers_of(given["--parts"]) if "--parts" in given else None, seed=given.get("--seed"),
            allow_duplicates="--allow-duplicates" in given, progress=progress,
        )  # fmt: skip


def at_a_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty()


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Data set, see [cyan]maml-bench data list[/cyan].")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a stored data set. The files that it was made from stay.

    Example: [cyan]maml-bench data remove birds --yes[/cyan]
    """
    from maml_bench.data import sources, store
    from maml_bench.errors import MamlBenchError

    shown, place = sources.shown(name), store.place(name)
    if not yes:
        if not at_a_terminal():
            raise MamlBenchError(f"{place} would be removed: say --yes to do so")
        if not typer.confirm(f"Remove {place}?", err=True):
            raise typer.Exit(ExitCode.INTERRUPTED)
    store.remove(name)
    say(f"{shown}: removed from {store.data_home()}")


@app.command()
def download(name: Known, keep_105: Keep105 = False) -> None:
    """Download a data set from its public home, check it and add it."""
    from maml_bench.data import sources
    from maml_bench.errors import MamlBenchError

    source = sources.find(name)
    if not hasattr(source, "download"):
        shown = sources.shown(name)
        raise MamlBenchError(
            f"{shown} has no public home to download it from; add your copy with `maml-bench data add {shown} PATH`"
        )
    options = _options(source.download, name, keep_105)
    with keeping(KEPT), counting(f"downloading {sources.shown(name)}") as progress:
        manifest = source.download(progress=progress, **options)
    _say_stored(manifest)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List what is stored, and what could be."""
    from maml_bench.data import sources, store

    stored = {manifest.name: manifest for manifest in store.stored()}
    names = [*sources.names(), *(name for name in stored if not sources.is_known(name))]
    if as_json:
        print_json([_in_json(name, stored.get(name)) for name in names])
        return
    rows = []
    for name in names:
        found = stored.get(name)
        if found is None:
            rows.append([sources.shown(name), "not stored", "", "", "", ""])
        else:
            arrays = ", ".join(sorted(found.arrays))
            rows.append([sources.shown(name), *_counts(found), arrays, found.source, found.fingerprint])
    columns = ["data set", "classes", "images of each", "arrays", "read from", "fingerprint"]
    print_table(str(store.data_home()), columns, rows)


def _counts(found: "Manifest") -> tuple[str, str]:
    """The number of classes of a stored data set, and how many images they have."""
    sizes = _sizes(found)
    each = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    return f"{len(found.classes):,}", each


def _sizes(found: "Manifest") -> tuple[int, ...]:
    """The number of images of each class of a stored data set; arrays without own classes have the same ones."""
    own = [array for array, info in found.arrays.items() if info.classes is not None]
    return sum((found.sizes_of(array) for array in own or list(found.arrays)[:1]), ())


def _in_json(name: str, found: "Manifest | None") -> dict[str, Any]:
    from maml_bench.data import sources

    sizes = _sizes(found) if found else ()
    return {
        "name": sources.shown(name),
        "stored": found is not None,
        "fingerprint": found.fingerprint if found else None,
        "classes": len(found.classes) if found else None,
        "images": sum(sizes) if found else None,
        "images_per_class": [min(sizes), max(sizes)] if found else None,
        "arrays": sorted(found.arrays) if found else [],
    }


@app.command()
def verify(name: Annotated[str | None, typer.Argument(help="Data set; default: all that are stored.")] = None) -> None:
    """Recount and re-hash stored data against their manifest."""
    from maml_bench.data import sources, store
    from maml_bench.errors import MamlBenchError

    names = [sources.shown(each) for each in ([name] if name else [manifest.name for manifest in store.stored()])]
    if not names:
        raise MamlBenchError(f"nothing is stored in {store.data_home()}: add data with `maml-bench data add NAME PATH`")
    for each in names:
        with counting(f"verifying {each}") as progress:
            manifest = store.verify(each, progress)
        say(f"{each}: {len(manifest.classes):,} classes, {len(manifest.arrays)} arrays, all as in the manifest")


def _options(function: Callable[..., Any], name: str, keep_105: bool) -> dict[str, bool]:
    """Only what was asked for: not every source has every option."""
    from maml_bench.errors import MamlBenchError

    if keep_105 and "keep_105" not in inspect.signature(function).parameters:
        raise MamlBenchError(f"--keep-105 is an option of omniglot, not of {name}")
    return {"keep_105": True} if keep_105 else {}


def _say_stored(manifest: "Manifest") -> None:
    from maml_bench.data import sources, store
    from maml_bench.data.own import USUAL_WAY
    from maml_bench.data.splits import PARTS

    classes, each = _counts(manifest)
    folder = store.data_home() / manifest.name
    say(
        f"{sources.shown(manifest.name)}: {classes} classes of {each} examples stored in {folder} (fingerprint "
        f"{manifest.fingerprint})"
    )
    if manifest.preparation is not None:
        sizes = {part: len(manifest.classes_of(part)) for part in manifest.arrays}
        parts = ", ".join(f"{size} {part}" for part, size in sizes.items())
        say(f"the split ({parts} classes) is in {folder / store.SPLIT}")
        if all(sizes.get(part, 0) >= USUAL_WAY for part in PARTS):
            say(f"run it with `maml-bench run images-5w1s --data {manifest.name}`")
        elif sizes.get("test", 0) >= USUAL_WAY:
            say(f"test on it with `maml-bench run images-5w1s --data OTHER --test-data {manifest.name}`")
