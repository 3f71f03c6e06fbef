"""Where an operator of torch is wrong in the derivatives that meta-learning takes, another form of it that is right."""

import inspect
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

WRONG = (F.batch_norm, F.instance_norm, F.layer_norm)
_SIGNATURES = {function: inspect.signature(function) for function in WRONG}


class ExactNormalisation(TorchFunctionMode):
    """Normalisation whose scale and offset are applied outside of torch's operator.

    Under vmap, torch differentiates ``batch_norm``, ``instance_norm`` and ``layer_norm`` wrongly the second time where
    the scale differs from task to task (seen in 2.13): the meta-gradient of MAML on a network with ``nn.BatchNorm2d``
    is off by some thousandths, on one with ``nn.LayerNorm`` by a quarter.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function not in WRONG:
            return function(*args, **(kwargs or {}))
        given = _SIGNATURES[function].bind(*args, **(kwargs or {}))
        weight, bias = (given.arguments.pop(name, None) for name in ("weight", "bias"))
        y: Tensor = function(**given.arguments)
        # Layer normalisation scales the last axes, the others the second.
        shape = (-1, *(1,) * (y.ndim - 2)) if function is not F.layer_norm else ()
        y = y if weight is None else y * (weight.reshape(shape) if shape else weight)
        return y if bias is None else y + (bias.reshape(shape) if shape else bias)
