"""Trees of tensors are taken apart and put together again, whatever they are made of."""

from typing import NamedTuple

import torch

from maml_bench.trees import flatten, leaves, tree_map, unflatten


class Pair(NamedTuple):
    left: torch.Tensor
    right: object


TREE = {"a": [torch.ones(2), None], "b": Pair(torch.zeros(1), (3, torch.full((1,), 5.0))), "c": ()}


def test_a_tree_comes_back_as_it_was() -> None:
    tensors: list[torch.Tensor] = []
    structure = flatten(TREE, tensors)
    assert hash(structure) == hash(flatten(TREE, []))
    assert [t.tolist() for t in tensors] == [[1.0, 1.0], [0.0], [5.0]]
    again = unflatten(structure, iter(tensors))
    assert isinstance(again["b"], Pair)
    assert again["b"].right[0] == 3
    assert again["a"][1] is None
    assert again["c"] == ()
    assert all(x is y for x, y in zip(leaves(again), tensors, strict=True))


def test_a_map_takes_several_trees_together_and_leaves_the_rest_alone() -> None:
    found = tree_map(lambda x, y: x + 2 * y, TREE, TREE)
    assert [t.tolist() for t in leaves(found)] == [[3.0, 3.0], [0.0], [15.0]]
    assert found["b"].right[0] == 3
