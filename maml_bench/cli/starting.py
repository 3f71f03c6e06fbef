"""``maml-bench new``: a file to start one's own code from."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from maml_bench.cli.terminal import say

KINDS = {"setup": "my_setup.py", "tasks": "my_tasks.py", "network": "my_network.py", "recipe": "my_recipe.toml"}
"""The template of each kind of file."""


def new(
    kind: Annotated[str, typer.Argument(metavar="setup|tasks|network|recipe", help="What the file is to define.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name, such as my_waves; the file is named after it.")
    ],
) -> None:
    """Write a short file with comments into the current folder that runs at once: a setup, a family of tasks, a network
    or a recipe of your own.

    Examples: [cyan]maml-bench new setup my_method[/cyan] · [cyan]maml-bench new tasks my_waves[/cyan]
    """
    from maml_bench.errors import MamlBenchError, nearest
    from maml_bench.files import atomic_write, refuse_unfit_name
    from maml_bench.harness.catalogue import names_in, recipe_entries

    if kind not in KINDS:
        raise MamlBenchError(f"{kind!r} is nothing to start{nearest(kind, KINDS)}")
    refuse_unfit_name(name, "the name")
    if kind != "recipe" and not name.isidentifier():
        raise MamlBenchError(f"the name {name!r} must be letters, digits and '_', and begin with a letter")
    taken = {"setup": names_in("setups"), "tasks": names_in("tasks"), "recipe": [one.name for one in recipe_entries()]}
    if name in taken.get(kind, []):
        raise MamlBenchError(f"{name!r} is the name of a {kind} of this package: take another one")
    template = KINDS[kind]
    old, suffix = Path(template).stem, Path(template).suffix
    path = Path(name + suffix)
    if path.exists():
        raise MamlBenchError(f"{path} is there already: take another name, or remove it")
    text = resources.files("maml_bench.templates").joinpath(template).read_text(encoding="utf-8")
    text = text.replace(old, name).replace(_camel(old), _camel(name))
    atomic_write(path, text)
    command = next(line.partition(":")[2].strip() for line in text.splitlines() if "maml-bench run " in line)
    say(f"wrote {path}; this runs it: {command}")


def _camel(name: str) -> str:
    """``my_setup`` as ``MySetup``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
