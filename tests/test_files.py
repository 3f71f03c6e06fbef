"""Files that are whole or not there, and files of the repository that must agree with one another."""

import configparser
import os
import re
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

import maml_bench
from maml_bench import files
from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_path, atomic_write

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("content", ["grün\n", b"\x00\xff"])
def test_content_arrives_in_folders_made_for_it(tmp_path, content):
    target = tmp_path / "a" / "b" / "file"
    atomic_write(target, content)
    assert target.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(target.parent.iterdir()) == [target]


def test_an_old_file_is_replaced(tmp_path):
    atomic_write(tmp_path / "file", "old and long")
    atomic_write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_write_keeps_the_old_content_and_leaves_nothing(tmp_path, error):
    target = tmp_path / "file"
    target.write_text("old")

    def interrupted():
        with atomic_path(target) as temporary:
            assert temporary.parent == tmp_path
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_rename_that_fails_leaves_nothing(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        atomic_write(target, "content")
    assert list(tmp_path.iterdir()) == [target]
    assert not list(target.iterdir())


@pytest.mark.parametrize("where", ["make", "write"])
def test_an_error_names_the_file_that_was_asked_for(tmp_path, monkeypatch, where):
    def refuse(*arguments, prefix, dir, **options):
        raise OSError(28, os.strerror(28), f"{dir}/{prefix}x.tmp")

    def full(*arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(*((tempfile, "mkstemp", refuse) if where == "make" else (Path, "write_bytes", full)))
    with pytest.raises(OSError, match="No space") as caught:
        atomic_write(tmp_path / "file", "content")
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no permission bits")
def test_permissions_are_those_of_any_new_file(tmp_path):
    atomic_write(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_package_its_metadata_and_its_citation_have_one_version():
    citation = re.search(r"^version: (.+)$", (REPOSITORY / "CITATION.cff").read_text(), re.MULTILINE)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert citation is not None
    assert citation[1] == project["version"] == maml_bench.__version__


def test_continuous_integration_runs_commands_of_the_readme():
    workflow = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    commands = re.findall(r"^ +run: (.+)$", workflow, re.MULTILINE)
    assert [command.split()[-1] for command in commands] == [".", "tox"], "it installs, then it checks"
    readme = (REPOSITORY / "README.md").read_text()
    assert [command for command in commands if command not in readme] == []


def test_the_lowest_versions_are_those_that_are_tested():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {**dict.fromkeys(project["dependencies"]), **dict.fromkeys(extras["rl"] + extras["hdf5"] + extras["test"])}
    bounds = [re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z,]+\])?>=([0-9.]+)", line) for line in asked if line != "setuptools"]
    pinned = re.findall(r"^([a-z0-9-]+)==([0-9.]+)$", (REPOSITORY / "constraints-oldest.txt").read_text(), re.MULTILINE)
    assert len(pinned) == len(dict(pinned))
    assert {found[1]: found[2] for found in bounds}.items() <= dict(pinned).items()


def test_the_versions_of_python_are_those_that_are_tested():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    said = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={said[0]}"
    workflow = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r'"(3\.\d+)"', re.search(r"python: \[.*\]", workflow)[0]) == said
    environments = configparser.ConfigParser(interpolation=None)
    environments.read(REPOSITORY / "tox.ini")
    newest = environments["testenv:torch-newest"]["base_python"].split(", ")
    assert newest == [f"py{version.replace('.', '')}" for version in reversed(said)]
    assert environments["testenv:torch-oldest"]["base_python"] == newest[-1]
    weekly = (REPOSITORY / ".github" / "workflows" / "versions.yml").read_text()
    runs = dict(re.findall(r'env: (torch-\w+)\n +python: "(3\.\d+)"', weekly))
    assert runs == {"torch-oldest": said[0], "torch-newest": said[-1]}


def in_a_process(code, *arguments):
    """Run code that ends by killing itself."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": tempfile.gettempdir()}
    code += "\nos.kill(os.getpid(), signal.SIGKILL)"
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom maml_bench import files\n"
    subprocess.run([sys.executable, "-c", head + code, *map(str, arguments)], env=environment, check=False)


def test_the_files_of_killed_processes_are_removed_and_no_others(tmp_path):
    in_a_process("held = files.atomic_path(Path(sys.argv[1])); held.__enter__()", tmp_path / "a" / "file")
    [left] = (tmp_path / "a").iterdir()
    assert left.name.startswith(".file.")
    assert left.suffix == ".tmp"
    of_another = left.with_name(re.sub(r"\.[0-9a-f]{8}-", ".00000000-", left.name))
    of_somebody = [left.with_name(".file.tmp"), left.with_name("notes.tmp"), of_another]
    for path in of_somebody:
        path.touch()
    with atomic_path(tmp_path / "a" / "mine") as mine:
        files.remove_leftovers(tmp_path)
        assert sorted((tmp_path / "a").iterdir()) == sorted([*of_somebody, mine])
    (tmp_path / "a" / mine.name).touch()
    files.remove_leftovers(tmp_path)
    assert not (tmp_path / "a" / mine.name).exists(), "an earlier process may have had our number"


@pytest.fixture
def locks(tmp_path, monkeypatch):
    """A temporary folder of the test's own."""
    folder = tmp_path / "locks"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    files._remove_locks.cache_clear()
    yield folder
    files._remove_locks.cache_clear()


def test_no_lock_file_stays(locks, tmp_path):
    with files.locked(tmp_path / "x", "busy"):
        assert len(list(locks.iterdir())) == 1
        with pytest.raises(MamlBenchError, match="busy"), files.locked(tmp_path / "x", "busy"):
            raise AssertionError
    assert list(locks.iterdir()) == []


def test_the_locks_of_killed_processes_go_and_held_ones_stay(locks, tmp_path):
    in_a_process("held = files.locked(Path(sys.argv[1]), 'busy'); held.__enter__()", tmp_path / "killed")
    assert len(list(locks.iterdir())) == 1
    with files.locked(tmp_path / "mine", "busy"):
        held = list(locks.iterdir())
        assert len(held) == 1
        files._remove_locks.cache_clear()
        with files.locked(tmp_path / "other", "busy"):
            assert set(held) < set(locks.iterdir())
    assert list(locks.iterdir()) == []


def test_one_process_at_a_time_holds_a_lock_whose_file_is_removed_every_time(locks, tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    code = (
        "import sys\nfrom pathlib import Path\nfrom maml_bench.files import locked\ncount = Path(sys.argv[1])\n"
        "for _ in range(100):\n with locked(count, 'busy', 60):\n  count.write_text(str(int(count.read_text()) + 1))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(locks)}
    several = [subprocess.Popen([sys.executable, "-c", code, count], env=environment) for _ in range(3)]
    assert [process.wait(timeout=120) for process in several] == [0, 0, 0]
    assert count.read_text() == "300"
