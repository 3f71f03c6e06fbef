"""A search: its trials, what they are scored on, interruptions, and what the record of the best values says."""

import json
import math
import sys
from dataclasses import asdict, replace

import pytest

from maml_bench.core import outer as outer_module
from maml_bench.errors import MamlBenchError
from maml_bench.harness import loop as loop_module
from maml_bench.harness.run import run
from maml_bench.harness.run_state import Silent
from maml_bench.harness.search import Search, Trial
from maml_bench.harness.search import load as load_search
from maml_bench.harness.search_plan import place_of, plans
from maml_bench.harness.tuning import make_trials, tuned
from maml_bench.record import Metric
from maml_bench.record_files import load, load_all
from maml_bench.tasks.sinusoid import Sinusoid

from .conftest import TINY

SPACE = ("inner.rate=0.001..0.1:log", "inner.steps=1..3")


def planned(*settings, trials=3, setups=("maml",), **more):
    return plans("sinusoid-k10", list(setups), [*TINY, *settings], trials, preset="smoke", **more)


def search_of(plan, options, observer=None, interrupted=lambda: False):
    """The search after all of its trials."""
    return list(make_trials(plan, options, observer or Silent(), interrupted))[-1]


def without_seconds(search):
    return [{**asdict(trial), "train_s": None} for trial in search.trials]


class Stopping(Silent):
    """An observer that ends the process, as a signal would, at a step of a trial."""

    def __init__(self, trial, step):
        self._left, self._step = trial, step

    def started(self, title, step, steps):
        self._left -= 1

    def stepped(self, step, loss):
        if not self._left and step == self._step:
            raise KeyboardInterrupt


def test_all_trials_stand_in_one_file_and_the_best_by_validation_wins(options):
    [plan] = planned(*SPACE)
    found = list(make_trials(plan, options, Silent()))
    assert len(found) == 4
    search = found[-1]
    assert [trial.number for trial in search.trials] == [1, 2, 3]
    assert {trial.status for trial in search.trials} == {"ok"}
    assert search.winner.validation == min(trial.validation for trial in search.trials)
    assert search.ranked[0] is search.winner
    content = json.loads(place_of(plan, options.results).read_text())
    assert [trial["values"] for trial in content["trials"]] == [trial.values for trial in search.trials]
    assert (content["space"], content["seed"], content["outer_steps"]) == ([*SPACE], 0, 12)
    assert content["sampler"].startswith("TPE of optuna ")


def test_the_score_of_a_trial_is_the_best_of_its_curve_after_the_start(options):
    [plan] = planned("outer.rate=0.5|0.8", trials=2)
    search = search_of(plan, options)
    folder = place_of(plan, options.results).with_suffix("")
    for trial in search.trials:
        curve = load(folder / trial.record).curve
        later = dict(zip(curve.step, curve.validation, strict=True))
        assert curve.validation[0] < min(later[step] for step in (4, 8, 12)), "these rates only make it worse"
        assert (trial.validation, trial.step) == min((later[step], step) for step in (4, 8, 12))


@pytest.mark.parametrize("metric", [True, False])
def test_the_best_score_is_the_highest_where_that_is_better(metric):
    trials = [Trial(n, {}, "ok", validation=score) for n, score in enumerate((0.5, 0.9, None, 0.9, 0.1), 1)]
    search = Search("r", "p", "s", [], [], 0, "", 1, Metric("x", higher_is_better=metric), trials)
    assert [trial.number for trial in search.ranked] == ([2, 4, 1, 5, 3] if metric else [5, 1, 2, 4, 3])
    assert search.winner.number == (2 if metric else 5)


@pytest.mark.parametrize("higher", [True, False])
def test_a_score_that_leaves_out_tasks_never_wins(higher):
    scores = [(0.5, 0), (0.9, 1), (0.4, 0), (0.1, 1), (None, 0), (0.7, 2)]
    trials = [Trial(n, {}, "ok", validation=score, nonfinite=lost) for n, (score, lost) in enumerate(scores, 1)]
    search = Search("r", "p", "s", [], [], 0, "", 1, Metric("x", higher_is_better=higher), trials)
    assert [trial.number for trial in search.ranked] == ([1, 3, 2, 4, 6, 5] if higher else [3, 1, 4, 2, 6, 5])


def test_values_at_which_tasks_diverge_do_not_win_by_the_others(options, monkeypatch):
    """The rate 0.02 has the best mean, but of half of the tasks at steps 4 and 8 and of none at the last one."""
    real = loop_module.score

    def score(run, *arguments):
        [scores] = real(run, *arguments)
        if run.recipe.inner.rate == 0.02:
            scores = [0.001 * run.step if run.step < 12 else math.nan] + [math.nan] * (len(scores) - 1)
        return [scores]

    monkeypatch.setattr(loop_module, "score", score)
    [plan] = planned("inner.rate=0.01|0.02", trials=2)
    search = search_of(plan, options)
    by_rate = {trial.values["inner.rate"]: trial for trial in search.trials}
    lost, best = by_rate[0.02], by_rate[0.01]
    assert (lost.validation, lost.step, lost.nonfinite) == (0.004, 4, 2)
    assert best.validation > lost.validation
    assert search.winner is best
    said = tuned(plan, search, options.results)
    assert (said.winner.nonfinite, said.neighbours[0].nonfinite) == (0, 2)
    assert load_search(place_of(plan, options.results), plan.space) == search


def test_no_test_task_is_drawn(options, monkeypatch):
    splits, real = set(), Sinusoid.sample

    def sample(self, split, *arguments, **more):
        splits.add(split)
        return real(self, split, *arguments, **more)

    monkeypatch.setattr(Sinusoid, "sample", sample)
    [plan] = planned(*SPACE)
    search = search_of(plan, options)
    assert splits == {"train", "validation"}
    folder = place_of(plan, options.results).with_suffix("")
    assert [record.evaluations for _, record in load_all(folder)] == [[]] * 3
    assert not (folder / "weights").exists()
    run(plan.with_values(search.winner.values), 0, options)
    assert splits == {"train", "validation", "test"}


def test_the_same_search_has_the_same_trials_and_another_seed_has_others(options):
    def trials(where, seed=0):
        return without_seconds(
            search_of(planned(*SPACE, seed=seed)[0], replace(options, results=options.results / where))
        )

    first = trials("a")
    assert trials("b") == first
    assert [one["values"] for one in trials("c", seed=1)] != [one["values"] for one in first]


def test_an_interrupted_search_goes_on_to_the_same_trials(options, listener):
    """Also to those that the sampler makes of the trials before, which are the eleventh and the twelfth."""
    [plan] = planned(*SPACE, "outer.decay=constant|cosine", trials=12)
    whole = search_of(plan, replace(options, results=options.results / "whole"))
    options = replace(options, checkpoint_s=0.0)
    asked = iter(range(10_000))
    stopped = search_of(plan, options, interrupted=lambda: next(asked) > 50)
    assert 1 < len(stopped.done) < 9
    with pytest.raises(KeyboardInterrupt):
        search_of(plan, options, Stopping(10 - len(stopped.done), 7))
    search_of(replace(plan, trials=11), options)
    search = search_of(plan, options, listener)
    assert without_seconds(search) == without_seconds(whole)
    assert len(listener.losses) == 12, "finished trials are not repeated"
    folder = place_of(plan, options.results).with_suffix("")
    assert sorted(record.segments for _, record in load_all(folder)) == [1] * 10 + [2] * 2


def test_a_trial_whose_record_was_written_is_not_trained_again(options, listener):
    """The process may die between the record of a trial and the file of the search."""
    [plan] = planned(*SPACE)
    search = search_of(plan, options)
    path = place_of(plan, options.results)
    content = json.loads(path.read_text())
    content["trials"][-1] |= {"status": None, "validation": None, "step": None, "record": None}
    path.write_text(json.dumps(content))
    assert without_seconds(search_of(plan, options, listener)) == without_seconds(search)
    assert listener.losses == []


def test_more_trials_go_on_from_those_that_are_there_and_fewer_are_refused(options, listener):
    first = search_of(planned(*SPACE, trials=2)[0], options)
    more = search_of(planned(*SPACE, trials=3)[0], options, listener)
    assert without_seconds(more)[:2] == without_seconds(first)
    assert len(listener.losses) == 12
    with pytest.raises(MamlBenchError, match=r"has 3 trials already.*: ask for as many, or more"):
        search_of(planned(*SPACE, trials=2)[0], options)


def test_setups_get_as_many_trials_of_the_same_values_at_the_random_start(options):
    searches = [search_of(plan, options) for plan in planned(*SPACE, setups=("maml", "fomaml", "reptile"))]
    assert [len(search.done) for search in searches] == [3, 3, 3]
    assert len({json.dumps([trial.values for trial in search.trials]) for search in searches}) == 1
    assert len({place.setup for place in searches}) == 3


def test_a_finite_space_is_tried_without_repetition(options):
    [plan] = planned("inner.steps=1..3", "outer.decay=constant|cosine", trials=6)
    tried = [tuple(trial.values.values()) for trial in search_of(plan, options).trials]
    assert sorted(tried) == [(steps, decay) for steps in (1, 2, 3) for decay in ("constant", "cosine")]


def test_trials_that_diverge_or_fail_are_trials_too_and_never_win(options, monkeypatch):
    [plan] = planned("outer.rate=0.001|1e18|1e17", trials=3)
    real = outer_module.meta_gradient

    def gradient(setup, learner, meta, *arguments, **more):
        if len(search_done) == 2 and any(float(p.abs().max()) > 1e16 for p in meta.values()):
            raise RuntimeError("out of luck")
        return real(setup, learner, meta, *arguments, **more)

    search_done = []
    monkeypatch.setattr(outer_module, "meta_gradient", gradient)
    for search in make_trials(plan, options, Silent()):
        search_done[:] = search.done
    by_rate = {trial.values["outer.rate"]: trial for trial in search.trials}
    assert by_rate[0.001] is search.winner
    lost = [by_rate[1e18], by_rate[1e17]]
    assert all(trial.status in ("diverged", "failed") and trial.reason for trial in lost)
    assert all(trial.validation is None and trial.record for trial in lost)
    said = tuned(plan, search, options.results)
    assert (said.trials, said.unsuccessful) == (3, 2)
    assert {trial.status for trial in said.neighbours} == {trial.status for trial in lost}


def test_a_combination_that_the_recipe_refuses_is_a_trial_that_failed(options, monkeypatch):
    [plan] = planned(*SPACE)
    real = type(plan).with_values

    def refusing(self, values):
        if values["inner.steps"] == 2:
            raise MamlBenchError("not two")
        return real(self, values)

    monkeypatch.setattr(type(plan), "with_values", refusing)
    search = search_of(plan, options)
    assert {trial.status for trial in search.trials} == {"ok", "failed"}
    for trial in search.trials:
        assert (trial.reason == "not two") == (trial.values["inner.steps"] == 2)


def test_trials_of_fewer_steps_are_whole_runs_of_a_smaller_budget(options):
    [plan] = planned(*SPACE, trials=1, trial_steps=6)
    search = search_of(plan, options)
    assert search.outer_steps == 6
    [(_, record)] = load_all(place_of(plan, options.results).with_suffix(""))
    assert (record.outer_steps, record.whole, record.curve.step) == (6, True, [0, 4, 6])
    assert plan.with_values(search.winner.values).outer.steps == 12
    assert place_of(plan, options.results) != place_of(replace(plan, trial_steps=None), options.results)


def test_a_setup_without_training_is_scored_as_it_is(options):
    _, plan = planned("inner.rate=0.01|0.02", setups=["maml", "scratch"], trials=2)
    assert all(trial.step == 0 and trial.validation for trial in search_of(plan, options).trials)


def test_the_record_of_the_best_values_says_how_they_were_found(options):
    [plan] = planned(*SPACE, trials=8)
    search = search_of(plan, options)
    said = tuned(plan, search, options.results)
    outcome = run(plan.with_values(search.winner.values), 3, replace(options, tuned=said))
    assert load(outcome.path).tuned == [said]
    assert (said.trials, said.unsuccessful, said.seed, said.outer_steps, said.space) == (8, 0, 0, 12, [*SPACE])
    assert (said.winner.number, said.winner.validation) == (search.winner.number, search.winner.validation)
    assert set(said.winner.settings) <= set(outcome.record.recipe["changed"])
    numbers = [trial.number for trial in said.neighbours]
    assert len(numbers) == 5
    assert search.winner.number not in numbers
    assert (options.results / "tuning" / "sinusoid" / "maml" / f"{said.search}.json").is_file()


def test_a_record_that_is_there_is_told_and_nothing_makes_it_forget(options, listener):
    [plan] = planned(*SPACE)
    search = search_of(plan, options)
    recipe, said = plan.with_values(search.winner.values), tuned(plan, search, options.results)
    before = run(recipe, 0, options).record
    assert before.tuned == []
    found = run(recipe, 0, replace(options, tuned=said), observer=listener)
    assert (found.how, listener.losses) == ("already there", [])
    assert replace(load(found.path), tuned=[]) == before
    for again in (options, replace(options, force=True)):
        assert load(run(recipe, 0, again).path).tuned == [said]
    extended, other = replace(said, trials=9), replace(said, search="another", trials=2)
    for one, expected in ((extended, [extended]), (other, [extended, other])):
        assert load(run(recipe, 0, replace(options, tuned=one)).path).tuned == expected


def test_a_part_of_a_run_keeps_it_too(options):
    [plan] = planned(*SPACE, trials=1)
    search = search_of(plan, options)
    recipe, said = plan.with_values(search.winner.values), tuned(plan, search, options.results)
    run(recipe, 0, replace(options, tuned=said, budget_steps=5))
    whole = run(recipe, 0, options).record
    assert (whole.outer_steps, whole.tuned) == (12, [said])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: "{", "is not valid JSON"),
        (lambda content: {**content, "trials": 3}, "trials is 3, but must be"),
        (lambda content: {**content, "nosuch": 3}, "has no key 'nosuch'"),
        (lambda content: content | {"trials": content["trials"][1:]}, "its trial 1 is not of the space"),
        (lambda content: _with(content, values={"inner.rate": 7.0, "inner.steps": 1}), "trial 1 is not of the space"),
        (lambda content: _with(content, values={"inner.rate": "x", "inner.steps": 1}), "trial 1 is not of the space"),
        (lambda content: _with(content, values={"inner.rate": 0.1}), "its trial 1 is not of the space"),
        (lambda content: _with(content, status=None), "its trial 1 is not over, but others come after it"),
    ],
)
def test_a_damaged_file_is_one_sentence(change, sentence, options):
    [plan] = planned(*SPACE, trials=2)
    search_of(plan, options)
    path = place_of(plan, options.results)
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(MamlBenchError) as caught:
        search_of(plan, options)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)


def _with(content, **fields):
    return {**content, "trials": [content["trials"][0] | fields, *content["trials"][1:]]}


def test_one_process_at_a_time_is_at_work_on_a_search(options):
    [plan] = planned(*SPACE)
    first = make_trials(plan, options, Silent())
    next(first)
    with pytest.raises(MamlBenchError, match="another process is at work on"):
        search_of(plan, options)
    first.close()
    assert len(search_of(plan, options).done) == 3


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MamlBenchError) as caught:
        planned(*SPACE)
    assert str(caught.value) == ("tune needs optuna, which is not installed: python -m pip install 'maml-bench[tune]'")
