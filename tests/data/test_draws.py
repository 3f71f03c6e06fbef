"""The counter-based generator: known answers, and that draws are uniform, independent of batching, and in range."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maml_bench.data.draws import below, choose, key_of, philox, uniform, words, words_by_draw

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
    found = philox(np.array(counter, dtype=np.uint32).reshape(4, 1), key)
    assert tuple(int(word) for word in found[:, 0]) == expected


def test_words_come_in_fours_from_counters_of_block_and_episode() -> None:
    far = 5 * 2**32 + 7
    fours = [philox(np.array([[block], [7], [5], [0]], dtype=np.uint32), 3) for block in range(3)]
    assert words(3, far, 1, 11).tolist() == [np.concatenate(fours)[:11, 0].tolist()]


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
    found = below(np.array([0, 1, ONES // 2, ONES], dtype=np.uint32), bound)
    assert int(found.min()) == 0
    assert int(found.max()) == bound - 1


def shuffled(words: list[int], population: int) -> list[int]:
    """The first swaps of a Fisher-Yates shuffle, card by card: the plain reference of ``choose``."""
    deck = list(range(population))
    for i, word in enumerate(words):
        partner = i + word * (population - i) // 2**32
        deck[i], deck[partner] = deck[partner], deck[i]
    return deck[: len(words)]


@given(population=st.one_of(st.integers(1, 60), st.sampled_from([1100, 6492, 2**15, 2**15 + 1])), data=st.data())
def test_choices_are_the_first_cards_of_a_shuffle(population: int, data: st.DataObject) -> None:
    picks = data.draw(st.integers(1, min(population, 20)))
    drawn = words_by_draw(key_of(population, picks), 0, 8, picks)
    drawn[:, ::2] &= data.draw(st.integers(0, ONES))  # fewer bits: the same partners more often
    chosen = choose(drawn, population)
    assert chosen.T.tolist() == [shuffled(row, population) for row in drawn.T.tolist()]
    assert all(len(set(row)) == picks for row in chosen.T.tolist())


def test_choices_keep_the_axes_of_their_words() -> None:
    drawn = words_by_draw(1, 0, 7, 6).reshape(2, 3, 7).swapaxes(0, 1)
    assert np.array_equal(choose(drawn, 9)[:, 1], choose(drawn[:, 1], 9))


@given(data=st.data())
def test_each_column_may_have_a_population_of_its_own(data: st.DataObject) -> None:
    picks = data.draw(st.integers(1, 8))
    populations = data.draw(st.lists(st.integers(picks, 500), min_size=1, max_size=9))
    drawn = words_by_draw(key_of(picks, populations), 0, len(populations), picks)
    chosen = choose(drawn, np.array(populations))
    assert chosen.T.tolist() == [shuffled(*one) for one in zip(drawn.T.tolist(), populations, strict=True)]


def test_all_ordered_choices_are_equally_likely() -> None:
    """Two of four: twelve ordered pairs, chi-squared."""
    chosen = choose(words_by_draw(11, 0, 24_000, 2), 4)
    counts = np.bincount(chosen[0] * 4 + chosen[1], minlength=16)
    pairs = counts[[a * 4 + b for a in range(4) for b in range(4) if a != b]]
    assert pairs.sum() == 24_000
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot choose 5 of 4"):
        choose(words_by_draw(0, 0, 1, 5), 4)
    with pytest.raises(ValueError, match="cannot choose 5 of 4"):
        choose(words_by_draw(0, 0, 2, 5), np.array([9, 4]))
