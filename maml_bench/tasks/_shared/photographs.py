"""What the families of photographs share: the scale of the pixels, and the network of the MAML paper for them."""

from typing import Annotated, Literal

from annotated_doc import Doc
from torch import Tensor

from maml_bench.models import Conv

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and standard deviations of ImageNet's red, green and blue on a scale of 0 to 1 (data.py 98-106 of
AntreasAntoniou/HowToTrainYourMAMLPytorch)."""
CONV = Conv(32, downsample="pool", average=False)

Pixels = Annotated[
    Literal["unit", "bytes", "standardised"], Doc("Pixels from 0 to 1, from 0 to 255, or standardised by channel.")
]
"""``unit`` divides by 255 (the MAML paper); ``bytes`` leaves 0 to 255 (learn2learn's default); ``standardised`` also
standardises by the means and deviations of ImageNet's channels (the MAML++ code)."""


def scaled(x: Tensor, pixels: str) -> Tensor:
    """Pixels ``[..., 3, H, W]`` in [0, 1] on the scale that ``pixels`` names.

    With one channel instead of three, ``standardised`` takes the averages of the three means and deviations.
    """
    if pixels == "unit":
        return x
    if pixels == "bytes":
        return 255 * x
    mean, deviation = (x.new_tensor(values).reshape(-1, 1, 1) for values in IMAGENET)
    if x.shape[-3] == 1:
        mean, deviation = mean.mean(0), deviation.mean(0)
    return (x - mean) / deviation
