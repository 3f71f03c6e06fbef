"""Checkpoints: equal after loading, refused under other conditions, and one sentence when damaged."""

from dataclasses import replace

import pytest
import torch

from maml_bench.errors import MamlBenchError
from maml_bench.harness import checkpoint
from maml_bench.harness.clock import Clock
from tests.conftest import with_each_bit_changed

CONDITIONS = {"seed": 0, "threads": 1, "schedule": "vmap"}


@pytest.fixture
def state() -> checkpoint.State:
    """A run at step 3."""
    clock = Clock(warm_up=1)
    for _ in range(3):
        with clock.measure("outer_step"):
            pass
    optimiser = torch.optim.Adam([torch.zeros(2)]).state_dict()
    meta = {"w": torch.tensor([1 / 3, 2.0])}
    return checkpoint.State(
        CONDITIONS, 3, meta, optimiser, clock.state(), {"step": [0]}, [1.0], "2026-01-01T00:00:00+00:00", 1, 7
    )


@pytest.fixture
def path(tmp_path, state):
    """Where that run is kept."""
    checkpoint.save(tmp_path / "runs" / "a.ckpt", state)
    return tmp_path / "runs" / "a.ckpt"


def test_a_state_comes_back_to_the_bit(path, state):
    found = checkpoint.load(path, CONDITIONS)
    assert torch.equal(found.meta["w"], state.meta["w"])
    assert replace(found, meta={}, clock={}) == replace(state, meta={}, clock={})
    first, second = Clock(), Clock()
    first.restore(state.clock)
    second.restore(found.clock)
    assert first.summary_s() == second.summary_s()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.ckpt"]


def test_where_there_is_none_nothing_is_loaded(tmp_path):
    assert checkpoint.load(tmp_path / "none.ckpt", CONDITIONS) is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("threads", 2, "was made with threads 1, not 2: finish it as it was begun, or start over with --force"),
        ("schedule", "loop", "was made with schedule vmap, not loop"),
        ("torch", "9.9", "was made with torch None, not 9.9"),
        ("processes", 2, "was made with processes 1, not 2"),  # the file does not say how many, as older ones
    ],
)
def test_other_conditions_are_refused(path, name, value, sentence):
    with pytest.raises(MamlBenchError) as caught:
        checkpoint.load(path, {**CONDITIONS, name: value})
    assert sentence in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_one_sentence(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MamlBenchError, match=r"a\.ckpt is damaged: start over with --force"):
        checkpoint.load(path, CONDITIONS)


@pytest.mark.parametrize("content", [{}, {"step": 3}, [1, 2], "text", {"conditions": None}])
def test_a_file_of_something_else_is_one_sentence(path, content):
    torch.save(content, path)
    with pytest.raises(MamlBenchError, match="is damaged"):
        checkpoint.load(path, CONDITIONS)


def test_a_text_file_is_one_sentence(path):
    path.write_text("hello\n")
    with pytest.raises(MamlBenchError, match="is damaged"):
        checkpoint.load(path, CONDITIONS)


def test_a_file_with_any_bit_changed_is_refused(path):
    bits = [*range(8 * 200), *range(8 * 200, 8 * path.stat().st_size, 7)]
    for _ in with_each_bit_changed(path, bits):
        with pytest.raises(MamlBenchError, match=r"a\.ckpt is damaged: start over with --force"):
            checkpoint.load(path, CONDITIONS)


def test_an_older_file_without_a_checksum_loads(path, state):
    torch.save(state.__dict__, path)
    found = checkpoint.load(path, CONDITIONS)
    assert torch.equal(found.meta["w"], state.meta["w"])
    assert found.step == state.step


def test_an_older_file_with_a_changed_bit_never_loads_with_other_values(path, state):
    """Its parts have a CRC-32 each; what lies between them has no influence on values."""
    torch.save(state.__dict__, path)
    refused = 0
    for _ in with_each_bit_changed(path, range(0, 8 * path.stat().st_size, 41)):
        try:
            found = checkpoint.load(path, CONDITIONS)
        except MamlBenchError:
            refused += 1
        else:
            assert torch.equal(found.meta["w"], state.meta["w"])
            assert replace(found, meta={}) == replace(state, meta={})
    assert refused
