"""The page: what it holds, and the contrast of its colours."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from page_factory import HOSTILE, write
from record_factory import MSE, PAPER, evaluation, omniglot, record, sinusoid

from maml_bench.report.build import build
from maml_bench.report.page import page_data


def embedded(path) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)[1])


def test_the_page_holds_every_score_with_its_record(tmp_path):
    pairs, path = write(tmp_path, record(seed=0, published=[PAPER]), record((0.9, 0.8), seed=1, setup="anil"))
    data = embedded(path)
    assert data == page_data(pairs, tmp_path)
    first, second = data["rows"]
    assert (first["mean"], first["published"], first["record"]) == (pytest.approx(0.98), 0.987, 0)
    assert (second["setup"], second["mean"], second["record"]) == ("anil", pytest.approx(0.85), 1)
    assert data["records"][1]["path"] == pairs[1][0].relative_to(tmp_path).as_posix()
    shown = data["records"][0]
    assert (shown["scale"], shown["unit"], shown["logarithmic"]) == (100, "accuracy, %", False)
    assert set(data["looks"]) == {"maml", "anil"}


def test_histograms_count_every_test_task_once_and_leave_out_what_is_not_finite(tmp_path):
    values = [0.0, 0.05, 0.05, 1.0, float("nan")]
    pairs, _ = write(tmp_path, sinusoid("maml", 0), record(evaluations=[evaluation({1: values}, MSE)], metric=MSE))
    [shown] = page_data(pairs[1:], tmp_path)["records"][0]["distributions"]
    assert (shown["low"], shown["high"], len(shown["counts"])) == (0.0, 1.0, 20)
    assert (shown["counts"][0], shown["counts"][1], shown["counts"][-1], sum(shown["counts"])) == (1, 2, 1, 4)


def test_a_commit_that_is_not_known_says_so(tmp_path):
    pairs, _ = write(tmp_path, record(commit=None, dirty=None), record(seed=1, commit="abc", dirty=True))
    assert [each["origin"]["commit"] for each in page_data(pairs, tmp_path)["records"]] == [
        "unknown",
        "abc with changes",
    ]


def test_the_page_needs_no_network(tmp_path):
    found = []

    class Addresses(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.extend(v for k, v in attributes if k in ("src", "href") and not v.startswith(("#", "data:")))

    _, path = write(tmp_path, record())
    reader = Addresses()
    reader.feed(path.read_text(encoding="utf-8"))
    assert found == []


def test_text_of_records_never_becomes_markup(tmp_path):
    _, path = write(tmp_path, record(status="failed", reason=HOSTILE, evaluations=[]))
    assert HOSTILE not in path.read_text(encoding="utf-8")
    assert embedded(path)["records"][0]["reason"] == HOSTILE


def test_the_report_writes_the_page(tmp_path):
    omniglot("maml").save(tmp_path)
    made = build(tmp_path)
    assert made.page == tmp_path / "report.html"
    assert made.page.is_file()


STYLE_FILE = files("maml_bench.report.page") / "page.css"


def themes() -> dict[str, dict[str, str]]:
    """The colours of the style file by name, for a light and for a dark screen."""
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in STYLE_FILE.read_text().split("@media", 2)[:2]
    )
    return {"light": light, "dark": {**light, **dark}}


def contrast(one: str, other: str) -> float:
    """The contrast of two colours ``#rrggbb``, 1 to 21, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_black_on_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme):
    colours = themes()[theme]
    assert len(colours) == 6
    for ink in ("text", "muted", "link"):
        for paper in ("paper", "soft"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def test_the_page_has_the_intervals_of_the_figure(tmp_path):
    records = [record((0.5, 0.7), setup="maml", seed=seed, preset="paper", published=[PAPER]) for seed in range(3)]
    _, path = write(tmp_path, *records, record(setup="anil"), record(setup="anil", preset="paper"))
    ((chart,),) = embedded(path)["intervals"].values()
    assert chart["title"] == "5-way 1-shot, after 3 inner steps, paper preset"
    assert chart["rows"] == [{"setup": "maml", "seeds": [60] * 3, "interval": [60] * 3, "published": 98.7}]
    assert "not shown: anil (1 seed)" in chart["caption"]
