"""The common part of the setups that adapt a context: the inner loop changes only the parameters called ``context``."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from maml_bench.core.learner import Learner
from maml_bench.core.setup import RULE_KEYS, Setup
from maml_bench.errors import MamlBenchError
from maml_bench.types import Params


def is_context(name: str) -> bool:
    """Whether the parameter ``name`` belongs to the context."""
    return f".{name}".endswith(".context")


@dataclass(frozen=True)
class ContextOnly(Setup):
    """Base of these setups: the context takes gradient steps from its meta-learned value; all tasks share the rest."""

    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def init(self, learner: Learner, generator: torch.Generator) -> Params:
        """The network's own initialisation.

        Raises:
            MamlBenchError: the network has no context.
        """
        if not any(map(is_context, learner.names)):
            raise MamlBenchError(
                "the setup adapts the parameters called 'context', and the network has none: give it some with "
                "tasks.context for sinusoids, tasks.conv.context for images"
            )
        return learner.initial()

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        return learner.adapt(meta, support, learner.inner.rule(), steps, only=is_context)
