"""One run: what its record holds, and that no end of it is a crash."""

import getpass
import json
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maml_bench import registry
from maml_bench.core import outer as outer_module
from maml_bench.errors import MamlBenchError
from maml_bench.harness import build as start
from maml_bench.harness import preflight
from maml_bench.harness import run as module
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import Options, run
from maml_bench.record import relative_path
from maml_bench.record_files import load
from maml_bench.tasks.sinusoid import Sinusoid

MINE = """
from dataclasses import dataclass

from maml_bench.setups.maml import MAML


@dataclass(frozen=True)
class Mine(MAML):
    pass
"""


def results_of(outcome):
    """All of a record that must be equal to the bit when the run is repeated."""
    record = outcome.record
    curve = {name: value for name, value in vars(record.curve).items() if name != "seconds"}
    return record.evaluations, curve, record.exhibit, record.outer_steps, record.status


def failing(*arguments, **options):
    raise RuntimeError("out of luck\nand a second line")


def test_a_run_leaves_one_record_where_its_name_says(tiny, options, listener):
    recipe = tiny()
    outcome = run(recipe, 0, options, observer=listener)
    record = outcome.record
    assert (outcome.how, outcome.step) == ("done", 12)
    assert outcome.path == options.results / record.relative_path
    assert load(outcome.path) == record
    assert [p for p in (options.results / "records").rglob("*") if p.is_file()] == [outcome.path]
    assert (record.status, record.whole, record.budget_share, record.segments) == ("ok", True, 1.0, 1)
    assert (record.recipe_id, record.seed, record.threads, record.device) == (recipe.recipe_id, 0, 1, "cpu")
    assert (record.schedule, record.memory, record.machine_gflops) == ("vmap", "default", 100.0)
    assert record.curve.step == [0, 4, 8, 12]
    assert record.data is None
    [test] = record.evaluations
    assert (test.protocol, test.split, test.way, test.shot, test.query, test.episodes) == ("paper", "test", 1, 5, 5, 6)
    assert [(point.inner_steps, len(point.values)) for point in test.points] == [(0, 6), (2, 6)]
    timing = record.timing_s
    assert timing["outer_step"]["count"] + timing["outer_step_warm_up"]["count"] == 12
    train_s = sum(timing[name]["total"] for name in timing if name.startswith(("sample", "outer_step")))
    assert record.train_s == pytest.approx(train_s)
    assert len(listener.losses) == 12
    assert listener.sentences == [
        "sinusoid-k10 maml seed 0: 0 of 12",
        *(f"validated at {step}" for step in (0, 4, 8, 12)),
        "testing on 6 tasks, 1-way 5-shot, 5 query",
    ]


def test_a_setup_without_training_is_whole_at_once(tiny, options):
    record = run(tiny(setup="scratch"), 0, options).record
    assert (record.outer_steps, record.budget_share, record.whole, record.train_s) == (0, 1.0, True, 0)
    assert record.curve.step == [0]


def test_what_is_there_is_not_run_again_unless_forced(tiny, options, listener):
    first = run(tiny(), 0, options)
    again = run(tiny(), 0, options, observer=listener)
    assert (again.how, again.record, again.path, listener.losses) == ("already there", first.record, first.path, [])
    forced = run(tiny(), 0, replace(options, force=True), observer=listener)
    assert len(listener.losses) == 12
    assert results_of(forced) == results_of(first)
    assert load(first.path) == forced.record != first.record


def test_same_seed_same_bits_and_another_seed_others(tiny, options, listener):
    outcomes, losses = [], []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        listener.losses.clear()
        elsewhere = replace(options, results=options.results / folder)
        outcomes.append(results_of(run(tiny(), seed, elsewhere, observer=listener)))
        losses.append(list(listener.losses))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] != outcomes[2][0]


def test_a_run_leaves_the_global_generator_alone(tiny, options):
    before = torch.get_rng_state()
    run(tiny(), 0, options)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("given", ["./mine.py", "absolute"])
def test_a_record_says_nothing_of_place_or_person(tiny, options, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    outcome = run(tiny(setup=str(path) if given == "absolute" else given), 0, options)
    text = outcome.path.read_text()
    assert set(outcome.record.recipe["setup"]) >= {"name", "sha256"}
    assert outcome.record.recipe["setup"]["name"] == "mine"
    for place in (tmp_path, Path.home(), Path(registry.__file__).parents[1]):
        assert str(place) not in text
    assert not re.search(r'"/\w', text)
    assert not {socket.gethostname(), getpass.getuser()} & set(re.findall(r"[\w.-]+", text))


@pytest.mark.parametrize("setting", ["outer.rate=1e18", "inner.rate=1e18"])
def test_divergence_is_a_record(tiny, options, setting):
    outcome = run(tiny(setting), 0, options)
    record = load(outcome.path)
    assert record.status == "diverged"
    assert record.reason == f"the outer loss was not finite at step {record.outer_steps}"
    assert 1 <= record.outer_steps < 12
    assert record.evaluations == []
    assert run(tiny(setting), 0, options).how == "already there"
    assert not outcome.path.with_suffix(".ckpt").exists()


def test_meta_parameters_that_the_last_step_made_infinite_are_a_divergence(tiny, options, monkeypatch):
    """The loss of a step is that before its update, so it cannot tell."""
    real = module.train

    def train(run, *arguments):
        real(run, *arguments)
        run.meta["head.bias"] = run.meta["head.bias"] * torch.inf

    monkeypatch.setattr(module, "train", train)
    record = run(tiny(), 0, options).record
    assert (record.status, record.reason) == ("diverged", "the meta-parameters were not finite after step 12")
    assert record.evaluations == []
    assert not list(options.results.rglob("*.safetensors"))


def test_failure_in_training_is_a_record_that_a_good_run_replaces(tiny, options, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(outer_module, "meta_gradient", failing)
        failed = run(tiny(), 0, options)
    assert (failed.record.status, failed.record.reason) == ("failed", "RuntimeError: out of luck")
    assert (load(failed.path).evaluations, failed.record.whole) == ([], False)
    good = run(tiny(), 0, options)
    assert (good.how, good.path, load(good.path).status) == ("done", failed.path, "ok")


def test_failure_in_the_test_is_a_record(tiny, options, monkeypatch):
    monkeypatch.setattr(Sinusoid, "exhibit", failing)
    record = run(tiny(), 0, options).record
    assert (record.status, record.reason, record.outer_steps) == ("failed", "RuntimeError: out of luck", 12)


def test_an_error_without_words_still_has_a_name():
    assert module.in_short(RuntimeError()) == "RuntimeError: "
    assert len(module.in_short(RuntimeError("x" * 1000))) == 300


def test_a_record_at_work_is_locked(tiny, options):
    recipe = tiny()
    path = options.results / relative_path(recipe.plain(), recipe.recipe_id, 0, module.machine.identity("cpu"))
    held, release = threading.Event(), threading.Event()

    def hold():
        with preflight.alone(path):
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(30)
        with pytest.raises(MamlBenchError, match=r"another process is at work on .*: wait for it or choose another"):
            run(recipe, 0, options)
        assert run(recipe, 1, options).how == "done"
    finally:
        release.set()
        holder.join()
    assert run(recipe, 0, options).how == "done"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"device": "cud"}, "no device 'cud'"),
        ({"device": "cuda"}, "torch sees no CUDA device here: use --device cpu"),
        ({"device": "meta"}, "device 'meta'"),
        ({"schedule": "vmpa"}, "no schedule 'vmpa' (did you mean 'vmap'?)"),
    ],
)
def test_bad_options_are_sentences_and_leave_nothing(tiny, options, monkeypatch, change, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MamlBenchError) as caught:
        run(tiny(), 0, replace(options, **change))
    assert sentence in str(caught.value)
    assert not options.results.exists()


def test_results_that_cannot_be_written_are_a_sentence_before_training(tiny, options, listener):
    options.results.write_text("a file")
    with pytest.raises(MamlBenchError, match="runs"):
        run(tiny(), 0, options, observer=listener)
    assert listener.losses == []


def test_missing_data_is_a_sentence_and_no_record(options, tmp_path, monkeypatch):
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "empty"))
    recipe = resolve("omniglot-5w1s", preset="smoke")
    with pytest.raises(MamlBenchError, match=r"omniglot is not stored in .*; add your copy with"):
        run(recipe, 0, options)
    assert not options.results.exists()


def test_the_default_is_the_runs_folder_and_one_thread_for_tiny_tasks(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run(tiny("outer.steps=1"), 0)
    assert outcome.path.parts[0] == "runs"
    assert outcome.record.threads == 1


def test_a_record_of_an_older_task_version_is_made_again(tiny, options, monkeypatch):
    first = run(tiny(), 0, options)
    assert run(tiny(), 0, options).how == "already there"
    monkeypatch.setattr(Sinusoid, "version", Sinusoid.version + 1)
    with pytest.raises(MamlBenchError, match=r"was made with other task version \(1, not 2\): use --force"):
        run(tiny(), 0, options)
    again = run(tiny(), 0, replace(options, force=True))
    assert (again.how, again.record.task_version) == ("done", first.record.task_version + 1)


def test_a_checkpoint_of_an_older_task_version_is_not_taken_up(tiny, options, monkeypatch):
    share = run(tiny(), 0, replace(options, budget_steps=5))
    share.path.unlink()
    monkeypatch.setattr(Sinusoid, "version", Sinusoid.version + 1)
    with pytest.raises(MamlBenchError, match="was made with task_version 1, not 2"):
        run(tiny(), 0, options)


def test_any_failure_of_a_setup_is_a_record_without_paths(tiny, options, monkeypatch):
    def lost(*arguments, **more):
        raise KeyError("no weights in /some/where/of/mine.bin")

    monkeypatch.setattr(outer_module, "meta_gradient", lost)
    record = run(tiny(), 0, options).record
    assert (record.status, record.reason) == ("failed", "KeyError: 'no weights in mine.bin'")


def test_tests_that_cannot_work_are_refused_before_training(options, monkeypatch):
    monkeypatch.setattr(module, "train", failing)
    recipe = resolve("sinusoid-k10", preset="smoke")
    recipe = replace(recipe, test=(replace(recipe.test[0], way=2),))
    with pytest.raises(MamlBenchError, match="has 2-way tests, but its network answers 1 classes"):
        run(recipe, 0, options)


def test_larger_tasks_take_all_cores(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "SMALL_ELEMENTS", 1)
    monkeypatch.setattr(start, "CORES", 2)
    assert run(tiny("outer.steps=1"), 0, Options(tmp_path / "runs")).record.threads == 2


def test_peak_memory_and_commit_come_from_the_machine(tiny, options, monkeypatch):
    monkeypatch.setattr(module.machine, "peak_memory_bytes", lambda device: 123)
    monkeypatch.setattr(module.machine, "commit", lambda: ("abc", True))
    record = run(tiny("outer.steps=1"), 0, options).record
    assert (record.peak_memory_bytes, record.commit, record.dirty) == (123, "abc", True)
    assert json.loads(run(tiny("outer.steps=1"), 0, options).path.read_text())["commit"] == "abc"
