"""`maml-bench compare`: its tables, its JSON, and its exit codes."""

import csv
import io
import json
from dataclasses import replace

import pytest

from maml_bench import compare, load_records
from maml_bench.errors import MamlBenchError
from maml_bench.record_files import load, load_all


@pytest.fixture
def maml(results):
    """The path of the maml record."""
    return next((results / "records/sinusoid/maml").iterdir())


@pytest.fixture
def worse(results, maml):
    """A folder in which the maml record is worse."""
    record = load(maml)
    points = [
        replace(point, values=[value + 9 for value in point.values], mean=point.mean + 9)
        for point in record.evaluations[0].points
    ]
    replace(record, evaluations=[replace(record.evaluations[0], points=points)]).save(results.with_name("new"))
    return results.with_name("new")


def test_the_same(command, results):
    said = command("compare", results, results, "--json")
    found = json.loads(said.out)
    assert (said.code, found["worse"]) == (0, False)
    verdicts = {(finding["setup"], finding["quantity"]): finding["verdict"] for finding in found["findings"]}
    assert verdicts == {
        ("maml", "mse"): "same", ("maml", "outer_step_s"): "cannot tell", ("scratch", "mse"): "same",
    }  # fmt: skip


def test_a_worse_one_exits_with_one(command, results, worse):
    said = command("compare", results, worse)
    assert said.code == 1
    assert "worse" in said.out
    assert "only in runs: sinusoid-k10 scratch smoke" in said.err
    assert command("compare", results, worse, "--strict").code == 1
    assert command("compare", worse, results).code == 0
    assert command("compare", results, worse, "--relative-threshold", "1000").code == 0


def test_strict_exits_with_three_for_what_cannot_be_told(command, results, maml):
    assert command("compare", results, results).code == 0
    assert command("compare", results, results, "--strict").code == 3  # twelve steps are too few for a time
    for seed in range(3):
        replace(load(maml), step_blocks_s=[0.1] * 40, seed=seed).save(results.with_name("base"))
    assert command("compare", "base", "base", "--strict").code == 0


def test_strict_exits_with_three_for_a_record_of_one_side(command, results, maml):
    long = replace(load(maml), step_blocks_s=[0.1] * 40)
    for folder, seeds in (("base", (0, 1, 2, 3)), ("new", (0, 1, 2))):
        for seed in seeds:
            replace(long, seed=seed).save(results.with_name(folder))
    assert command("compare", "base", "new").code == 0
    assert "only base has these seeds" in command("compare", "base", "new").out
    assert command("compare", "base", "new", "--strict").code == 3


def test_nothing_comparable_exits_with_two(command, results, maml):
    replace(load(maml), seed=5).save(results.with_name("new"))
    said = command("compare", maml, "new")
    assert said.code == 2
    assert said.out.count("incomparable") == 2


def test_another_machine_leaves_out_seconds_unless_asked(command, results, maml):
    record = replace(load(maml), step_blocks_s=[0.1] * 40)
    for seed in range(3):
        replace(record, seed=seed).save(results)
        replace(record, seed=seed, machine_id="deadbeef").save(results.with_name("new"))

    def verdicts(*arguments):
        findings = json.loads(command("compare", results, "new", "--json", *arguments).out)["findings"]
        return {f["quantity"]: f["verdict"] for f in findings if f["setup"] == "maml"}

    assert verdicts() == {"mse": "same", "outer_step_s": "incomparable"}
    assert verdicts("--across-machines") == {"mse": "same", "outer_step_s": "same"}


def test_a_markdown_table_has_a_row_for_each_finding(command, results, worse):
    said = command("compare", results, worse, "--markdown")
    assert said.code == 1
    title, _, head, _, *rows = said.out.splitlines()
    assert title == "**new compared with runs: 1 worse, 1 cannot tell**"
    assert head.startswith("| recipe | setup | preset | quantity | test | steps | seeds | base | new | change |")
    assert rows
    assert all(row.count(" | ") == head.count(" | ") and row.startswith("| sinusoid-k10 | maml") for row in rows)


def test_a_narrow_comparison_says_why_below_its_table(narrow, results, maml):
    replace(load(maml), machine_id="deadbeef").save(results.with_name("new"))
    said = narrow("compare", results, "new")
    assert "why" in said.err.splitlines()[0]
    assert "outer_step_s: incomparable: seconds are not compared: machine was" in said.err


def test_another_content_of_a_recipe_is_compared_and_said(command, results):
    for _, record in load_all(results):
        changed = {**record.recipe, "inner": {**record.recipe["inner"], "rate": 9.0}}
        replace(record, recipe=changed, recipe_id="00000000").save(results.with_name("new"))
    said = command("compare", results, "new")
    assert said.code == 0
    assert said.out.count("the content of the recipe differs") == 2


def test_reference_is_a_word_and_a_folder_of_that_name_has_a_path(command, results, worse):
    worse.rename("reference")
    assert command("compare", "./reference", "runs").code == 0
    assert command("compare", "runs", "reference").code == 1
    said = command("compare", "reference", "runs")  # none of the reference records has the preset smoke
    assert (said.code, "reference and runs have no recipe and setup in common" in said.err) == (2, True)
    assert "quickstart" in command("compare", "reference", "--setups", "scratch,maml").out


def test_two_setups_in_a_table_and_a_figure(command, results):
    said = command("compare", results, "--setups", "scratch,maml", "--figure", "difference.png")
    assert said.code == 0
    assert "maml compared with scratch, on the same seeds and test tasks" in said.out
    from PIL import Image

    with Image.open("difference.png") as image:
        assert image.width > 500
        assert len(set(image.convert("RGB").tobytes())) > 10
    (one,) = json.loads(command("compare", results, "--setups", "scratch,maml", "--json").out)
    records = [record for _, record in load_all(results)]
    scores = {record.recipe["setup"]["name"]: record.evaluations[0].points[-1].values for record in records}
    gaps = [new - old for old, new in zip(scores["scratch"], scores["maml"], strict=True)]
    assert one["difference"] == pytest.approx(sum(gaps) / len(gaps))
    assert (one["seeds"], one["tasks"], one["metric"], one["budgets"]) == ([0], 6, "mse", [0, 12])
    assert one["low"] < one["difference"] < one["high"]
    markdown = command("compare", results, "--setups", "scratch,maml", "--markdown").out
    assert "| recipe | preset | test | metric | steps | seeds | scratch | maml |" in markdown


def test_two_setups_in_python(results):
    table = compare(load_records(results), "scratch", "maml")
    assert table.equals(compare(results, "scratch", "maml"))
    assert list(table.columns[:4]) == ["recipe", "preset", "shape", "metric"]
    (row,) = csv.DictReader(io.StringIO(table.to_csv()))
    assert float(row["difference"]) == pytest.approx(float(row["second"]) - float(row["first"]))
    frame = load_records(results)
    with pytest.raises(MamlBenchError, match="no record of setup 'maml'"):
        compare(frame[frame["setup"] == "scratch"], "scratch", "maml")
    with pytest.raises(MamlBenchError, match="pass the folder"):
        compare(frame.drop(columns="path"), "scratch", "maml")
    with pytest.raises(MamlBenchError, match="name two setups"):
        compare(frame, "maml")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("none runs", "there is no results folder or record at none"),
        (". .", "there are no records below ."),
        ("runs", "give two folders to compare, or one folder and --setups"),
        ("runs --setups maml", "--setups 'maml' must name two different setups"),
        ("runs --setups maml,maml", "--setups 'maml,maml' must name two different setups"),
        ("runs --setups maml,scrach", "no record of setup 'scrach' that ended well (did you mean 'scratch'?)"),
        ("runs runs --setups maml,scratch", "a second folder (runs) has no effect with --setups"),
        ("runs --setups maml,scratch --strict", "--strict has no effect with --setups"),
        ("runs --setups maml,scratch --time-threshold 1", "--time-threshold has no effect with --setups"),
        ("runs runs --figure a.png", "--figure needs --setups"),
        ("runs --setups maml,scratch --figure a.exe", "a figure cannot be written as a.exe"),
        ("runs runs --json --markdown", "--json and --markdown are two forms"),
    ],
)
def test_bad_input_is_one_sentence(command, results, arguments, sentence):
    said = command("compare", *arguments.split())
    assert said.code == 2
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1


def test_nothing_in_common_is_a_sentence(command, results, maml):
    record = load(maml)
    replace(record, recipe={**record.recipe, "id": "other"}, recipe_id="00000000").save(results.with_name("new"))
    said = command("compare", results, "new")
    assert said.code == 2
    assert said.err == "error: runs and new have no recipe and setup in common, so there is nothing to compare\n"


def test_two_setups_with_a_seed_on_two_machines_count_it_once(command, results):
    for _, record in list(load_all(results)):
        replace(record, machine_id="deadbeef").save(results)
    (one,) = json.loads(command("compare", results, "--setups", "scratch,maml", "--json").out)
    assert one["seeds"] == [0]
