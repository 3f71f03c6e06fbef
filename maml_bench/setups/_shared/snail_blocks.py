"""The blocks of SNAIL as pure functions of named parameters. Mishra, Rohaninejad, Chen & Abbeel (2018), "A Simple
Neural Attentive Meta-Learner", ICLR, arXiv:1707.03141, section 3 and its boxes of pseudo-code.

A block reads a sequence ``x [..., T, inputs]`` and appends new features to each of its T positions. These depend on
that position and on earlier ones only. What the later positions need of the earlier ones is the block's ``past``. So a
sequence can be read in parts: the support and then a query, or one time step after another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maml_bench.setups._shared.own_parameters import uniform
from maml_bench.types import Params


class Block(Protocol):
    """One block. Its parameters and the tensors of its past have names that start with ``<name>.``."""

    def outputs(self, inputs: int) -> int:
        """Number of features after the block."""
        ...

    def init(self, name: str, inputs: int, generator: Generator) -> Params:
        """Initial parameters."""
        ...

    def start(self, name: str, inputs: int, keep: int, like: Tensor) -> Params:
        """The past before the first position, see `start`."""
        ...

    def __call__(self, meta: Params, name: str, x: Tensor, past: Params) -> tuple[Tensor, Params]:
        """The features ``[..., T, outputs]`` of the positions ``x``, which follow on ``past``, and the past after
        them."""
        ...


@dataclass(frozen=True)
class Attention:
    """Soft attention over this and all earlier positions (the box AttentionBlock; Vaswani et al. 2017).

    ``keys`` and ``values`` are the widths of the keys and of what is read and appended.
    """

    keys: int
    values: int

    def outputs(self, inputs: int) -> int:
        return inputs + self.values

    def init(self, name: str, inputs: int, generator: Generator) -> Params:
        return _linear(name, inputs, 2 * self.keys + self.values, generator)

    def start(self, name: str, inputs: int, keep: int, like: Tensor) -> Params:
        return {f"{name}.keys": like.new_zeros(keep, self.keys), f"{name}.values": like.new_zeros(keep, self.values)}

    def __call__(self, meta: Params, name: str, x: Tensor, past: Params) -> tuple[Tensor, Params]:
        of_x = F.linear(x, meta[f"{name}.weight"], meta[f"{name}.bias"])
        query, key, value = torch.split(of_x, [self.keys, self.keys, self.values], dim=-1)
        keys, values = _after(past[f"{name}.keys"], key), _after(past[f"{name}.values"], value)
        scores = query @ keys.mT / math.sqrt(self.keys)
        weights = scores.masked_fill(_hidden(x.shape[-2], keys.shape[-2], past, x), -math.inf).softmax(-1)
        kept = keys.shape[-2] if READ not in past else past[f"{name}.keys"].shape[-2]
        left = {f"{name}.keys": _last(keys, kept), f"{name}.values": _last(values, kept)}
        return torch.cat([x, weights @ values], dim=-1), left


@dataclass(frozen=True)
class Dense:
    """A causal convolution of kernel 2 with the gated activation tanh * sigmoid (the box DenseBlock; van den Oord et
    al. 2016). A position sees itself and the one that lies ``dilation`` positions before it."""

    dilation: int
    filters: int

    def outputs(self, inputs: int) -> int:
        return inputs + self.filters

    def init(self, name: str, inputs: int, generator: Generator) -> Params:
        return _linear(name, 2 * inputs, 2 * self.filters, generator)

    def start(self, name: str, inputs: int, keep: int, like: Tensor) -> Params:
        return {f"{name}.inputs": like.new_zeros(self.dilation, inputs)}

    def __call__(self, meta: Params, name: str, x: Tensor, past: Params) -> tuple[Tensor, Params]:
        whole = _after(past[f"{name}.inputs"], x)
        both = torch.cat([whole[..., : x.shape[-2], :], x], dim=-1)
        new, gate = F.linear(both, meta[f"{name}.weight"], meta[f"{name}.bias"]).chunk(2, dim=-1)
        left = {f"{name}.inputs": _last(whole, self.dilation)}
        return torch.cat([x, new.tanh() * gate.sigmoid()], dim=-1), left


def temporal(length: int, filters: int) -> tuple[Dense, ...]:
    """The box TCBlock: dense blocks of dilations 1, 2, 4, ..., so many that the last position of a sequence of
    ``length`` sees the first. The box starts with dilation 2, where odd distances would never be seen; figure 1 of the
    paper starts with 1."""
    return tuple(Dense(2**i, filters) for i in range(math.ceil(math.log2(length))))


READ = "read"
"""The name of the number of positions that were read, in a past of fixed length."""


def init(blocks: Sequence[Block], name: str, inputs: int, generator: Generator) -> tuple[Params, int]:
    """Initial parameters of ``blocks``, called ``<name><number>.weight`` and ``.bias``, and the number of features
    after the last one."""
    own: Params = {}
    for number, block in enumerate(blocks):
        own |= block.init(f"{name}{number}", inputs, generator)
        inputs = block.outputs(inputs)
    return own, inputs


def start(blocks: Sequence[Block], name: str, inputs: int, like: Tensor, *, keep: int | None = None) -> Params:
    """The past of ``blocks`` before the first position: named tensors of the dtype and device of ``like``.

    By default the past grows with the sequence. With ``keep`` all of its tensors have fixed shapes, as a recorded
    program needs, and attention sees the last ``keep`` positions before those that are read.
    """
    found: Params = {} if keep is None else {READ: like.new_zeros(())}
    for number, block in enumerate(blocks):
        found |= block.start(f"{name}{number}", inputs, keep or 0, like)
        inputs = block.outputs(inputs)
    return found


def read(blocks: Sequence[Block], meta: Params, name: str, x: Tensor, past: Params) -> tuple[Tensor, Params]:
    """The features ``[..., T, outputs]`` after the last block of the positions ``x [..., T, inputs]``, which follow on
    ``past``, and the past after them.

    ``meta`` has the parameters under the names that `init` gave them. The leading axes of ``past`` may be fewer than
    those of ``x``: then each sequence of ``x`` follows on the same past.
    """
    left: Params = {READ: past[READ] + x.shape[-2]} if READ in past else {}
    for number, block in enumerate(blocks):
        x, after = block(meta, f"{name}{number}", x, past)
        left |= after
    return x, left


def _linear(name: str, inputs: int, outputs: int, generator: Generator) -> Params:
    return {f"{name}.weight": uniform(outputs, inputs, generator=generator), f"{name}.bias": torch.zeros(outputs)}


def _after(past: Tensor, new: Tensor) -> Tensor:
    """``new [..., T, features]`` after ``past``, along the positions."""
    return torch.cat([past.expand(*new.shape[:-2], -1, -1), new], dim=-2)


def _last(sequence: Tensor, count: int) -> Tensor:
    """The last ``count`` positions; unlike a slice from ``-count`` it works for none of them too."""
    return sequence[..., sequence.shape[-2] - count :, :]


def _hidden(new: int, whole: int, past: Params, like: Tensor) -> Tensor:
    """Which of the ``whole`` positions each of the last ``new`` does not see, as booleans ``[..., new, whole]``: later
    ones, and the places of a past of fixed length where nothing was read yet."""
    place = torch.arange(whole, device=like.device)
    later = place > place[whole - new :].unsqueeze(-1)
    return later | (place < whole - new - past[READ][..., None, None]) if READ in past else later
