"""The losses of policy gradients that families of reinforcement learning offer to setups, each of one task, and what a
trust region must know about a policy (Finn et al. 2017, section 5.3; maml_npo.py of cbfinn/maml_rl)."""

import math
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from maml_bench.errors import MamlBenchError, nearest
from maml_bench.rl import losses
from maml_bench.rl.actions import Actions
from maml_bench.rl.trajectories import Trajectories, discounted, remaining
from maml_bench.types import Predict


class PolicyLosses:
    """Base of families whose agents draw ``actions``; ``discount`` is that of the rewards."""

    actions: ClassVar[Actions]
    discount: float

    def estimate(self, estimator: str) -> Callable[[Predict, Trajectories], Tensor]:
        """The loss ``estimator`` of `losses.ESTIMATORS`, for one task's rollouts.

        Raises:
            MamlBenchError: there is no such loss.
        """
        if estimator not in losses.ESTIMATORS:
            raise MamlBenchError(f"no policy loss {estimator!r}{nearest(estimator, losses.ESTIMATORS)}")
        loss = losses.ESTIMATORS[estimator]
        more = {"discount": self.discount} if loss is losses.dice else {}
        return lambda predict, batch: loss(self.actions, predict(batch.observations), batch, **more)

    def loss(self, predict: Predict, batch: Trajectories) -> Tensor:
        """The paper's inner loss: minus the mean of log-probability times advantage."""
        return self.estimate("likelihood")(predict, batch)

    def outer_loss(self, predict: Predict, batch: Trajectories) -> Tensor:
        """The paper's outer loss: minus the mean of the advantages times the likelihood ratios of the actions."""
        return self.estimate("ratio")(predict, batch)

    def credit(self, predict: Predict, support: Trajectories, query: Trajectories) -> Tensor:
        """`losses.credit` of one task, which E-MAML's outer loss subtracts from MAML's."""
        return losses.credit(self.actions, predict(support.observations), support, query, self.discount)

    def clipped(self, predict: Predict, batch: Trajectories, clip: float) -> Tensor:
        """`losses.clipped` of one task: ProMP's outer loss."""
        return losses.clipped(self.actions, predict(batch.observations), batch, clip)

    def value_error(self, values: Tensor, batch: Trajectories, *, mean_reward: bool = False) -> Tensor:
        """Half the mean squared difference of ``values [R, T]`` from the discounted returns of one task's trials. With
        ``mean_reward``, from these returns divided by the discounted number of steps that remain."""
        to_come = discounted(batch.rewards, self.discount, batch.time)
        if mean_reward:
            to_come = to_come / remaining(batch.time, self.discount)
        return 0.5 * losses.mean((values - to_come) ** 2, batch.mask)

    def entropy(self, outputs: Tensor, batch: Trajectories) -> Tensor:
        """The mean entropy of the actions in one task's rollouts, for ``outputs [R, T, O]``."""
        return losses.mean(self.actions.entropy(outputs), batch.mask)

    def answers(self, predict: Predict, batch: Trajectories) -> Tensor:
        """The outputs for all observations."""
        return predict(batch.observations)

    def part(self, batch: Trajectories, share: float) -> Trajectories:
        """The first rollouts of every task, or its first steps where rollouts are packed into one row."""
        if batch.mask.shape[1] == 1:
            return Trajectories(*(field[:, :, : math.ceil(share * field.shape[2])] for field in batch))
        return Trajectories(*(field[:, : math.ceil(share * field.shape[1])] for field in batch))

    def divergence(self, outputs: Tensor, batch: Trajectories) -> Tensor:
        """Mean KL(policy that acted || policy with ``outputs``) of one task."""
        return losses.mean(self.actions.divergence(batch.behaviour, outputs), batch.mask)

    def curvature(self, tangent: Tensor, batch: Trajectories) -> Tensor:
        """The second derivative of ``divergence`` at the outputs of the policy that acted, times ``tangent``."""
        weight = batch.mask / batch.mask.sum((-2, -1), keepdim=True)
        return self.actions.metric(batch.behaviour, tangent) * weight.unsqueeze(-1)
