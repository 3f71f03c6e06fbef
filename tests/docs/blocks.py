"""The code of the README and of the documentation, run as a reader would run it: in order, in an empty folder."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from maml_bench.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``file`` is the name that it is to be saved under, empty for code to run."""

    language: str
    file: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines that start with ``maml-bench``, without their comments."""
        return [line.partition(" #")[0] for line in self.text.splitlines() if line.startswith("maml-bench ")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for language, title, text in FENCED.findall(page.read_text(encoding="utf-8")):
        named = re.match(r"# (\w+\.py)\b", text)
        found.append(Block(language, title or (named.group(1) if named else ""), text))
    return found


def pages_with_code() -> list[Path]:
    """The pages that have something to run."""
    return [page for page in PAGES if any(b.language == "python" or _runs(b) for b in blocks(page))]


def run(page: Path) -> dict[str, Any]:
    """Run the blocks of a page in the present folder: save files, execute Python, run commands.

    Returns what the Python blocks have defined. A block or command that fails raises.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with torch.random.fork_rng():  # a reader's own network may start at random
                exec(compile(block.text, str(page), "exec"), space)
        elif _runs(block):
            for command in block.commands:
                result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
                assert result.exit_code == 0, f"{command}: {result.output}"
    return space


def _runs(block: Block) -> bool:
    return block.language == "bash" and bool(block.commands)
