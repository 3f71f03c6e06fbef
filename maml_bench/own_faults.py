"""Errors that come out of a user's code, told in one sentence with file and line and what to write instead."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from maml_bench.errors import MamlBenchError
from maml_bench.own_digests import is_own

LONGEST_TRACE = 20_000
"""Characters of a trace that a record keeps, counted from its end."""
KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"vmap.*calling \.item\(\)|local_scalar_dense|get a value out of a tracing tensor",
        "the value of a tensor is taken out of it here, as `.item()`, `float()` and an `if` on it do, which is not "
        "possible when all tasks run at once: keep it a tensor (`torch.where` in the place of `if`), or choose the "
        "schedule `loop`",
    ),
    (
        r"data-dependent control flow|GuardOnDataDependent",
        "this depends on the value of a tensor, as `if` and `while` do, which is not possible when all tasks run at "
        "once: write `torch.where(condition, a, b)`, or choose the schedule `loop`",
    ),
    (
        r"vmap: inplace arithmetic|in-place operation|modified by an inplace|mutat",
        "a tensor is changed in place here, as `-=` and names that end in `_` do: make a new one, such as `p = p - g`",
    ),
    (
        r"same dtype|expected scalar type|expected m1 and m2 to have|Double",
        "tensors of different types meet here: make new ones with the type of others, such as `torch.zeros_like(x)`",
    ),
    (
        r"does not require grad|appears to not have been used in the graph|Cannot access data pointer",
        "there is no gradient of this inside of torch.func: use `learner.adapt` or `torch.func.grad` in the place of "
        "`.backward()` and `torch.autograd.grad`, and do not detach what the gradient is of",
    ),
)
"""Words of torch, and what they mean for who wrote the code."""


def explained(error: BaseException, setup: object = None) -> str | None:
    """What went wrong, where the error comes out of a user's code; None for all others.

    Where it does not, but the ``setup`` is a user's and the error is one that the states of a setup can cause, its
    ``adapt`` is named.
    """
    frames = list(_frames(error.__traceback__))
    mine = [(code, line) for code, line in frames if is_own(code.co_filename)]
    meaning = _meaning(error, frames[-1][0]) if frames else None
    if mine:
        return f"{place(*mine[-1])}: {meaning or in_short(error)}"
    code = getattr(getattr(setup, "adapt", None), "__code__", None)
    if code is None or meaning is None or not is_own(code.co_filename):
        return None
    return f"{place(code, code.co_firstlineno)}: of the states that adapt returns: {meaning}"


def place(code: CodeType, line: int) -> str:
    """``mine.py, line 12``."""
    return f"{Path(code.co_filename).name}, line {line}"


def own_place(frame: FrameType | None) -> str | None:
    """The line of the user's code that is being run in ``frame`` or in one that called it."""
    while frame is not None:
        if is_own(frame.f_code.co_filename):
            return place(frame.f_code, frame.f_lineno)
        frame = frame.f_back
    return None


@contextmanager
def explaining() -> Iterator[None]:
    """Raise MamlBenchError with one sentence for an error that comes out of a user's code in this block."""
    try:
        yield
    except MamlBenchError:
        raise
    except Exception as error:
        sentence = explained(error)
        if sentence is None:
            raise
        raise MamlBenchError(sentence) from error


def trace_of(error: BaseException) -> str:
    """The trace of an error, without the folders of files: records hold no paths."""
    text = "".join(traceback.format_exception(error))
    return re.sub(r'File "[^"\n]*[/\\]([^"/\\\n]+)"', r'File "\1"', text)[-LONGEST_TRACE:]


def _meaning(error: BaseException, last: CodeType) -> str | None:
    """What an error means, where that is known."""
    words = " ".join(str(error).split())
    if isinstance(error, KeyError) and last.co_filename.replace("\\", "/").endswith("maml_bench/core/learner.py"):
        return (
            f"the parameters that are given to the network lack {words}: give it all of them, such as "
            "{**meta, **changed}"
        )
    for pattern, meaning in KNOWN:
        if re.search(pattern, words):
            return meaning
    return None


def in_short(error: BaseException) -> str:
    """The type and the first line of an error, without the folders of file names."""
    short = re.sub(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+)+[/\\]", "", (str(error).splitlines() or [""])[0])
    return f"{type(error).__name__}: {short}"[:300]


def _frames(trace: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next
