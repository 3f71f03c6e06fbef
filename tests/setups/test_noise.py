"""Noise that is a function of the image: normal, without ties between streams, and the same in any part."""

import torch

from maml_bench.setups._shared.noise import key_of_images, normal

LIKE = torch.zeros(1, dtype=torch.float64)


def keys(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return key_of_images((torch.rand(count, 1, 8, 8, generator=generator) < 0.5).float())


def test_the_key_is_a_function_of_the_image_and_differs_between_images() -> None:
    one = torch.zeros(65, 8, 8)
    one.view(65, 64)[torch.arange(64), torch.arange(64)] = 1  # all images of one pixel, and the empty one
    found = key_of_images(one)
    assert len(found.unique()) == 65
    assert torch.equal(key_of_images(one.double()), found)
    assert len(keys(1000).unique()) == 1000


def test_numbers_are_standard_normal_and_independent_of_each_other_and_between_streams() -> None:
    found = normal(keys(1000), 0, 200, LIKE)
    flat = found.flatten()
    assert abs(float(flat.mean())) < 4 / len(flat) ** 0.5
    assert abs(float((flat**2).mean()) - 1) < 4 * (2 / len(flat)) ** 0.5
    assert abs(float((flat**4).mean()) - 3) < 4 * (96 / len(flat)) ** 0.5
    within, between = torch.corrcoef(found.T), torch.corrcoef(found)
    for matrix, count in ((within, 1000), (between, 200)):
        apart = (matrix - torch.eye(len(matrix))).abs().max()
        assert float(apart) < 6 / count**0.5


def test_any_part_of_a_stream_is_the_same_numbers() -> None:
    key = keys(3)
    whole = normal(key, 0, 21, LIKE)
    assert torch.equal(normal(key, 6, 7, LIKE), whole[:, 6:13])
    assert torch.equal(torch.vmap(lambda k: normal(k.unsqueeze(0), 4, 3, LIKE))(key).squeeze(1), whole[:, 4:7])
    single = normal(key, 0, 21, LIKE.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=1e-5, atol=1e-5)
