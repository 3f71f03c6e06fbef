"""The nearest support example of each class: the common part of nearest neighbour on features and on pixels."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Literal["cosine", "euclidean"]


def greatest_similarity(z: Tensor, examples: Tensor, labels: Tensor, way: int, metric: Metric) -> Tensor:
    """Logits ``[queries, way]``: the greatest similarity of ``z [queries, D]`` to ``examples [S, D]`` of a class."""
    if metric == "cosine":
        similarity = F.normalize(z, dim=1) @ F.normalize(examples, dim=1).T
    else:
        similarity = 2 * z @ examples.T - (examples**2).sum(1)  # the query's length shifts all alike
    of_class = labels.unsqueeze(1) == torch.arange(way, device=z.device)
    return similarity.unsqueeze(2).where(of_class, -torch.inf).amax(1)
