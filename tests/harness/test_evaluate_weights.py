"""Tests on weights: from files to the same bits, tests that a record lacks, checkpoints that a test asks for."""

from dataclasses import replace

import pytest
import torch

from maml_bench.errors import MamlBenchError
from maml_bench.harness import loop, meta_test, protocols, weights
from maml_bench.harness import run as module
from maml_bench.harness.evaluate_weights import evaluate_weights, setup_of
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run import run
from maml_bench.harness.weights import LEARNER
from maml_bench.record_files import load, load_all

TEST = '{protocol="paper", split="test", way=1, shot=5, query=5, episodes=6, inner_steps=[1], checkpoint="NAME"}'
CHECKPOINTS = f"test=[{', '.join(TEST.replace('NAME', name) for name in ('last', 'selected', 'ensemble'))}]"


def failing(*arguments, **options):
    raise AssertionError("this must not run")


def files_of(outcome, options, *ranks):
    return [weights.load(weights.place(options.results, outcome.record.relative_path, rank)) for rank in ranks]


def scores_of(record, **wanted):
    """Points of the one evaluation that has these fields."""
    [found] = [e for e in record.evaluations if all(getattr(e, key) == value for key, value in wanted.items())]
    return found.points


def test_each_checkpoint_is_tested_and_named(tiny, options, listener):
    outcome = run(tiny(CHECKPOINTS), 0, options, observer=listener)
    last, selected, ensemble = outcome.record.evaluations
    kept = sorted((mean, step) for step, mean in zip(*curve_of(outcome.record), strict=True) if step)
    assert (last.checkpoint, last.checkpoint_steps) == ("last", [12])
    assert (selected.checkpoint, selected.checkpoint_steps) == ("selected", [kept[0][1]])
    assert (ensemble.checkpoint, ensemble.checkpoint_steps) == ("ensemble", [step for _, step in kept])
    assert len({tuple(e.points[0].values) for e in (last, ensemble)}) == 2
    assert listener.sentences[-3:] == [
        f"testing on 6 tasks, 1-way 5-shot, 5 query{more}" for more in ("", ", selected", ", ensemble")
    ]
    assert (6, 6) in listener.tasks


def curve_of(record):
    return record.curve.step, record.curve.validation


def test_weights_from_a_file_score_what_the_run_scored(tiny, options, listener):
    recipe = tiny(CHECKPOINTS)
    outcome = run(recipe, 0, options)
    for ranks, checkpoint in (((0,), "last"), ((1,), "selected"), ((1, 2, 3), "ensemble")):
        files = files_of(outcome, options, *ranks)
        assert setup_of(files) == "maml"
        found = evaluate_weights(recipe, files, options, observer=listener).record
        assert found.evaluations[0].points == scores_of(outcome.record, checkpoint=checkpoint)
    [given] = {e.checkpoint for e in evaluate_weights(recipe, files[:1], options).record.evaluations}
    assert given == "given"
    assert any(sentence.startswith(f"weights {files[0].path} ({files[0].sha256[:8]}): recipe sinusoid-k10, setup maml,")
               for sentence in listener.sentences)  # fmt: skip


def test_the_record_says_what_it_is(tiny, options):
    recipe = tiny()
    outcome = run(recipe, 3, options)
    [file] = files_of(outcome, options, 1)
    found = evaluate_weights(recipe, [file], options)
    record = load(found.path)
    assert record == found.record
    assert record.kind == "evaluation"
    header = {key: text for key, text in file.header.items() if key != LEARNER}  # the recipe says it already
    assert record.weights == [{"file": file.path.name, "sha256": file.sha256, "header": header}]
    assert (record.outer_steps, record.budget_steps, record.train_s, record.curve.step) == (0, 0, 0, [])
    assert (record.seed, record.status, record.recipe_id) == (3, "ok", recipe.recipe_id)
    assert record.evaluations[0].checkpoint_steps == [int(file.header["step"])]
    assert found.path.name == f"sinusoid-k10-smoke-{recipe.recipe_id}-w{file.sha256[:8]}-s3-{record.machine_id}.json"
    assert {r.kind for _, r in load_all(options.results)} == {"run", "evaluation"}
    assert str(options.results) not in found.path.read_text()


def test_a_second_evaluation_of_the_same_weights_adds_to_the_first(tiny, options):
    recipe = tiny()
    files = files_of(run(recipe, 0, options), options, 0)
    first = evaluate_weights(recipe, files, options)
    second = evaluate_weights(recipe, files, options, episodes=4)
    assert second.path == first.path
    assert [e.episodes for e in second.record.evaluations] == [6, 4]
    assert [p.values for p in second.record.evaluations[1].points] == [
        p.values[:4] for p in first.record.evaluations[0].points
    ]
    assert evaluate_weights(recipe, files, options).record.evaluations[1].episodes == 6


def test_weights_that_do_not_fit_leave_nothing(tiny, options):
    recipe = tiny()
    files = files_of(run(tiny(setup="meta_sgd"), 0, options), options, 0)
    before = sorted(options.results.rglob("*"))
    with pytest.raises(MamlBenchError, match=r"have a tensor 'rate\.body\.1\.bias' that maml on sinusoid-k10 does not"):
        evaluate_weights(recipe, files, options)
    with pytest.raises(MamlBenchError, match=r"no normalisation 'runing' \(did you mean 'running'\?\)"):
        evaluate_weights(recipe, files, options, normalisation="runing")
    assert sorted(options.results.rglob("*")) == before


def test_a_failure_in_a_test_is_a_record_and_a_wish_to_stop_none(tiny, options, monkeypatch):
    recipe = tiny()
    files = files_of(run(recipe, 0, options), options, 0)
    stopped = evaluate_weights(recipe, files, options, interrupted=lambda: True)
    assert (stopped.how, stopped.record) == ("interrupted", None)
    assert len(list(load_all(options.results))) == 1

    def unlucky(*arguments, **more):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(meta_test, "score_test", unlucky)
    record = evaluate_weights(recipe, files, options).record
    assert (record.status, record.reason, record.evaluations) == ("failed", "RuntimeError: out of luck", [])


def test_a_record_that_lacks_tests_gets_them_from_its_weights(tiny, options, listener, monkeypatch):
    """The recipe is the same; what is asked for has grown. The scores are those of a run with all tests at once."""
    all_at_once = run(tiny(CHECKPOINTS), 0, replace(options, results=options.results / "other")).record
    recipe = tiny(CHECKPOINTS)
    asked = recipe.test
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked[:1])
    first = run(recipe, 0, options)
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked)
    monkeypatch.setattr(module, "train", failing)
    again = run(recipe, 0, options, observer=listener)
    assert (again.how, again.path, listener.losses) == ("tests added", first.path, [])
    assert again.record.evaluations == all_at_once.evaluations
    assert load(again.path) == again.record == replace(first.record, evaluations=again.record.evaluations)
    assert run(recipe, 0, options).how == "already there"


def test_a_share_of_the_budget_gets_the_papers_tests_and_the_rest_at_its_end(tiny, options, monkeypatch):
    recipe = tiny(CHECKPOINTS)
    asked = recipe.test
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked[:1] if protocols else asked)
    for _ in range(2):
        share = run(recipe, 0, replace(options, budget_steps=5)).record
        assert [e.checkpoint for e in share.evaluations] == ["last"]
    whole = run(recipe, 0, options).record
    assert [e.checkpoint for e in whole.evaluations] == ["last", "selected", "ensemble"]


def test_tests_stopped_on_the_way_leave_the_record_as_it_was(tiny, options, monkeypatch):
    recipe = tiny(CHECKPOINTS)
    asked = recipe.test
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked[:1])
    first = run(recipe, 0, options)
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked)
    wishes = iter([False, True])
    stopped = run(recipe, 0, options, interrupted=lambda: next(wishes, True))
    assert (stopped.how, load(first.path)) == ("interrupted", first.record)


def test_ctrl_c_while_a_run_is_tested_leaves_its_checkpoint(tiny, options, listener, monkeypatch):
    wishes = []
    monkeypatch.setattr(listener, "tested", lambda tasks, of: wishes.append(True))
    stopped = run(tiny(), 0, options, observer=listener, interrupted=lambda: bool(wishes))
    assert (stopped.how, stopped.step) == ("interrupted", 12)
    assert [p.suffix for p in options.results.rglob("*") if p.is_file()] == [".ckpt"]
    assert run(tiny(), 0, options).record.whole


def test_without_its_weights_a_record_is_kept_and_the_lack_is_told(tiny, options, listener, monkeypatch):
    recipe = tiny(CHECKPOINTS)
    asked = recipe.test
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked[:1])
    first = run(recipe, 0, options)
    weights.place(options.results, first.record.relative_path).unlink()
    monkeypatch.setattr(module, "asked_tests", lambda recipe, protocols: asked)
    again = run(recipe, 0, options, observer=listener)
    assert (again.how, again.record) == ("already there", first.record)
    assert listener.sentences[-1].endswith(
        "lacks tests (paper), and its weights are not there to take them with: use --force to run again"
    )
    with pytest.raises(MamlBenchError, match="its weights are not there"):
        run(recipe, 0, replace(options, protocols=("paper",)))


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
@pytest.mark.parametrize("schedule", ["vmap", "traced"])
def test_images_round_trip_under_every_protocol_and_normalisation(options, monkeypatch, schedule):
    monkeypatch.setattr(protocols, "MODERN_EPISODES", 3)
    monkeypatch.setattr(loop, "STATISTICS_TASKS", 2)
    settings = ["outer.steps=2", "validation.every=1", "validation.episodes=3", "tasks.conv.widths=[16, 16, 16, 16]"]
    recipe = resolve("omniglot-5w1s", preset="smoke", settings=settings)
    both = replace(options, schedule=schedule, protocols=("paper", "modern"))
    outcome = run(recipe, 0, both)
    assert [(e.protocol, e.normalisation, e.checkpoint) for e in outcome.record.evaluations] == [
        ("paper", "transductive", "last"), ("modern", "transductive", "selected"), ("modern", "support", "selected"),
    ]  # fmt: skip
    modern = evaluate_weights(recipe, files_of(outcome, options, 1), replace(both, protocols=("modern",))).record
    paper = evaluate_weights(recipe, files_of(outcome, options, 0), replace(both, protocols=("paper",))).record
    found = [*paper.evaluations, *modern.evaluations]
    assert [e.points for e in found] == [e.points for e in outcome.record.evaluations]
    for normalisation in ("one by one", "running"):
        again = evaluate_weights(
            recipe, files_of(outcome, options, 0), replace(both, protocols=()), normalisation=normalisation, episodes=2
        ).record.evaluations[-1]
        assert (again.normalisation, again.episodes, len(again.points[0].values)) == (normalisation, 2, 2)


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
def test_a_recipe_can_ask_for_group_normalisation(options, monkeypatch):
    """One modern row, as there is nothing to choose; its scale and offset are adapted and saved."""
    monkeypatch.setattr(protocols, "MODERN_EPISODES", 3)
    settings = ["tasks.normalisation=group", "outer.steps=1", "validation.every=1"]
    recipe = resolve("omniglot-5w1s", preset="smoke", settings=settings)
    outcome = run(recipe, 0, replace(options, protocols=("modern",)))
    [modern] = outcome.record.evaluations
    assert (modern.normalisation, modern.query, outcome.record.recipe["tasks"]["normalisation"]) == (
        "transductive", 15, "group",
    )  # fmt: skip
    [file] = files_of(outcome, options, 0)
    assert file.tensors["body.1.weight"].shape == (64,)
    again = evaluate_weights(recipe, [file], replace(options, protocols=("modern",)), normalisation="support")
    assert again.record.evaluations[0].points == modern.points
    assert torch.equal(file.tensors["head.bias"], weights.load(file.path).tensors["head.bias"])
