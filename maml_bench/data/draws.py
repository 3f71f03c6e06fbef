"""Counter-based random draws: any draw of any episode can be had at once, in any order, alike on every device.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11) on int64 tensors:
a 32-bit word lives in the low half of an int64, where products wrap modulo 2^64 on every device, so no bit depends on
hardware, batch size or what was drawn before.
"""

import hashlib

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def key_of(*words: object) -> int:
    """A 64-bit key from words by SHA-256: the same words always give the same stream."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random 32-bit words (as int64) for each of the broadcast counters; ``key`` is a 64-bit integer."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _MASK, key >> 32
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _MASK) ^ c1 ^ k0,
            product1 & _MASK,
            ((product0 >> 32) & _MASK) ^ c3 ^ k1,
            product0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def words(key: int, first: int, count: int, draws: int, device: torch.device | str = "cpu") -> Tensor:
    """Random 32-bit words ``[count, draws]`` (int64, 0 to 2^32 - 1) of the ``count`` episodes from ``first`` on."""
    blocks = -(-draws // 4)
    episode = torch.arange(first, first + count, device=device).unsqueeze(1)
    block = torch.arange(blocks, device=device).unsqueeze(0)
    zero = torch.zeros((), dtype=torch.int64, device=device)
    quads = philox((block, episode & _MASK, episode >> 32, zero), key)
    return torch.stack([quad.expand(count, blocks) for quad in quads], dim=-1).flatten(1)[:, :draws]


def uniform(words: Tensor, low: float, high: float) -> Tensor:
    """32-bit words to float32 between ``low`` and ``high``, from their upper 24 bits."""
    return (words >> 8).to(torch.float32) * (2.0**-24 * (high - low)) + low


def below(words: Tensor, bound: int | Tensor) -> Tensor:
    """32-bit words to integers 0 to ``bound - 1``; the bias is at most bound / 2^32."""
    return (words * bound) >> 32


def choose(words: Tensor, population: int) -> Tensor:
    """Ordered choices without replacement ``[..., k]`` from ``range(population)``, all equally likely.

    ``words [..., k]`` drive the first k swaps of a Fisher-Yates shuffle.

    Raises:
        ValueError: k exceeds ``population``.
    """
    picks = words.shape[-1]
    if picks > population:
        raise ValueError(f"cannot choose {picks} of {population} without replacement")
    rows = words.reshape(-1, picks)
    deck = torch.arange(population, device=words.device).repeat(rows.shape[0], 1)
    remaining = population - torch.arange(picks, device=words.device)
    partner = below(rows, remaining) + torch.arange(picks, device=words.device)
    for i in range(picks):
        j = partner[:, i : i + 1]
        card = deck.gather(1, j)
        deck.scatter_(1, j, deck[:, i : i + 1].clone())
        deck[:, i : i + 1] = card
    return deck[:, :picks].reshape(words.shape)
