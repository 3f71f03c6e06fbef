"""``maml-bench data``: put a data set where the loaders find it, list what is there, verify it."""

from pathlib import Path
from typing import Annotated

import typer

from maml_bench.cli.terminal import AsJson, counting, print_json, print_table, say

app = typer.Typer(
    no_args_is_help=True,
    help="Add, download, list and verify data sets. They live in the user's cache folder, or in $MAML_BENCH_DATA.",
)
Name = Annotated[str, typer.Argument(help="Data set, such as omniglot.")]
Keep105 = Annotated[bool, typer.Option("--keep-105", help="Keep the 105x105 drawings too (0.3 GB more).")]


@app.command()
def add(
    name: Name,
    path: Annotated[Path, typer.Argument(help="Your copy: the two zips, the folder that holds them, or the folders.")],
    keep_105: Keep105 = False,
) -> None:
    """Add your own copy of a data set.

    Example: [cyan]maml-bench data add omniglot ~/Downloads/omniglot[/cyan]
    """
    from maml_bench.data import sources, store

    source = sources.find(name)
    with counting(f"adding {name}") as progress:
        manifest = source.add(path, progress=progress, **_options(keep_105))
    _say_stored(manifest, store.data_home())


@app.command()
def download(name: Name, keep_105: Keep105 = False) -> None:
    """Download a data set from its public home, check it and add it."""
    from maml_bench.data import sources, store

    source = sources.find(name)
    with counting(f"downloading {name}") as progress:
        manifest = source.download(progress=progress, **_options(keep_105))
    _say_stored(manifest, store.data_home())


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List what is stored, and what could be."""
    from maml_bench.data import sources, store

    stored = {manifest.name: manifest for manifest in store.stored()}
    if as_json:
        print_json(
            [
                {
                    "name": name,
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
            rows.append([name, "not stored", "", "", ""])
        else:
            size = f"{len(found.classes):,} x {found.examples_per_class}"
            rows.append([name, size, ", ".join(sorted(found.arrays)), found.source, found.fingerprint])
    print_table(str(store.data_home()), ["data set", "classes x examples", "arrays", "read from", "fingerprint"], rows)


@app.command()
def verify(name: Annotated[str | None, typer.Argument(help="Data set; default: all that are stored.")] = None) -> None:
    """Recount and re-hash stored data against their manifest."""
    from maml_bench.data import store
    from maml_bench.errors import MamlBenchError

    names = [name] if name else [manifest.name for manifest in store.stored()]
    if not names:
        raise MamlBenchError(f"nothing is stored in {store.data_home()}: add data with `maml-bench data add NAME PATH`")
    for each in names:
        with counting(f"verifying {each}") as progress:
            manifest = store.verify(each, progress)
        say(f"{each}: {len(manifest.classes):,} classes, {len(manifest.arrays)} arrays, all as in the manifest")


def _options(keep_105: bool) -> dict[str, bool]:
    """Only what was asked for: not every source has every option."""
    return {"keep_105": True} if keep_105 else {}


def _say_stored(manifest: object, home: Path) -> None:
    from maml_bench.data.store import Manifest

    assert isinstance(manifest, Manifest)
    say(
        f"{manifest.name}: {len(manifest.classes):,} classes of {manifest.examples_per_class} examples stored in "
        f"{home / manifest.name} (fingerprint {manifest.fingerprint})"
    )
