"""Trained learners in files: `load` reads what `Predictor.save` and runs have written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt

from maml_bench import registry
from maml_bench.checked import construct
from maml_bench.core.learner import Inner, Learner
from maml_bench.data.images import Images
from maml_bench.data.preparation import Preparation
from maml_bench.errors import MamlBenchError
from maml_bench.harness import weights
from maml_bench.harness.recipe import EpisodeShape, resolve
from maml_bench.harness.seeding import generator, global_draws
from maml_bench.predictor import Predictor
from maml_bench.rl.protocol import acts
from maml_bench.tasks._shared.in_memory import ImagesInMemory
from maml_bench.tasks.images import OwnImages
from maml_bench.types import Shape

TABLES = ("tasks", "setup", "inner", "train")
"""The parts of `weights.learner_table` that are tables and always there."""


def load(
    path: str | Path,
    *,
    setup: str | None = None,
    tasks: str | None = None,
    network: str | None = None,
    device: str = "cpu",
) -> Predictor:
    """Read a trained learner: a file that `Predictor.save` wrote, or the weights that a run left.

    Args:
        path: the safetensors file.
        setup: the file of the setup, where the learner was trained with one of the user's own.
        tasks: likewise that of the family of tasks.
        network: likewise that of the network, such as ``./net.py:Net``.
        device: ``cpu`` or ``cuda``.

    Raises:
        MamlBenchError: the file cannot be read, is not of a learner of labelled tasks, or was trained with other code.
    """
    found = weights.load(Path(path))
    where = f"weights {path}"
    table = _table(found, where)
    for part, file in (("setup", setup), ("tasks", tasks), ("network", network)):
        if file is not None and "sha256" not in (table.get(part) or {}):
            raise MamlBenchError(
                f"{where} were trained with the {part} of this package, so {file} would have no effect"
            )
        table |= {part: {**table[part], "file": file}} if file is not None else {}
    method = registry.build_setup(table["setup"], where)
    train = construct(EpisodeShape, table["train"], where, "train")
    family: Any = registry.build_tasks(table["tasks"], where, method)
    refuse_unpredictable(family)
    if isinstance(family, OwnImages):
        family = _without_images(
            family, construct(_Pictures, table.get("pictures", {}), where, "pictures"), train.shape
        )
    start = generator("init", 0)
    with global_draws("init", 0):
        model = registry.build_network(table.get("network"), family, where)(train.shape, start)
    inner = construct(Inner, table["inner"], where, "inner")
    learner = Learner(model.to(device), family.loss, family.score, inner, train.way)
    with global_draws("init of the setup", 0):
        expected = {name: p.to(device) for name, p in method.init(learner, start).items()}
    meta = found.fit(expected, f"{table['setup']['name']} on {family.name}")
    about = {key: text for key, text in found.header.items() if key not in (weights.LEARNER, "format_version")}
    return Predictor(family, method, learner, meta, table, about, example_of(family, train.shape))


@dataclass(frozen=True)
class _Pictures:
    """What the table of the learner says of the user's pictures."""

    how: Preparation
    classes: Annotated[int, Ge(1), Lt(2**20)]


def _without_images(tasks: OwnImages, known: _Pictures, shape: Shape) -> ImagesInMemory:
    """Tasks that have the network of ``tasks`` and prepare pictures as they do, but have no pictures of their own."""
    sizes = (shape.shot + shape.query,) * known.classes
    side = known.how.size
    black = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(sum(sizes), known.how.channels, side, side)
    names = tuple(map(str, range(known.classes)))
    return ImagesInMemory.of(tasks, {"train": Images(black, sizes, names, known.how)})


def example_of(tasks: Any, shape: Shape) -> tuple[int, ...]:
    """The shape of one input."""
    return tuple(tasks.sample("train", 0, 1, key=0, shape=shape).support.x.shape[2:])


def refuse_unpredictable(tasks: Any) -> None:
    """Refuse tasks that have no inputs with answers: those of reinforcement learning, of densities, of streams."""
    if acts(tasks) or registry.in_order(type(tasks)) or registry.scored_by_density(tasks):
        raise MamlBenchError(
            f"predictions are for classification and regression, and {tasks.name} is neither, or shows its examples "
            "one by one; `maml-bench evaluate` scores its weights"
        )


def _table(found: weights.Weights, where: str) -> dict[str, Any]:
    """The table of the learner in a file's header, or that of the recipe that an older file names."""
    text, header = found.header.get(weights.LEARNER), found.header
    if text is not None:
        try:
            table = json.loads(text)
        except (ValueError, RecursionError):
            table = None
        if not isinstance(table, dict) or any(not isinstance(table.get(key), dict) for key in TABLES):
            raise MamlBenchError(f"{where} have a table of the learner that cannot be read")
        if not isinstance(table.get("steps"), int) or table["steps"] < 0:
            raise MamlBenchError(f"{where} do not say how many inner steps the learner takes")
        return table
    named = [header.get(key) for key in ("recipe", "preset", "setup")]
    if None in named:
        raise MamlBenchError(f"{where} do not say what they are of: `maml-bench evaluate RECIPE --weights` scores them")
    recipe = resolve(str(named[0]), preset=str(named[1]), setup=named[2])
    if recipe.recipe_id != header.get("recipe_id"):
        raise MamlBenchError(
            f"{where} were trained with changed keys, which files of that age do not say: train again, or score them "
            "with `maml-bench evaluate`"
        )
    return weights.learner_table(recipe, registry.build_tasks(recipe.tasks, where))
