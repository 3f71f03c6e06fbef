"""A miniature Omniglot: two halves, three alphabets, four characters; every fixture that the data tests share."""

import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import mini_imagenet_factory
import numpy as np
import pytest
from PIL import Image

from maml_bench.data.sources import omniglot

ALPHABETS = {"background": {"Greek": 2, "Latin": 1}, "evaluation": {"Tengwar": 1}}
Files = dict[str, bytes]


def png(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, moved to where a test can look for leftovers."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home that does not exist yet."""
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """The miniature's files by path, each drawing distinct; the expected alphabets are reduced to match."""
    monkeypatch.setattr(omniglot, "alphabets", lambda: ALPHABETS)
    generator = np.random.default_rng(0)
    return {
        f"images_{half}/{alphabet}/character{number:02d}/{number:04d}_{drawing:02d}.png": png(
            Image.fromarray(generator.random((105, 105)) < 0.9)
        )
        for half, counts in ALPHABETS.items()
        for alphabet, count in counts.items()
        for number in range(1, count + 1)
        for drawing in range(1, 21)
    }


@pytest.fixture
def as_zips(tmp_path: Path) -> Callable[[Files], Path]:
    """Write files as the two zips into a folder and return it."""

    def write(files: Files) -> Path:
        folder = tmp_path / "zips"
        folder.mkdir(exist_ok=True)
        for half in ("background", "evaluation"):
            with zipfile.ZipFile(folder / f"images_{half}.zip", "w") as archive:
                for name, content in files.items():
                    if name.startswith(f"images_{half}/"):
                        archive.writestr(name, content)
        return folder

    return write


@pytest.fixture
def as_folders(tmp_path: Path) -> Callable[[Files], Path]:
    """Write files as the two extracted folders into a folder and return it."""

    def write(files: Files) -> Path:
        folder = tmp_path / "folders"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture(scope="session")
def photographs() -> Files:
    """A miniature mini-ImageNet by path, made once."""
    return mini_imagenet_factory.photographs()


@pytest.fixture
def photos(photographs: Files) -> Files:
    """The miniature mini-ImageNet, for a test to change."""
    return dict(photographs)
