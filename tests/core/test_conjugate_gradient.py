"""Conjugate gradient against what linear algebra says it must do."""

from itertools import pairwise

import torch

from maml_bench.core.conjugate_gradient import conjugate_gradient, dot
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
