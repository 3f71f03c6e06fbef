"""maml-bench: meta-learning setups on one MAML core, accuracy and wall-clock time side by side.

The names below are loaded when they are first used, so that ``import maml_bench`` is quick and needs no torch. The
functional core is in ``maml_bench.core`` and ``maml_bench.engine``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maml_bench.api.listing import list_recipes, list_setups, load_tasks
    from maml_bench.api.reading import compare, load_records
    from maml_bench.api.running import run
    from maml_bench.api.tuning import tune
    from maml_bench.core.setup import Setup
    from maml_bench.data.images import ImageFolder
    from maml_bench.errors import MamlBenchError
    from maml_bench.fitting import fit
    from maml_bench.harness.recipe import Recipe
    from maml_bench.harness.tuning import Tuning
    from maml_bench.learner_files import load
    from maml_bench.predictor import Adapted, Predictor
    from maml_bench.record import Record
    from maml_bench.types import Batch, Episode, Shape

__version__ = "0.1.0"

__all__ = [
    "Adapted",
    "Batch",
    "Episode",
    "ImageFolder",
    "MamlBenchError",
    "Predictor",
    "Recipe",
    "Record",
    "Setup",
    "Shape",
    "Tuning",
    "compare",
    "fit",
    "list_recipes",
    "list_setups",
    "load",
    "load_records",
    "load_tasks",
    "run",
    "tune",
]

_WHERE = {
    **dict.fromkeys(("list_recipes", "list_setups", "load_tasks"), "maml_bench.api.listing"),
    **dict.fromkeys(("compare", "load_records"), "maml_bench.api.reading"),
    "run": "maml_bench.api.running",
    "tune": "maml_bench.api.tuning",
    **dict.fromkeys(("Batch", "Episode", "Shape"), "maml_bench.types"),
    "ImageFolder": "maml_bench.data.images",
    "MamlBenchError": "maml_bench.errors",
    "Recipe": "maml_bench.harness.recipe",
    "Record": "maml_bench.record",
    "Tuning": "maml_bench.harness.tuning",
    "fit": "maml_bench.fitting",
    **dict.fromkeys(("Adapted", "Predictor"), "maml_bench.predictor"),
    "load": "maml_bench.learner_files",
    "Setup": "maml_bench.core.setup",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'maml_bench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
