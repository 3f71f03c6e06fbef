"""MAML with implicit gradients (iMAML). Rajeswaran, Finn, Kakade & Levine (2019), "Meta-Learning with Implicit
Gradients", NeurIPS, arXiv:1909.04630, Algorithms 1 and 2, with gradient descent as the inner optimiser."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_doc import Doc
from annotated_types import Ge, Gt
from torch import Tensor

from maml_bench.core.inner import Proximal
from maml_bench.core.learner import Learner
from maml_bench.core.linear_systems import conjugate_gradient, dot
from maml_bench.core.setup import RULE_KEYS, OverTasks, Setup
from maml_bench.declared import AT_ONCE, LARGE
from maml_bench.types import Episode, Params


@dataclass(frozen=True)
class IMAML(Setup):
    """The meta-gradient is computed by implicit differentiation at the adapted parameters, without backpropagation
    through the inner steps.

    The adapted parameters phi minimise L_support(phi) + strength / 2 |phi - theta|^2. The meta-gradient is
    (I + H / strength)^-1 grad L_query(phi), where H is the Hessian of L_support at phi; ``cg_steps`` steps of conjugate
    gradient compute it. Parameters outside of the inner loop change phi too, so their meta-gradient is the direct
    derivative plus the one through phi. The paper's other variant, a Hessian-free inner optimiser, is left out.

    Where H has eigenvalues below -strength, the system is not positive definite, and conjugate gradient may diverge.
    The released code therefore solves ((1 + ``ridge``) I + H / (strength + ``damping``)) x = grad with ridge = 1 and
    damping = 10. Both are 0 in the paper.
    """

    strength: Annotated[
        float, Gt(0), LARGE, Doc("Strength of the pull to the meta-parameters, lambda in the paper.")
    ] = 2.0
    cg_steps: Annotated[int, Ge(1), AT_ONCE, Doc("Iterations of conjugate gradient for the meta-gradient.")] = 5
    ridge: Annotated[
        float, Ge(0), LARGE, Doc("Multiple of the identity that is added to the system that is solved.")
    ] = 0.0
    damping: Annotated[
        float, Ge(0), LARGE, Doc("Number that is added to the strength in the system that is solved.")
    ] = 0.0

    citation: ClassVar[str] = "Rajeswaran et al. 2019, arXiv:1909.04630"
    inner_keys: ClassVar[frozenset[str]] = RULE_KEYS

    def adapt(self, learner: Learner, meta: Params, support: Any, steps: int) -> list[Params]:
        rule = Proximal(learner.inner.rule(), self.strength)
        return learner.adapt(meta, support, rule, steps, first_order=True)

    def gradient(
        self, learner: Learner, meta: Params, episodes: Episode, over_tasks: OverTasks
    ) -> tuple[Params, Tensor]:
        def implicit(episode: Episode) -> tuple[Params, Tensor]:
            phi = self.adapt(learner, meta, episode.support, learner.inner.steps)[-1]
            outer, loss = torch.func.grad_and_value(learner.batch_loss)(phi, episode.query)
            slope = torch.func.grad(lambda params: learner.scale * learner.batch_loss(params, episode.support))

            def curved(v: Params) -> Params:
                """The Hessian of the support loss times ``v``, for all parameters, divided by the damped strength."""
                over = self.strength + self.damping
                return {n: h / over for n, h in torch.func.grad(lambda p: dot(slope(p), v))(phi).items()}

            moving = {name: g for name, g in outer.items() if learner.moves(name)}
            eye = 1 + self.ridge
            x, _ = conjugate_gradient(
                lambda v: {n: eye * v[n] + h for n, h in curved(v).items() if n in v}, moving, self.cg_steps
            )
            through = curved(x) if len(x) < len(outer) else {}
            return {n: x[n] if n in x else outer[n] - through[n] for n in meta}, loss

        with torch.no_grad():
            grads, losses = over_tasks(implicit, episodes)
        return {name: g.mean(0) for name, g in grads.items()}, losses
