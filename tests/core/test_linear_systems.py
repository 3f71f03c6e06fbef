"""Conjugate gradient and the ridge solver against what linear algebra says they must do."""

from itertools import pairwise

import pytest
import torch

from maml_bench.core.linear_systems import conjugate_gradient, dot, solve
from maml_bench.types import Params


def split(vector: torch.Tensor) -> Params:
    return {"a": vector[:2].reshape(1, 2), "b": vector[2:]}


def joined(tree: Params) -> torch.Tensor:
    return torch.cat([tree["a"].flatten(), tree["b"]])


def test_as_many_steps_as_unknowns_solve_a_system() -> None:
    generator = torch.Generator().manual_seed(0)
    root, target = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 5), (5,)))
    matrix = root @ root.T + torch.eye(5, dtype=torch.float64)
    errors = []
    for steps in range(6):
        found, image = map(joined, conjugate_gradient(lambda v: split(matrix @ joined(v)), split(target), steps))
        torch.testing.assert_close(image, matrix @ found, rtol=1e-12, atol=1e-12)
        error = found - torch.linalg.solve(matrix, target)
        errors.append(float(error @ matrix @ error))
    assert all(after < before for before, after in pairwise(errors))
    assert errors[-1] < 1e-18


def test_two_eigenvalues_need_two_steps_and_further_ones_stay() -> None:
    diagonal = torch.tensor([1.0, 4.0, 4.0, 1.0, 4.0], dtype=torch.float64)
    target = torch.arange(1.0, 6.0, dtype=torch.float64)
    for steps in (2, 3, 50):
        found, _ = conjugate_gradient(lambda v: split(diagonal * joined(v)), split(target), steps)
        torch.testing.assert_close(joined(found), target / diagonal, rtol=1e-12, atol=0)


def test_nothing_is_the_solution_to_nothing() -> None:
    zero = split(torch.zeros(5))
    assert torch.equal(joined(conjugate_gradient(lambda v: v, zero, 3)[0]), torch.zeros(5))


def test_the_inner_product_is_over_the_second_trees_names() -> None:
    left, right = split(torch.arange(5.0)), {"a": torch.tensor([[2.0, 3.0]])}
    assert dot(left, right).item() == 0 * 2 + 1 * 3


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
    torch.testing.assert_close(solve(square, square @ wanted), wanted)


def test_its_derivatives_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    right = torch.randn(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    def solved(rows: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return solve(rows.mT @ rows + torch.eye(3, dtype=torch.float64), right)

    with torch.random.fork_rng():  # the checks draw their directions from the global generator
        assert torch.autograd.gradcheck(solved, (rows, right))
        assert torch.autograd.gradgradcheck(solved, (rows, right))
