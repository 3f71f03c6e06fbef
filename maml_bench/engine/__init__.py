"""How one meta-step becomes fast: recorded once, rewritten, and run on kernels of our own.

The engine takes the functions of core apart. Core never imports it.
"""

from maml_bench.engine.execution import SCHEDULES, Execution
from maml_bench.engine.meta_step import MetaStep
from maml_bench.engine.scoring import Scorer

__all__ = ["SCHEDULES", "Execution", "MetaStep", "Scorer"]
