"""The verbs that read: what they print, and their JSON."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import maml_bench
from maml_bench.api.listing import list_recipes
from maml_bench.errors import MamlBenchError
from maml_bench.harness.own_budget import read_records, with_own_budget
from maml_bench.harness.recipe import presets_of, resolve
from maml_bench.record_files import load
from maml_bench.report.flat_rows import flat_rows as flat


@pytest.fixture
def maml(results):
    """The path of the maml record."""
    return next((results / "records/sinusoid/maml").iterdir())


def test_list_names_tasks_setups_and_recipes(command):
    said = command("list")
    assert said.code == 0
    for word in ("sinusoid", "omniglot", "meta_sgd", "Finn et al. 2017", "omniglot-20w5s", "quick 10,000"):
        assert word in said.out


def test_list_as_json(command):
    listed = json.loads(command("list", "--json").out)
    assert {"omniglot", "sinusoid"} <= {row["tasks"] for row in listed["tasks"]}
    assert {"maml", "oracle", "scratch"} <= {row["setup"] for row in listed["setups"]}
    quickstart = next(row for row in listed["recipes"] if row["recipe"] == "quickstart")
    assert quickstart["default_setups"] == ["maml", "scratch", "pretrained", "oracle"]
    assert quickstart["presets"] == ["smoke", "quick", "paper"]
    assert quickstart["steps"] == {"smoke": 20, "quick": 5000, "paper": 70000}
    assert all(row["about"] for row in listed["tasks"] + listed["setups"])


def test_records_as_a_table_and_as_json(command, results):
    assert "sinusoid-k10" in command("records").out
    rows = json.loads(command("records", "--json").out)
    assert rows == flat(read_records(results), results)
    assert [(row["setup"], row["inner_steps"]) for row in rows] == [
        ("maml", 0), ("maml", 1), ("scratch", 0), ("scratch", 1),
    ]  # fmt: skip
    assert (rows[1]["published"], rows[1]["way"], rows[1]["shot"], rows[1]["outer_steps"]) == (0.67, 1, 5, 12)
    assert rows[2]["published"] is None
    assert [load(results / row["path"]).recipe["setup"]["name"] for row in rows] == ["maml"] * 2 + ["scratch"] * 2


@pytest.mark.parametrize("arguments", [["--results", "elsewhere"], []])
def test_results_come_from_the_option_or_the_environment(command, results, monkeypatch, arguments):
    shutil.move(results, "elsewhere")
    if not arguments:
        monkeypatch.setenv("MAML_BENCH_RESULTS", "elsewhere")
    assert len(json.loads(command("records", "--json", *arguments).out)) == 4


def test_records_without_any(command):
    assert json.loads(command("records", "--json").out) == []
    assert "no runs below runs; `maml-bench run quickstart` makes some" in command("records").err
    assert "no speed records below runs" in command("records", "--kind", "speed").err
    assert json.loads(command("records", "--kind", "speed", "--json").out) == []


def test_show_a_record(command, maml):
    said = command("show", maml)
    assert said.code == 0
    for words in ("sinusoid-k10 (smoke,", "12 of 12 outer steps", "1/5/5", "outer_step", "GFLOP/s in convolutions"):
        assert words in said.out


def test_show_a_record_of_a_failure_in_two_segments(command, maml):
    record = replace(load(maml), status="failed", reason="out of luck", evaluations=[])
    record = replace(record, segments=2, commit="abc", dirty=True)
    said = command("show", record.save(maml.parent))
    for words in ("failed: out of luck", "in 2 segments", "abc with changes"):
        assert words in said.out


def test_show_takes_what_records_prints(command, results):
    names = [row["path"] for row in json.loads(command("records", "--json").out)]
    assert json.loads(command("show", names[0], "--json").out) == json.loads((results / names[0]).read_text())


def test_show_takes_parts_of_a_name_that_fit_one_record(command, results, maml):
    recipe_id = load(maml).recipe_id
    for name in (
        maml.name, maml.stem, "maml", "sinusoid-k10/maml/seed0", "maml/s0/sinusoid-k10", recipe_id[:8], recipe_id[:5]
    ):  # fmt: skip
        assert json.loads(command("show", name, "--json").out) == json.loads(maml.read_text()), name
    exact = replace(load(maml), seed=11).save(results)
    replace(load(maml), seed=1).save(results)
    assert json.loads(command("show", "maml/seed11", "--json").out)["seed"] == 11
    assert json.loads(command("show", "maml/seed1", "--json").out)["seed"] == 1
    said = command("show", "maml")
    assert said.code == 2
    assert said.err.startswith("error: 'maml' fits 3 records below runs; add parts that tell them apart")
    assert exact.name in said.err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sinusoid-k10/mam1/seed0", " (did you mean 'maml'?)"),
        ("sinusoid-k11", " (did you mean 'sinusoid-k10'?)"),
        ("sinusoid-k10/maml/seed7", ""),
        ("!!!!", "; `maml-bench records` lists them"),
        (".", "; `maml-bench records` lists them"),
    ],
)
def test_show_names_the_nearest_record_that_there_is(command, results, name, hint):
    said = command("show", name)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: no record {name!r} below runs{hint}")


def test_show_fits_80_columns(narrow, results):
    said = narrow("show", "sinusoid-k10/maml")
    assert said.code == 0
    assert plain(said.out)
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.fixture
def speed(results):
    """A race of two rows and a point of growth, as a speed record of ``runs``."""
    common = {"machine": "0603ed1a", "machine_gflops": 430.0, "threads": 2, "commit": "abc", "dirty": False}
    common |= {"torch": "2.13.0", "memory": "retained", "status": "ok", "reason": None, "rounds": 3}
    common |= {"started_at": "2026-01-02T03:04:05Z", "peak_memory_bytes": 2**30, "library_version": "0.1.0"}
    race = {"kind": "speed", "bench": "omniglot-q1", "ratio_to_ours": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}
    race |= {"grad_rel_error": 1e-7, "compile_s": 0.0, "model_gflop": 1.0, "machine_share": 0.5, "python": "3.11.9"}
    rows = [
        {**common, **race, "library": name, "schedule": schedule, "median_s": 0.1, "round_medians_s": [0.1] * 3}
        for name, schedule in (("maml-bench", "auto: native"), ("learn2learn", "loop over tasks"))
    ]
    point = {"kind": "growth", "axis": "meta_batch", "value": 32, "library": "maml-bench", "schedule": "vmap"}
    path = results / "records" / "speed" / "omniglot-q1-0603ed1a.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([*rows, {**common, **point, "median_s": 0.25}]))
    return path


def test_speed_records_are_printed_flat(command, speed):
    found = json.loads(command("records", "--kind", "speed", "--json").out)
    assert [row["library"] for row in found] == ["maml-bench", "learn2learn"]
    wanted = ["bench", "library", "library_version", "torch", "memory", "schedule", "median_s", "ratio_to_ours"]
    wanted += ["grad_rel_error", "peak_memory_bytes", "machine", "machine_gflops", "commit"]
    assert all(set(wanted) <= set(row) for row in found)
    assert found[1]["round_medians_s"] == [0.1] * 3
    (point,) = json.loads(command("records", "--kind", "growth", "--json").out)
    assert (point["axis"], point["value"], point["median_s"]) == ("meta_batch", 32, 0.25)


def plain(text):
    """Whether a text has neither escape codes, nor markup, nor box characters."""
    return "\x1b" not in text and "[/" not in text and not set(text) & set("│┃─━┏┡└")


@pytest.mark.parametrize(
    "arguments", ["records", "records --kind speed", "compare runs runs", "list", "suite images --status"]
)
def test_tables_fit_a_terminal_of_80_columns_and_are_complete_and_plain_in_a_pipe(command, narrow, speed, arguments):
    piped = command(*arguments.split())
    assert plain(piped.out)
    assert "left out" not in piped.err
    shown = narrow(*arguments.split())
    assert plain(shown.out)
    assert max(map(len, shown.out.splitlines())) <= 80


def test_a_narrow_table_of_records_keeps_what_tells_its_rows_apart(narrow, results):
    said = narrow("records")
    assert "recipe sinusoid-k10, setup maml, preset smoke, seed 0" in said.out
    heading = said.out.splitlines()[1].split()
    assert heading[:3] == ["status", "protocol", "normalisation"]
    assert heading[3:] == ["shot", "inner_steps", "mean", "ci95", "published"]
    assert said.err == "left out to fit the width of the terminal: path, checkpoint\n"


def test_speed_records_as_a_table(command, speed):
    said = command("records", "--kind", "speed").out
    (line,) = [line for line in said.splitlines() if "learn2learn" in line]
    for cell in ("learn2learn 0.1.0", "2.13.0", "retained", "loop over tasks", " 100 ", "1.00", "1,024", "1.0e-07"):
        assert cell in line
    assert "omniglot-q1: Machine 0603ed1a, 2 threads" in said
    growth = command("records", "--kind", "growth").out
    assert "meta_batch, machine 0603ed1a: median ms" in growth
    assert "250" in growth


@pytest.mark.parametrize("verb", [["records", "--kind", "speed"], ["records", "--kind", "growth"], ["report"]])
def test_a_damaged_speed_record_is_named_in_one_sentence(command, speed, verb):
    speed.write_text('[{"kind": "race"}]')
    said = command(*verb)
    assert said.code == 0
    assert f"{speed.name}: row 1 is of kind 'race'" in said.err


def test_report_tells_of_speed(command, speed):
    said = command("report")
    assert "2 records and 3 rows of speed: " in said.err
    assert (speed.parents[2] / "tables" / "speed.md").is_file()


def test_show_as_json(command, maml):
    assert json.loads(command("show", maml, "--json").out) == json.loads(maml.read_text())


def test_report_makes_tables_and_figures(command, results):
    said = command("report")
    assert said.code == 0
    assert "2 records: " in said.err
    tables = list((results / "tables").iterdir())
    figures = [path for path in (results / "figures").iterdir() if path.name != "captions.md"]
    assert f"{len(tables)} tables in runs/tables, {len(figures)} figures in runs/figures" in said.err
    assert {path.suffix for path in tables} == {".md", ".csv"}
    assert {path.suffix for path in figures} == {".pdf", ".png"}


def test_report_shows_chosen_setups_and_columns(command, results):
    said = command("report", "--setups", "maml, maml", "--columns", "setup,steps,score")
    assert said.code == 0
    table = (results / "tables/sinusoid-summary.md").read_text()
    assert [cell.strip() for cell in table.splitlines()[1].split("|")[1:-1]] == ["setup", "steps", "score"]
    assert "maml" in table
    assert "scratch" not in table
    assert "scratch" in command("records").out


def test_report_writes_latex_when_asked_and_removes_it_when_not(command, results):
    command("report", "--latex")
    assert [path.name for path in (results / "tables").glob("*.tex")] == ["sinusoid.tex"]
    assert "; removed 1 old files that this report does not make" in " ".join(command("report").err.split())
    assert not list((results / "tables").glob("*.tex"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["records", "--kind", "run"], "--kind 'run' is not a kind of record (did you mean 'runs'?)"),
        (["show", "none.json"], "there are no records below runs; `maml-bench run quickstart` makes some"),
        (["show", "."], "there are no records below runs; `maml-bench run quickstart` makes some"),
        (["report", "--setups", "maml,,anil"], "--setups 'maml,,anil' must be names with commas between"),
        (["report", "--columns", ""], "--columns '' must be names with commas between"),
        (["report"], "there are no records below runs; `maml-bench run quickstart` makes some"),
    ],
)
def test_bad_input_is_one_sentence(command, arguments, sentence):
    said = command(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("verb", [["records"], ["report"], ["compare", "runs", "runs"]])
def test_a_damaged_record_is_named_in_one_sentence_and_the_others_are_read(command, maml, verb):
    maml.write_text("{")
    said = command(*verb)
    assert said.code == 0
    assert said.err.count("warning: ") == 1
    assert f"warning: record {maml} is not valid JSON" in said.err


def test_a_bad_record_is_skipped_with_a_warning_and_strict_fails(command, maml):
    whole = command("records", "--json")
    bad = maml.with_name("bad.json")
    bad.write_text("[]")
    said = command("records", "--json")
    assert (said.code, said.out) == (0, whole.out)
    assert said.err.count("warning: ") == 1
    assert f"it is skipped. To remove it, delete the file {bad}" in said.err
    said = command("records", "--json", "--strict")
    assert (said.code, said.out) == (3, whole.out)
    bad.unlink()
    assert command("records", "--strict").code == 0


def test_a_folder_of_records_that_cannot_be_read_is_an_error(command, results, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    said = command("records")
    assert (said.code, said.err) == (2, "error: the folder runs/records of records cannot be read: Permission denied\n")


def test_records_are_listed_without_torch_and_scipys_statistics(results, maml):
    """Importing them takes longer than reading two thousand records. A changed budget is compared with the recipe's."""
    assert any(setting.startswith("outer.steps=") for setting in load(maml).recipe["changed"])
    code = (
        "import sys\nsys.argv = ['maml-bench', 'records', '--json']\nfrom maml_bench.cli import main\ntry:\n main()\n"
        "finally:\n sys.stderr.write(' '.join({'torch', 'matplotlib', 'pandas', 'scipy.stats'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert json.loads(done.stdout) == flat(read_records(results), results)


def test_the_own_budget_is_that_of_the_resolved_recipe(maml):
    """It is read off the tables alone."""
    record = load(maml)
    for name in list_recipes():
        for preset in presets_of(name):
            for setup in ("maml", "protonet", "rl2", "oracle", "meta_lstm"):
                try:
                    own = resolve(name, preset=preset, setup=setup)
                except MamlBenchError:
                    continue
                changed = {**own.plain(), "changed": ["outer.steps=3"]}
                found = with_own_budget(replace(record, recipe=changed, budget_steps=3)).budget_steps
                assert found == own.outer.steps or own.outer.steps == 0
