"""The derivatives of a network's first block as one kernel.

Nobody asks for the derivative in the images, so the derivative that normalisation hands on to the convolution is needed
for the filters alone. The kernel `first_layer` never writes it to memory.
"""

import operator
from typing import Any

import torch
from torch import fx

from maml_bench.engine.kernels import operators

NORM_BACKWARD = torch.ops.maml_bench.norm_backward.default
CONV_FILTER = torch.ops.maml_bench.conv_filter.default
FIRST_LAYER = torch.ops.maml_bench.first_layer.default


def join_first_layers(module: fx.GraphModule) -> None:
    """Put the kernel in the place of the derivatives of normalisation and filters, on CPUs.

    `shorten_views` comes before, so that a normalisation and its convolution are neighbours.
    """
    graph = module.graph
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.target != CONV_FILTER:
            continue
        images, gradient, stride = node.args
        norm = _normalisation_behind(gradient)
        if norm is None or not _few_channels(images) or position[images] > position[norm]:
            continue
        *tensors, pool = norm.args
        with graph.inserting_before(norm):
            joined = graph.call_function(FIRST_LAYER, (images, *tensors, pool, stride))
            parts = [graph.call_function(operator.getitem, (joined, i)) for i in range(3)]
        for i, part in enumerate(parts):
            old = [node] if i == 0 else [user for user in norm.users if user.args[1] == i]
            for other in old:
                part.meta.update(other.meta)
                other.replace_all_uses_with(part)
    graph.eliminate_dead_code()
    module.recompile()


def _normalisation_behind(gradient: Any) -> Any:
    """The derivative of a normalisation whose first result is ``gradient`` and is used for nothing else, or None."""
    if gradient.target != operator.getitem or gradient.args[1] != 0 or len(gradient.users) != 1:
        return None
    return gradient.args[0] if gradient.args[0].target == NORM_BACKWARD else None


def _few_channels(images: Any) -> bool:
    value = images.meta["val"]
    return bool(value.device.type == "cpu" and value.shape[-1] < operators.FEW)
