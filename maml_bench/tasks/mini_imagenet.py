"""mini-ImageNet, N-way K-shot classification of 84x84 photographs. Vinyals et al. (2016); the split of Ravi & Larochelle
(2017), 64 training, 16 validation and 20 test classes of 600 images each.

Defaults are those of the released MAML code (data_generator.py and maml.py of cbfinn/maml): pixels divided by 255 and
nothing else, 32 filters, max-pooling. The MAML paper prints the split as 64/12/24; its code reads the lists of 64/16/20.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from maml_bench.classification import Classification, Normalisation
from maml_bench.models import Conv

CONV = Conv(32, downsample="pool", average=False)


@dataclass(frozen=True)
class MiniImagenet(Classification):
    """p(T) over N classes of one part of the split."""

    split: Literal["ravi"] = "ravi"
    normalisation: Normalisation = "transductive"
    conv: Conv = CONV
    joint: bool = False

    name: ClassVar[str] = "mini_imagenet"

    def array(self, split: str) -> str:
        return split
