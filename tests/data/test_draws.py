"""The counter-based generator: known answers, and that draws are uniform, independent of batching, and in range."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maml_bench.data.draws import below, choose, key_of, philox, uniform, words

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES, ONES, ONES, ONES), 0xFFFFFFFFFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(
    counter: tuple[int, ...], key: int, expected: tuple[int, ...]
) -> None:
    """kat_vectors of Random123, philox4x32 with 10 rounds."""
    assert tuple(int(word) for word in philox(tuple(torch.tensor(c) for c in counter), key)) == expected


@given(first=st.integers(0, 2**40), count=st.integers(1, 40), cut=st.integers(0, 40), draws=st.integers(1, 30))
def test_words_of_an_episode_do_not_depend_on_the_batch(first: int, count: int, cut: int, draws: int) -> None:
    whole = words(7, first, count, draws)
    cut = min(cut, count - 1)
    assert torch.equal(whole[cut:], words(7, first + cut, count - cut, draws))
    assert torch.equal(whole[:, : draws // 2], words(7, first, count, draws // 2) if draws > 1 else whole[:, :0])


def test_keys_and_episodes_give_different_words() -> None:
    seen = torch.cat([words(key, 0, 500, 8).flatten() for key in (key_of("a"), key_of("b"), key_of("a", 1))])
    assert len(seen.unique()) > 0.999 * len(seen)


def test_key_tells_its_words_apart() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("train", 1) == key_of("train", 1)
    assert 0 <= key_of("train", 1) < 2**64


def test_uniform_is_uniform() -> None:
    sample = uniform(words(3, 0, 2000, 10), -5.0, 5.0).flatten().numpy()
    assert sample.min() >= -5
    assert sample.max() <= 5
    assert stats.kstest(sample, stats.uniform(-5, 10).cdf).pvalue > 1e-3


def test_ends_of_the_range_stay_inside() -> None:
    ends = uniform(torch.tensor([0, ONES]), 0.0, 1.0)
    assert ends[0] == 0
    assert 0.9999 < ends[1] < 1


@given(bound=st.integers(1, 10_000))
def test_below_stays_below(bound: int) -> None:
    found = below(torch.tensor([0, 1, ONES // 2, ONES]), bound)
    assert int(found.min()) == 0
    assert int(found.max()) == bound - 1


@given(population=st.integers(1, 60), data=st.data())
def test_choices_are_distinct_and_in_range(population: int, data: st.DataObject) -> None:
    picks = data.draw(st.integers(1, population))
    chosen = choose(words(key_of(population, picks), 0, 20, picks), population)
    assert int(chosen.min()) >= 0
    assert int(chosen.max()) < population
    assert all(len(set(row)) == picks for row in chosen.tolist())


def test_all_ordered_choices_are_equally_likely() -> None:
    """Two of four: twelve ordered pairs, chi-squared."""
    chosen = choose(words(11, 0, 24_000, 2), 4)
    counts = np.bincount((chosen[:, 0] * 4 + chosen[:, 1]).numpy(), minlength=16)
    pairs = counts[[a * 4 + b for a in range(4) for b in range(4) if a != b]]
    assert pairs.sum() == 24_000
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot choose 5 of 4"):
        choose(words(0, 0, 1, 5), 4)
