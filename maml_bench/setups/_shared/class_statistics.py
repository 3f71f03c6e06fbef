"""Labels as one-hot tensors, and sums over the examples of each class."""

import torch
from torch import Tensor


def one_hot(labels: Tensor, way: int, like: Tensor) -> Tensor:
    """``[examples, way]`` of the dtype of ``like``: 1 where ``labels [examples]`` names the class, else 0.

    Unlike torch's function it does not inspect the values, which neither vmap nor a recording allows.
    """
    return (labels.unsqueeze(-1) == torch.arange(way, device=labels.device)).to(like.dtype)


def class_sums(values: Tensor, members: Tensor) -> Tensor:
    """Sums ``[way, features]`` of ``values [examples, features]`` over the examples of each class, see `one_hot`."""
    return members.mT @ values
