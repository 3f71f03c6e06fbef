"""The mathematics: inner loop, meta-gradient over a meta-batch, evaluation. It names no data set and no device."""

from maml_bench.core.inner import SGD, Adam, adapt
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.outer import meta_gradient
from maml_bench.core.setup import Setup

__all__ = ["SGD", "Adam", "Inner", "Learner", "Setup", "adapt", "meta_gradient"]
