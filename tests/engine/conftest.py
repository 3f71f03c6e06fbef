"""The small smooth problems of tests/core."""

from tests.core.conftest import classification, regression

__all__ = ["classification", "regression"]
