"""What the pages say holds: their code runs, their commands and options exist, their links lead somewhere."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maml_bench.cli import app
from maml_bench.cli.exit_codes import ExitCode
from maml_bench.harness.recipe_files import load_files
from maml_bench.registry import setup_names
from tests.docs.blocks import PAGES, ROOT, blocks, pages_with_code, run
from tests.docs.pictures import FOLDERS, folders_of


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands_in(page: Path) -> list[list[str]]:
    """Every command of ours on a page: lines of blocks, and what stands between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [command for block in blocks(page) for command in block.commands]
    inline = re.findall(r"`(maml-bench [^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    return [command.split()[1:] for command in (*lines, *inline)]


CODE = [
    pytest.param(page, id=name(page), marks=[pytest.mark.real_data] * bool(folders_of(page)))
    for page in pages_with_code()
]


@pytest.mark.filterwarnings("default::maml_bench.errors.Notice")  # a reader sees them too
@pytest.mark.parametrize("page", CODE)
def test_its_code_runs_in_order_in_an_empty_folder(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for folder in folders_of(page):
        data, write = FOLDERS[folder]
        request.getfixturevalue(data)
        write(tmp_path)
        monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "home"))  # what a page stores is not the user's
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAML_BENCH_RESULTS", raising=False)
    run(page)


@pytest.mark.parametrize("page", [page for page in PAGES if commands_in(page)], ids=name)
def test_its_commands_have_options_recipes_and_setups_that_exist(page: Path) -> None:
    for words in commands_in(page):
        verbs = [
            word for word in words[: 2 if words[0] == "data" else 1] if not word.startswith("-") and word.islower()
        ]
        told = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert told.exit_code == 0, words
        for option in (word for word in words if word.startswith("--")):
            assert option in told.output, f"{' '.join(words)}: there is no {option}"
        values = {value for option, value in pairwise(words) if option.startswith("--")}
        if verbs == ["run"]:
            recipes = [word for word in words[1:] if not word.startswith("--") and word not in values]
            named = {word.partition(":")[0] for word in recipes if not word.endswith(".toml")}
            assert {word for word in named if word.islower()} <= load_files().keys(), words
        setups = {words[i + 1] for i, word in enumerate(words[:-1]) if word == "--setup"}
        assert {setup for setup in setups if setup.islower() and not setup.endswith(".py")} <= set(setup_names()), words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_its_links_and_images_are_there(page: Path) -> None:
    for link in re.findall(r"\]\((?!http|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=name)
def test_it_is_in_the_navigation_of_the_site(page: Path) -> None:
    listed = re.findall(r"[\w/-]+\.md\b", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert listed.count(page.relative_to(ROOT / "docs").as_posix()) == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["data", "list"], 0),
        (["run", "no-such-recipe"], 2),
        (["run", "sinusoid-k10", "--set", "inner.no_such_key=1"], 2),
        (["compare", "no-such-folder", "neither"], 2),
    ],
)
def test_the_exit_codes_are_those_of_the_page(words: list[str], code: int, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    assert "<!-- generate: exit_codes -->" in page
    assert ExitCode(code).meaning
    done = subprocess.run(
        [sys.executable, "-m", "maml_bench", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
