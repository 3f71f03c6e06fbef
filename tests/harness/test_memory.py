"""Keeping memory: the command starts itself again once, and only where that is wanted and of use."""

import os
import platform
import sys

import psutil
import pytest

from maml_bench.harness import memory


@pytest.fixture
def started(monkeypatch) -> list:
    """What would have been executed; glibc is there and nothing is set."""
    calls: list = []
    for name in (*memory.SETTINGS, memory.CHOICE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    return calls


def test_the_same_command_starts_once_with_the_settings(started, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "maml_bench", "run", "x"])
    assert memory.mode() == "default"
    memory.retain()
    [(program, arguments, environment)] = started
    assert program == sys.executable
    assert arguments == [sys.executable, "-m", "maml_bench", "run", "x"]
    assert environment == {**os.environ, **memory.SETTINGS}
    for name, value in memory.SETTINGS.items():
        monkeypatch.setenv(name, value)
    assert memory.mode() == "retained"
    memory.retain()
    assert len(started) == 1


def test_the_user_may_decline(started, monkeypatch):
    monkeypatch.setenv(memory.CHOICE, "default")
    memory.retain()
    assert started == []


@pytest.mark.parametrize("name", memory.SETTINGS)
def test_a_setting_of_the_users_own_is_left_alone(started, monkeypatch, name):
    monkeypatch.setenv(name, "7")
    memory.retain()
    assert started == []
    assert memory.mode() == "default"


def test_without_glibc_nothing_happens(started, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    memory.retain()
    assert started == []
    for name, value in memory.SETTINGS.items():
        monkeypatch.setenv(name, value)
    assert memory.mode() == "default"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc")
def test_what_is_free_goes_back_when_asked():
    """Blocks that glibc keeps, since the last of them is still in use."""
    process = psutil.Process()
    blocks = [bytes(100_000) for _ in range(1000)]
    last = blocks.pop()
    full = process.memory_info().rss
    del blocks
    memory.release()
    assert full - process.memory_info().rss > 50_000_000
    assert len(last) == 100_000
