"""The solver of ridge regression."""

import pytest
import torch

from maml_bench.core import ridge


@pytest.fixture(params=[1, 2])
def threads(request):
    """So many threads for the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("width", [3, 254])
def test_batches_of_any_width_on_any_number_of_threads(threads, width):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, width + 10, width, generator=generator, dtype=torch.float64)
    square = rows.mT @ rows + torch.eye(width, dtype=torch.float64)
    wanted = torch.randn(3, width, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(ridge.solve(square, square @ wanted), wanted)


def test_its_derivatives_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    right = torch.randn(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    def solved(rows: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return ridge.solve(rows.mT @ rows + torch.eye(3, dtype=torch.float64), right)

    with torch.random.fork_rng():  # the checks draw their directions from the global generator
        assert torch.autograd.gradcheck(solved, (rows, right))
        assert torch.autograd.gradgradcheck(solved, (rows, right))
