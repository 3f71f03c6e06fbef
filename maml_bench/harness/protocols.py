"""Which tests a run takes: the recipe's own (``paper``), and one that is the same for all classification (``modern``).

``modern`` is what most papers since 2018 report: 15 queries per class, 1,000 tasks, the checkpoint selected by
validation; and two rows, of which one does not let the query help itself. Nothing here is part of a recipe's identity.
Where a recipe's own test takes the selected checkpoint, the last one is tested beside it, so that a reader sees what
the selection did.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from maml_bench import registry
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.harness.recipe import Recipe, Test

PROTOCOLS = ("paper", "modern")
MODERN_QUERY = 15
MODERN_EPISODES = 1000


def default_protocols(recipe: Recipe) -> tuple[str, ...]:
    """Both for the whole budget of a classification recipe, else ``paper`` alone."""
    return PROTOCOLS if recipe.preset == "paper" and _classifies(recipe) else ("paper",)


def asked_tests(recipe: Recipe, protocols: Sequence[str] = ()) -> tuple[Test, ...]:
    """The tests that ``protocols`` mean for ``recipe``; none for the default ones.

    Choices that make no difference are taken back to their defaults: of the statistics where the tasks have no
    batch-norm, of the checkpoint where nothing is trained or nothing validated.

    Raises:
        MamlBenchError: there is no such protocol, or not for these tasks.
    """
    found: list[Test] = []
    for protocol in protocols or default_protocols(recipe):
        if protocol not in PROTOCOLS:
            raise MamlBenchError(f"no protocol {protocol!r}{nearest(protocol, PROTOCOLS)}")
        if protocol == "modern" and not _classifies(recipe):
            asks = " of a query" * registry.in_order(registry.tasks_class(recipe.tasks))
            raise MamlBenchError(
                f"recipe {recipe.id!r} has no protocol 'modern', which is for classification{asks} alone"
            )
        found += _paper(recipe) if protocol == "paper" else _modern(recipe)
    return tuple(dict.fromkeys(_that_matter(recipe, found)))


def normalises_batches(recipe: Recipe) -> bool:
    """Whether the network has batch-norm, so that it matters whose statistics it uses."""
    return bool(recipe.tasks.get("normalisation", "transductive") == "transductive")


def _paper(recipe: Recipe) -> Iterable[Test]:
    """The recipe's own tests; beside each of the selected checkpoint the same test of the last one."""
    for test in recipe.test:
        yield from (test, replace(test, checkpoint="last")) if test.checkpoint == "selected" else (test,)


def _modern(recipe: Recipe) -> Iterable[Test]:
    published = sorted({row.inner_steps for row in recipe.published if row.setup == recipe.setup["name"]})
    steps = tuple(published) or (recipe.validation.inner_steps,)
    for way, shot in dict.fromkeys((test.way, test.shot) for test in recipe.test or (recipe.validation,)):
        one = Test(way, shot, MODERN_QUERY, "modern", "test", MODERN_EPISODES, steps, checkpoint="selected")
        yield from (one, replace(one, normalisation="support"))


def _that_matter(recipe: Recipe, tests: Iterable[Test]) -> Iterable[Test]:
    selects = recipe.outer.steps > 0 and recipe.validation.episodes > 0
    usual: dict[str, Any] = {} if selects else {"checkpoint": "last"}
    usual |= {} if normalises_batches(recipe) else {"normalisation": "transductive"}
    return (replace(test, **usual) for test in tests)


def _classifies(recipe: Recipe) -> bool:
    """Whether the tasks are of classification, with a query."""
    tasks = registry.tasks_class(recipe.tasks)
    return bool(tasks.metric.name == "accuracy" and not registry.in_order(tasks))
