"""Files that are whole or not there, and files of the repository that must agree with one another."""

import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

import maml_bench
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
