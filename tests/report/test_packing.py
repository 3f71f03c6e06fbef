"""The reference records of the wheel: small, and as good as the folder for a comparison."""

import shutil
from pathlib import Path

import pytest
from record_factory import MSE, evaluation, record

from maml_bench import compare
from maml_bench.errors import MamlBenchError
from maml_bench.record_files import load_all, parse
from maml_bench.report import pairing
from maml_bench.report.packing import FILE, pack, unpack

RESULTS = Path(__file__).parents[2] / "results"
FAMILIES = ("bandit", "navigation", "omniglot/maml", "sinusoid/maml")
"""Records with every metric and with whole and partial budgets."""
CURVE_INNER_STEPS = 0


@pytest.fixture
def ours(tmp_path):
    """A folder with some of the reference records."""
    for family in FAMILIES:
        shutil.copytree(RESULTS / "records" / family, tmp_path / "ours/records" / family)
    return tmp_path / "ours"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as a wheel installs it: a folder with the packed records and no clone around it."""
    place = tmp_path / "site-packages/maml_bench/report"
    place.mkdir(parents=True)
    monkeypatch.setattr(pairing, "__file__", str(place / "pairing.py"))
    return place / FILE


def test_packed_records_give_the_verdicts_of_the_folder(ours, installed):
    packed = pack(ours)
    assert len(packed) < sum(path.stat().st_size for path in ours.rglob("*.json")) / 10
    installed.write_bytes(packed)
    folder, wheel = compare(ours, ours).findings, compare("reference", ours).findings
    assert [(f.recipe, f.setup, f.quantity, f.shape, f.inner_steps, f.seeds, f.verdict) for f in wheel] == [
        (f.recipe, f.setup, f.quantity, f.shape, f.inner_steps, f.seeds, f.verdict) for f in folder
    ]
    assert {f.verdict for f in wheel} >= {"same", "cannot tell"}
    assert all(f.base == pytest.approx(f.new, rel=1e-3) for f in wheel if f.base is not None)


def test_what_is_left_out_is_what_no_comparison_reads(tmp_path):
    published = [{"protocol": "paper", "way": 1, "shot": 10, "inner_steps": 2, "value": 0.5, "source": "a paper"}]
    scores = {steps: [0.123456789, float("nan")] for steps in range(6)}
    full = record(evaluations=[evaluation(scores, MSE, 1, 10)], metric=MSE, published=published, exhibit={"kind": "a"})
    full.save(tmp_path)
    record(setup="anil", superseded="counted in another way").save(tmp_path)
    (text,) = unpack(pack(tmp_path))
    short = parse(text, "a packed record")
    points = short.evaluations[0].points
    assert [point.inner_steps for point in points] == [CURVE_INNER_STEPS, 2, 5]
    assert points[0].values == [0.1235, None]
    assert (short.exhibit, short.curve.step, short.step_blocks_s) == (None, [], full.step_blocks_s)


def test_a_clone_reads_its_own_folder(tmp_path, installed):
    record().save(tmp_path / "site-packages/results")
    assert [one.recipe["id"] for one in pairing.read("reference")] == ["omniglot-5w1s"]


def test_a_copy_without_reference_records_says_so(installed):
    with pytest.raises(MamlBenchError, match="came without reference records"):
        compare("reference", "runs")


def test_only_the_bare_word_is_reserved(tmp_path, installed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(setup="anil").save(Path("reference"))
    record(setup="maml").save(Path("other"))
    installed.write_bytes(pack(Path("other")))
    for place in ("./reference", Path("reference")):
        assert [one.recipe["setup"]["name"] for one in pairing.read(place)] == ["anil"]
    assert [one.recipe["setup"]["name"] for one in pairing.read("reference")] == ["maml"]


def test_the_reference_records_of_the_package_are_read():
    names = {pairing.name_of(one) for one in pairing.reference()}
    counting = {pairing.name_of(one) for _, one in load_all(RESULTS) if not one.superseded}
    assert names == counting
    assert ("quickstart", "maml", "quick", "run") in names
