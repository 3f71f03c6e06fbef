"""What the families of classification on Omniglot share: their options, their episodes and their networks."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_doc import Doc
from torch import Generator, nn

from maml_bench.checked import later
from maml_bench.classification import Joint, Normalisation, ResidualOptions, StoredImages
from maml_bench.data import store
from maml_bench.data.draws import below, key_of, words_by_draw
from maml_bench.declared import OfNetwork, When
from maml_bench.errors import MamlBenchError
from maml_bench.models import MLP, Conv
from maml_bench.resnet import Residual
from maml_bench.types import Batch, Episode, Shape


@dataclass(frozen=True)
class OmniglotImages(StoredImages):
    """Base of these families; `tasks.omniglot.Omniglot` says what the options mean."""

    split: Annotated[Literal["finn", "vinyals"], Doc("Class split, see maml_bench/data/class_splits.")] = "finn"
    images: Annotated[
        Literal["binary28", "grey28"], Doc("28x28 images: binary as in the MAML code, or grey as in torchmeta.")
    ] = "binary28"
    rotations: Annotated[
        Literal["per class", "extra classes", "none"],
        Doc("Whether images are turned: by one angle for each class of a task, as further classes, or not."),
    ] = "per class"
    network: Annotated[
        Literal["conv4", "mlp", "resnet12"],
        OfNetwork(),
        Doc("The network that `conv` describes, the one without convolutions, or the one that `resnet` describes."),
    ] = "conv4"
    normalisation: Normalisation = "transductive"
    conv: Annotated[
        Conv, OfNetwork(), Doc("The options of `conv4`."), When("network", ("conv4",), but=("context",))
    ] = later(Conv())
    resnet: ResidualOptions = later(Residual())
    joint: Joint = later(False)
    within_alphabet: Annotated[bool, Doc("Whether the characters of a task are all of one alphabet.")] = later(False)

    stored: ClassVar[str] = "omniglot"

    def array(self, split: str) -> str:
        return self.images

    def sample(self, split: str, first: int, count: int, *, key: int, shape: Shape, device: str = "cpu") -> Episode:
        """See StoredImages.sample.

        Raises:
            MamlBenchError: as there, or with ``within_alphabet`` no alphabet of ``split`` has ``shape.way`` characters.
        """
        if not self.within_alphabet or (self.joint and split == "train"):
            return super().sample(split, first, count, key=key, shape=shape, device=device)
        groups = self._alphabets(split, shape.way)
        drawn = below(words_by_draw(key_of(key, self.name, split, "alphabet"), first, count, 1)[0], len(groups))
        parts = [self._of_rows(groups[g], split, first + k, 1, key, shape, device) for k, g in enumerate(drawn)]
        sides = zip(*parts, strict=True)
        return Episode(*(Batch(*(torch.cat(fields) for fields in zip(*side, strict=True))) for side in sides))

    def _alphabets(self, split: str, way: int) -> list[np.ndarray]:
        """The rows of each alphabet with at least ``way`` classes in a part of the split."""
        names = np.array(store.manifest(self.stored).classes_of(self.array(split)))
        rows = self._rows(split)
        alphabet = np.array([name.rpartition("/")[0] for name in names[rows]])
        groups = [rows[alphabet == name] for name in np.unique(alphabet)]
        turns = 4 if self.rotations == "extra classes" else 1
        enough = [group for group in groups if turns * len(group) >= way]
        if not enough:
            most = turns * max(map(len, groups))
            raise MamlBenchError(
                f"tasks.within_alphabet needs an alphabet of {way} classes, but in the {split} part of the split "
                f"{self.split!r} the largest has {most}"
            )
        return enough

    def model(self, shape: Shape, generator: Generator) -> nn.Module:
        """The paper's network for ``shape.way`` classes."""
        if self.network != "mlp":
            return super().model(shape, generator)
        sizes = [784, 256, 128, 64, 64, self.outputs(shape)]
        return MLP(sizes, normalise=self.normalise(), generator=generator, context=self.conv.context)
