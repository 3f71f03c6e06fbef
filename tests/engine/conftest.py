"""The small smooth problems of tests/core."""

import torch._inductor.config  # it keeps the compiler that CXX names now, and some tests name another one later

from tests.core.conftest import classification, regression

__all__ = ["classification", "regression", "torch"]
