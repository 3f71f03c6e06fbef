"""Help: every verb explains itself, and at once."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import maml_bench

VERBS = ["list", "run", "suite", "tune", "evaluate", "records", "show", "report", "compare", "data"]


@pytest.mark.parametrize(
    "verb",
    [[verb] for verb in VERBS] + [["data", verb] for verb in ("add", "download", "list", "verify", "remove")],
    ids=" ".join,
)
def test_every_verb_has_help(command, verb):
    said = command(*verb, "--help")
    assert (said.code, said.err) == (0, "")
    assert "Usage: " in said.out
    assert " ".join(["maml-bench", *verb, ""]) in said.out


def test_help_names_all_verbs_and_the_first_command(command):
    said = command("--help")
    assert said.code == 0
    assert all(verb in said.out for verb in VERBS)
    assert "maml-bench run quickstart" in said.out


def test_without_a_verb_help_is_shown(command):
    assert "Usage: " in "".join(command()[1:])


def test_help_takes_less_than_half_a_second_and_imports_nothing_heavy():
    """Of processor time, since another process may hold the processor; the best of five. A machine that is slow at the
    time may take as long as four plain loops, which are half a second on a common one."""
    code = "import sys\nsys.argv = ['maml-bench', '--help']\nfrom maml_bench.cli import main\ntry:\n main()\nfinally:\n"
    code += " sys.stderr.write(' '.join({'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1])}

    def once(code: str = code) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stderr == b""
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    loop = min(once("sum(i * i for i in range(3_000_000))") for _ in range(3))
    assert min(once() for _ in range(5)) < max(0.5, 4 * loop)
