"""Counter-based random draws: any draw of any episode is computed directly and is the same on every device.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11). Words are drawn
as integers on the host, whatever the device of the tasks: no bit depends on hardware, batch size or earlier draws.
Internally, episodes are the last axis, so that every operation runs along them.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint32]
Integers = npt.NDArray[np.int64]
Cards = npt.NDArray[np.signedinteger[Any]]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def key_of(*words: object) -> int:
    """A 64-bit key from words by SHA-256: the same words always give the same stream."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def philox(counters: Words, key: int) -> Words:
    """Four random words ``[..., 4, n]`` for each of the counters ``[..., 4, n]``; ``key`` is a 64-bit integer."""
    even, odd = counters[..., 0::2, :], counters[..., 1::2, :]
    k0, k1 = key & _MASK, key >> 32
    for _ in range(10):
        product = np.multiply(even, _MULTIPLIERS, dtype="<u8", order="C").view("<u4")
        low, high = product[..., ::-1, 0::2], product[..., ::-1, 1::2]
        even = high ^ odd ^ np.array([[k0], [k1]], dtype=np.uint32)
        odd = low
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    found = np.empty(counters.shape, dtype=np.uint32)
    found[..., 0::2, :], found[..., 1::2, :] = even, odd
    return found


def words_by_draw(key: int, first: int, count: int, draws: int) -> Words:
    """Random words ``[draws, count]`` of the ``count`` episodes from ``first`` on."""
    blocks = -(-draws // 4)
    episode = np.arange(first, first + count, dtype=np.uint64)
    counters = np.zeros((blocks, 4, count), dtype=np.uint32)
    counters[:, 0] = np.arange(blocks).reshape(-1, 1)
    counters[:, 1], counters[:, 2] = episode & np.uint64(_MASK), episode >> np.uint64(32)
    return philox(counters, key).reshape(4 * blocks, count)[:draws]


def words(key: int, first: int, count: int, draws: int, device: torch.device | str = "cpu") -> Tensor:
    """Random 32-bit words ``[count, draws]`` (int64, 0 to 2^32 - 1) of the ``count`` episodes from ``first`` on."""
    return torch.from_numpy(words_by_draw(key, first, count, draws).T.astype(np.int64, order="C")).to(device)


def uniform(words: Tensor, low: float, high: float) -> Tensor:
    """32-bit words to float32 between ``low`` and ``high``, from their upper 24 bits."""
    return (words >> 8).to(torch.float32) * (2.0**-24 * (high - low)) + low


def below(words: Words, bound: npt.ArrayLike) -> Integers:
    """Words to integers 0 to ``bound - 1``; the bias is at most bound / 2^32."""
    product = np.multiply(words, np.asarray(bound, dtype=np.uint64), dtype=np.uint64)
    return (product >> np.uint64(32)).view(np.int64)


def choose(words: Words, population: int | Integers) -> Integers:
    """Ordered choices without replacement ``[k, ...]`` from ``range(population)``, all equally likely.

    ``words [k, ...]`` drive the first k swaps of a Fisher-Yates shuffle. ``population`` is one number, or one for each
    column of words ``[...]``.

    Raises:
        ValueError: k exceeds ``population``.
    """
    picks = len(words)
    if picks > np.min(population, initial=np.iinfo(np.int64).max):
        raise ValueError(f"cannot choose {picks} of {np.min(population)} without replacement")
    rows = words.reshape(picks, -1)
    step = np.arange(picks).reshape(-1, 1)
    partner = below(rows, np.reshape(population, (1, -1)) - step) + step
    deck, place = _deck(partner, int(np.max(population, initial=0)))
    cards, columns = deck.reshape(-1), np.arange(rows.shape[1])
    chosen = np.empty(rows.shape, dtype=np.int64)
    for i in range(picks):
        swapped = place[i] * len(columns) + columns
        chosen[i] = cards[swapped]
        cards[swapped] = deck[i]
    return chosen.reshape(words.shape)


def _deck(partner: Integers, population: int) -> tuple[Cards, Integers]:
    """Cards ``[position, n]`` to be swapped with ``partner [k, n]``, and the positions of the partners among them.

    k swaps touch only the first k cards and their partners, so a large deck is not stored. Narrow integers keep the
    deck in the cache, because writing it takes longer than the swaps.
    """
    picks = len(partner)
    narrow: type[np.signedinteger[Any]] = np.int16 if population <= 2**15 else np.int64
    if population <= 4 * picks**2:
        whole = np.arange(population, dtype=narrow).reshape(-1, 1)
        return np.repeat(whole, partner.shape[1], axis=1), partner
    place = partner.copy()
    for i in reversed(range(picks)):  # backwards, so that equal partners share the place of the first
        np.copyto(place, picks + i, where=partner == partner[i])
    np.copyto(place, partner, where=partner < picks)
    first = np.arange(picks, dtype=narrow).reshape(-1, 1)
    return np.concatenate([np.repeat(first, partner.shape[1], axis=1), partner.astype(narrow)]), place
