"""The Python interface: what ``import maml_bench`` offers does what the command line does."""

import dataclasses
import json
import subprocess
import sys

import pytest

import maml_bench
from maml_bench import MamlBenchError, cli
from maml_bench.record_files import load_all

SMALL = {"outer.steps": 3, "validation.episodes": 0, "outer.meta_batch": 2}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A tiny run of sinusoids below a folder of its own."""
    monkeypatch.setattr("maml_bench.harness.machine.convolution_gflops", lambda device="cpu": 100.0)

    def run(**options):
        return maml_bench.run("sinusoid-k10", preset="smoke", results=tmp_path / "runs", **{"set": SMALL, **options})

    return run


def test_importing_the_package_is_quick_and_loads_no_torch() -> None:
    code = "import sys, time; t = time.process_time(); import maml_bench; t -= time.process_time()"
    code += "; print(-t, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert float(said[0]) < 0.2
    assert said[1] == "False"


def test_every_public_name_is_there_and_others_are_not() -> None:
    for name in maml_bench.__all__:
        assert getattr(maml_bench, name).__doc__
        assert name in dir(maml_bench)
    with pytest.raises(AttributeError, match="'maml_bench' has no attribute 'nothing'"):
        _ = maml_bench.nothing
    for package, names in (("core", ("Learner", "adapt", "meta_gradient")), ("engine", ("MetaStep", "SCHEDULES"))):
        module = __import__(f"maml_bench.{package}", fromlist=names)
        assert set(names) <= set(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


def test_a_run_gives_one_record_for_each_setup_and_seed_in_order(run, tmp_path) -> None:
    records = run(setup=["maml", "reptile"], seeds=[0, 1])
    assert [(r.recipe["setup"]["name"], r.seed, r.outer_steps) for r in records] == [
        ("maml", 0, 3), ("maml", 1, 3), ("reptile", 0, 3), ("reptile", 1, 3)
    ]  # fmt: skip
    assert len(list(load_all(tmp_path / "runs"))) == 4
    again = run(setup="maml", seeds=1)
    assert [r.evaluations for r in again] == [records[1].evaluations]  # finished runs are skipped
    table = maml_bench.load_records(tmp_path / "runs")
    assert set(table["setup"]) == {"maml", "reptile"}
    assert len(table) == sum(len(e.points) for r in records for e in r.evaluations)


def test_compare_says_what_the_command_says(run, tmp_path, monkeypatch, capsys) -> None:
    fine, _ = run(setup=["maml", "reptile"])
    dataclasses.replace(fine, status="failed", reason="out of luck", evaluations=[]).save(tmp_path / "new")
    same = maml_bench.compare(tmp_path / "runs", str(tmp_path / "runs"))
    assert not same.worse
    assert {(f.setup, f.verdict) for f in same.findings} == {("maml", "same"), ("reptile", "same")}
    found = maml_bench.compare(tmp_path / "runs", tmp_path / "new")
    assert found.worse
    assert [(f.setup, f.quantity, f.verdict) for f in found.findings] == [
        ("maml", "status", "worse"), ("reptile", "recipe", "incomparable"),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["maml-bench", "compare", f"{tmp_path}/runs", f"{tmp_path}/new", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(json.dumps(dataclasses.asdict(found) | {"worse": True}))
    with pytest.raises(MamlBenchError, match="there is no results folder or record at nowhere"):
        maml_bench.compare("nowhere", tmp_path / "new")


def test_settings_are_values_of_python(run) -> None:
    (record,) = run(set=SMALL | {"inner.rate": 0.25, "inner.outside": ["head.*"], "tasks.reveal": False})
    assert record.recipe["inner"]["rate"] == 0.25
    assert record.recipe["inner"]["outside"] == ["head.*"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"setup": "mamll"}, "did you mean 'maml'"),
        ({"seeds": -1}, "seed -1 must be a whole number of at least 0"),
        ({"seeds": [0, True]}, "seed True must be a whole number"),
        ({"set": {"inner.lr": 0.1}}, r"inner has no key 'lr' \(did you mean 'rate'"),
        ({"set": {"inner.rate": float("nan")}}, "nan cannot be the value of a key"),
        ({"set": {"inner.rate": None}}, "None cannot be the value of a key: leave the key out"),
        ({"protocols": ["papr"]}, "no protocol 'papr'"),
        ({"schedule": "tracd"}, "no schedule 'tracd'"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_no_record(run, tmp_path, options, sentence) -> None:
    with pytest.raises(MamlBenchError, match=sentence):
        run(**options)
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_tasks_are_those_of_the_recipes_largest_budget_with_options() -> None:
    assert maml_bench.load_tasks("navigation").horizon == 100
    assert maml_bench.load_tasks("navigation", horizon=7).horizon == 7
    with pytest.raises(MamlBenchError, match="did you mean 'sinusoid'"):
        maml_bench.load_tasks("sinusiod")
    with pytest.raises(MamlBenchError, match="tasks has no key 'speed'"):
        maml_bench.load_tasks("sinusoid", speed=3)


def test_lists_name_what_can_be_run() -> None:
    assert {"maml", "protonet"} <= set(maml_bench.list_setups())
    assert "sinusoid-k10" in maml_bench.list_recipes()


def test_a_recipe_of_ones_own_is_loaded_by_path(tmp_path) -> None:
    path = tmp_path / "waves.toml"
    path.write_text('extends = "sinusoid-k10"\ninner = { rate = 0.5 }\n')
    found = maml_bench.Recipe.load(str(path), preset="smoke")
    assert (found.id, found.inner.rate) == ("waves", 0.5)
    assert maml_bench.Recipe.load("sinusoid-k10", preset="smoke").id == "sinusoid-k10"


def test_several_runs_at_a_time_give_the_records_of_one_after_the_other_in_the_same_order(tmp_path):
    """The process of this machine that is slower does not come later."""
    settings = {"outer.steps": 8, "outer.meta_batch": 2, "validation.episodes": 2}
    told = {"preset": "smoke", "seeds": [5, 3], "set": settings, "threads": 1}
    ways = [maml_bench.run("sinusoid-k10", results=tmp_path / str(jobs), jobs=jobs, **told) for jobs in (1, 2)]
    assert [[record.seed for record in records] for records in ways] == [[5, 3]] * 2
    assert [record.evaluations for record in ways[0]] == [record.evaluations for record in ways[1]]
