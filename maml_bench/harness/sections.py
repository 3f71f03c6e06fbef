"""The sections of a recipe: what each key means, what values it may have, and under which other keys it is read.

The section ``outer`` is one of the dataclasses in OPTIMISERS, chosen by the key ``outer.optimiser``.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_doc import Doc
from annotated_types import Ge, Lt, MinLen

from maml_bench.checked import later
from maml_bench.core.normalisation import Mode
from maml_bench.declared import AT_ONCE, COUNT, LARGE, LAYERS, Also, When
from maml_bench.rl.trust_region import Trust
from maml_bench.types import Estimator, Shape

Decay = Literal["constant", "linear", "cosine", "halve"]


@dataclass(frozen=True)
class Outer:
    """What the outer loop has with every optimiser. The meta-gradient is that of the mean query loss over the tasks."""

    steps: Annotated[int, Ge(0), COUNT, Doc("Meta-steps that training takes."), Also(("iterations", "epochs"))]
    meta_batch: Annotated[int, Ge(1), AT_ONCE, Doc("Tasks in a meta-step."), Also(("batch_size", "tasks"))]
    estimator: Annotated[Estimator, Doc("Outer loss in reinforcement learning, see maml_bench.rl.losses.")] = later(
        "ratio"
    )

    optimiser: ClassVar[str]

    def rate_at(self, step: int) -> float:
        """Step size of meta-step ``step``, 0 to ``steps - 1``; 0 for an optimiser that finds its own."""
        return 0.0

    def for_meta_step(self) -> dict[str, Any]:
        """The keyword arguments of engine.MetaStep that say which optimiser it is."""
        return {"optimiser": self.optimiser}


@dataclass(frozen=True)
class Descent(Outer):
    """What the optimisers that follow the meta-gradient have in common."""

    rate: Annotated[
        float, Ge(0), LARGE, Doc("Step size at the first meta-step."), Also(("lr", "learning_rate", "beta"))
    ] = 1e-3
    decay: Annotated[
        Decay,
        Doc("How the step size changes: it stays, goes to `floor` on a line or a half cosine, or is halved."),
        Also(("schedule", "scheduler")),
    ] = "constant"
    clip: Annotated[float, Ge(0), LARGE, Doc("Bound of each entry of the meta-gradient, 0 for none.")] = 0.0
    norm: Annotated[float, Ge(0), LARGE, Doc("Bound of the length of the whole meta-gradient, 0 for none.")] = later(
        0.0
    )
    halve_every: Annotated[
        int, Ge(0), COUNT, Doc("Meta-steps after which the step size is halved."), When("decay", ("halve",))
    ] = later(0)
    floor: Annotated[
        float, Ge(0), LARGE, Doc("Step size at the end of the decay."), When("decay", ("linear", "cosine"))
    ] = later(0.0)
    repeats: Annotated[int, Ge(1), AT_ONCE, Doc("Steps on the same tasks before new ones are drawn.")] = later(1)

    def rate_at(self, step: int) -> float:
        done = step / max(1, self.steps)  # of no steps at all, too, the first has a size to be shown
        if self.decay == "linear":
            return self.floor + (self.rate - self.floor) * (1 - done)
        if self.decay == "cosine":
            return self.floor + (self.rate - self.floor) * (1 + math.cos(math.pi * done)) / 2
        if self.decay == "halve":
            return self.rate * 0.5 ** (step // self.halve_every)
        return self.rate

    def for_meta_step(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser, "clip": self.clip, "norm": self.norm, "repeats": self.repeats}


@dataclass(frozen=True)
class Adam(Descent):
    """Adam (Kingma & Ba 2015) on the meta-gradient."""

    optimiser: ClassVar[str] = "adam"


@dataclass(frozen=True)
class SGD(Descent):
    """Plain gradient descent on the meta-gradient."""

    optimiser: ClassVar[str] = "sgd"


@dataclass(frozen=True)
class RMSProp(Descent):
    """RMSProp with momentum (Graves 2013) on the meta-gradient."""

    smoothing: Annotated[float, Ge(0), Lt(1), Doc("Decay of the mean square of the meta-gradient.")] = 0.95
    momentum: Annotated[float, Ge(0), Lt(1), Doc("Momentum of the steps.")] = 0.9

    optimiser: ClassVar[str] = "rmsprop"

    def for_meta_step(self) -> dict[str, Any]:
        return super().for_meta_step() | {"constants": {"smoothing": self.smoothing, "momentum": self.momentum}}


@dataclass(frozen=True)
class TrustRegion(Outer):
    """Trust region policy optimisation (Schulman et al. 2015), which finds the length of its steps itself."""

    trust: Trust = later(Trust())

    optimiser: ClassVar[str] = "trpo"


OPTIMISERS: dict[str, type[Outer]] = {cls.optimiser: cls for cls in (Adam, SGD, RMSProp, TrustRegion)}
"""The section ``outer`` by the value of its key ``optimiser``; without that key it is the first."""

Way = Annotated[
    int, Ge(1), AT_ONCE, Doc("Classes of a task; 1 where there are none."), Also(("ways", "n_way", "classes"))
]
Shot = Annotated[
    int,
    Ge(0),
    AT_ONCE,
    Doc("Support examples of a class, or rollouts: at least 1, but for a density, which has a score without any."),
    Also(("shots", "k_shot")),
]
Query = Annotated[int, Ge(0), AT_ONCE, Doc("Query examples of a class, or rollouts."), Also(("queries",))]
Steps = Annotated[int, Ge(0), AT_ONCE]


@dataclass(frozen=True)
class EpisodeShape:
    """N way, K shot, Q query examples per class."""

    way: Way
    shot: Shot
    query: Query

    @property
    def shape(self) -> Shape:
        return Shape(self.way, self.shot, self.query)


@dataclass(frozen=True)
class Validation(EpisodeShape):
    """The validations that a run makes for its learning curve and to select a checkpoint."""

    episodes: Annotated[int, Ge(0), AT_ONCE, Doc("Validation tasks, 0 for no validation."), Also(("tasks",))]
    inner_steps: Annotated[int, Ge(0), AT_ONCE, Doc("Inner steps after which they are scored.")]
    every: Annotated[int, Ge(1), COUNT, Doc("Meta-steps from one validation to the next."), Also(("interval",))]


@dataclass(frozen=True)
class Test(EpisodeShape):
    """One test: so many tasks of a split, scored after each of some numbers of inner steps.

    Choices that make no difference are ignored: of ``normalisation`` without batch-norm, of ``checkpoint`` without
    training.
    """

    protocol: Annotated[str, Doc("Name of the protocol that the test belongs to.")]
    split: Annotated[Literal["train", "validation", "test"], Doc("Classes or tasks that it draws from.")]
    episodes: Annotated[int, Ge(1), AT_ONCE, Doc("Test tasks.")]
    inner_steps: Annotated[
        tuple[Steps, ...], MinLen(1), LAYERS, Doc("Numbers of inner steps after which tasks are scored.")
    ]
    normalisation: Annotated[Mode, Doc("Whose statistics batch-norm uses for the query, see core.normalisation.")] = (
        later("transductive")
    )
    checkpoint: Annotated[
        Literal["last", "selected", "ensemble"],
        Doc("Meta-parameters that are tested: the last, the best by validation, or the best five together."),
    ] = later("last")


@dataclass(frozen=True)
class Published:
    """A published number for one setup and test point."""

    setup: Annotated[str, Doc("The setup that the number is of.")]
    way: Annotated[int, Ge(1), AT_ONCE, Doc("Classes of a task.")]
    shot: Annotated[int, Ge(0), AT_ONCE, Doc("Examples of a class in the support.")]
    inner_steps: Annotated[int, Ge(0), AT_ONCE, Doc("Number of inner steps before the test.")]
    value: Annotated[float, Ge(-LARGE.le), LARGE, Doc("The number, in the unit of the metric: accuracy is a fraction.")]
    source: Annotated[str, Doc("The paper, and the table or figure in it.")]
    ci95: Annotated[float | None, Ge(0), LARGE, Doc("Half-width of the published 95 % interval.")] = None
    query: Annotated[
        int | None, Ge(0), AT_ONCE, Doc("Query examples of a class, if not those of the recipe's test.")
    ] = None
    protocol: Annotated[str, Doc("The protocol of the tests that the number stands beside.")] = "paper"
    normalisation: Annotated[Mode | None, Doc("How the query was normalised, if not `transductive`.")] = later(None)
    ensemble: Annotated[bool, Doc("Whether it is a number of several checkpoints together.")] = later(False)
    note: Annotated[str, Doc("What a reader must know of the number, in a few words.")] = later("")
