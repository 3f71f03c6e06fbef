"""The exceptions and the warning that carry a sentence for the user, and what such sentences have in common."""

from collections.abc import Iterable, Sequence


class MamlBenchError(Exception):
    """A mistake in input or surroundings, told in one clear sentence that is printed without a traceback."""


class CannotWrite(MamlBenchError):
    """A file that the program needs cannot be written, such as on a full disk. The input is not at fault."""


class Lost(MamlBenchError):
    """Another process of the same run has ended or cannot be reached. The input is not at fault."""


class Notice(UserWarning):
    """A sentence for the user about something that does not stop the work."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest of ``choices``, or all of them if none is close."""
    from difflib import get_close_matches

    known = sorted(choices)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(known)})" if known else ""


def shortened(value: object, most: int = 80) -> str:
    """``value`` as it is shown in a sentence, cut where it has more characters than ``most``."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no numbers of more than some thousand digits
        return "a number of more digits than can be shown"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def some(names: Sequence[str], most: int = 5, between: str = ", ") -> str:
    """The first of ``names``, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more


class Unstable(ArithmeticError):
    """The physics or a policy left the finite numbers: the run has diverged."""
