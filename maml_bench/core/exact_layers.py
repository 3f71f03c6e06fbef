"""Layers of torch that a meta-gradient needs in another form, which gives the same values.

Torch maps its layers over tasks (vmap) and takes second derivatives of them. For a few layers one of the two is wrong
or not there. `ExactLayers` replaces the functions that these layers call, or refuses the layer with a sentence.
tests/core/test_layers.py compares every layer of torch.nn with a loop of torch.autograd.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from maml_bench.errors import MamlBenchError

Function = Callable[..., Any]
Cell = Callable[..., Any]
"""One step of a recurrent layer: input, state and parameters to the next state."""


class ExactLayers(TorchFunctionMode):
    """Inside it, the functions in ``REPLACED`` are their replacements."""

    def __torch_function__(
        self, function: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return REPLACED.get(function, function)(*args, **(kwargs or {}))


def refuse_unusable(model: nn.Module) -> None:
    """Refuse the layers of ``model`` that no replacement can make usable.

    Raises:
        MamlBenchError: a layer keeps running statistics, which a pure function cannot update, or has no derivative that
            torch.func can take.
    """
    for name, _ in model.named_buffers():
        if name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}:
            layer = name.rpartition(".")[0] or type(model).__name__
            raise MamlBenchError(
                f"the layer {layer!r} keeps running statistics, which an inner loop without side effects cannot "
                "update: build it with track_running_stats=False, or use maml_bench.models.BatchNorm"
            )
    for name, layer in model.named_modules():
        if isinstance(layer, nn.CrossMapLRN2d):
            raise MamlBenchError(
                f"the layer {name!r} is nn.CrossMapLRN2d, which has no second derivative: use nn.LocalResponseNorm"
            )


def _scaled_outside(function: Function) -> Function:
    """A normalisation whose scale and offset are applied outside of torch's operator.

    Under vmap, torch's second derivatives of ``batch_norm``, ``instance_norm`` and ``layer_norm`` are wrong if the
    scale differs from task to task (seen in 2.13): the error of MAML's meta-gradient is some thousandths on a network
    with ``nn.BatchNorm2d`` and a quarter on one with ``nn.LayerNorm``.
    """
    signature = inspect.signature(function)

    def normalised(*args: Any, **kwargs: Any) -> Tensor:
        given = signature.bind(*args, **kwargs)
        weight, bias = (given.arguments.pop(name, None) for name in ("weight", "bias"))
        y: Tensor = function(**given.arguments)
        # Layer normalisation scales the last axes; the other two scale the second axis.
        shape = (-1, *(1,) * (y.ndim - 2)) if function is not F.layer_norm else ()
        y = y if weight is None else y * (weight.reshape(shape) if shape else weight)
        return y if bias is None else y + (bias.reshape(shape) if shape else bias)

    return normalised


def _embedding(
    x: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """An embedding whose padding row gets no gradient.

    Under vmap, torch gives the padding rows of all tasks but the first a gradient (seen in 2.13). ``sparse`` is
    left out, because it only says how the gradient is stored.
    """
    if max_norm is not None:
        raise MamlBenchError(
            "nn.Embedding with max_norm changes its own weights when it runs, which an inner loop without side "
            "effects cannot: leave max_norm out"
        )
    if scale_grad_by_freq:
        raise MamlBenchError(
            "nn.Embedding with scale_grad_by_freq has no exact second derivative in torch: leave scale_grad_by_freq out"
        )
    y = F.embedding(x, weight)
    if padding_idx is None:
        return y
    return torch.where((x == padding_idx % len(weight)).unsqueeze(-1), y.detach(), y)


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """Torch has no second derivative of its own operator (seen in 2.13)."""
    return torch.where((x > -3) & (x < 3), x / 6 + 0.5, (x > 0).to(x))


def _rrelu(
    x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Torch cannot map its own operator over tasks (seen in 2.13)."""
    slope = lower + (upper - lower) * torch.rand_like(x) if training else (lower + upper) / 2
    return torch.where(x > 0, x, x * slope)


def _by_definition(function: Function) -> Function:
    """Attention in torch's kernel that follows the definition, the only one with a second derivative."""

    def attention(*args: Any, **kwargs: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return function(*args, **kwargs)

    return attention


def _plain_cell(activation: Function) -> Cell:
    def step(x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
        return activation(sum(_drives(x, h, parameters)))  # type: ignore[no-any-return]

    return step


def _gru_cell(x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
    drive, back = (part.chunk(3, -1) for part in _drives(x, h, parameters))
    reset, update = (drive[0] + back[0]).sigmoid(), (drive[1] + back[1]).sigmoid()
    new = (drive[2] + reset * back[2]).tanh()
    return new + update * (h - new)


def _lstm_cell(x: Tensor, state: tuple[Tensor, Tensor], *parameters: Tensor) -> tuple[Tensor, Tensor]:
    h, c = state
    enter, keep, new, leave = sum(_drives(x, h, parameters)).chunk(4, -1)  # type: ignore[union-attr]
    c = keep.sigmoid() * c + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * c.tanh(), c


def _drives(x: Tensor, h: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """What the input and the state add to the gates. Biases may be left out."""
    for_x, for_h, *biases = parameters
    bias_x, bias_h = biases or (None, None)
    return F.linear(x, for_x, bias_x), F.linear(h, for_h, bias_h)


def _recurrent(cell: Cell) -> Function:
    """A recurrent layer as a loop over its cell.

    Torch adds to the first state in place, which vmap refuses, and the kernels for whole sequences have no second
    derivative (seen in 2.13).
    """
    lstm = cell is _lstm_cell

    def layer(x: Tensor, states: Any, parameters: Any, *options: Any) -> Any:
        _, layers, dropout, training, both_ways, batch_first = options
        directions = 2 if both_ways else 1
        size = len(parameters) // (layers * directions)
        firsts = list(zip(*states, strict=True)) if lstm else list(states)
        sequence = list(x.unbind(1 if batch_first else 0))
        lasts = []
        for depth in range(layers):
            if depth and dropout and training:
                sequence = list(F.dropout(torch.stack(sequence), dropout).unbind(0))
            outputs = []
            for number in range(depth * directions, (depth + 1) * directions):
                own = parameters[number * size : (number + 1) * size]
                backwards = number % 2 == 1 and both_ways
                seen = list(_through(cell, reversed(sequence) if backwards else iter(sequence), firsts[number], own))
                lasts.append(seen[-1])
                hidden = [state[0] for state in seen] if lstm else seen
                outputs.append(hidden[::-1] if backwards else hidden)
            sequence = [torch.cat(parts, -1) for parts in zip(*outputs, strict=True)] if both_ways else outputs[0]
        ends = [torch.stack(parts) for parts in zip(*lasts, strict=True)] if lstm else [torch.stack(lasts)]
        return torch.stack(sequence, 1 if batch_first else 0), *ends

    return layer


def _through(cell: Cell, sequence: Iterator[Tensor], state: Any, parameters: Any) -> Iterator[Any]:
    """The states after each step. A projection, which only an LSTM can have, is its last parameter."""
    projection = parameters[-1] if len(parameters) in (3, 5) else None
    for x in sequence:
        state = cell(x, state, *(parameters if projection is None else parameters[:-1]))
        if projection is not None:
            state = (F.linear(state[0], projection), state[1])
        yield state


def _refused(sentence: str) -> Function:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise MamlBenchError(sentence)

    return refuse


CELLS: tuple[tuple[Function, Function, Cell], ...] = (
    (torch.rnn_tanh, torch.rnn_tanh_cell, _plain_cell(torch.tanh)),
    (torch.rnn_relu, torch.rnn_relu_cell, _plain_cell(torch.relu)),
    (torch.gru, torch.gru_cell, _gru_cell),
    (torch.lstm, torch.lstm_cell, _lstm_cell),
)
"""What torch calls for a whole sequence and for one step, and the cell that is both."""
REPLACED: dict[Function, Function] = {
    **{function: _scaled_outside(function) for function in (F.batch_norm, F.instance_norm, F.layer_norm)},
    **{
        function: _by_definition(function)
        for function in (F.scaled_dot_product_attention, F.multi_head_attention_forward)
    },
    **{function: cell for _, function, cell in CELLS},
    **{function: _recurrent(cell) for function, _, cell in CELLS},
    F.embedding: _embedding,
    F.hardsigmoid: _hardsigmoid,
    F.rrelu: _rrelu,
    torch._VF._pack_padded_sequence: _refused(
        "pack_padded_sequence reads the lengths of one task, which differ from task to task: use padded sequences"
    ),
    F.embedding_bag: _refused(
        "nn.EmbeddingBag has no second derivative in torch: use nn.Embedding and the mean or the sum of its output"
    ),
}
