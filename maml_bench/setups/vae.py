"""Variational autoencoder. Kingma & Welling (2014), "Auto-Encoding Variational Bayes", ICLR, arXiv:1312.6114."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from maml_bench.setups._shared.latent import LatentDensity
from maml_bench.types import Batch, Params


@dataclass(frozen=True)
class VAE(LatentDensity):
    """One density for all characters, which learns nothing from the examples of a task: the floor of one-shot
    generation."""

    citation: ClassVar[str] = "Kingma & Welling 2014, arXiv:1312.6114"

    def about(self, meta: Params, support: Batch) -> Tensor:
        """Nothing."""
        return support.x.new_zeros(0)
