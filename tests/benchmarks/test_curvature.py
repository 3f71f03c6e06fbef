"""The bench of curvatures from a share of the rollouts."""

import pytest

from benchmarks import curvature
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve


def test_gains_are_told_beside_that_of_all_rollouts_and_steps_stay_within_the_bound():
    run = build(resolve("navigation", preset="smoke"), 0, "cpu", "traced")
    whole, *parts = curvature.directions(run)
    assert (whole["share"], whole["gain"]) == (1.0, 1.0)
    assert [row["share"] for row in parts] == list(curvature.SHARES[1:])
    for row in parts:
        assert 0 < row["gain"] < 1.05
    for row in (whole, *parts):
        assert row["loss_falls"] >= 0
        assert row["divergence"] <= run.recipe.outer.trust.bound


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["navigatoin"], "did you mean 'navigation'"), (["sinusoid-k10"], "has no trust region")],
)
def test_what_has_no_curvature_is_refused(arguments, sentence, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["curvature.py", *arguments])
    monkeypatch.setattr(curvature.memory, "retain", lambda: None)
    with pytest.raises(SystemExit):
        curvature.main()
    assert sentence in capsys.readouterr().err
