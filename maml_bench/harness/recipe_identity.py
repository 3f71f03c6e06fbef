"""The layout in which recipes stand in records, and the eight digits that name their content.

The layout is frozen: all optimisers share one table ``outer``, which has the keys that the one at hand does not read,
too. What the package makes of a recipe may change, but a record keeps its id, and the same experiment gets it again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from maml_bench.checked import plain
from maml_bench.harness.layers import as_setting, leaves

if TYPE_CHECKING:
    from maml_bench.harness.recipe import Recipe

LABELS = ("id", "title", "variant", "preset", "ranked", "published", "changed")
"""Keys that do not count for the id."""
UNREAD = {"rate": 0.0, "decay": "constant", "clip": 0.0}
"""What ``outer`` says for an optimiser that does not have these keys."""


def layout(recipe: "Recipe") -> dict[str, Any]:
    """The recipe as JSON-ready data, with the published numbers of its setup only."""
    found: dict[str, Any] = plain(recipe)
    unread = found.pop("outer_unread")
    found["outer"] = {**UNREAD, **found["outer"], **unread, "optimiser": recipe.outer.optimiser}
    for part in ("setup", "tasks", "network"):
        found.get(part, {}).pop("file", None)
    found["published"] = [row for row in found["published"] if row.pop("setup") == recipe.setup["name"]]
    return found


def recipe_id(recipe: "Recipe") -> str:
    """Eight hex digits over the content; labels and published numbers do not count."""
    content = _content(recipe)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def changed(recipe: "Recipe", without: "Recipe | None", settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that make ``recipe`` another experiment than ``without``, the same recipe without any setting.

    ``settings`` holds every key that was set. A key whose value is the same in both recipes does not count. Where there
    is no recipe without settings, all of them count.
    """
    mine = dict(leaves(_content(recipe)))
    other = {} if without is None else dict(leaves(_content(without)))
    values = {key: mine.get(key, value) for key, value in settings.items()}
    if without is not None:
        values = {key: value for key, value in values.items() if mine.get(key, _NONE) != other.get(key, _NONE)}
    return tuple(as_setting(key, value) for key, value in values.items())


_NONE = object()


def _content(recipe: "Recipe") -> dict[str, Any]:
    """What counts for the id."""
    return {key: value for key, value in layout(recipe).items() if key not in LABELS}
