"""The README keeps its word: its code runs, its commands exist, its table is generated, its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maml_bench.cli import app
from maml_bench.harness.recipe_files import load_files
from maml_bench.registry import setup_names
from maml_bench.report.writing import END, SPEED_BEGIN, SPEED_END, SPEED_SUMMARY, wanted

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in re.split(r"\n| && ", block)
    if line.strip()
]
OURS = [shlex.split(command)[1:] for command in COMMANDS if command.startswith("maml-bench ")]


def python_block(start: str) -> str:
    return next(block for language, block in BLOCKS if language == "python" and block.startswith(start))


def test_it_is_short() -> None:
    assert README.count("\n") < 200


def test_the_two_set_up_commands_stand_in_it() -> None:
    assert "python -m pip install -c constraints.txt -e . && maml-bench run quickstart" in README
    assert "python -m pip install tox && tox" in README


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_has_verbs_options_recipes_and_setups_that_exist(words: list[str]) -> None:
    verbs = [word for word in words[: 2 if words[0] == "data" else 1] if not word.startswith("-")]
    told = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert told.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in told.output
    if verbs == ["run"]:
        values = {words[i + 1] for i, word in enumerate(words) if word.startswith("--") and i + 1 < len(words)}
        assert {w for w in words[1:] if not w.startswith("--")} - values <= load_files().keys()
        chosen = {words[i + 1] for i, word in enumerate(words) if word == "--setup"}
        assert {name for name in chosen if not name.endswith(".py")} <= set(setup_names())


def test_the_library_example_runs() -> None:
    space: dict[str, object] = {}
    with __import__("torch").random.fork_rng():
        exec(compile(python_block("import torch"), "README", "exec"), space)
    assert space["gradient"].keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert space["losses"].shape == (25,)


def test_the_setup_example_runs_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(python_block("# mine.py"))
    words = next(words for words in OURS if "./mine.py" in words)
    done = subprocess.run(
        [sys.executable, "-m", "maml_bench", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    assert len(list((tmp_path / "runs" / "records" / "sinusoid").glob("*/*.json"))) == 2


@pytest.mark.parametrize("document", ["README.md", "docs/reinforcement.md"])
def test_the_tables_are_the_generated_ones(document: str) -> None:
    text = (ROOT / document).read_text()
    begin, summaries = wanted(text, ROOT / "results" / "tables")
    assert summaries
    inside = text.partition(begin + "\n")[2].partition(END)[0]
    assert inside == "\n".join(path.read_text().split("\n", 1)[1] for path in summaries)


def test_the_table_of_speed_is_the_generated_one() -> None:
    inside = README.partition(f"{SPEED_BEGIN}\n")[2].partition(SPEED_END)[0]
    assert inside == (ROOT / "results" / "tables" / SPEED_SUMMARY).read_text().split("\n", 1)[1]


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert any(link.endswith(".png") for link in links)
    for link in links:
        assert (ROOT / link).exists(), link
