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
from maml_bench.declared import OfNetwork, When
from maml_bench.models import Conv
from maml_bench.resnet import Residual

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and standard deviations of ImageNet's red, green and blue on a scale of 0 to 1 (data.py 98-106 of
AntreasAntoniou/HowToTrainYourMAMLPytorch)."""
CONV = Conv(32, downsample="pool", average=False)


@dataclass(frozen=True)
class MiniImagenet(StoredImages):
    """Tasks of N random classes of one part of the split.

    ``pixels``: ``unit`` divides by 255 (the MAML paper); ``bytes`` leaves 0 to 255 (learn2learn's default);
    ``standardised`` also standardises by the means and deviations of ImageNet's channels (the MAML++ code).
    """

    split: Annotated[Literal["ravi"], Doc("Class split, see maml_bench/data/class_splits.")] = "ravi"
    pixels: Annotated[
        Literal["unit", "bytes", "standardised"], Doc("Pixels from 0 to 1, from 0 to 255, or standardised by channel.")
    ] = "unit"
    normalisation: Normalisation = "transductive"
    conv: Annotated[Conv, OfNetwork(), Doc("The options of `conv4`."), When("network", ("conv4",))] = CONV
    joint: Joint = False
    network: ImageNetwork = later("conv4")
    resnet: ResidualOptions = later(Residual())

    name: ClassVar[str] = "mini_imagenet"
    stored: ClassVar[str] = "mini_imagenet"

    def array(self, split: str) -> str:
        return split

    def scaled(self, x: Tensor) -> Tensor:
        if self.pixels == "unit":
            return x
        if self.pixels == "bytes":
            return 255 * x
        mean, deviation = (x.new_tensor(values).reshape(-1, 1, 1) for values in IMAGENET)
        return (x - mean) / deviation
