"""The tables inside of a record whose keys depend on the experiment: what they must hold for every reader of records.

Each of them may have further keys. `Holds` declares the field of a record as such a table.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from annotated_types import Ge, Le, Len, MinLen
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_MORE = {"extra": "allow", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True)
class Is:
    """Annotates a value that must pass a test; ``words`` say what it must be."""

    words: str
    test: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import PydanticCustomError, core_schema

        def checked(value: Any) -> Any:
            if not self.test(value):
                raise PydanticCustomError("is", "{words}", {"words": self.words})
            return value

        return core_schema.no_info_plain_validator_function(checked)


@dataclass(frozen=True)
class Holds:
    """Annotates a ``dict`` that must hold what ``table`` says, and may hold more."""

    table: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        return handler.generate_schema(self.table)


def plain_name(name: Any) -> bool:
    """Whether a value can be part of a file's name: a text without slashes and control characters, and not hidden."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= 200
        and name.isprintable()
        and not name.startswith(".")
        and not {"/", "\\"} & set(name)
    )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def is_hexadecimal(value: Any) -> bool:
    """Whether a value is bytes as hexadecimal digits."""
    digits = set("0123456789abcdefABCDEF")
    return isinstance(value, str) and len(value) % 2 == 0 and set(value) <= digits


Count = Annotated[int, Ge(0), Le(2**63 - 1)]
Name = Annotated[str, Is("a plain name, without slashes and without a dot at its start", plain_name)]
Number = Annotated[int | float, Is("a finite number", is_number)]
Steps = Annotated[str, Is("a number of inner steps", lambda value: isinstance(value, str) and value.isdecimal())]
Image = Annotated[str, Is("an image in hexadecimal digits", is_hexadecimal)]
Time = Annotated[int | float, Is("a finite number of at least 0", lambda value: is_number(value) and value >= 0)]


class Named(TypedDict):
    """A task family or a setup with its options."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    name: Name


class TasksTable(Named):
    """A task family with its options, as far as reports read them."""

    normalisation: NotRequired[str]
    reveal: NotRequired[bool]


class Published(TypedDict):
    """A published number."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    protocol: str
    way: Count
    shot: Count
    inner_steps: Count
    value: Number
    source: str
    ci95: NotRequired[Number | None]
    query: NotRequired[Count | None]
    normalisation: NotRequired[str | None]
    note: NotRequired[str | None]
    ensemble: NotRequired[bool]


class EpisodeTable(TypedDict):
    """The shape of training episodes."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    way: Count
    shot: Count


class RecipeTable(TypedDict):
    """The recipe of a run."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    id: Name
    title: str
    variant: str
    preset: Name
    tasks: TasksTable
    setup: Named
    train: EpisodeTable
    published: NotRequired[list[Published]]
    changed: NotRequired[list[str]]
    ranked: NotRequired[bool]


class Seconds(TypedDict):
    """The seconds of one part of the work."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    total: Time
    count: Count
    median: Time
    p05: Time
    p95: Time


class WeightsFile(TypedDict):
    """A file of weights that was tested."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    file: str
    sha256: str
    header: dict[str, str]


class Earlier(TypedDict):
    """A segment that was made elsewhere."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    machine: str
    outer_steps: Count
    device: str
    threads: Count
    processes: NotRequired[Count]
    schedule: str
    torch: str
    commit: str | None


class SinusoidTask(TypedDict):
    """A sinusoid, its support points, and the predictions after numbers of inner steps."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    shot: Count
    x: list[float]
    true: list[float]
    support_x: list[float]
    support_y: list[float]
    predictions: dict[Steps, list[float]]


class NavigationTask(TypedDict):
    """A goal in the plane, and a walk after each number of inner steps."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    goal: Annotated[list[float], Len(2, 2)]
    walks: dict[str, list[Annotated[list[float], MinLen(2)]]]


class GenerationRow(TypedDict):
    """Examples of a character and images drawn after them."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    shot: Count
    support: list[Image]
    drawn: Annotated[dict[str, list[Image]], Len(1, 1)]


class SinusoidExhibit(TypedDict):
    """Adaptation to sinusoids."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    curves: Annotated[list[SinusoidTask], MinLen(1)]


class NavigationExhibit(TypedDict):
    """Walks to goals."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    tasks: Annotated[list[NavigationTask], MinLen(1)]


class GenerationExhibit(TypedDict):
    """Drawings of characters, each of ``side`` x ``side`` pixels."""

    __pydantic_config__ = _MORE  # type: ignore[misc]
    side: Annotated[int, Ge(1), Le(1000)]
    rows: Annotated[list[GenerationRow], MinLen(1)]


EXHIBITS: dict[str, type[Any]] = {
    "sinusoid": SinusoidExhibit, "navigation": NavigationExhibit, "generation": GenerationExhibit,
}  # fmt: skip
"""The exhibits that reports draw, by their ``kind``."""


def misfit(exhibit: dict[str, Any]) -> str | None:
    """What does not fit together inside of an exhibit that has the form of its kind, in words."""
    for curve in exhibit["curves"] if exhibit["kind"] == "sinusoid" else ():
        lines = (curve["x"], curve["true"], *curve["predictions"].values())
        if len(set(map(len, lines))) > 1 or len(curve["support_x"]) != len(curve["support_y"]):
            return "the lists of a curve differ in length"
    for row in exhibit["rows"] if exhibit["kind"] == "generation" else ():
        for image in (image for images in (row["support"], *row["drawn"].values()) for image in images):
            if 4 * len(image) < exhibit["side"] ** 2:
                return f"an image has less than {exhibit['side']}x{exhibit['side']} pixels"
    return None
