"""Fixtures that many tests share: real data where it is stored, small differentiable networks."""

import os

import pytest
import torch
from hypothesis import settings

from maml_bench.data import store
from maml_bench.errors import MamlBenchError

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def omniglot() -> store.Manifest:
    """The stored Omniglot; without it the test skips, or fails where MAML_BENCH_REQUIRE_DATA is set (as in CI)."""
    try:
        return store.verify("omniglot")
    except MamlBenchError as error:
        if os.environ.get("MAML_BENCH_REQUIRE_DATA"):
            pytest.fail(f"real data is required here: {error}")
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def untouched_global_generator() -> object:
    """Nobody may draw from or seed the global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "the global random generator was used"
