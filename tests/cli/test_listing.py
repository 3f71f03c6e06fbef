"""``list``, ``--version`` and the completion of a shell: what they say is right, and they say it without torch."""

import json
import os
import resource
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import maml_bench
from maml_bench import own_code, registry
from maml_bench.harness.catalogue import names_in
from maml_bench.harness.recipe import default_setups, presets_of, resolve
from maml_bench.harness.recipe_files import load_files


def cold(code: str, **environment: str) -> tuple[str, float]:
    """(output, seconds of processor time) of Python code in a process of its own; it may not import torch."""
    check = (
        "; import atexit, sys; atexit.register(lambda: print('torch was imported') if 'torch' in sys.modules else 0); "
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(
        [sys.executable, "-c", "import sys" + check + code],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.stderr.count("Traceback") == 0
    assert "torch was imported" not in said.stdout
    return said.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_what_installed_packages_offer_is_listed_with_the_package(command, monkeypatch):
    class Package:
        name, version = "two-waves", "0.3"

    points = [EntryPoint(name, "nowhere:Nothing", f"maml_bench.{name}s")._for(Package()) for name in ("setup",)]
    points.append(EntryPoint("waves", "nowhere:Nothing", "maml_bench.tasks")._for(Package()))
    monkeypatch.setattr(own_code, "entry_points", lambda group: [point for point in points if point.group == group])
    listed = json.loads(command("list", "--json").out)
    assert listed["setups"][-1] == {"setup": "setup", "package": "two-waves 0.3"}
    assert listed["tasks"][-1] == {"tasks": "waves", "package": "two-waves 0.3"}
    assert "Offered by the package two-waves 0.3." in " ".join(command("list", "tasks").out.split())


def test_list_answers_in_less_than_a_second_without_torch() -> None:
    code = "sys.argv = ['maml-bench', 'list']; from maml_bench.cli import main; main()"
    found = [cold(code) for _ in range(3)]
    assert min(seconds for _, seconds in found) < 1
    assert all("omniglot-5w1s" in out and "meta_sgd" in out for out, _ in found)


def test_the_list_says_of_recipes_setups_and_tasks_what_the_program_uses(command) -> None:
    listed = json.loads(command("list", "--json").out)
    assert [row["recipe"] for row in listed["recipes"]] == list(load_files())
    for row in listed["recipes"]:
        name = row["recipe"]
        assert (row["presets"], row["default_setups"]) == (presets_of(name), default_setups(name))
        for preset in row["presets"]:
            recipe = resolve(name, preset=preset)
            found = (recipe.tasks["name"], recipe.title, recipe.variant, recipe.outer.steps)
            assert found == (row["tasks"], row["title"], row["variant"], row["steps"][preset])
    cited = {row["setup"]: row["citation"] for row in listed["setups"]}
    assert cited == {name: registry.setup_class(name).citation for name in registry.setup_names()}
    assert [row["tasks"] for row in listed["tasks"]] == registry.task_names() == names_in("tasks")


@pytest.mark.parametrize("what", ["recipes", "setups", "tasks", "suites"])
def test_one_of_the_lists(command, what: str) -> None:
    said = command("list", what, "--json")
    assert list(json.loads(said.out)) == [what]


def test_the_list_is_whole_sentences_in_80_columns_without_markup(command, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = command("list")
    assert max(map(len, said.out.splitlines())) <= 80
    assert "`" not in said.out
    assert "\x1b" not in said.out
    listed = json.loads(command("list", "--json").out)
    assert all(row["about"].endswith(".") for row in listed["setups"] + listed["tasks"])


def test_a_word_selects_what_contains_it(command) -> None:
    said = command("list", "REPTILE", "--json")
    found = json.loads(said.out)
    assert [row["setup"] for row in found["setups"]] == ["reptile"]
    assert found["tasks"] == []
    said = command("list", "omniglott")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: nothing in the list contains 'omniglott' (did you mean 'omniglot'?)\n"


def test_the_version_needs_no_torch(command) -> None:
    assert command("--version").out == f"maml-bench {maml_bench.__version__}\n"
    cold("sys.argv = ['maml-bench', '--version']; from maml_bench.cli import main; main()")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("run omniglot-20w1s", ["omniglot-20w1s", "omniglot-20w1s-text"]),
        ("run quickstart --setup maml", ["maml", "maml_pp"]),
        ("options quick", ["quickstart"]),
        ("suite im", ["images"]),
        ("suite images --setup rep", ["reptile"]),
    ],
)
def test_a_shell_completes_names_without_torch(words: str, found: list[str]) -> None:
    code = "sys.argv = ['maml-bench']; from maml_bench.cli import app; app(prog_name='maml-bench')"
    count = str(len(words.split()))
    surroundings = {"COMP_WORDS": f"maml-bench {words}", "COMP_CWORD": count}
    out, seconds = cold(code, _MAML_BENCH_COMPLETE="complete_bash", **surroundings)
    assert out.split() == found
    assert seconds < 1
