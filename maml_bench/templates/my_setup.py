"""My setup: MAML whose inner steps become shorter from step to step.

Run it beside MAML:   maml-bench run sinusoid-k10 --preset smoke --setup ./my_setup.py --setup maml
Check it:             maml-bench check ./my_setup.py
"""

from dataclasses import dataclass

from maml_bench import Setup


@dataclass(frozen=True)
class Shrinking:
    """An inner rule: how the parameters of one task move by one gradient step."""

    rate: float
    shrink: float

    def init(self, params):
        """What the rule carries from step to step, such as a momentum. Here it is nothing."""

    def __call__(self, step, params, grads, state):
        """New parameters, and what is carried on. Make new tensors and change none in place."""
        rate = self.rate * self.shrink**step
        return {name: p - rate * grads[name] for name, p in params.items()}, state


@dataclass(frozen=True)
class MySetup(Setup):
    """The fields are the options of the setup: `--set setup.shrink=0.5` changes this one."""

    shrink: float = 0.9

    # The keys of the section `inner` of a recipe that this setup reads. The other keys are refused.
    inner_keys = frozenset({"rate", "steps", "reduction", "outside"})

    def adapt(self, learner, meta, support, steps):
        """The parameters of one task after 0, 1, ..., `steps` inner steps, as a list.

        `meta` are the meta-parameters by name, and `support` has the inputs `x` and the targets `y` of the task.
        The meta-gradient needs no code, because it is the derivative of the query loss through this method.
        """
        return learner.adapt(meta, support, Shrinking(learner.inner.rate, self.shrink), steps)
