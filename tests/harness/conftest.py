"""A run of milliseconds: twelve steps of two sinusoids on one thread, with locks and results in the test's folder."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from maml_bench.harness import machine
from maml_bench.harness.recipe import Recipe, resolve_all
from maml_bench.harness.run import Options

TINY = (
    "outer.steps=12",
    "outer.meta_batch=2",
    "validation.episodes=3",
    "validation.every=4",
    'test=[{protocol="paper", split="test", way=1, shot=5, query=5, episodes=6, inner_steps=[0, 2]}]',
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks in a folder of the test's own, no time spent on measuring the machine, threads as they were afterwards."""
    (tmp_path / "locks").mkdir()
    with_headers = Path(tempfile.gettempdir()) / "maml-bench-tests-inductor"  # torch.compile compiles torch's own once
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(with_headers))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "locks"))
    monkeypatch.setattr(machine, "convolution_gflops", lambda device="cpu": 100.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """The tiny recipe, with further settings and another setup if named."""

    def make(*settings: str, setup: str = "maml") -> Recipe:
        setups = dict.fromkeys(("maml", setup))
        return resolve_all("sinusoid-k10", preset="smoke", setups=[*setups], settings=(*TINY, *settings))[-1]

    return make


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Results in the test's folder, one thread."""
    return Options(tmp_path / "runs", threads=1)


class Listener:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.losses: list[float] = []
        self.tasks: list[tuple[int, int]] = []

    def started(self, title: str, step: int, steps: int) -> None:
        self.sentences.append(f"{title}: {step} of {steps}")

    def stepped(self, step: int, loss: float) -> None:
        self.losses.append(loss)

    def validated(self, step: int, mean: float) -> None:
        self.sentences.append(f"validated at {step}")

    def tested(self, tasks: int, of: int) -> None:
        self.tasks.append((tasks, of))

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.fixture
def listener() -> Listener:
    """An observer that keeps what it hears."""
    return Listener()
