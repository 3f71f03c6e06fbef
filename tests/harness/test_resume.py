"""Runs in several segments: ended by a budget, by a wish or by a kill, they come to the same bits as in one."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import maml_bench
from maml_bench.errors import MamlBenchError
from maml_bench.harness import run as module
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import run
from maml_bench.record_files import load

from .conftest import TINY

DRIVER = """
import sys, time
from pathlib import Path
from maml_bench.harness import run as module
from maml_bench.harness.recipe import resolve

class Watcher(module.Silent):
    def stepped(self, step, loss):
        if step == 7:
            print("at step 7", flush=True)
            time.sleep(120)

module.CHECKPOINT_EVERY_S = 0
recipe = resolve("sinusoid-k10", preset="smoke", settings=sys.argv[2:])
module.run(recipe, 0, module.Options(Path(sys.argv[1]), threads=1), observer=Watcher())
"""


@pytest.fixture
def uninterrupted(tiny, options):
    """The tiny run in one segment, in a folder of its own."""
    return run(tiny(), 0, replace(options, results=options.results.with_name("uninterrupted"))).record


def same_bits(record, other) -> bool:
    """Whether two records agree in all that may not depend on the segment."""
    curves = [{k: v for k, v in vars(r.curve).items() if k != "seconds"} for r in (record, other)]
    return curves[0] == curves[1] and (record.evaluations, record.exhibit) == (other.evaluations, other.exhibit)


def test_plain_gradient_steps_outside_are_resumed_too(tmp_path):
    """They have no state, and that is kept like any other."""
    recipe = resolve("sinusoid-k10", preset="smoke", setup="reptile")
    assert recipe.outer.optimiser == "sgd"
    whole, parts = (module.Options(tmp_path / name, threads=1) for name in ("whole", "parts"))
    run(recipe, 0, replace(parts, budget_steps=3))
    assert same_bits(run(recipe, 0, parts).record, run(recipe, 0, whole).record)


def test_a_checkpoint_without_a_list_of_the_curve_goes_on(tiny, options):
    """Older checkpoints do not say how many validation tasks had no finite score."""
    run(tiny(), 0, replace(options, budget_steps=5))
    [path] = options.results.rglob("*.ckpt")
    state = module.checkpoint.load(path, {})
    del state.curve["validation_nonfinite"]
    module.checkpoint.save(path, state)
    record = load(run(tiny(), 0, options).path)
    assert (record.segments, record.curve.step) == (2, [0, 4, 8, 12])
    assert record.curve.validation_nonfinite == [None, None, 0, 0]


def test_steps_with_momentum_are_resumed_too(tmp_path):
    settings = ["outer.optimiser=rmsprop", "outer.momentum=0.5"]
    recipe = resolve("sinusoid-k10", preset="smoke", setup="maml", settings=settings)
    assert recipe.outer.momentum == 0.5
    whole, parts = (module.Options(tmp_path / name, threads=1) for name in ("whole", "parts"))
    run(recipe, 0, replace(parts, budget_steps=3))
    assert same_bits(run(recipe, 0, parts).record, run(recipe, 0, whole).record)


def out_of_memory(*arguments):
    raise RuntimeError("out of memory")


def after(steps):
    """A wish to stop that comes after so many questions."""
    left = iter(range(steps))
    return lambda: next(left, None) is None


def test_a_budget_of_steps_ends_early_and_the_next_call_goes_on(tiny, options, uninterrupted, listener):
    first = run(tiny(), 0, replace(options, budget_steps=5))
    share = load(first.path)
    assert (first.how, first.step, share.status, share.outer_steps) == ("done", 5, "ok", 5)
    assert share.budget_share == 5 / 12
    assert not share.whole
    assert share.evaluations[0].points[0].values
    checkpoint = first.path.with_suffix(".ckpt")
    assert checkpoint.exists()
    second = run(tiny(), 0, options, observer=listener)
    assert "resuming from step 5 of 12" in listener.sentences
    assert len(listener.losses) == 7
    assert (second.record.whole, second.record.segments) == (True, 2)
    assert second.record.started_at == share.started_at
    assert second.record.train_s > share.train_s
    assert second.record.curve.seconds[:2] == share.curve.seconds
    assert same_bits(second.record, uninterrupted)
    assert not same_bits(share, uninterrupted)
    assert not checkpoint.exists()


@pytest.mark.parametrize("steps", [0, 1, 6, 11])
def test_a_wish_to_stop_leaves_a_checkpoint_and_no_record(tiny, options, uninterrupted, listener, steps):
    stopped = run(tiny(), 0, options, interrupted=after(steps))
    assert (stopped.how, stopped.step, stopped.record, stopped.path) == ("interrupted", steps, None, None)
    assert [p.suffix for p in options.results.rglob("*") if p.is_file()] == [".ckpt"]
    finished = run(tiny(), 0, options, observer=listener)
    assert f"resuming from step {steps} of 12" in listener.sentences
    assert same_bits(finished.record, uninterrupted)


def test_many_segments_are_counted(tiny, options, uninterrupted):
    for steps in (2, 4, 9):
        run(tiny(), 0, replace(options, budget_steps=steps))
    finished = run(tiny(), 0, options).record
    assert finished.segments == 4
    assert same_bits(finished, uninterrupted)
    assert sum(bucket["count"] for name, bucket in finished.timing_s.items() if name.startswith("outer_step")) == 12


def test_a_budget_of_time_is_not_passed(tiny, options, monkeypatch):
    monkeypatch.setattr(module.RunState, "train_s", property(lambda self: float(self.step)))
    outcome = run(tiny(), 0, replace(options, budget_s=6.5))
    assert outcome.step == 5  # a step takes 1 s, and one of twice that must still fit
    assert outcome.record.train_s == 5
    assert run(tiny(), 0, replace(options, budget_s=6.5)).step == 10


def test_checkpoints_are_written_as_time_passes(tiny, options, monkeypatch):
    kept = []
    real = module.checkpoint.save
    monkeypatch.setattr(module.checkpoint, "save", lambda path, state: (kept.append(state.step), real(path, state)))
    moments = iter(range(0, 1000, 10))
    monkeypatch.setattr(module, "monotonic_s", lambda: next(moments))
    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", 30.0)
    run(tiny(), 0, options)
    assert kept == [3, 6, 9, 12, 12], "the last one is that before the test"


def test_a_checkpoint_is_not_taken_up_under_other_conditions(tiny, options):
    share = run(tiny(), 0, replace(options, budget_steps=5))
    with pytest.raises(MamlBenchError, match=r"made with other schedule \(vmap, not loop\): use --force"):
        run(tiny(), 0, replace(options, schedule="loop"))
    share.path.unlink()
    for change, sentence in (({"schedule": "loop"}, "schedule vmap, not loop"), ({"threads": 2}, "threads 1, not 2")):
        with pytest.raises(MamlBenchError, match=f"was made with {sentence}: finish it as it was begun"):
            run(tiny(), 0, replace(options, **change))


def test_a_run_moved_elsewhere_goes_on_to_the_same_numbers_and_names_where_it_was(
    tiny, options, uninterrupted, listener
):
    share = run(tiny(), 0, replace(options, budget_steps=5))
    left = share.path.with_suffix(".ckpt").rename(options.results.with_name("left.ckpt"))
    there = replace(options, results=options.results.with_name("there"), schedule="loop", continue_from=left)
    run(tiny(), 0, replace(there, budget_steps=9))
    finished = run(tiny(), 0, there, observer=listener).record
    assert "resuming from step 9 of 12" in listener.sentences, "the checkpoint of here comes first"
    (segment,) = finished.earlier
    assert (segment["schedule"], segment["outer_steps"], segment["commit"]) == ("vmap", 5, share.record.commit)
    assert finished.machines == f"{share.record.machine_id}+{finished.machine_id}"
    assert (finished.segments, finished.schedule, finished.whole) == (3, "loop", True)
    for point, same in zip(finished.evaluations[0].points, uninterrupted.evaluations[0].points, strict=True):
        assert point.values == pytest.approx(same.values, rel=1e-3)
    assert load(share.path).earlier == []


def test_another_experiment_is_not_moved_here(tiny, options):
    share = run(tiny(), 0, replace(options, budget_steps=5))
    left = share.path.with_suffix(".ckpt")
    there = replace(options, results=options.results.with_name("there"), continue_from=left)
    with pytest.raises(MamlBenchError, match="was made with seed 0, not 1"):
        run(tiny(), 1, there)
    with pytest.raises(MamlBenchError, match=r"no checkpoint .*none\.ckpt to go on from"):
        run(tiny(), 0, replace(there, continue_from=left.with_name("none.ckpt")))
    assert not list(there.results.rglob("*.json"))


def test_a_damaged_checkpoint_is_a_sentence_and_force_starts_over(tiny, options, uninterrupted, listener):
    place = run(tiny(), 0, replace(options, budget_steps=5)).path.with_suffix(".ckpt")
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(MamlBenchError, match=r"\.ckpt is damaged: start over with --force"):
        run(tiny(), 0, options)
    forced = run(tiny(), 0, replace(options, force=True), observer=listener)
    assert len(listener.losses) == 12
    assert same_bits(forced.record, uninterrupted)


def test_a_forced_run_that_was_stopped_can_be_finished(tiny, options, listener):
    before = run(tiny(), 0, options)
    stopped = run(tiny(), 0, replace(options, force=True), interrupted=after(4))
    assert stopped.how == "interrupted"
    assert load(before.path) == before.record
    finished = run(tiny(), 0, options, observer=listener)
    assert "resuming from step 4 of 12" in listener.sentences
    assert finished.record.segments == 2
    assert same_bits(finished.record, before.record)
    assert load(before.path) == finished.record


def test_a_failure_keeps_the_last_checkpoint(tiny, options, uninterrupted, listener, monkeypatch):
    run(tiny(), 0, options, interrupted=after(5))
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", out_of_memory)
        assert run(tiny(), 0, options).record.status == "failed"
    finished = run(tiny(), 0, options, observer=listener)
    assert "resuming from step 5 of 12" in listener.sentences
    assert same_bits(finished.record, uninterrupted)


def test_an_error_that_the_wish_to_stop_caused_leaves_a_checkpoint(tiny, options, uninterrupted, monkeypatch):
    """Ctrl-C reaches the C++ compiler that torch has started, too."""
    wishes = []

    def compiler_ends(run, *more):
        wishes.append(True)
        raise RuntimeError("CppCompileError")

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", compiler_ends)
        stopped = run(tiny(), 0, options, interrupted=lambda: bool(wishes))
    assert (stopped.how, stopped.step, stopped.record) == ("interrupted", 0, None)
    assert same_bits(run(tiny(), 0, options).record, uninterrupted)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_process_is_resumed_from_its_last_checkpoint(tiny, options, uninterrupted, listener, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1])}
    command = [sys.executable, "-c", DRIVER, str(options.results), *TINY]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    with process:
        assert process.stdout.readline() == b"at step 7\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert [p.suffix for p in options.results.rglob("*") if p.is_file()] == [".ckpt"]
    finished = run(tiny(), 0, options, observer=listener)
    assert "resuming from step 6 of 12" in listener.sentences
    assert same_bits(finished.record, uninterrupted)


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
def test_a_convolutional_run_on_two_threads_resumes_to_the_same_bits(options):
    recipe = resolve("omniglot-5w1s", preset="smoke", settings=["tasks.conv.widths=[16, 16, 16, 16]"])
    options = replace(options, threads=2)
    whole = run(recipe, 0, replace(options, results=options.results.with_name("whole"))).record
    assert run(recipe, 0, options, interrupted=after(3)).how == "interrupted"
    resumed = run(recipe, 0, options).record
    assert (resumed.segments, resumed.outer_steps) == (2, 4)
    assert same_bits(resumed, whole)
