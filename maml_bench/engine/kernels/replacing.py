"""Finding convolution blocks in a network by tracing it, and putting the kernels in their place.

A block is ``Conv2d`` (3x3, padding 1, stride 1 or 2), batch normalisation by batch statistics, ReLU, and then perhaps
2x2 max-pooling. The parameters keep their names; whatever else the network does stays as it is.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from maml_bench.core.learner import Learner
from maml_bench.engine.kernels import differentiable, operators
from maml_bench.models import BatchNorm
from maml_bench.native_code import NoCompiler, library


class _Block(nn.Module):
    """The block at given parameters, which are looked up by the names they had."""

    def __init__(self, stride: int, eps: float, pool: bool) -> None:
        super().__init__()
        self.stride, self.eps, self.pool = stride, eps, pool

    def forward(self, x: Tensor, weight: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        """x ``[N, C, H, W]`` of one task; the convolution's bias is left out, as the batch's mean takes it away."""
        shared = weight.shape[:1]
        gamma = x.new_ones(shared) if gamma is None else gamma
        beta = x.new_zeros(shared) if beta is None else beta
        maps = differentiable.conv(
            x.permute(0, 2, 3, 1).unsqueeze(0), weight.permute(2, 3, 1, 0).unsqueeze(0), self.stride
        )
        found = differentiable.norm(maps, gamma.unsqueeze(0), beta.unsqueeze(0), self.eps, pool=self.pool)
        return found.squeeze(0).permute(0, 3, 1, 2)


class _Tracer(fx.Tracer):
    """Looks into everything but torch's layers and our normalisation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BatchNorm) or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class _Found:
    """A block in a graph: its nodes, and the names of the parameters that it uses (None: a constant)."""

    first: fx.Node
    last: fx.Node
    kernel: _Block
    weight: str
    gamma: str | None
    beta: str | None


def with_kernels(learner: Learner, device: str = "cpu") -> tuple[Learner, str]:
    """The learner with the convolution blocks of its network on kernels, and a description of what was found.

    If nothing can be replaced it is the learner itself.

    Raises:
        NoCompiler: the kernels for ``device`` cannot be built here.
    """
    network, description = replace_blocks(learner.model, device)
    return learner if network is None else learner.with_network(network), description


def replace_blocks(model: nn.Module, device: str = "cpu") -> tuple[nn.Module | None, str]:
    """The network with its blocks replaced, and a description of what was found; None if nothing can be replaced.

    Raises:
        NoCompiler: the kernels for ``device`` cannot be built here.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        return None, f"torch operators (the network cannot be traced: {type(error).__name__})"
    modules = dict(model.named_modules())
    blocks = [found for node in graph.nodes if (found := _block_at(node, modules))]
    if not blocks:
        return None, "torch operators"
    rounding = "" if device == "cpu" else f" ({_for_gpu()})"
    if device == "cpu":
        library(operators.SOURCE)
    lowered = fx.GraphModule(model, graph)
    for number, block in enumerate(blocks):
        name = f"block_{number}"
        lowered.add_module(name, block.kernel)
        with graph.inserting_before(block.last):
            names = (block.weight, block.gamma, block.beta)
            parameters = [graph.get_attr(parameter) if parameter else None for parameter in names]
            block.last.replace_all_uses_with(graph.call_module(name, (block.first.args[0], *parameters)))
    graph.eliminate_dead_code()
    lowered.recompile()
    return lowered, f"{len(blocks)} convolution block{'s' if len(blocks) > 1 else ''} in kernels{rounding}"


def _for_gpu() -> str:
    """How the kernels for GPUs round."""
    try:
        from maml_bench.engine.kernels import gpu
    except ImportError as error:
        raise NoCompiler("the kernels for GPUs need Triton, which comes with torch for CUDA") from error
    return gpu.precision()


def _block_at(node: fx.Node, modules: dict[str, nn.Module]) -> _Found | None:
    """The block that begins at ``node``."""
    layer = _layer(node, modules)
    normalisation = _only_user(node)
    activation = _only_user(normalisation)
    norm = _layer(normalisation, modules)
    if not isinstance(layer, nn.Conv2d) or not _known(layer) or not isinstance(norm, BatchNorm | nn.BatchNorm2d):
        return None
    if not normalisation or not activation or not _is_relu(activation, modules):
        return None
    pooling = _only_user(activation)
    pool = pooling is not None and _is_pool(pooling, modules)
    name = str(normalisation.target)
    gamma, beta = ("gamma", "beta") if isinstance(norm, BatchNorm) else ("weight", "bias")
    scaled, shifted = (getattr(norm, parameter) is not None for parameter in (gamma, beta))
    return _Found(
        node,
        pooling if pool and pooling else activation,
        _Block(layer.stride[0], norm.eps, pool),
        f"{node.target}.weight",
        f"{name}.{gamma}" if scaled else None,
        f"{name}.{beta}" if shifted else None,
    )


def _known(layer: nn.Conv2d) -> bool:
    plain = layer.kernel_size == (3, 3) and layer.padding == (1, 1) and layer.dilation == (1, 1) and layer.groups == 1
    return (
        plain
        and layer.padding_mode == "zeros"
        and layer.stride in ((1, 1), (2, 2))
        and layer.out_channels % operators.LANES == 0
        and (layer.in_channels < operators.FEW or layer.in_channels % operators.LANES == 0)
    )


def _layer(node: fx.Node | None, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node is not None and node.op == "call_module" else None


def _only_user(node: fx.Node | None) -> fx.Node | None:
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    called = node.op in ("call_function", "call_method") and node.target in (F.relu, torch.relu, "relu")
    return called or isinstance(_layer(node, modules), nn.ReLU)


def _is_pool(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    two = (2, (2, 2))
    layer = _layer(node, modules)
    if isinstance(layer, nn.MaxPool2d):
        plain = not layer.ceil_mode and not layer.return_indices
        return plain and layer.kernel_size in two and layer.stride in two and _zero(layer.padding, layer.dilation)
    if node.op != "call_function" or getattr(node.target, "__name__", "") != "max_pool2d" or len(node.args) != 2:
        return False
    return node.args[1] in two and set(node.kwargs) <= {"stride"} and node.kwargs.get("stride", 2) in two


def _zero(padding: Any, dilation: Any) -> bool:
    return padding in (0, (0, 0)) and dilation in (1, (1, 1))
