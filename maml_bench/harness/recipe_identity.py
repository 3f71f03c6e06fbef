"""The layout in which recipes stand in records, and the eight digits that name their content.

The layout is frozen: all optimisers share one table ``outer``, which has the keys that the one at hand does not read,
too. What the package makes of a recipe may change, but a record keeps its id, and the same experiment gets it again.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from maml_bench.checked import plain

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
    found["setup"].pop("file", None)
    found["published"] = [row for row in found["published"] if row.pop("setup") == recipe.setup["name"]]
    return found


def recipe_id(recipe: "Recipe") -> str:
    """Eight hex digits over the content; labels and published numbers do not count."""
    content = {key: value for key, value in layout(recipe).items() if key not in LABELS}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
