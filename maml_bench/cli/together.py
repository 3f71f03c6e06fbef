"""A command that torchrun started in several processes: the first one runs it, and the others follow."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from maml_bench.cli.exit_codes import ExitCode
from maml_bench.cli.net import SHOW_TRACE, of_surroundings, unforeseen
from maml_bench.cli.terminal import say_error
from maml_bench.errors import Lost, MamlBenchError
from maml_bench.harness.torchrun import Place, place

UNTIL_SAID_S = 10.0
"""Seconds that the others leave to the first process to say what is wrong. torchrun ends all as soon as one has ended.
"""


@contextmanager
def together() -> Iterator[None]:
    """The block in which the first of the processes runs the command; the others end here, when it has ended.

    Without torchrun, the block is run and nothing else happens.

    Raises:
        MamlBenchError: torchrun started another command than ``run``; or the processes cannot reach each other.
    """
    here = place()
    if here is None:
        yield
        return
    if sys.argv[1:2] != ["run"]:
        if here.rank:
            from maml_bench.harness.clock import pause

            pause(UNTIL_SAID_S)
            sys.exit(ExitCode.WRONG_INPUT)
        raise MamlBenchError(
            "torchrun can start only `maml-bench run`, whose meta-batches its processes divide: give this command "
            "without torchrun"
        )
    if here.rank:
        _follow(here)
    from maml_bench.harness.team import team

    leader = team()
    assert leader is not None
    try:
        yield
    finally:
        with suppress(Lost):
            leader.end()


def _follow(here: Place) -> NoReturn:
    """Take part in the runs of the first process. Only what went wrong in this process alone is said."""
    warnings.simplefilter("ignore")
    try:
        from maml_bench.harness.executors.torchrun import follow
        from maml_bench.harness.team import team

        one = team()
        assert one is not None
        follow(one)
    except Lost:  # whoever ended first says why
        sys.exit(ExitCode.BAD)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        known = str(error) if isinstance(error, MamlBenchError) else of_surroundings(error)
        if known is None and SHOW_TRACE in os.environ:
            raise
        say_error(f"{here.title}: {known or unforeseen(error)}")
        sys.exit(ExitCode.BAD if known else ExitCode.UNFORESEEN)
    sys.exit(ExitCode.DONE)
