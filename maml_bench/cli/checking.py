"""``maml-bench check``: whether a user's own code keeps the contracts of the package."""

from dataclasses import asdict
from typing import Annotated

import typer

from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.terminal import AsJson, print_json, put, recipe_names


def check(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A Python file such as ./mine.py, or ./mine.py:Name of it, or a recipe file."
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe that it is checked on. Default: one that fits and needs no data.", autocompletion=recipe_names
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a setup, a family of tasks or a network of your own: shapes, equal results of equal calls, exact gradients.

    What fails is told with file and line and with what to write instead. Exits with 1 if a contract fails.

    Examples: [cyan]maml-bench check ./mine.py[/cyan] ·
    [cyan]maml-bench check ./net.py:Net --recipe omniglot-5w1s[/cyan]
    """
    from maml_bench.contracts.checking import broken, check

    found = check(file, recipe)
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            reason = f"\n    {finding.sentence}" if finding.sentence else ""
            put(f"{finding.status:12} {finding.of}: {finding.contract}{reason}\n")
    if broken(found):
        raise typer.Exit(ExitCode.BAD)
