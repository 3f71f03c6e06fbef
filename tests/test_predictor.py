"""Train, adapt, predict: `fit`, `load`, `Predictor` and what it adapts to."""

import os
import signal
from typing import Any

import pytest
import torch

import maml_bench
from maml_bench import Batch, MamlBenchError, Predictor, Shape, registry
from maml_bench.checked import plain
from maml_bench.harness import loop, weights
from maml_bench.harness.run_state import RunState
from maml_bench.harness.weights import LEARNER
from maml_bench.models import Conv

SMALL = {"steps": 6, "every": 2, "episodes": 4, "progress": False}


@pytest.fixture(scope="module")
def sine() -> Predictor:
    """A learner of sinusoids after a few steps."""
    return maml_bench.fit("maml", maml_bench.load_tasks("sinusoid"), shot=10, **SMALL)


@pytest.fixture(scope="module")
def wave() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs of a support, its targets, and inputs of a query."""
    x = torch.linspace(-4, 4, 10)
    return x, 2 * torch.sin(x - 1), torch.linspace(-3, 3, 7)


def fitted(setup: str, **options: Any) -> Predictor:
    """A learner of Omniglot after a few steps on tasks of five classes with two examples."""
    conv = Conv(64, halvings=2, average=False) if setup == "relation" else Conv()
    tasks = maml_bench.load_tasks("omniglot", conv=plain(conv))
    return maml_bench.fit(setup, tasks, way=5, shot=2, query=2, **{**SMALL, **options})


def test_a_learner_from_a_file_gives_the_same_answers(sine: Predictor, wave: Any, tmp_path) -> None:
    x, y, asked = wave
    sine.save(tmp_path / "sine.safetensors")
    loaded = maml_bench.load(tmp_path / "sine.safetensors")
    expected = sine.adapt(x, y).predict(asked)
    assert expected.shape == (7, 1)
    for one in (loaded.adapt(x.numpy(), y.tolist()), loaded.adapt(x.unsqueeze(1), y.double())):
        assert torch.equal(one.predict(asked), expected)
    assert loaded.about == sine.about
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "sine.safetensors").read_bytes()


def test_more_steps_on_the_support_lower_its_error(sine: Predictor, wave: Any) -> None:
    x, y, _ = wave
    errors = [(sine.adapt(x, y, steps=k).predict(x)[:, 0] - y).square().mean() for k in (0, 1, 5)]
    assert errors[0] > errors[1] > errors[2]
    default = sine.adapt(x, y).predict(x)
    assert torch.equal(default, sine.adapt(x, y, steps=sine.table["steps"]).predict(x))


def test_the_weights_of_a_run_predict_and_score_what_its_record_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("maml_bench.harness.machine.convolution_gflops", lambda device="cpu": 100.0)
    [record] = maml_bench.run("sinusoid-k10", "maml", preset="smoke", set={"outer.steps": 4}, results=tmp_path)
    [test] = [one for one in record.evaluations if one.protocol == "paper"]
    model = maml_bench.load(weights.place(tmp_path, record.relative_path))
    shape = {key: record.recipe["test"][0][key] for key in ("shot", "query")}
    for point in test.points:
        score = model.score(
            maml_bench.load_tasks("sinusoid"), **shape, episodes=len(point.values), steps=point.inner_steps
        )
        assert score.mean == pytest.approx(point.mean, rel=1e-6)


def test_the_training_ends_when_it_gets_no_better_and_the_best_is_returned() -> None:
    tasks = maml_bench.load_tasks("sinusoid")
    options = {"steps": 60, "every": 1, "episodes": 2, "progress": False}
    worse = maml_bench.fit("maml", tasks, shot=5, patience=3, set={"outer.rate": 3.0}, **options)
    assert int(worse.about["step"]) < 50
    last = maml_bench.fit("maml", tasks, shot=5, steps=7, episodes=0, progress=False)
    assert (last.about["step"], last.about["validation"]) == ("7", "")


def test_control_c_ends_the_training_and_keeps_what_was_trained(capfd, monkeypatch) -> None:
    tasks, keep = maml_bench.load_tasks("sinusoid"), loop._keep

    def interrupted(run: RunState, mean: float) -> None:
        keep(run, mean)
        if run.step == 20:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "_keep", interrupted)
    model = maml_bench.fit("maml", tasks, shot=5, steps=10**7, every=10, patience=10**6, episodes=2)
    assert int(model.about["step"]) in (10, 20)
    assert "what was trained" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"setup": "mamll"}, "did you mean 'maml'"),
        ({"shot": 0}, "shot is 0"),
        ({"seed": -1}, "at least 0"),
        ({"patience": 0}, "patience is 0, but must be at least 1"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"set": {"inner.rat": 1}}, "no key 'rat'"),
        ({"set": {"outer.rate": 1e18}, "steps": 20}, "diverged at step"),
        ({"validation": 3}, "validation tasks of its own"),
    ],
)
def test_training_that_cannot_work_is_refused_by_a_sentence(change: dict[str, Any], said: str) -> None:
    options = {"setup": "maml", "train": maml_bench.load_tasks("sinusoid"), **SMALL, **change}
    with pytest.raises(MamlBenchError, match=said):
        maml_bench.fit(**options)


@pytest.mark.parametrize("family", ["navigation", "omniglot_instances", "omniglot_generation"])
def test_tasks_without_answers_are_refused(family: str) -> None:
    with pytest.raises(MamlBenchError, match="predictions are for classification and regression"):
        maml_bench.fit("maml", maml_bench.load_tasks(family))


@pytest.mark.parametrize(
    ("x", "y", "options", "said"),
    [
        (torch.zeros(3, 2), torch.zeros(3), {}, r"must have \[examples, 1\]"),
        (torch.zeros(3), torch.zeros(2), {}, "3 inputs and 2 targets"),
        (torch.zeros(0), torch.zeros(0), {}, "0 inputs"),
        (torch.tensor([1.0, torch.nan]), torch.zeros(2), {}, "not finite"),
        (["a", "b"], torch.zeros(2), {}, "no array of numbers"),
        (torch.zeros(2), torch.zeros(2), {"steps": -1}, "steps is -1"),
        (torch.zeros(2), torch.zeros(2), {"normalisation": "suport"}, "did you mean 'support'"),
        (torch.zeros(2), torch.zeros(2), {"normalisation": "running"}, "no normalisation 'running'"),
    ],
)
def test_a_support_that_does_not_fit_is_refused(sine: Predictor, x: Any, y: Any, options: Any, said: str) -> None:
    with pytest.raises(MamlBenchError, match=said):
        sine.adapt(x, y, **options)


def test_outputs_that_are_not_numbers_are_refused_and_probabilities_of_regression_too(sine: Predictor, wave) -> None:
    x, y, asked = wave
    with pytest.raises(MamlBenchError, match="diverged"):
        sine.adapt(x, 1e30 * y, steps=5).predict(asked)
    with pytest.raises(MamlBenchError, match="for classification"):
        sine.adapt(x, y).predict_proba(asked)
    with pytest.raises(MamlBenchError, match="no input"):
        sine.adapt(x, y).predict(torch.zeros(0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header: header.pop(LEARNER), "do not say what they are of"),
        (lambda header: header.update({LEARNER: "{"}), "cannot be read"),
        (lambda header: header.update({LEARNER: "[]"}), "cannot be read"),
        (lambda header: header.update({LEARNER: header[LEARNER].replace('"steps": 1', '"steps": "1"')}), "steps"),
        (lambda header: header.update({LEARNER: header[LEARNER].replace('"maml"', '"mamll"')}), "did you mean"),
        (lambda header: header.update({LEARNER: header[LEARNER].replace('"sinusoid"', '"mdp"')}), "mdp"),
    ],
)
def test_a_header_that_does_not_name_a_learner_is_refused(sine: Predictor, tmp_path, change: Any, said: str) -> None:
    sine.save(tmp_path / "sine.safetensors")
    found = weights.load(tmp_path / "sine.safetensors")
    header = {key: text for key, text in found.header.items() if key != "format_version"}
    change(header)
    weights.save(tmp_path / "other.safetensors", found.tensors, header)
    with pytest.raises(MamlBenchError, match=said):
        maml_bench.load(tmp_path / "other.safetensors")


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
@pytest.mark.parametrize("setup", ["protonet", "maml", "matching", "relation", "baseline", "mann"])
def test_one_image_alone_gets_the_answer_that_it_gets_among_others(setup: str, tmp_path) -> None:
    model = fitted(setup)
    drawn = maml_bench.load_tasks("omniglot").sample("test", 0, 1, key=1, shape=Shape(3, 2, 5))
    labels = [("a", 1, None)[place] for place in drawn.support.y[0].tolist()]
    few = model.adapt(drawn.support.x[0], labels)
    together = few.predict_proba(drawn.query.x[0])
    assert together.shape == (15, 3)
    torch.testing.assert_close(together.sum(1), torch.ones(15))
    alone = torch.cat([few.predict_proba(x.unsqueeze(0)) for x in drawn.query.x[0]])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    assert few.predict(drawn.query.x[0]) == [few.classes[k] for k in together.argmax(1)]
    assert set(few.classes) == {"a", 1, None}
    model.save(tmp_path / "model.safetensors")
    again = maml_bench.load(tmp_path / "model.safetensors").adapt(drawn.support.x[0], labels)
    assert torch.equal(again.predict_proba(drawn.query.x[0]), together)


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
def test_transduction_is_asked_for_by_its_name() -> None:
    model = fitted("maml")
    drawn = maml_bench.load_tasks("omniglot").sample("test", 0, 1, key=1, shape=Shape(5, 2, 5))
    few = model.adapt(drawn.support.x[0], drawn.support.y[0], normalisation="transductive")
    together, part = few.predict_proba(drawn.query.x[0]), few.predict_proba(drawn.query.x[0, :5])
    assert not torch.allclose(together[:5], part, atol=1e-3)


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
def test_a_task_of_more_classes_needs_a_setup_that_compares_examples() -> None:
    drawn = maml_bench.load_tasks("omniglot").sample("test", 0, 1, key=1, shape=Shape(7, 1, 1))
    support, query = (Batch(*(tensor[0] for tensor in batch)) for batch in drawn)
    comparing, gradients, sequence = fitted("protonet"), fitted("maml"), fitted("mann").adapt(*support)
    assert len(comparing.adapt(*support).predict(query.x)) == 7
    with pytest.raises(MamlBenchError, match="trained to tell 5 apart: train with way=7"):
        gradients.adapt(*support)
    with pytest.raises(MamlBenchError, match="but the network answers 5: train with way=7"):
        sequence.predict(query.x)
    with pytest.raises(MamlBenchError, match="one class only"):
        comparing.adapt(support.x, ["a"] * 7)
    with pytest.raises(MamlBenchError, match="must be a text, a number or a tuple"):
        comparing.adapt(support.x, [[1]] * 7)


def test_every_setup_names_probabilities_that_are_probabilities() -> None:
    outputs = torch.tensor([[0.2, 0.6, 0.0], [0.9, 0.9, 0.9]])
    for name in registry.setup_names():
        setup = registry.setup_class(name)
        found = setup.probabilities(None, outputs)  # type: ignore[arg-type]
        torch.testing.assert_close(found.sum(1), torch.ones(2), msg=name)
        assert torch.equal(found.argmax(1)[:1], outputs.argmax(1)[:1]), name
    assert torch.allclose(registry.setup_class("relation").probabilities(None, outputs)[0], outputs[0] / 0.8)  # type: ignore[arg-type]
