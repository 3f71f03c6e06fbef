"""Named streams: what depends on the seed, and that the global generator is left alone."""

import hashlib
import itertools

import torch

from maml_bench.harness.seeding import generator, stream_key

SEEDED = ("init", "train", "validate")


def test_a_key_is_a_hash_of_name_and_seed():
    digest = hashlib.sha256(b"maml-bench\x1ftrain\x1f3").digest()
    assert stream_key("train", 3) == int.from_bytes(digest[:8], "little")


def test_the_test_stream_is_one_for_all_seeds_and_the_others_are_not():
    assert len({stream_key("test", seed) for seed in range(10)}) == 1
    keys = [stream_key(stream, seed) for stream, seed in itertools.product(SEEDED, range(10))]
    assert len({*keys, stream_key("test", 0)}) == 31


def test_generators_repeat_and_differ_by_name_and_seed():
    draws = [torch.rand(4, generator=generator(s, k)).tolist() for s, k in itertools.product(SEEDED, range(2))]
    assert len({tuple(draw) for draw in draws}) == 6
    assert torch.rand(4, generator=generator("init", 0)).tolist() == draws[0]


def test_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    torch.rand(4, generator=generator("init", 0))
    assert torch.equal(torch.get_rng_state(), before)
