"""Environments: built once, reused while their list is unchanged, and a missing one costs only its own peers."""

import sys
from pathlib import Path

import pytest
from peers import environments
from peers.catalogue import PEERS, Environment, Peer
from peers.environments import NotBuilt, ensure, prepare


@pytest.fixture
def commands(monkeypatch) -> list:
    """What would have been run; making an environment makes its interpreter, and ``fails`` are refused."""
    ran: list = []

    def run(command):
        ran.append(command)
        if "venv" in command:
            python = Path(command[-1], "Scripts" if sys.platform == "win32" else "bin", "python")
            python.parent.mkdir(parents=True)
            python.touch()
        return "ERROR: no such package" if "missing" in command or command[-1] == "import missing" else None

    monkeypatch.setattr(environments, "_run", run)
    return ran


def test_a_built_environment_is_used_again_until_its_list_changes(commands, tmp_path):
    said: list = []
    python, failed = ensure(Environment("e", (("one",), ("two", "three"))), tmp_path / "e", said.append)
    assert failed is None
    assert python.parent.parent == tmp_path / "e"
    assert [command[-1] for command in commands] == [str(tmp_path / "e"), "one", "three"]
    ensure(Environment("e", (("one",), ("two", "three"))), tmp_path / "e", said.append)
    assert (len(commands), len(said)) == (3, 1)
    ensure(Environment("e", (("one",),)), tmp_path / "e", said.append)
    assert (len(commands), len(said)) == (5, 2)


def test_what_pip_made_before_it_failed_is_usable(commands, tmp_path):
    both = Environment("both", (("first",), ("missing",)))
    peers = [Peer("a", "a", "a.py", "first", both), Peer("b", "b", "b.py", "missing", both), PEERS["maml-bench"]]
    found = prepare(peers, tmp_path, print)
    assert isinstance(found["a"], Path)
    assert str(found["b"]) == "pip install missing: ERROR: no such package"
    assert found["maml-bench"] == Path(sys.executable)
    assert sum("venv" in command for command in commands) == 1
    prepare(peers, tmp_path, print)
    assert sum("venv" in command for command in commands) == 2, "what failed is tried again"


def test_a_missing_interpreter_is_named(tmp_path):
    environment = Environment("old", (), python="python0.9", why="the library needs it")
    found = prepare([Peer("old", "old", "old.py", "old", environment)], tmp_path, print)
    assert isinstance(found["old"], NotBuilt)
    assert str(found["old"]) == "python0.9 is not on the path (the library needs it)"
    assert list(tmp_path.iterdir()) == []
