"""Gathering images as floats: what is kept ready agrees with doing it for what was drawn, and follows its array."""

import gc

import numpy as np
import pytest
import torch
from torch import Tensor

from maml_bench.data import pixels
from maml_bench.data.pixels import gather_rows, gathered, turned
from maml_bench.native_code import compiler

PLACE = np.array([0, 20, 5, 5, 11, 2, 19])
TURN = np.array([0, 1, 2, 3, 3, 1, 0])
with_and_without_kernels = pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch"])
turns = pytest.mark.parametrize("turn", [TURN, None], ids=["turned", "unturned"])


@pytest.fixture(params=["grey", "black and white"])
def images(request: pytest.FixtureRequest) -> Tensor:
    """uint8 [7, 3, 2, 5, 5], random."""
    drawn = torch.randint(0, 256, (7, 3, 2, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return drawn if request.param == "grey" else (drawn & 1) * 255


def plainly(images: Tensor, turn: np.ndarray | None) -> Tensor:
    """Image by image, without anything kept."""
    drawn = [images.flatten(0, 1)[place].float() / 255 for place in PLACE]
    return torch.stack(
        [torch.rot90(x, int(t), (-2, -1)) for x, t in zip(drawn, [0] * 7 if turn is None else turn, strict=True)]
    )


@turns
@with_and_without_kernels
def test_images_are_gathered_in_order_as_floats(
    images: Tensor, turn: np.ndarray | None, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(pixels, "_has_kernels", lambda: False)
    found = gathered(images, PLACE, turn)
    assert found.dtype == torch.float32
    assert torch.equal(found, plainly(images, turn))


@turns
def test_arrays_too_large_to_be_kept_give_the_same(
    images: Tensor, turn: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "COPIES_BYTES", 0)
    monkeypatch.setattr(pixels, "_ready", None)
    assert torch.equal(gathered(images, PLACE, turn), plainly(images, turn))


def test_each_image_is_turned_by_its_own_quarters(images: Tensor) -> None:
    found = turned(images[:, 0], torch.from_numpy(TURN))
    for image, source, quarters in zip(found, images[:, 0], TURN.tolist(), strict=True):
        assert torch.equal(image, torch.rot90(source, quarters, (-2, -1)))


@turns
def test_a_change_of_the_array_is_seen(images: Tensor, turn: np.ndarray | None) -> None:
    gathered(images, PLACE, turn)
    images[0, 0, 0, 0, 0] = 7
    assert torch.equal(gathered(images, PLACE, turn), plainly(images, turn))
    images[:] = 255
    assert torch.equal(gathered(images, PLACE, turn), torch.ones(7, 2, 5, 5))


def test_what_is_kept_goes_with_its_array(images: Tensor) -> None:
    kept, own = len(pixels._kept), images.clone()
    for turn in (TURN, None, TURN):
        gathered(own, PLACE, turn)
    assert len(pixels._kept) == kept + 1
    del own
    gc.collect()
    assert len(pixels._kept) == kept


def test_what_is_gathered_is_not_what_is_kept(images: Tensor) -> None:
    first = gathered(images, PLACE).clone()
    gathered(images, PLACE).zero_()
    assert torch.equal(gathered(images, PLACE), first)


@pytest.mark.skipif(compiler() is None, reason="gathering in one pass needs a C++ compiler: install g++")
def test_rows_are_gathered_to_the_bit_and_places_are_checked() -> None:
    rows = torch.arange(256, dtype=torch.uint8).repeat(30).reshape(-1, 1, 16, 16)
    place = torch.tensor([29, 0, 7, 7])
    assert torch.equal(gather_rows(rows, place, 255), rows[place].float() / 255)
    assert torch.equal(gather_rows(rows, place, 1), rows[place].float())
    assert gather_rows(rows, place[:0], 1).shape == (0, 1, 16, 16)
    for outside in (-1, 30):
        with pytest.raises(IndexError, match="places must be 0 to 29"):
            gather_rows(rows, torch.tensor([3, outside]), 255)
