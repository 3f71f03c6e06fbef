"""Fixtures that many tests share: real data where it is stored, small differentiable networks."""

import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from maml_bench import registry
from maml_bench.classification import StoredImages
from maml_bench.cli.net import SHOW_TRACE
from maml_bench.data import store
from maml_bench.errors import MamlBenchError
from maml_bench.models import Conv

os.environ[SHOW_TRACE] = "1"  # no error that nobody foresaw may end as a sentence in a test, also in its processes
gc.set_threshold(50_000, 20, 20)  # recording makes millions of small objects; collecting them took a tenth of the time
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def control_c_works() -> None:
    """A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def omniglot() -> store.Manifest:
    """The stored Omniglot; without it the test skips, or fails where MAML_BENCH_REQUIRE_DATA is set (as in CI)."""
    return found(lambda: store.verify("omniglot"))


@pytest.fixture(scope="session")
def mini_imagenet() -> store.Manifest:
    """The stored mini-ImageNet, likewise; its 1.3 GB are counted, but not hashed."""

    def opened() -> store.Manifest:
        manifest = store.manifest("mini_imagenet")
        for array in manifest.arrays:
            store.load("mini_imagenet", array)
        return manifest

    return found(opened)


def found(look: Callable[[], store.Manifest]) -> store.Manifest:
    """What ``look`` finds in the store, or no test."""
    try:
        return look()
    except MamlBenchError as error:
        if os.environ.get("MAML_BENCH_REQUIRE_DATA"):
            pytest.fail(f"real data is required here: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def omniglot_generation() -> store.Manifest:
    """The stored Omniglot with its area-averaged images, likewise; older stores lack them."""

    def opened() -> store.Manifest:
        store.load("omniglot", "area28")
        return store.manifest("omniglot")

    return found(opened)


def stored(tasks: str) -> str | None:
    """The fixture of the data that a family of tasks reads from the store; None where it reads none."""
    if tasks == "omniglot_generation":
        return tasks
    if tasks == "images":  # see `data_of`
        return "omniglot"
    return getattr(registry.task_class(tasks), "stored", None)


def data_of(tasks: str) -> list[str]:
    """The settings that name a stored data set, for a family whose recipes leave that to the user."""
    return ["tasks.data=omniglot"] * (tasks == "images")


def with_each_bit_changed(path: Path, bits: Iterable[int] | None = None) -> Iterator[None]:
    """Change one bit of the file after the other, of all or of these, and yield while it is changed."""
    whole = path.read_bytes()
    for bit in range(8 * len(whole)) if bits is None else bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield


def of_blocks(*channels: int, **options: Any) -> Conv:
    """A network of fewer blocks than the four of the papers, which recipes always have, so that a test is quick."""

    class Blocks(Conv):
        def channels(self) -> tuple[int, ...]:
            return channels

    return Blocks(**options)


@contextmanager
def shared_images() -> Iterator[None]:
    """Let all task distributions share one tensor for each stored array, so that its images are turned only once."""
    tensor = cache(lambda name, array: torch.from_numpy(store.load(name, array)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredImages, "_images_on", lambda self, array, device: tensor(self.stored, array))
        yield


@pytest.fixture(autouse=True)
def untouched_global_generator() -> object:
    """Nobody may draw from or seed the global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "the global random generator was used"
