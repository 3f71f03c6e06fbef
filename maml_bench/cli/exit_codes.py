"""The exit codes of all commands, and what each of them means. The table of the documentation is made from this."""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maml_bench.record import Record


class ExitCode(IntEnum):
    """How a command ended; ``meaning`` says it in words."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "The command did what it was asked to do."
    BAD = (
        1,
        "The outcome is bad: a run failed, could not be made, or lost its worker too often or one of its processes, "
        "`compare` found that something became worse, or `check` found a contract that is not kept.",
    )
    WRONG_INPUT = (
        2,
        "The input is wrong. One sentence on standard error says what, where and the nearest right thing. `compare` "
        "also exits with 2 if nothing could be compared.",
    )
    INCOMPLETE = (
        3,
        "Only with `--strict`: `compare` could not compare something or cannot tell, or `records` skipped a record "
        "that cannot be read.",
    )
    DIVERGED = (
        4,
        "A run has diverged, which means that a loss was not a finite number, or in `tune` all trials of a setup have. "
        "No run failed.",
    )
    UNFORESEEN = (
        70,
        "The program is at fault. One sentence on standard error says what happened and in which file the trace is.",
    )
    NOT_WRITTEN = (
        74,
        "Something could not be written or read, such as on a full disk. What was trained is kept, and the same "
        "command continues from there.",
    )
    INTERRUPTED = (
        130,
        "The command was interrupted with Ctrl-C. `run`, `suite` and `tune` saved a checkpoint, and the same command "
        "continues from there.",
    )
    UNREAD = 141, "The reader of the output ended before the output did, as in `maml-bench records | head -1`."


def of_records(records: "Iterable[Record]") -> ExitCode:
    """The exit code of a command that leaves these records. A failure weighs more than a divergence."""
    statuses = {record.status for record in records}
    if "failed" in statuses:
        return ExitCode.BAD
    return ExitCode.DIVERGED if "diverged" in statuses else ExitCode.DONE
