"""Whether the outputs for a batch have the shape of its targets."""

from typing import Any

from torch import Tensor

from maml_bench.errors import MamlBenchError
from maml_bench.types import Batch


def refuse_wrong_outputs(outputs: Any, batch: Batch, way: int, place: str, what: str) -> None:
    """Raise MamlBenchError where ``outputs`` do not fit the targets of a batch of one task."""
    if not isinstance(outputs, Tensor):
        raise MamlBenchError(f"{place}: {what} returned a {type(outputs).__name__}, but must return a tensor")
    found, y = list(outputs.shape), batch.y
    if y.is_floating_point():
        if found != list(y.shape):
            raise MamlBenchError(
                f"{place}: {what} returned the shape {found}, but must return that of the targets, {list(y.shape)}"
            )
    elif len(found) != 2 or found[0] != len(y) or found[1] < way:
        raise MamlBenchError(
            f"{place}: {what} returned the shape {found}, but must return [{len(y)}, {way}]: one row for each input "
            "and one column for each class"
        )
