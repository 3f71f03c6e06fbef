"""Trees of tensors: dicts, lists, tuples and named tuples. Whatever else is in a tree stays as it is.

Torch has functions for this too, but they are private, and they take a tenth of a small meta-step.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


def flatten(tree: Any, tensors: list[Tensor]) -> Any:
    """Append the tensors of ``tree`` to ``tensors``. The result is hashable and says how to build the tree again."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return Tensor
    if isinstance(tree, dict):
        return dict, tuple(tree), tuple([flatten(value, tensors) for value in tree.values()])
    if isinstance(tree, tuple | list):
        return type(tree), None, tuple([flatten(value, tensors) for value in tree])
    return None, None, tree


def unflatten(structure: Any, tensors: Iterator[Any]) -> Any:
    """The inverse of ``flatten``; in the place of each tensor stands the next entry of ``tensors``."""
    if structure is Tensor:
        return next(tensors)
    kind, names, parts = structure
    if kind is None:
        return parts
    values = [unflatten(part, tensors) for part in parts]
    if kind is dict:
        return dict(zip(names, values, strict=True))
    return kind(values) if kind in (tuple, list) else kind(*values)


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of ``tree``, in order."""
    found: list[Tensor] = []
    flatten(tree, found)
    return found


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """``function`` of each tensor of ``tree`` and of the tensors in the same place of ``others``, as a tree."""
    first: list[Tensor] = []
    structure = flatten(tree, first)
    return unflatten(structure, map(function, first, *(leaves(other) for other in others)))
