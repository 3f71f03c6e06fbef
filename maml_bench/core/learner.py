"""A network and a loss as pure functions of named parameters, and the choices of the inner loop that a recipe makes."""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Protocol

from annotated_doc import Doc
from annotated_types import Ge
from torch import Tensor, nn
from torch.func import functional_call

from maml_bench.checked import later
from maml_bench.core.exact_layers import ExactLayers, refuse_unusable
from maml_bench.core.inner import SGD, Clipped, Update, adapt
from maml_bench.declared import AT_ONCE, LARGE, LAYERS, Also
from maml_bench.errors import MamlBenchError
from maml_bench.types import Estimator, Params, Predict

Reduction = Literal["mean", "per shot"]


@dataclass(frozen=True)
class Inner:
    """The inner loop of a recipe. Each setup states which of these keys it reads (core.setup.Setup.inner_keys).

    The released MAML code divides the summed loss by the shots (utils.py 56-58 of cbfinn/maml), so the rates of the
    paper belong to the reduction ``per shot``.
    """

    rate: Annotated[
        float,
        Ge(0),
        LARGE,
        Doc("Step size on the support loss, under `reduction`."),
        Also(("lr", "alpha", "learning_rate", "step_size")),
    ]
    steps: Annotated[
        int, Ge(0), AT_ONCE, Doc("Inner steps in training."), Also(("num_steps", "updates", "num_updates"))
    ]
    reduction: Annotated[
        Reduction, Doc("The support loss: the mean over all examples, or `per shot`, which is the mean times the way.")
    ] = "mean"
    outside: Annotated[
        tuple[str, ...],
        LAYERS,
        Doc("Parameters that are meta-learned but stay as they are in the inner loop, as glob patterns."),
    ] = ()
    later_rate: Annotated[float | None, Ge(0), LARGE, Doc("Step size of all steps after the first, if it differs.")] = (
        later(None)
    )
    norm: Annotated[
        float,
        Ge(0),
        LARGE,
        Doc("Bound of the length of the gradient of a task, 0 for none."),
        Also(("clip", "max_norm", "grad_clip")),
    ] = later(0.0)
    estimator: Annotated[Estimator, Doc("Support loss of a policy, see maml_bench.rl.losses.")] = later("likelihood")

    def rule(self) -> Update:
        """The update rule with these rates, and with the gradient bounded if the recipe says so."""
        rule = SGD(self.rate, self.later_rate)
        return Clipped(rule, self.norm) if self.norm else rule


class PolicyTerms(Protocol):
    """What setups that only act ask of the family: methods of rl.protocol.Acting. Losses are of one task."""

    def sizes(self) -> tuple[int, int]: ...

    def inputs(self) -> int: ...

    def outputs(self) -> int: ...

    def answers(self, predict: Predict, batch: Any) -> Tensor: ...

    def clipped(self, predict: Predict, batch: Any, clip: float) -> Tensor: ...

    def credit(self, predict: Predict, support: Any, query: Any) -> Tensor: ...

    def value_error(self, values: Tensor, batch: Any, *, mean_reward: bool = False) -> Tensor: ...

    def entropy(self, outputs: Tensor, batch: Any) -> Tensor: ...

    def divergence(self, outputs: Tensor, batch: Any) -> Tensor: ...


class Learner:
    """Binds a module to a task distribution's losses and score. It stores no parameters: callers pass them in.

    Any ``nn.Module`` works if its forward takes only the inputs, and it is never changed. A parameter with
    ``requires_grad=False`` keeps its value in both loops. A parameter or module with several names is one.

    Args:
        model: the network.
        loss: mean loss of a predictor on one task's batch, which the inner loop minimises.
        score: the metric of a predictor on one task's batch.
        inner: the choices of the inner loop.
        way: classes per task; 1 in regression.
        outer_loss: mean loss that the outer loop minimises; by default that of the inner loop.
        acting: in reinforcement learning, the family, which offers the terms of some outer losses.

    Raises:
        MamlBenchError: the module has a layer that cannot be meta-learned (see core.exact_layers), or a pattern of
            ``inner.outside`` names nothing, or they name all parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Predict, Any], Tensor],
        score: Callable[[Predict, Any], Tensor],
        inner: Inner,
        way: int = 1,
        *,
        outer_loss: Callable[[Predict, Any], Tensor] | None = None,
        acting: "PolicyTerms | None" = None,
    ) -> None:
        refuse_unusable(model)
        for pattern in inner.outside:
            if not any(fnmatchcase(name, pattern) for name, _ in model.named_parameters()):
                raise MamlBenchError(f"inner.outside has {pattern!r}, which matches no parameter of the network")
        self.model = model
        self.names = tuple(name for name, _ in model.named_parameters())
        self.frozen = frozenset(name for name, p in model.named_parameters() if not p.requires_grad)
        self._use(model)
        self.loss = loss
        self.outer_loss = outer_loss or loss
        self._acting = acting
        self.score = score
        self.inner = inner
        outside = inner.outside
        if all(name in self.frozen or _matches(name, outside) for name in self.names):
            frozen = " and frozen parameters leave none" if self.frozen else ", which leaves no parameter"
            raise MamlBenchError(f"inner.outside is {list(outside)}{frozen} of the network for the inner loop")
        self.way = way
        self.number: int | Tensor = 0
        self.kept: bool | Collection[int] = True

    def at_step(self, number: int | Tensor) -> "Learner":
        """This learner at meta-step ``number``, from 0 (a 0-d tensor in a recording), for setups that depend on it."""
        other = copy(self)
        other.number = number
        return other

    def with_way(self, way: int) -> "Learner":
        """This learner on tasks of ``way`` classes, for setups that train on more of them than they are tested on."""
        other = copy(self)
        other.way = way
        return other

    def keeping(self, steps: Collection[int]) -> "Learner":
        """This learner, whose ``adapt`` keeps only the parameters after so many steps (see core.inner.adapt)."""
        other = copy(self)
        other.kept = steps
        return other

    @property
    def scale(self) -> float:
        """The factor of the mean loss in the inner loop."""
        return float(self.way) if self.inner.reduction == "per shot" else 1.0

    def with_network(self, network: nn.Module) -> "Learner":
        """This learner with another form of the same network: the same parameters, the same outputs."""
        other = copy(self)
        other._use(network)
        return other

    def _use(self, network: nn.Module) -> None:
        """Run ``network`` from now on. A parameter that it has in several places is one parameter, by its first name.

        `functional_call` alone damages a module that has two names: it puts back what it has put in itself.
        """
        self.network = network
        first = {id(p): name for name, p in self.model.named_parameters()}
        self._places = {
            f"{path}.{own}" if path else own: first[id(p)]
            for path, module in network.named_modules()
            for own, p in module.named_parameters(recurse=False, remove_duplicate=False)
        }

    def _call(self, params: Params, x: Tensor, **options: Any) -> Tensor:
        """The network at ``params``. Those that the user has frozen are constants of every derivative."""
        own = {n: params[n].detach() if n in self.frozen else params[n] for n in self.names}
        placed = {place: own[name] for place, name in self._places.items()}
        with ExactLayers():
            return functional_call(self.network, placed, (x,), options, tie_weights=False)  # type: ignore[no-any-return]

    @property
    def acting(self) -> PolicyTerms:
        """The terms of outer losses that the family offers.

        Raises:
            MamlBenchError: the tasks are not of reinforcement learning.
        """
        if self._acting is None:
            raise MamlBenchError("the setup needs tasks of reinforcement learning")
        return self._acting

    def initial(self) -> Params:
        """The module's own parameters, copied: the start of meta-training."""
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def apply(self, params: Params, x: Tensor) -> Tensor:
        """The network at ``params`` (further names are ignored) on one task's inputs ``[examples, ...]``."""
        return self._call(params, x)

    def draw(self, params: Params, noise: Tensor) -> Tensor:
        """Examples that the network at ``params``, which is a density, makes of ``noise [examples, 2, ...]``.

        The noise is uniform in [0, 1]. A network without latent variables reads the second half of it.
        """
        return self._call(params, noise[:, 1:], draw=True)

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """The inputs of the last layer: embeddings ``[examples, features]`` of one task's ``x [examples, ...]``."""
        given: list[Tensor] = []
        head = self.network.get_submodule(self.head)
        handle = head.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[0]))
        try:
            self.apply(params, x)
        finally:
            handle.remove()
        return given[0]

    def batch_loss(self, params: Params, batch: Any) -> Tensor:
        """Mean loss of the network at ``params`` on one task's ``batch``, a scalar."""
        return self.loss(lambda x: self.apply(params, x), batch)

    def adapt(
        self,
        params: Params,
        support: Any,
        update: Update,
        steps: int,
        *,
        first_order: bool = False,
        only: Callable[[str], bool] | None = None,
    ) -> list[Params]:
        """Parameters after 0, 1, ..., ``steps`` inner steps on ``support`` under the recipe's reduction.

        Those that `keeping` leaves out are empty.
        """
        path: list[Params] = adapt(
            lambda p, batch: self.scale * self.batch_loss(p, batch) if self.scale != 1 else self.batch_loss(p, batch),
            {n: params[n] for n in self.names},
            support,
            update,
            steps,
            first_order=first_order,
            only=lambda name: self.moves(name) and (only is None or only(name)),
            trajectory=self.kept,
        )
        return path

    def moves(self, name: str) -> bool:
        """Whether the inner loop may change the parameter ``name``: neither the recipe nor the user keeps it fixed."""
        return name not in self.frozen and not _matches(name, self.inner.outside)

    def is_head(self, name: str) -> bool:
        """Whether ``name`` belongs to the last layer: the submodule ``head``, else the last one that has parameters."""
        return name.rpartition(".")[0] == self.head

    @property
    def head(self) -> str:
        """The name of the last layer."""
        layers = [module for module, m in self.model.named_modules() if any(True for _ in m.parameters(recurse=False))]
        return "head" if "head" in layers else layers[-1]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether any of the glob ``patterns`` matches the name of a parameter."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
