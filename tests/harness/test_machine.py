"""What is said of a machine: enough to tell kinds apart, nothing that tells whose it is."""

import getpass
import json
import mmap
import platform
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from maml_bench.harness import machine
from maml_bench.harness.machine import convolution_gflops  # before any test replaces it


@pytest.fixture(autouse=True)
def fresh():
    """Nothing remembered from another test, nor for the next one."""
    remembered = (machine.describe, machine.commit)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


def test_the_description_names_kinds_not_owners():
    described = machine.describe()
    assert set(described) == {"cpu", "cores", "vector_instructions", "memory_gib", "system"}
    assert described["cores"] >= 1
    assert described["memory_gib"] >= 1
    words = re.findall(r"[\w.-]+", json.dumps(described))
    assert not {socket.gethostname(), getpass.getuser()} & set(words)
    assert str(Path.home()) not in json.dumps(described)


def test_the_identity_is_stable_and_leaves_out_memory(monkeypatch):
    identity = machine.identity()
    assert re.fullmatch("[0-9a-f]{8}", identity)
    described = machine.describe()
    for change, same in (({"memory_gib": 1}, True), ({"cores": 999}, False), ({"cpu": "another"}, False)):
        monkeypatch.setattr(machine, "describe", lambda device, change=change: described | change)
        assert (machine.identity() == identity) is same


def test_a_gpu_is_part_of_the_description(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a card at {device}")
    assert machine.describe("cuda:1")["gpu"] == "a card at cuda:1"
    assert machine.identity("cuda:1") != machine.identity()


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (
            "processor: 0\ncpu family\t: 6\nmodel\t: 85\nmodel name\t: A Chip @ 2 GHz\n\nmodel name: second",
            "cpu family 6, model 85, A Chip @ 2 GHz",
        ),
        ("", None),
        (OSError, None),
    ],
)
def test_the_processor_is_read_from_the_system_or_from_python(monkeypatch, text, model):
    def read(self, encoding):
        if text is OSError:
            raise OSError
        return text

    monkeypatch.setattr(Path, "read_text", read)
    assert machine._cpu_model() == (model or platform.processor() or platform.machine())


def test_the_convolution_rate_follows_from_the_clock(monkeypatch):
    seconds = 2 * 160 * 14 * 14 * 64 * 64 * 9 / 50e9
    clock = SimpleNamespace(measure=machine.Clock().measure, summary_s=lambda: {"convolution": {"median": seconds}})
    monkeypatch.setattr(machine, "Clock", lambda device, warm_up: clock)
    assert convolution_gflops() == 50.0


def test_the_convolution_rate_of_this_machine_is_positive_and_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    assert convolution_gflops() > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("platform_name", "expected"), [("linux", 5 * 1024), ("darwin", 7), ("freebsd", 7 * 1024)])
def test_peak_memory_is_in_bytes(monkeypatch, platform_name, expected):
    import resource

    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "VmPeak:\t 9 kB\nVmHWM:\t       5 kB\n")
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7))
    monkeypatch.setattr(sys, "platform", platform_name)
    assert machine.peak_memory_bytes() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system keeps one peak for the whole process")
def test_a_run_does_not_inherit_the_peak_of_an_earlier_one():
    # Memory that comes straight from the system goes back to it when it is closed, whatever malloc was told to keep.
    with mmap.mmap(-1, 2**27) as held:
        held.write(b"1" * 2**27)
        before = machine.peak_memory_bytes()
    machine.reset_peak_memory()
    assert machine.peak_memory_bytes() < before - 2**26


def test_peak_memory_elsewhere(monkeypatch):
    info = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=5))
    monkeypatch.setattr(machine.psutil, "Process", lambda: info)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 9)
    assert machine.peak_memory_bytes("cuda") == 9
    monkeypatch.setattr(sys, "platform", "win32")
    assert machine.peak_memory_bytes() == 5


def test_peak_memory_of_this_process_holds_what_it_holds():
    held = torch.ones(2**24)
    assert machine.peak_memory_bytes() > held.nbytes


def test_software_names_versions():
    assert machine.software()["torch"] == version("torch")
    assert set(machine.software()) == {"python", "maml_bench", "torch", "numpy"}


@pytest.mark.parametrize(("status", "dirty"), [("", False), (" M maml_bench/a.py\n", True)])
def test_the_commit_and_whether_the_source_differs(monkeypatch, status, dirty):
    monkeypatch.setattr(Path, "exists", lambda self: True)
    answers = {"rev-parse": "abc123\n", "status": status}
    monkeypatch.setattr(machine, "_git", lambda folder, verb, *rest: answers[verb])
    assert machine.commit() == ("abc123", dirty)


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")])
def test_without_git_there_is_no_commit(monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setattr(machine, "_git", fail)
    assert machine.commit() == (None, None)


def test_outside_a_clone_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert machine.commit() == (None, None)


def test_git_is_asked_about_the_package(tmp_path):
    assert machine._git(tmp_path, "--version").startswith("git version")
