"""``maml-bench run``: from arguments to records, sentences and exit codes."""

import json
from pathlib import Path

import pytest

import maml_bench
from maml_bench.cli import progress
from maml_bench.cli.exit_codes import ExitCode
from maml_bench.core import outer as outer_module
from maml_bench.errors import MamlBenchError
from maml_bench.harness import memory
from maml_bench.record_files import load_all
from maml_bench.report.flat_rows import flat_rows as flat

from .conftest import RUN

MINE = """
from dataclasses import dataclass

from maml_bench.setups.maml import MAML


@dataclass(frozen=True)
class Mine(MAML):
    pass
"""


def records():
    """All records in the working folder's ``runs``, by setup and seed."""
    return {(r.recipe["setup"]["name"], r.seed): r for _, r in load_all(Path("runs"))}


@pytest.fixture
def mine(tmp_path):
    """A setup in ``mine.py`` of the working folder."""
    path = tmp_path / "work" / "mine.py"
    path.write_text(MINE)
    return path


def fail(*arguments, **options):
    raise RuntimeError("out of luck")


def test_a_run_says_what_it_does_and_prints_the_scores_beside_the_published(command):
    said = command("run", "sinusoid-k10", *RUN)
    assert said.code == 0
    lines = said.err.splitlines()
    assert lines[0] == "sinusoid-k10 maml seed 0: 12 steps to go"
    assert "step 4 of 12, validation" in lines[1]
    assert "testing on 6 tasks, 1-way 5-shot, 5 query" in lines
    assert "sinusoid-k10 maml seed 0: done, 12 steps in " in lines[-2]
    assert lines[-1].endswith("Published: Finn et al. 2017, Table 2.")
    assert "0.670" in said.out
    assert list(records()) == [("maml", 0)]
    again = command("run", "sinusoid-k10", *RUN)
    assert again.err.startswith("sinusoid-k10 maml seed 0: already there, 12 steps in ")
    forced = command("run", "sinusoid-k10", *RUN, "--force")
    assert "12 steps to go" in forced.err


def test_seeds_are_numbers_and_ranges_each_once_in_order(command):
    said = command("run", "sinusoid-k10", *RUN, "--setup", "fomaml", "--seeds", "1-2, 7,0-1", "--json")
    assert list(dict.fromkeys(row["seed"] for row in json.loads(said.out))) == [1, 2, 7, 0]


def test_setups_and_seeds_are_crossed_and_json_is_all_of_standard_output(command):
    said = command("run", "sinusoid-k10", *RUN, "--setup", "fomaml", "--setup", "scratch", "--seeds", "0,3", "--json")
    rows = json.loads(said.out)
    assert {(row["setup"], row["seed"]) for row in rows} == set(records())
    assert set(records()) == {("fomaml", 0), ("fomaml", 3), ("scratch", 0), ("scratch", 3)}
    assert sorted(rows, key=str) == sorted(flat(load_all(Path("runs")), Path("runs")), key=str)


def test_a_recipe_brings_its_own_setups(command):
    command("run", "quickstart", *RUN)
    assert set(records()) == {("maml", 0), ("scratch", 0), ("pretrained", 0), ("oracle", 0)}


def test_a_report_is_made_at_the_end(command, tmp_path):
    said = command("run", "sinusoid-k10", *(word for word in RUN if word != "--no-report"))
    assert "records: runs/records   tables: runs/tables   figures: runs/figures" in said.err
    assert list((tmp_path / "work" / "runs" / "tables").glob("*.md"))


@pytest.mark.parametrize("absolute", [False, True])
def test_a_setup_from_a_file(command, mine, tmp_path, absolute):
    said = command("run", "sinusoid-k10", *RUN, "--setup", mine if absolute else "./mine.py")
    assert said.code == 0
    setup = records()["mine", 0].recipe["setup"]
    assert (setup["name"], len(setup["sha256"])) == ("mine", 64)
    assert str(tmp_path) not in next(tmp_path.glob("work/runs/**/*.json")).read_text()


@pytest.mark.parametrize("verb", ["run", "options"])
def test_a_network_from_a_file_on_the_command_line(command, tmp_path, verb):
    (tmp_path / "work" / "net.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Linear(1, 1)\n")
    said = command(verb, "sinusoid-k10", *(RUN if verb == "run" else []), "--network", "./net.py")
    assert said.code == 0
    words = "changed: network=net" if verb == "run" else "tasks.context: the network 'net' takes the place of that of"
    assert words in said.out
    if verb == "run":
        (record,) = records().values()
        assert (record.recipe["network"]["name"], record.parameters) == ("net", 2)
        assert f"net, SHA-256 {record.recipe['network']['sha256']}" in " ".join(command("show", "maml").out.split())
        assert "0.670" not in said.out
        said = command("run", "sinusoid-k10", *RUN, "--set", "tasks.name=./waves.py")
        assert said.err == "error: tasks.name is set by --set, but it cannot be a file there: choose it with --tasks\n"


FAULTS = {
    "item": ("if support.x.mean().item() > 0", "line 12: the value of a tensor is taken out of it here", "failed, "),
    "states": ("path = path[-1]", "line 10: adapt of the setup Mine returned a dict with steps=0", "error: "),
    "error": ("{}['x']", "line 12: KeyError: 'x'", "error: "),
}
FAULTY = """from dataclasses import dataclass

from maml_bench import Setup
from maml_bench.core.inner import SGD


@dataclass(frozen=True)
class Mine(Setup):
    # a comment
    def adapt(self, learner, meta, support, steps):
        path = learner.adapt(meta, support, SGD(0.1), steps)
        FAULT
        return path
"""


@pytest.mark.parametrize(("fault", "sentence", "before"), FAULTS.values(), ids=FAULTS)
def test_what_fails_in_a_users_code_is_told_with_file_and_line(command, mine, fault, sentence, before):
    mine.write_text(FAULTY.replace("FAULT", fault + (": pass" if fault.startswith("if") else "")))
    said = command("run", "sinusoid-k10", *RUN, "--setup", "./mine.py", "--schedule", "vmap")
    assert said.code == (1 if before == "failed, " else 2)
    assert f"{before}mine.py, {sentence}" in said.err
    assert "Traceback" not in said.err
    if before == "failed, ":
        (record,) = records().values()
        assert record.reason.startswith(f"mine.py, {sentence}")
        assert 'File "mine.py", line 12, in adapt' in record.trace
        assert str(mine.parent) not in record.trace
        assert record.trace in command("show", "mine").out
        assert command("run", "sinusoid-k10", *RUN, "--setup", "./mine.py", "--schedule", "loop").code == 0
        assert [record.status for record in records().values()] == ["ok"]


@pytest.mark.parametrize("verb", [["--json"], []])
def test_check_tells_what_fails_and_exits_with_1(command, mine, verb):
    assert command("check", "./mine.py", *verb).code == 0
    mine.write_text(FAULTY.replace("FAULT", "path = path[-1]"))
    said = command("check", "./mine.py", *verb)
    assert (said.code, said.err) == (1, "")
    assert "mine.py, line 10: adapt of the setup Mine returned a dict" in said.out
    assert not verb or {finding["status"] for finding in json.loads(said.out)} == {"fails", "not checked"}
    assert command("check", "./none.py").err == "error: the file ./none.py does not exist\n"


def test_a_network_with_other_outputs_is_refused_before_anything_runs(command, tmp_path):
    (tmp_path / "work" / "net.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Linear(1, 3)\n")
    said = command("run", "sinusoid-k10", *RUN, "--network", "./net.py")
    assert (said.code, records()) == (2, {})
    assert "the network returned the shape [5, 3], but must return that of the targets, [5, 1]" in said.err


def test_weights_of_a_network_of_a_file_are_evaluated_with_it(command, tmp_path):
    (tmp_path / "work" / "net.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Linear(1, 1)\n")
    command("run", "sinusoid-k10", *RUN, "--network", "./net.py")
    weights = min(Path("runs/weights").rglob("*.safetensors"), key=lambda path: len(path.name))
    words = ("sinusoid-k10", "--weights", weights, "--preset", "smoke", "--results", "others", "--episodes", "2")
    said = command("evaluate", *words, "--network", "./net.py")
    assert said.code == 0
    said = command("evaluate", *words)
    assert said.code == 2


def test_the_code_of_a_file_never_runs_under_the_name_of_a_setup_of_the_package(command, mine):
    for words in (["--set", "setup.file=./mine.py"], ["--set", "setup={file='./mine.py'}"]):
        said = command("run", "sinusoid-k10", *RUN, *words)
        assert said.code == 2
        assert said.err == ("error: setup.file is set by --set, but it cannot be set: choose the setup with --setup\n")
    recipe = mine.with_name("own.toml")
    recipe.write_text('extends = "sinusoid-k10"\nsetup.file = "./mine.py"\n')
    said = command("run", "./own.toml", *RUN)
    assert said.code == 2
    assert "setup.file is set by ./own.toml, but it cannot be set" in said.err
    assert records() == {}
    command("run", "sinusoid-k10", *RUN)
    assert list(records()) == [("maml", 0)]


def test_a_file_that_changes_between_two_runs_of_a_command_stops_it(command, mine, monkeypatch):
    real = outer_module.meta_gradient

    def gradient(*arguments, **options):
        mine.write_text(MINE + "# changed\n")
        return real(*arguments, **options)

    monkeypatch.setattr(outer_module, "meta_gradient", gradient)
    said = command("run", "sinusoid-k10", *RUN, "--setup", "./mine.py", "--seeds", "0,1")
    assert said.code == 2
    assert "mine.py is not the code that the recipe was made with" in said.err.splitlines()[-1]
    assert list(records()) == [("mine", 0)]


@pytest.mark.parametrize("name", ["../../../../x", "x/../../y", "/x"])
def test_nothing_is_written_outside_of_the_results_folder(command, tmp_path, name):
    own = tmp_path / "work" / "own.toml"
    own.write_text(f'id = "{name}"\nextends = "sinusoid-k10"\n')
    preset = tmp_path / "work" / "preset.toml"
    preset.write_text(f'extends = "sinusoid-k10"\n[presets."{name}"]\nouter.steps = 1\n')
    before = sorted(tmp_path.rglob("*"))
    ways = (["sinusoid-k10", "--set", f"id={name}"], ["sinusoid-k10", "--set", f"preset={name}"], ["./own.toml"])
    for words in (*ways, ["./preset.toml", "--preset", name]):
        said = command("run", *RUN, *words)
        assert (said.code, said.err.count("\n")) == (2, 1)
    with pytest.raises(MamlBenchError, match="cannot be set"):
        maml_bench.run("sinusoid-k10", preset="smoke", set={"id": name})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_setting_that_changes_nothing_is_not_told_in_the_record(command):
    command("run", "sinusoid-k10", *RUN, "--set", "inner.rate=0.001", "--set", "outer.steps=12")
    assert "inner.rate" not in str(records()["maml", 0].recipe["changed"])
    assert records()["maml", 0].recipe["changed"][:2] == ["outer.steps=12", "outer.meta_batch=2"]
    assert "already there" in command("run", "sinusoid-k10", *RUN).err


def test_a_failed_run_is_told_and_exits_with_one(command, monkeypatch):
    monkeypatch.setattr(outer_module, "meta_gradient", fail)
    said = command("run", "sinusoid-k10", *RUN)
    assert said.code == 1
    assert "sinusoid-k10 maml seed 0: failed, RuntimeError: out of luck (runs/records/" in said.err
    assert records()["maml", 0].status == "failed"
    assert "Traceback" not in said.err


def test_a_failure_after_a_share_that_is_kept_exits_with_one(command, monkeypatch):
    command("run", "sinusoid-k10", *RUN, "--budget", "5steps")
    monkeypatch.setattr(outer_module, "meta_gradient", fail)
    said = command("run", "sinusoid-k10", *RUN)
    assert "failed, RuntimeError: out of luck" in said.err
    assert said.code == 1
    assert records()["maml", 0].outer_steps == 5


def test_a_diverged_run_is_a_result_with_an_exit_code_of_its_own(command):
    said = command("run", "sinusoid-k10", *RUN, "--set", "inner.rate=1e18")
    assert said.code == ExitCode.DIVERGED
    assert "diverged, the outer loss was not finite at step 1 (" in said.err


def test_a_budget_ends_early_and_the_same_command_goes_on(command):
    said = command("run", "sinusoid-k10", *RUN, "--budget", "5steps")
    assert said.code == 0
    assert "done, 5 of 12 steps in " in said.err
    said = command("run", "sinusoid-k10", *RUN)
    assert "resuming from step 5 of 12" in said.err
    assert "done, 12 steps in " in said.err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, (None, None)), ("90s", (90.0, None)), ("25m", (1500.0, None)), ("2h", (7200.0, None)),
        ("1.5 h", (5400.0, None)), (" .5m ", (30.0, None)), ("10000steps", (None, 10_000)), ("1 step", (None, 1)),
    ],
)  # fmt: skip
def test_budgets(text, found):
    assert progress.budget_of(text) == found


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "-5m", "1.5steps", "1.2.3s", "steps", "1e3s", "5M"])
def test_bad_budgets(text):
    with pytest.raises(MamlBenchError, match="must be a time such as 90s, 25m or 2h, or steps such as 10000steps"):
        progress.budget_of(text)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sinusoid-k1"], "no recipe 'sinusoid-k1' (did you mean 'sinusoid-k10'?)"),
        (["sinusoid-k10", "--preset", "papre"], "recipe 'sinusoid-k10' has no preset 'papre' (did you mean 'paper'?)"),
        (["sinusoid-k10", "--setup", "mmal"], "no setup 'mmal' (did you mean 'maml'?)"),
        (["sinusoid-k10", "--setup", "./none.py"], "setup file none.py does not exist"),
        (["omniglot-5w1s", "--setup", "oracle"], "recipe 'omniglot-5w1s': the setup needs tasks that reveal"),
        (["sinusoid-k10", "--set", "inner.rat=1"], "recipe 'sinusoid-k10': inner has no key 'rat' (did you mean "),
        (["sinusoid-k10", "--set", "inner.rate"], "--set 'inner.rate' must read key=value"),
        (["sinusoid-k10", "--set", "outer.rate=nan"], "recipe 'sinusoid-k10': outer.rate is nan"),
        (["sinusoid-k10", "--set", "validation.every=0"], "recipe 'sinusoid-k10': validation.every is 0"),
        (["sinusoid-k10", "--seeds", "0,x"], "--seeds '0,x' must be whole numbers with commas between"),
        (["sinusoid-k10", "--seeds", ""], "--seeds '' must be whole numbers"),
        (["sinusoid-k10", "--seeds", "0,,1"], "--seeds '0,,1' must be whole numbers"),
        (["sinusoid-k10", "--seeds", "9" * 300], f"--seeds '{'9' * 76}...: a seed is at most 9223372036854775807"),
        (["sinusoid-k10", "--seeds", "9" * 5000], f"--seeds '{'9' * 76}...: a seed is at most 9223372036854775807"),
        (["sinusoid-k10", "--seeds", "0-9223372036854775808"], "--seeds '0-9223372036854775808': a seed is at most"),
        (["sinusoid-k10", "--set", "published=3"], "published is set by --set, but it cannot be set"),
        (["sinusoid-k10", "--set", "tasks.pool=-3"], "recipe 'sinusoid-k10': tasks.pool is -3, but must be at least 0"),
        (["sinusoid-k10", "--set", "tasks.context=-2"], "recipe 'sinusoid-k10': tasks.context is -2, but must be at"),
        (["sinusoid-k10", "--set", "tasks.context=100000000"], "recipe 'sinusoid-k10': tasks.context is 100000000"),
        (["sinusoid-k10", "--set", "outer.clip=-1"], "recipe 'sinusoid-k10': outer.clip is -1, but must be at least 0"),
        (["sinusoid-k10", "--set", "outer.floor=-5"], "recipe 'sinusoid-k10': outer.floor is -5, but must be at least"),
        (["sinusoid-k10", "--set", "inner.later_rate=-1"], "recipe 'sinusoid-k10': inner.later_rate is -1, but must"),
        (["sinusoid-k10", "--set", "validation.query=0"], "recipe 'sinusoid-k10': validation.query is 0, but must be"),
        (
            ["sinusoid-k10", "--set", "train.way=3"],
            "recipe 'sinusoid-k10': train.way is 3, but must be 1: sinusoid has",
        ),
        (["omniglot-5w1s", "--set", "tasks.conv.filters=0"], "recipe 'omniglot-5w1s': tasks.conv.filters is 0, but"),
        (["omniglot-5w1s", "--set", "tasks.conv.widths=[8,8]"], "conv.widths is [8, 8], but must have one entry for"),
        (
            ["omniglot-instances", "--set", "train.query=1"],
            "recipe 'omniglot-instances': train.query is 1, but must be",
        ),
        (["navigation", "--set", "tasks.horizon=0"], "recipe 'navigation': tasks.horizon is 0, but must be at least 1"),
        (["mdp", "--set", "tasks.states=0"], "recipe 'mdp': tasks.states is 0, but must be at least 1"),
        (["bandit", "--set", "tasks.arms=0"], "recipe 'bandit': tasks.arms is 0, but must be at least 2"),
        (
            ["bandit", "--setup", "rl2", "--set", "tasks.hidden=[3]"],
            "recipe 'bandit': tasks.hidden is set by --set, but has no effect: the setup 'rl2' does not ask",
        ),
        (["sinusoid-k10", "--seeds", "0-"], "--seeds '0-' must be whole numbers"),
        (["sinusoid-k10", "--seeds", "-1"], "--seeds '-1' must be whole numbers"),
        (["sinusoid-k10", "--seeds", "3-0"], "--seeds '3-0': the range 3-0 runs backwards; write 0-3"),
        (["sinusoid-k10", "--seeds", "0-99999"], "--seeds '0-99999': the range 0-99999 has 100,000 seeds, but at most"),
        (
            ["sinusoid-k10", "--set", "inner.lr=1"],
            "recipe 'sinusoid-k10': inner has no key 'lr' (did you mean 'rate'?)",
        ),
        (["sinusoid-k10", "--budget", "soon"], "--budget 'soon' must be a time such as 90s"),
        (["sinusoid-k10", "--seeds", "0,1", "--from", "a.ckpt"], "--from goes on with one run: name one recipe"),
        (["sinusoid-k10", "--from", "a.ckpt"], "no checkpoint a.ckpt to go on from"),
        (["sinusoid-k10", "--device", "gpu"], "no device 'gpu' (try cpu, or cuda with an NVIDIA GPU)"),
        (["sinusoid-k10", "--device", "meta"], "device 'meta'"),
        (["sinusoid-k10", "nosuch", "--preset", "smoke"], "no recipe 'nosuch'"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(command, tmp_path, arguments, sentence):
    said = command("run", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("arguments", [[], ["sinusoid-k10", "--threads", "0"], ["sinusoid-k10", "--nosuch"]])
def test_bad_usage_is_told_without_a_traceback(command, arguments):
    said = command("run", *arguments)
    assert said.code == 2
    assert "maml-bench run [OPTIONS]" in said.err
    assert "Traceback" not in said.err


def test_an_inner_loop_without_parameters_is_one_sentence(command):
    said = command("run", "sinusoid-k10", *RUN, "--set", "inner.outside=['*']")
    assert said.code == 2
    assert said.err == ("error: inner.outside is ['*'], which leaves no parameter of the network for the inner loop\n")


@pytest.mark.parametrize("arguments", [["--schedule", "vmpa"], []])
def test_what_only_the_run_can_tell_is_one_sentence_too(command, tmp_path, arguments):
    (tmp_path / "work" / "file").write_text("")
    said = command("run", "sinusoid-k10", *RUN, *(arguments or ["--results", "file"]))
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in said.err
    assert not (tmp_path / "work" / "runs").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MINE + MINE.replace("Mine", "Other"), "mine.py must define exactly one class like this"),
        ("x = 1\n", "mine.py must define exactly one class like this"),
        ("def broken(:\n", "setup file mine.py cannot be loaded: SyntaxError"),
    ],
)
def test_a_bad_setup_file_is_one_sentence(command, mine, text, sentence):
    mine.write_text(text)
    said = command("run", "sinusoid-k10", *RUN, "--setup", "./mine.py")
    assert said.code == 2
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1


def test_only_run_starts_itself_again(command, monkeypatch):
    started = []
    monkeypatch.setattr(memory, "retain", lambda: started.append(True))
    command("list", "--json")
    assert started == []
    command("run")
    assert started == [True]
