"""Runs of reinforcement learning: the same promises as for all others."""

from pathlib import Path

import pytest

from maml_bench.errors import MamlBenchError, Unstable
from maml_bench.harness.clock import Clock
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.record import Record
from maml_bench.rl.episodes import CollectedEpisodes

WORTH = ("evaluations", "exhibit", "env_steps", "outer_steps")


def result(folder: Path, *, recipe: str = "navigation", setup: str = "maml", **options: object) -> Record:
    record = run(resolve(recipe, preset="smoke", setup=setup), 0, Options(folder, **options)).record
    assert record is not None
    return record


def test_the_record_counts_steps_and_the_parts_of_sampling(tmp_path: Path) -> None:
    record = result(tmp_path)
    assert record.status == "ok"
    assert record.curve.env_steps[0] == 0
    assert record.env_steps == record.curve.env_steps[-1]
    assert 0 < record.env_steps <= 2 * 3 * 2 * 3 * 10  # iterations, tasks, before and after, rollouts, steps
    assert {"simulate", "policy", "baseline", "adapt", "sample", "outer_step"} <= {
        name.removesuffix("_warm_up") for name in record.timing_s
    }
    assert record.train_s == pytest.approx(
        sum(record.timing_s[n]["total"] for n in record.timing_s if n.startswith(("sample", "outer_step")))
    )
    walks = record.exhibit["tasks"][0]["walks"]
    assert set(walks) == {"0", "1", "2", "3"}
    assert walks["0"][0] == [0.0, 0.0]


@pytest.mark.parametrize("setup", ["maml", "promp"])
def test_a_run_in_two_segments_is_the_run_in_one(tmp_path: Path, setup: str) -> None:
    whole = result(tmp_path / "whole", setup=setup)
    result(tmp_path / "parts", setup=setup, budget_steps=1)
    parts = result(tmp_path / "parts", setup=setup)
    assert parts.segments == 2
    assert parts.curve.validation == whole.curve.validation
    assert parts.curve.env_steps == whole.curve.env_steps
    assert [getattr(parts, name) for name in WORTH] == [getattr(whole, name) for name in WORTH]


def test_all_setups_meet_the_same_test_tasks_under_the_same_noise(tmp_path: Path) -> None:
    """The pretrained start is MAML's: without training, what they do before any inner step is the same."""
    before = [
        run(
            resolve("navigation", preset="smoke", setup=setup, settings=["outer.steps=0"]), 0, Options(tmp_path / setup)
        ).record
        for setup in ("maml", "pretrained")
    ]
    assert before[0].evaluations[0].points[0].values == before[1].evaluations[0].points[0].values


def test_an_explosion_is_a_diverged_record_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, calls = CollectedEpisodes.draw, []

    def explode(*arguments: object, **options: object) -> object:
        calls.extend([1] * ("measure" in options))  # those of training are measured
        if len(calls) > 1:
            raise Unstable("the physics exploded")
        return draw(*arguments, **options)

    monkeypatch.setattr(CollectedEpisodes, "draw", explode)
    record = result(tmp_path)
    assert (record.status, record.reason, record.outer_steps) == ("diverged", "the physics exploded", 1)
    assert record.whole


def test_setups_that_cannot_act_are_refused_in_a_sentence() -> None:
    with pytest.raises(MamlBenchError, match="navigation is for setups that can act"):
        resolve("navigation", preset="smoke", setup="protonet")


def test_setups_that_only_act_are_refused_elsewhere_in_a_sentence() -> None:
    with pytest.raises(MamlBenchError, match="for reinforcement learning, which sinusoid is not"):
        resolve("sinusoid-k10", preset="smoke", setup="emaml")


@pytest.mark.parametrize(("key", "near"), [("inner.estimator", "likelihood"), ("outer.estimator", "ratio")])
def test_a_loss_that_is_not_there_is_refused_with_the_nearest(key: str, near: str) -> None:
    with pytest.raises(MamlBenchError, match=f"{key} is '{near[:-1]}', but must be one of .*did you mean '{near}'"):
        resolve("navigation", preset="smoke", settings=[f"{key}={near[:-1]}"])


def test_parts_of_a_block_are_one_sample_each() -> None:
    clock = Clock()
    with clock.parts() as measure:
        for _ in range(3):
            with measure("policy"):
                pass
        with measure("simulate"):
            pass
    assert {name: bucket["count"] for name, bucket in clock.summary_s().items()} == {"policy": 1, "simulate": 1}
