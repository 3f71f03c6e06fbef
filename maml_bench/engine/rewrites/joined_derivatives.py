"""Derivatives of a block that one kernel finds together, so that fewer maps are written to memory, on CPUs.

The second derivative of a block goes two ways to the convolution's result, and the two are added. The derivative of
normalisation adds the other one while it writes its own.

Nobody asks for the derivative in the images. So in the first block, the derivative that normalisation hands on to the
convolution is needed for the filters alone. The kernel `first_layer` never writes it to memory.

`shorten_views` comes before both, so that a normalisation and its neighbours are neighbours in the recording.
"""

import operator
from typing import Any

import torch
from torch import fx

from maml_bench.engine.kernels import operators
from maml_bench.engine.rewrites.shorter_program import reshapes, shorten_views

ADD = torch.ops.aten.add.Tensor
NORM_BACKWARD = torch.ops.maml_bench.norm_backward.default
CONV_FILTER = torch.ops.maml_bench.conv_filter.default
FIRST_LAYER = torch.ops.maml_bench.first_layer.default


def join_sums(module: fx.GraphModule) -> None:
    """Let the derivative of normalisation add what is added to it alone."""
    graph = module.graph
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.target != ADD or node.kwargs or not all(isinstance(term, fx.Node) for term in node.args):
            continue
        for own, other in (node.args, node.args[::-1]):
            if len(own.users) > 1 or not _alike(own, other, node):
                continue
            gradient, other = _before_view(own), _before_view(other)
            norm = _normalisation_behind(gradient)
            if norm is None or len(norm.args) > 7 or position[other] > position[norm]:  # the eighth is such a term
                continue
            with graph.inserting_before(norm):
                plus = _view(graph, other, gradient.meta["val"])
            with graph.inserting_before(node):
                total = _view(graph, gradient, node.meta["val"])
            norm.args = (*norm.args, plus)
            node.replace_all_uses_with(total)
            break
    graph.eliminate_dead_code()
    shorten_views(module)


def join_first_layers(module: fx.GraphModule) -> None:
    """Put one kernel in the place of the derivatives of a normalisation and of the filters before it."""
    graph = module.graph
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.target != CONV_FILTER:
            continue
        images, gradient, stride = node.args
        norm = _normalisation_behind(gradient)
        if norm is None or not _few_channels(images) or position[images] > position[norm]:
            continue
        *tensors, pool = norm.args[:7]
        with graph.inserting_before(norm):
            joined = graph.call_function(FIRST_LAYER, (images, *tensors, pool, stride, *norm.args[7:]))
            parts = [graph.call_function(operator.getitem, (joined, i)) for i in range(3)]
        for i, part in enumerate(parts):
            old = [node] if i == 0 else [user for user in norm.users if user.args[1] == i]
            for other in old:
                part.meta.update(other.meta)
                other.replace_all_uses_with(part)
    graph.eliminate_dead_code()
    module.recompile()


def _before_view(node: Any) -> Any:
    return node.args[0] if reshapes(node) else node


def _view(graph: fx.Graph, node: Any, like: torch.Tensor) -> Any:
    """A node in the shape of a tensor."""
    view = graph.call_function(torch.ops.aten.view.default, (node, list(like.shape)))
    view.meta["val"] = like
    return view


def _normalisation_behind(gradient: Any) -> Any:
    """The derivative of a normalisation whose first result is ``gradient`` and is used for nothing else, or None."""
    if gradient.target != operator.getitem or gradient.args[1] != 0 or len(gradient.users) != 1:
        return None
    return gradient.args[0] if gradient.args[0].target == NORM_BACKWARD else None


def _alike(*nodes: Any) -> bool:
    """Whether all are tensors of one shape and type on a CPU, so that nothing is broadcast."""
    values = [node.meta.get("val") for node in nodes]
    if not all(isinstance(value, torch.Tensor) for value in values):
        return False
    kinds = {(value.shape, value.dtype, value.device.type) for value in values}
    return len(kinds) == 1 and values[0].device.type == "cpu"


def _few_channels(images: Any) -> bool:
    value = images.meta["val"]
    return bool(value.device.type == "cpu" and value.shape[-1] < operators.FEW)
