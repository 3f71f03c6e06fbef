"""What is refused before a run starts."""

import os
from pathlib import Path

import pytest
import torch

from maml_bench.errors import CannotWrite, MamlBenchError
from maml_bench.harness import preflight


@pytest.fixture
def two_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize(("name", "known"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_a_device_has_one_name(name, known):
    assert preflight.usable_device(name) == known


@pytest.mark.usefixtures("two_cards")
def test_a_card_too_many_is_a_sentence():
    with pytest.raises(MamlBenchError, match="no device 'cuda:2': torch sees 2 CUDA devices"):
        preflight.usable_device("cuda:2")


def test_a_file_where_results_should_go_is_a_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(MamlBenchError, match=r"runs is not a folder that you may write to"):
        preflight.refuse_unwritable(Path(tmp_path / "runs" / "records" / "x.json"))


def test_a_folder_that_does_not_exist_yet_is_fine_and_nothing_is_left(tmp_path):
    (tmp_path / "a").mkdir()
    preflight.refuse_unwritable(tmp_path / "a" / "b" / "c" / "x.json")
    assert list((tmp_path / "a").rglob("*")) == []


@pytest.mark.parametrize(("number", "kind"), [(28, CannotWrite), (122, CannotWrite), (30, MamlBenchError)])
def test_a_folder_without_room_is_told_from_one_that_is_wrong(tmp_path, monkeypatch, number, kind):
    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(MamlBenchError, match=f"cannot be written to .*b: {os.strerror(number)}") as caught:
        preflight.refuse_unwritable(tmp_path / "a" / "b" / "x.json")
    assert type(caught.value) is kind
    assert not (tmp_path / "a").exists()
