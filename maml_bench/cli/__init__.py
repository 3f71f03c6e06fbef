"""The command line: verbs in, sentences, tables and exit codes out. The only package that prints.

Everything heavy is imported inside the verbs, so that ``maml-bench --help`` answers at once.
"""

import os
import sys
from typing import Annotated, NoReturn

import typer

from maml_bench import __version__
from maml_bench.cli import (
    checking,
    comparing,
    data,
    evaluating,
    listing,
    options,
    predicting,
    reading,
    running,
    starting,
    suites,
    tuning,
)  # fmt: skip
from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.net import SHOW_TRACE, of_surroundings, unforeseen
from maml_bench.cli.terminal import notices, open_streams, say_error
from maml_bench.cli.together import together
from maml_bench.errors import CannotWrite, Lost, MamlBenchError
from maml_bench.harness import memory

app = typer.Typer(
    name="maml-bench",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help=(
        "Compare meta-learning setups on one MAML core: accuracy and wall-clock time, from records to figures."
        "\n\nStart with [bold]maml-bench run quickstart[/bold]. A run leaves one record (JSON) per recipe, setup and "
        "seed below ./runs; [bold]report[/bold] makes tables and figures from records, [bold]compare[/bold] tells "
        "whether quality or speed moved."
    ),
)
app.command("list")(listing.list_)
app.command("options")(options.options)
app.add_typer(data.app, name="data")
app.command("run")(running.run)
app.command("suite")(suites.suite)
app.command("tune")(tuning.tune)
app.command("evaluate")(evaluating.evaluate)
app.command("predict")(predicting.predict)
app.command("new")(starting.new)
app.command("check")(checking.check)
app.command("records")(reading.records)
app.command("show")(reading.show)
app.command("report")(reading.report)
app.command("compare")(comparing.compare)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maml-bench {__version__}")
        raise typer.Exit


@app.callback()
def before_the_verb(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options before the verb."""


def main() -> NoReturn:
    """Run the command line and exit with one of the codes in ``exit_codes``."""
    open_streams()
    if sys.argv[1:2] in (["run"], ["suite"], ["tune"], ["evaluate"]):
        memory.retain()
    try:
        with together(), notices():
            app(standalone_mode=True)
    except MamlBenchError as error:
        say_error(str(error))
        codes = {CannotWrite: ExitCode.NOT_WRITTEN, Lost: ExitCode.BAD}
        sys.exit(codes.get(type(error), ExitCode.WRONG_INPUT))
    except KeyboardInterrupt:
        say_error("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        sentence = of_surroundings(error)
        if sentence:
            say_error(sentence)
            sys.exit(ExitCode.NOT_WRITTEN)
        if SHOW_TRACE in os.environ:
            raise
        say_error(unforeseen(error))
        sys.exit(ExitCode.UNFORESEEN)
    sys.exit(ExitCode.DONE)
