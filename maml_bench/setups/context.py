"""Adaptation of a context vector. Finn, Abbeel & Levine (2017), arXiv:1703.03400, appendix C: free parameters beside
the input (Rei 2015), meta-learned like all others, and the only ones that the inner loop moves."""

from dataclasses import dataclass
from typing import ClassVar

from maml_bench.core.setup import Capability
from maml_bench.setups._shared.context import ContextOnly


@dataclass(frozen=True)
class Context(ContextOnly):
    """As MAML, with the inner loop on the network's ``context`` alone; where it starts is meta-learned too."""

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, appendix C"
    capabilities: ClassVar[frozenset[Capability]] = ContextOnly.capabilities | {Capability.ACTS}
