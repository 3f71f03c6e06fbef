"""Numbers of the whole package that must not move while its code does.

The values were made before the engine left core/. A change that is meant to change a value changes its line here, in
the commit that makes the change, with the reason in the message and another ``version`` of the task or setup.
``python -m tests.golden.write`` makes the values anew and says which lines have changed.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import shared_images
from tests.golden import adapter

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOLERANCE = 1e-9
FLOAT32 = 1e-6
LABELLED = ("omniglot", "mini_imagenet", "sinusoid")


def values(name: str) -> dict[str, Any]:
    return json.loads((HERE / "values" / f"{name}.json").read_text())


def close(found: list[float], expected: list[float], tolerance: float = TOLERANCE) -> None:
    assert found == pytest.approx(expected, rel=tolerance, abs=tolerance * 1e-3)


@pytest.fixture(scope="module", autouse=True)
def images() -> object:
    with adapter.small_store(), shared_images():
        yield


def test_no_recipe_has_another_id() -> None:
    """Of every recipe, preset and setup; what was refused is refused."""
    for line, expected in values("recipe_ids").items():
        recipe, preset = line.split()
        found = {setup: adapter.recipe_id(recipe, preset, setup) for setup in expected}
        assert found == expected, line


def test_no_changed_recipe_has_another_id() -> None:
    for line, expected in values("changed_ids").items():
        recipe, setup, *settings = line.split()
        assert adapter.recipe_id(recipe, "paper", setup, *settings) == expected, line


def test_every_record_loads_under_its_id() -> None:
    found = adapter.record_ids(ROOT / "results" / "records")
    expected = values("record_ids")
    assert {path: found.get(path) for path in expected} == expected


def test_first_episodes() -> None:
    expected = values("episodes")
    found = adapter.drawn()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value, name
        else:
            close(found[name], value, FLOAT32)


@pytest.mark.parametrize("line", [line for line in values("problems") if line.split()[0] not in LABELLED])
def test_the_losses_of_acting_do_not_depend_on_the_last_digits(line: str) -> None:
    """A value that depends on them is another one on another kind of processor, and no golden value."""
    as_it_is, shifted = (adapter.Problem(*line.split(), shift).three_losses() for shift in (0.0, 1e-12))
    close(shifted, as_it_is, 1e-3)


@pytest.mark.parametrize("line", list(values("problems")))
def test_a_setup_on_tasks(line: str) -> None:
    """Meta-gradient, three training steps, and an evaluation, or what the adapted policies put out."""
    from tests.golden.write import problem

    found, expected = problem(*line.split()), values("problems")[line]
    assert found.keys() == expected.keys()
    assert found["parameters"] == expected["parameters"]
    close(found["gradient"], expected["gradient"])
    close(found["outputs"], expected["outputs"])
    close(found["losses"][:1], expected["losses"][:1])
    acting = line.split()[0] not in LABELLED  # conjugate gradient makes much of the last digits
    close(found["losses"], expected["losses"], 1e-2 if acting else TOLERANCE)


@pytest.mark.parametrize("line", list(values("initial")))
def test_initial_values(line: str) -> None:
    """The same seed begins with the same values under every version of torch."""
    from tests.golden.write import summary

    close(summary(adapter.initial(*line.split())), values("initial")[line], FLOAT32)


def test_statistics_at_test() -> None:
    found, expected = adapter.modes(), values("modes")
    assert found.keys() == expected.keys()
    for mode, value in expected.items():
        close(found[mode], value)


def test_losses_of_policies() -> None:
    found, expected = adapter.estimators(), values("estimators")
    assert found == pytest.approx(expected, rel=TOLERANCE)
