"""Omniglot, N-way K-shot classification of handwritten characters. Lake, Salakhutdinov & Tenenbaum (2015), Science 350.

Defaults are those of the released MAML code (data_generator.py of cbfinn/maml): binary 28x28 images with ink = 1, one
rotation by a multiple of 90 degrees per class and task in every split, and examples in rounds of all classes.
"""

from dataclasses import dataclass
from typing import ClassVar

from maml_bench.tasks._shared.omniglot_images import OmniglotImages


@dataclass(frozen=True)
class Omniglot(OmniglotImages):
    """Tasks of N random characters of one part of a class split.

    A task mixes the characters of all alphabets, as in the MAML code. With ``within_alphabet`` all characters of a task
    are of one alphabet, drawn among those that have enough of them in that part of the split, which is harder. The
    training of one classifier over all classes mixes alphabets all the same.

    ``images``: binary28 (nearest neighbour, the effect of the MAML code) or grey28 (torchmeta's, bilinear).
    ``rotations``: ``per class`` draws one of four for each class of a task; ``extra classes`` makes four classes of
    each character (torchmeta, prototypical networks); ``none``. ``network``: conv4 (described by ``conv``), mlp, the
    paper's network without convolutions, which reads only the context of ``conv``, or resnet12 (described by
    ``resnet``).
    """

    name: ClassVar[str] = "omniglot"
