"""mini-ImageNet, N-way K-shot classification of 84x84 photographs. Vinyals et al. (2016); the split of Ravi and
Larochelle (2017): 64 training, 16 validation and 20 test classes of 600 images each.

Defaults are those of the released MAML code (data_generator.py and maml.py of cbfinn/maml): pixels are only divided by
255, and the network has 32 filters and max-pooling. The MAML paper prints the split as 64/12/24; its code reads lists
of 64/16/20.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_doc import Doc
from torch import Tensor

from maml_bench.checked import later
from maml_bench.classification import ImageNetwork, Joint, Normalisation, ResidualOptions, StoredImages
from maml_bench.data.preparation import Preparation
from maml_bench.declared import OfNetwork, When
from maml_bench.models import Conv
from maml_bench.resnet import Residual
from maml_bench.tasks._shared.photographs import CONV, Pixels, scaled


@dataclass(frozen=True)
class MiniImagenet(StoredImages):
    """Tasks of N random classes of one part of the split."""

    split: Annotated[Literal["ravi"], Doc("Class split, see maml_bench/data/class_splits.")] = "ravi"
    pixels: Pixels = "unit"
    normalisation: Normalisation = "transductive"
    conv: Annotated[Conv, OfNetwork(), Doc("The options of `conv4`."), When("network", ("conv4",))] = CONV
    joint: Joint = False
    network: ImageNetwork = later("conv4")
    resnet: ResidualOptions = later(Residual())

    name: ClassVar[str] = "mini_imagenet"
    stored: ClassVar[str] = "mini_imagenet"

    def array(self, split: str) -> str:
        return split

    @property
    def preparation(self) -> Preparation:
        return Preparation(84, "rgb", "stretch")

    def scaled(self, x: Tensor) -> Tensor:
        return scaled(x, self.pixels)
