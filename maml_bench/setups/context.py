"""Adaptation of a context vector. Finn, Abbeel & Levine (2017), arXiv:1703.03400, appendix C: free parameters beside
the input (Rei 2015) are meta-learned like all others, and the inner loop adapts only them."""

from dataclasses import dataclass
from typing import ClassVar

from maml_bench.core.setup import Capability
from maml_bench.setups._shared.context import ContextOnly


@dataclass(frozen=True)
class Context(ContextOnly):
    """MAML's inner loop adapts only a context vector; its initial value is meta-learned like all other parameters."""

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, appendix C"
    capabilities: ClassVar[frozenset[Capability]] = ContextOnly.capabilities | {Capability.ACTS}
