"""The README keeps its word: it is short, its tables are the generated ones, and its claims follow from them.

Its code and its commands run with those of the documentation, in tests/docs.
"""

import re
from pathlib import Path

from maml_bench.registry import setup_names
from maml_bench.report.writing import END, SPEED_SUMMARY, wanted

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = ROOT / "results" / "tables"
ON_IMAGES = ("omniglot", "mini-5w1s", "fomaml", "anil")


def test_it_is_short() -> None:
    assert README.count("\n") <= 150


def test_the_two_set_up_commands_stand_in_it() -> None:
    assert "python -m pip install -c constraints.txt -e . && maml-bench run quickstart" in README
    assert "python -m pip install tox && tox" in README


def test_it_shows_a_picture() -> None:
    assert re.search(r"!\[[^\]]+\]\([^)]+\.png\)", README)


def test_the_number_of_methods_is_right() -> None:
    assert f"with {len(setup_names())} others" in README


def test_its_table_is_the_generated_one() -> None:
    begin, summaries = wanted(README, TABLES)
    assert len(summaries) == 1
    inside = README.partition(begin + "\n")[2].partition(END)[0]
    assert inside == "\n".join(path.read_text(encoding="utf-8").split("\n", 1)[1] for path in summaries)


def test_what_it_says_of_speed_follows_from_the_races() -> None:
    ratios = {}
    for line in (TABLES / SPEED_SUMMARY).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 7 and re.match(r"\d", cells[7]):
            ratios[cells[1]] = float(cells[7].split()[0])
    steps = [ratio for bench, ratio in ratios.items() if bench.startswith(ON_IMAGES)]
    low, high = map(float, re.findall(r"needs ([\d.]+) to ([\d.]+) times as long", README)[0])
    assert (low, high) == (round(min(steps), 1), round(max(steps), 1))
    assert f"On sinusoids, JAX needs {ratios['sinusoid']:.1f} times as long" in README
