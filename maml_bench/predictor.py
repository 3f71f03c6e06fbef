"""Trained learners that answer questions: adapt one to a few examples of a new task, then predict."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from maml_bench import registry
from maml_bench.classification import ImageClassification
from maml_bench.core.evaluate import evaluate, predictors
from maml_bench.core.learner import Learner
from maml_bench.core.normalisation import MODES, Mode, refuse_unknowing
from maml_bench.core.setup import Capability, Setup
from maml_bench.data.images import Images
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.harness import weights
from maml_bench.harness.seeding import stream_key
from maml_bench.record import mean_ci95
from maml_bench.tasks._shared.in_memory import ImagesInMemory
from maml_bench.types import Batch, Params, Predict, Shape

AT_ONCE = 64
"""Inputs that are answered in one pass of the network."""
MOST_CHANNELS = 4
"""Of a picture: red, green, blue and alpha."""
ALONE = tuple(mode for mode in MODES if mode != "running")
"""The normalisations that a prediction may have; ``running`` needs training tasks, which are not there."""


class Score(NamedTuple):
    """The mean score over test tasks, and half the width of its 95 % confidence interval over these tasks."""

    mean: float
    ci95: float


@dataclass(frozen=True, repr=False)
class Predictor:
    """A trained learner. `adapt` makes a predictor for one task from a few examples of it.

    Attributes:
        tasks: the family that the learner was trained on.
        setup: the method.
        learner: the network.
        meta: the meta-parameters that training found.
        table: what `harness.weights.learner_table` says of the recipe.
        about: further keys for the header of the file that `save` writes.
        example: the shape of one input.
    """

    tasks: Any
    setup: Setup
    learner: Learner
    meta: Params
    table: Mapping[str, Any]
    about: Mapping[str, str]
    example: tuple[int, ...]

    def __repr__(self) -> str:
        return (
            f"Predictor({self.table['setup']['name']} on {self.tasks.name}, after {self.about.get('step', '?')} steps)"
        )

    def adapt(
        self, inputs: Any, targets: Any, *, steps: int | None = None, normalisation: str = "support"
    ) -> "Adapted":
        """Learn one task from its support.

        Args:
            inputs: the examples. Where the learner was trained on images that the user brought, they are a list of
                paths, PIL images, arrays or tensors, prepared as in training, or one array or tensor of pictures with
                four axes. Elsewhere they are one array or tensor ``[examples, ...]`` as the loaders give it.
            targets: a label for each example, any hashable value; in regression, one array or tensor ``[examples, 1]``.
            steps: the number of inner steps, by default that of the validation in training.
            normalisation: how batch normalisation treats the inputs of `Adapted.predict`. ``support`` uses the
                statistics of the support, so that an input gets the same answer alone as among others.
                ``transductive`` uses those of the inputs that are predicted together, and ``one by one`` those of the
                support and of each input separately.

        Raises:
            MamlBenchError: the examples do not fit each other or the learner.
        """
        mode = _mode(normalisation)
        refuse_unknowing(self.learner.model, mode)
        if steps is not None and steps < 0:
            raise MamlBenchError(f"steps is {steps}, but must be at least 0")
        x = self.inputs(inputs)
        classes, y = _labelled(targets) if self.classifies else ((), _numbers(targets))
        if not len(x) or len(x) != len(y):
            raise MamlBenchError(f"the support has {len(x)} inputs and {len(y)} targets, but must have one for each")
        learner = self.learner.with_way(len(classes)) if self.classifies else self.learner
        if self.classifies:
            self._refuse_unfit(len(classes))
        count = int(self.table["steps"]) if steps is None else steps
        with torch.no_grad():
            [predict] = predictors(self.setup, learner, self.meta, Batch(x, y.to(x.device)), (count,), mode)
        return Adapted(self, classes, predict, mode == "transductive")

    def score(
        self,
        test: Any,
        *,
        way: int | None = None,
        shot: int | None = None,
        query: int | None = None,
        episodes: int = 200,
        steps: int | None = None,
        seed: int = 0,
        normalisation: str = "support",
    ) -> Score:
        """The score on ``episodes`` random tasks of ``test``, which has the form of what the learner was trained on.

        ``way``, ``shot`` and ``query`` are by default those of the training. See `adapt` for ``steps`` and
        ``normalisation``.

        Raises:
            MamlBenchError: ``test`` has too few classes or examples.
        """
        mode = _mode(normalisation)
        train = self.table["train"]
        asked = (("way", way), ("shot", shot), ("query", query))
        shape = Shape(*(train[key] if value is None else value for key, value in asked))
        if shape.query < 1:
            raise MamlBenchError(f"query is {shape.query}, but must be at least 1: a score needs examples")
        tasks = ImagesInMemory.of(self.tasks, {"test": test}) if isinstance(test, Images) else test
        count = int(self.table["steps"]) if steps is None else steps
        key, values = stream_key("test", seed), []
        for number in range(episodes):
            drawn = tasks.sample("test", number, 1, key=key, shape=shape, device=self.device)
            learner = self.learner.with_way(shape.way)
            found = evaluate(self.setup, learner, self.meta, drawn, (count,), schedule_name="loop", mode=mode)
            values.append(float(found[0, 0]))
        return Score(*mean_ci95(values))

    def save(self, path: str | Path) -> None:
        """Write the learner to a safetensors file, whole or not at all; `load` reads it.

        Raises:
            MamlBenchError: the file cannot be written.
        """
        table = json.dumps(self.table, sort_keys=True)
        try:
            weights.save(Path(path), self.meta, {**self.about, weights.LEARNER: table})
        except OSError as error:
            raise MamlBenchError(f"the learner cannot be written to {path}: {error.strerror}") from None

    @property
    def classifies(self) -> bool:
        """Whether targets are labels."""
        return registry.has_ways(type(self.tasks))

    @property
    def device(self) -> str:
        """Where the meta-parameters are."""
        return str(next(iter(self.meta.values())).device)

    def inputs(self, given: Any) -> Tensor:
        """Examples as the network sees them, float32 ``[examples, ...]``.

        Raises:
            MamlBenchError: one cannot be read, or they do not have the shape that the network was trained on.
        """
        if isinstance(self.tasks, ImageClassification) and self.tasks.preparation is not None:
            how = self.tasks.preparation
            pixels = [how.prepare(picture) for picture in _pictures(given)]
            x = self.tasks.scaled(torch.stack(pixels).float().div_(255)) if pixels else torch.empty(0)
            return x.to(self.device)
        x = _numbers(given)
        if tuple(x.shape[1:]) != self.example:
            needed = ", ".join(map(str, ("examples", *self.example)))
            raise MamlBenchError(f"the inputs have the shape {list(x.shape)}, but must have [{needed}]")
        return x.to(self.device)

    def _refuse_unfit(self, classes: int) -> None:
        """Refuse a task of one class, and one of more classes than the learner can tell apart."""
        if classes < 2:
            raise MamlBenchError("the support has examples of one class only, but must have at least two classes")
        trained = self.learner.way
        unbound = {Capability.CLASSIFIES, Capability.TRAINS_JOINTLY} & self.setup.capabilities
        if classes > trained and not unbound:
            raise MamlBenchError(
                f"the support has {classes} classes, but the network was trained to tell {trained} apart: train with "
                f"way={classes}, or take a setup that compares examples, such as protonet"
            )


@dataclass(frozen=True, repr=False)
class Adapted:
    """A learner that is adapted to one task. ``classes`` are the labels, in the order of their first example."""

    model: Predictor
    classes: tuple[Hashable, ...]
    _predict: Predict
    _together: bool

    def __repr__(self) -> str:
        return f"Adapted({self.model!r}, {f'{len(self.classes)} classes' if self.classes else 'regression'})"

    def predict(self, inputs: Any) -> Any:
        """A label for each input; in regression a tensor ``[inputs, 1]``."""
        outputs = self._outputs(inputs)
        if not self.classes:
            return outputs
        return [self.classes[place] for place in outputs.argmax(-1).tolist()]

    def predict_proba(self, inputs: Any) -> Tensor:
        """The probability of each class, in the order of ``classes``: ``[inputs, classes]``, on the CPU.

        They are what the method says, and nothing has calibrated them.

        Raises:
            MamlBenchError: the learner is one of regression.
        """
        if not self.classes:
            raise MamlBenchError("predict_proba is for classification, and the learner is one of regression")
        return self.model.setup.probabilities(self._outputs(inputs))

    def _outputs(self, inputs: Any) -> Tensor:
        """The outputs of the network, for classes ``[inputs, classes]``, on the CPU."""
        x = self.model.inputs(inputs)
        if not len(x):
            raise MamlBenchError("there is no input to predict")
        parts = (x,) if self._together else torch.split(x, AT_ONCE)
        with torch.no_grad():
            found = torch.cat([self._predict(part) for part in parts]).cpu()
        if found.isnan().any():
            raise MamlBenchError("the outputs are not numbers: the inner steps on this support diverged; take fewer")
        if not self.classes:
            return found
        if found.shape[1] < len(self.classes):
            raise MamlBenchError(
                f"the support has {len(self.classes)} classes, but the network answers {found.shape[1]}: train with "
                f"way={len(self.classes)}"
            )
        return found[:, : len(self.classes)]


def _pictures(given: Any) -> list[Any]:
    """The pictures of a list or an array, or the only one where one is given without a list.

    Raises:
        MamlBenchError: it is not known which axis of a tensor counts the pictures, or there are none at all.
    """
    if isinstance(given, str | PathLike | Image):
        return [given]
    shape = tuple(getattr(given, "shape", ()))
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] <= MOST_CHANNELS and not isinstance(given, Tensor)):
        return [given]
    if len(shape) == 3 and min(shape[0], shape[-1]) <= MOST_CHANNELS and isinstance(given, Tensor):
        raise MamlBenchError(
            f"a tensor {list(shape)} can be one picture or several: give a list of pictures, such as [picture]"
        )
    try:
        return list(given)
    except TypeError:
        raise MamlBenchError(f"pictures must be a list, not {type(given).__name__}") from None


def _mode(name: str) -> Mode:
    """The normalisation of that name; MamlBenchError where predictions have none such."""
    if name not in ALONE:
        raise MamlBenchError(f"no normalisation {name!r} of predictions{nearest(name, ALONE)}")
    return name  # type: ignore[return-value]


def _labelled(labels: Any) -> tuple[tuple[Hashable, ...], Tensor]:
    """The different labels in the order of their first example, and the place of each label among them."""
    values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    try:
        places = {label: place for place, label in enumerate(dict.fromkeys(values))}
        return tuple(places), torch.tensor([places[label] for label in values])
    except TypeError:
        raise MamlBenchError("a label is a list or a table, but must be a text, a number or a tuple") from None


def _numbers(values: Any) -> Tensor:
    """An array or a tensor as float32 with at least two axes.

    Raises:
        MamlBenchError: it is neither, or has values that are not finite.
    """
    try:
        found = torch.as_tensor(values).to(torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MamlBenchError(f"the examples are no array of numbers: {' '.join(str(error).split())[:200]}") from None
    if not found.isfinite().all():
        raise MamlBenchError("the examples hold values that are not finite")
    return found.unsqueeze(-1) if found.ndim == 1 else found
