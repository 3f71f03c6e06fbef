"""Random initialisation. Finn, Abbeel & Levine (2017), arXiv:1703.03400, section 5: a baseline of the MAML paper."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_doc import Doc

from maml_bench.checked import later
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.setup import RULE_KEYS, Capability, Setup
from maml_bench.types import Params


@dataclass(frozen=True)
class Scratch(Setup):
    """An untrained network takes gradient steps on the support at test; there is no meta-training.

    With ``networks = "one per task"`` every test task starts from a network of its own, as in the released evaluation
    of reinforcement learning (test_maml_*.py of cbfinn/maml_rl). It is read in reinforcement learning.
    """

    networks: Annotated[
        Literal["one", "one per task"], Doc("Whether all test tasks start from the same untrained network.")
    ] = later("one")

    citation: ClassVar[str] = "Finn et al. 2017, arXiv:1703.03400, section 5"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.ACTS})
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS - {"steps"}

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps)

    @property
    def network_per_task(self) -> bool:
        return self.networks == "one per task"

    def unread(self, inner: Inner, *, acting: bool) -> dict[str, str]:
        return {} if acting else {"networks": "it is read in reinforcement learning"}
