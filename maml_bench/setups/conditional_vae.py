"""Variational autoencoder that is conditioned on the mean of the examples: the baseline of Bartunov & Vetrov (2018),
"Few-shot Generative Modelling with Generative Matching Networks", AISTATS, arXiv:1612.02192, section 5."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor

from maml_bench.declared import WIDTH
from maml_bench.setups._shared.latent import LatentDensity, layer
from maml_bench.types import Batch, Params


@dataclass(frozen=True)
class ConditionalVAE(LatentDensity):
    """Prior, encoder and decoder are given the mean of what the encoder sees in the examples of a task.

    The mean goes through a layer of its own with ELU, together with the number that says whether there are examples at
    all. In training the number of examples is drawn anew for each task (``tasks.examples``).
    """

    summary: Annotated[int, Ge(1), WIDTH, Doc("Length of the vector that the examples become.")] = 200

    citation: ClassVar[str] = "Bartunov & Vetrov 2018, arXiv:1612.02192"

    def told_units(self) -> int:
        return self.summary

    def own_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"summary": (self.summary, self.units + 1), "prior": (2 * self.latent, self.summary)}

    def about(self, meta: Params, support: Batch) -> Tensor:
        """The vector ``[summary]`` of the examples that count."""
        weight = support.y.unsqueeze(1)
        seen = torch.cat([self.features(meta, support.x), torch.ones_like(weight)], dim=-1)
        mean = (weight * seen).sum(0) / weight.sum().clamp(min=1)
        return F.elu(F.linear(mean, *layer(meta, "summary")))

    def prior(self, meta: Params, about: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_sd = F.linear(about, *layer(meta, "prior")).chunk(2)
        return mean, log_sd
