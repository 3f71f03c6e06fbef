"""``maml-bench data``: put a data set where the loaders find it, list what is there, verify it."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.terminal import AsJson, counting, keeping, print_json, print_table, say

if TYPE_CHECKING:
    from maml_bench.data.store import Manifest

app = typer.Typer(
    no_args_is_help=True,
    help="Add, download, list and verify data sets. They live in the user's cache folder, or in $MAML_BENCH_DATA.",
)
Name = Annotated[str, typer.Argument(help="Data set: omniglot or mini-imagenet.")]
Keep105 = Annotated[bool, typer.Option("--keep-105", help="Omniglot: keep the 105x105 drawings too (0.3 GB more).")]
Copy = Annotated[
    Path,
    typer.Argument(
        help="Your copy. Omniglot: the two zips, the folder that holds them, or the folders. mini-ImageNet: the folder "
        "of train, val and test (folders or tar archives), of images and csv lists, of pickles, or of HDF5 files."
    ),
]
KEPT = "nothing new is stored, and what was stored before stays as it was"


@app.command()
def add(name: Name, path: Copy, keep_105: Keep105 = False) -> None:
    """Add your own copy of a data set.

    Examples: [cyan]maml-bench data add omniglot ~/Downloads/omniglot[/cyan],
    [cyan]maml-bench data add mini-imagenet ~/Downloads/mini-imagenet[/cyan]
    """
    from maml_bench.data import sources

    source = sources.find(name)
    options = _options(source.add, name, keep_105)
    with keeping(KEPT), counting(f"adding {sources.shown(name)}") as progress:
        manifest = source.add(path, progress=progress, **options)
    _say_stored(manifest)


@app.command()
def download(name: Name, keep_105: Keep105 = False) -> None:
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
    if as_json:
        print_json(
            [
                {
                    "name": sources.shown(name),
                    "stored": name in stored,
                    "fingerprint": stored[name].fingerprint if name in stored else None,
                    "classes": len(stored[name].classes) if name in stored else None,
                    "arrays": sorted(stored[name].arrays) if name in stored else [],
                }
                for name in sources.names()
            ]
        )
        return
    rows = []
    for name in sources.names():
        found = stored.get(name)
        if found is None:
            rows.append([sources.shown(name), "not stored", "", "", ""])
        else:
            size = f"{len(found.classes):,} x {found.examples_per_class}"
            arrays = ", ".join(sorted(found.arrays))
            rows.append([sources.shown(name), size, arrays, found.source, found.fingerprint])
    print_table(str(store.data_home()), ["data set", "classes x examples", "arrays", "read from", "fingerprint"], rows)


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

    say(
        f"{sources.shown(manifest.name)}: {len(manifest.classes):,} classes of {manifest.examples_per_class} examples "
        f"stored in {store.data_home() / manifest.name} (fingerprint {manifest.fingerprint})"
    )
