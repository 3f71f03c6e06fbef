"""Omniglot, N-way K-shot classification of handwritten characters. Lake, Salakhutdinov & Tenenbaum (2015), Science 350.

Defaults are those of the released MAML code (data_generator.py of cbfinn/maml): binary 28x28 images with ink = 1, one
rotation by a multiple of 90 degrees per class and task in every split, and examples in rounds of all classes.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_doc import Doc
from torch import Generator, nn

from maml_bench.checked import later
from maml_bench.classification import Joint, Normalisation, StoredImages
from maml_bench.declared import When
from maml_bench.models import MLP, Conv
from maml_bench.types import Shape


@dataclass(frozen=True)
class Omniglot(StoredImages):
    """Tasks of N random characters of one part of a class split.

    ``images``: binary28 (nearest neighbour, the effect of the MAML code) or grey28 (torchmeta's, bilinear).
    ``rotations``: ``per class`` draws one of four for each class of a task; ``extra classes`` makes four classes of
    each character (torchmeta, prototypical networks); ``none``. ``network``: conv4 (described by ``conv``) or mlp, the
    paper's network without convolutions, which reads only the context of ``conv``.
    """

    split: Annotated[Literal["finn", "vinyals"], Doc("Class split, see maml_bench/data/class_splits.")] = "finn"
    images: Annotated[
        Literal["binary28", "grey28"], Doc("28x28 images: binary as in the MAML code, or grey as in torchmeta.")
    ] = "binary28"
    rotations: Annotated[
        Literal["per class", "extra classes", "none"],
        Doc("Whether images are turned: by one angle for each class of a task, as further classes, or not."),
    ] = "per class"
    network: Annotated[
        Literal["conv4", "mlp"], Doc("The network with convolutions that `conv` describes, or the one without.")
    ] = "conv4"
    normalisation: Normalisation = "transductive"
    conv: Annotated[Conv, Doc("The options of `conv4`."), When("network", ("conv4",), but=("context",))] = later(Conv())
    joint: Joint = later(False)

    name: ClassVar[str] = "omniglot"

    def array(self, split: str) -> str:
        return self.images

    def model(self, shape: Shape, generator: Generator) -> nn.Module:
        """The paper's network for ``shape.way`` classes."""
        if self.network == "conv4":
            return super().model(shape, generator)
        sizes = [784, 256, 128, 64, 64, self.outputs(shape)]
        return MLP(sizes, normalise=self.normalise(), generator=generator, context=self.conv.context)
