"""Omniglot as sequences, in which each image is to be classified before its label is shown. Santoro et al. (2016),
"One-shot Learning with Memory-Augmented Neural Networks", arXiv:1605.06065, section 4.1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_doc import Doc
from torch import Tensor

from maml_bench.data.episodes import in_random_order
from maml_bench.errors import MamlBenchError
from maml_bench.tasks._shared.omniglot_images import OmniglotImages
from maml_bench.types import Batch, Episode, Shape, Stream


@dataclass(frozen=True)
class OmniglotInstances(OmniglotImages):
    """Sequences of K images of each of N random characters, in random order.

    The label of an image is shown after its prediction. The score after k inner steps is the accuracy on the images of
    a character that was shown k times before: k = 0 is the first instance of the paper, which only a guess can meet,
    and k = 1 the second. There is no query beside the sequence. The options are those of the family `omniglot`.
    """

    rotations: Annotated[
        Literal["per class", "extra classes", "none"],
        Doc("Whether images are turned: by one angle for each class of a task, as further classes, or not."),
    ] = "extra classes"
    normalisation: Annotated[
        Literal["none"], Doc("The network of the tasks is not used, so it does not normalise.")
    ] = "none"

    name: ClassVar[str] = "omniglot_instances"
    in_order: ClassVar[bool] = True

    def sample(self, split: str, first: int, count: int, *, key: int, shape: Shape, device: str = "cpu") -> Episode:
        """A Stream of ``shape.way * shape.shot`` images, and for each k its images at ``places[k]`` as a Batch.

        Raises:
            MamlBenchError: as StoredImages.sample, or ``shape.query`` is not 0.
        """
        if shape.query:
            raise MamlBenchError(
                f"{self.name} has no query beside its sequence, in which each class is shown `shot` times: set query "
                f"to 0 instead of {shape.query}"
            )
        rounds = super().sample(split, first, count, key=key, shape=shape, device=device)
        x, y = in_random_order(rounds.support, first, key=key)
        places = by_showing(y, shape)
        rows = torch.arange(count, device=y.device).unsqueeze(-1)
        query = [Batch(x[rows, at], y[rows, at]) for at in places.unbind(1)]
        return Episode(Stream(x, y, places), query)


def by_showing(y: Tensor, shape: Shape) -> Tensor:
    """The places ``[B, K, N]`` in sequences of labels ``y [B, N * K]`` at which a class comes that was shown
    0, 1, ..., K - 1 times before."""
    same = y.unsqueeze(-1) == y.unsqueeze(-2)
    shown = same.tril(-1).sum(-1)
    return shown.argsort(dim=-1, stable=True).reshape(*y.shape[:-1], shape.shot, shape.way)
