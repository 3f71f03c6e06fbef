"""Which episodes count where they can end early: as samplers in plain Python have it, told how long episodes last."""

from collections.abc import Iterator
from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_bench.rl.step_budget import FirstEnded, InTurn, StepBudget, in_reach, whole

HORIZON = 6
LENGTHS = st.lists(st.lists(st.integers(1, HORIZON + 2), min_size=12, max_size=12), min_size=1, max_size=5)
"""How long the episodes of each rollout would last; the horizon cuts them."""
Episodes = set[tuple[int, int, int]]
"""Rollout, first step and number of steps."""


def played(kind: type[StepBudget], tasks: list[list[list[int]]]) -> list[Episodes]:
    """The episodes that a budget counts, for each task."""
    budget = kind(len(tasks), len(tasks[0]), HORIZON)
    left = [[iter(rollout) for rollout in task] for task in tasks]
    now = [[next(rollout) for rollout in task] for task in left]
    for _ in range(budget.longest):
        lasted = (budget.time + 1).tolist()
        ended = [[n >= length for n, length in zip(*pair, strict=True)] for pair in zip(lasted, now, strict=True)]
        again = budget.step(torch.tensor(ended))
        for b, r in again.nonzero().tolist():
            now[b][r] = next(left[b][r])
        if not budget.on.any():
            break
    mask, time = budget.counted()
    return [episodes(*task) for task in zip(mask.tolist(), time.tolist(), strict=True)]


def episodes(mask: list[list[float]], time: list[list[float]]) -> Episodes:
    found: dict[tuple[int, int], int] = {}
    for r, (counts, clock) in enumerate(zip(mask, time, strict=True)):
        for t, (one, since) in enumerate(zip(counts, clock, strict=True)):
            if one:
                begin = (r, t - int(since))
                found[begin] = found.get(begin, 0) + 1
    return {(*begin, steps) for begin, steps in found.items()}


def side_by_side(rollouts: list[list[int]]) -> Episodes:
    """As the released evaluation collects: whatever has ended when there are enough steps."""
    left, begun, found = [iter(r) for r in rollouts], [0] * len(rollouts), set()
    now = [min(next(r), HORIZON) for r in left]
    for t in count(1):
        for r, length in enumerate(now):
            if t - begun[r] == length:
                found.add((r, begun[r], length))
                begun[r], now[r] = t, min(next(left[r]), HORIZON)
        if sum(steps for *_, steps in found) >= len(rollouts) * HORIZON:
            return found
    raise AssertionError


def one_by_one(rollouts: list[list[int]]) -> Episodes:
    """Episodes that begin within the horizon, a rollout after the other, until there are enough steps."""

    def all_of(r: int) -> Iterator[tuple[int, int, int]]:
        begun = 0
        for length in (min(length, HORIZON) for length in rollouts[r]):
            if begun < HORIZON:
                yield r, begun, length
                begun += length

    found: Episodes = set()
    for r in range(len(rollouts)):
        for episode in all_of(r):
            if sum(steps for *_, steps in found) < len(rollouts) * HORIZON:
                found.add(episode)
    return found


@settings(max_examples=100, deadline=None)
@given(rollouts=LENGTHS, other=st.integers(1, HORIZON))
def test_the_episodes_are_those_of_a_plain_sampler(rollouts, other):
    """And the other tasks' have no say."""
    tasks = [rollouts, [[other] * 2 * HORIZON] * len(rollouts)]
    assert played(FirstEnded, tasks) == [side_by_side(task) for task in tasks]
    assert played(InTurn, tasks) == [one_by_one(task) for task in tasks]
    assert played(StepBudget, tasks) == [{(r, 0, min(one[0], HORIZON)) for r, one in enumerate(task)} for task in tasks]


def test_of_episodes_that_end_first_more_are_short():
    """Half of all are short; in turn they are half of those that count, too."""
    noise = torch.Generator().manual_seed(0)
    short = torch.rand(200, 5, 2 * HORIZON, generator=noise) < 0.5
    tasks = torch.where(short, 2, HORIZON).tolist()
    shares = []
    for kind in (FirstEnded, InTurn):
        lengths = [steps for task in played(kind, tasks) for *_, steps in task]
        shares.append(sum(steps == 2 for steps in lengths) / len(lengths))
    assert shares[0] > 0.56
    assert shares[1] == pytest.approx(0.5, abs=0.05)


def test_whole_episodes_up_to_a_number_of_steps():
    """Two rollouts: episodes of 2 and 3 steps, then of 4 and 1. The one in which the number is reached is the last."""
    time = torch.tensor([[[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]]])
    mask = torch.ones(1, 2, 5)
    kept = {steps: int(whole(mask, time, steps).sum()) for steps in (1, 2, 3, 5, 6, 9, 10, 99)}
    assert kept == {1: 2, 2: 2, 3: 5, 5: 5, 6: 9, 9: 9, 10: 10, 99: 10}
    mask[0, 0, 2:] = 0  # the first rollout ends after its first episode
    time[0, 0, 2:] = 0
    assert whole(mask, time, 3).tolist() == [[[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]]


def test_episodes_out_of_reach_are_not_among_the_whole_ones():
    """Whatever is left out once it is out of reach, the same episodes are taken."""
    noise = torch.Generator().manual_seed(0)
    ends = torch.rand(6, 5, 40, generator=noise) < 0.1
    time, since = torch.zeros(6, 5), []
    for t in range(40):
        since.append(time)
        time = torch.where(ends[:, :, t], 0, time + 1)
    time = torch.stack(since, 2)
    kept = whole(torch.ones_like(time), time, 70)
    mask, on = torch.zeros_like(time), torch.ones(6, 5, dtype=torch.bool)
    for t in range(40):
        on = on & in_reach(mask.sum(2), time[:, :, t], 70)
        mask[:, :, t] = on
    assert torch.equal(whole(mask, time, 70), kept)
    assert kept.sum() < mask.sum() < mask.numel()


@settings(max_examples=30)
@given(steps=st.integers(1, 200))
def test_no_episode_is_out_of_reach_too_early(steps):
    """On a clock: rollouts of episodes of 7, 11 and 13 steps, one after the other."""
    lengths = torch.tensor([7.0, 11, 13]).reshape(1, 3, 1)
    time = torch.arange(50.0) % lengths
    mask = torch.stack([in_reach(torch.full((1, 3), float(t)), time[:, :, t], steps) for t in range(50)], 2)
    kept = whole(torch.ones_like(time), time, steps)
    assert not bool((kept.bool() & ~mask).any())
