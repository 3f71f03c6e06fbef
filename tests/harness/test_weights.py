"""Weights files: what a run leaves, what is read back, and that whatever does not fit is one sentence."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from maml_bench.errors import MamlBenchError
from maml_bench.harness import weights
from maml_bench.harness.build import build
from maml_bench.harness.evaluate_weights import evaluate_weights
from maml_bench.harness.run import run
from maml_bench.harness.weights import LEARNER, learner_table
from maml_bench.record import relative_path, weights_id
from tests.conftest import with_each_bit_changed

RECORD = Path("records", "sinusoid", "maml", "sinusoid-k10-smoke-0123abcd-s0-feedbeef.json")


@pytest.fixture
def network():
    return {"body.1.weight": torch.rand(3, 2, generator=torch.Generator().manual_seed(0)), "head.bias": torch.zeros(1)}


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert len(header.pop(weights.CHECKSUM)) == 64
    return header


def test_a_file_comes_back_to_the_bit_with_its_header(tmp_path, network):
    path = tmp_path / "some" / "w.safetensors"
    turned = {**network, "body.1.weight": network["body.1.weight"].T.contiguous().T}
    weights.save(path, turned, {"setup": "maml", "step": 12})
    found = weights.load(path)
    assert all(torch.equal(found.tensors[name], p) for name, p in network.items())
    assert found.header == {"format_version": "2", "setup": "maml", "step": "12"}
    assert found.sha256 == weights.hashlib.sha256(path.read_bytes()).hexdigest()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_precision_and_order_are_those_of_the_network(tmp_path, network):
    path = tmp_path / "w.safetensors"
    weights.save(path, {name: network[name].double() for name in reversed(network)}, {})
    found = weights.load(path).fit(network, "maml on waves")
    assert list(found) == list(network)
    assert all(torch.equal(found[name], p) and found[name].dtype == p.dtype for name, p in network.items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"body.1.weight": None, "body.1.weights": (3, 2)}, "lack the tensor 'body.1.weight' of maml on waves (did you "
         "mean 'body.1.weights'?)"),
        ({"head.bias": None}, "lack the tensor 'head.bias' of maml on waves"),
        ({"body.1.weight": (2, 3)}, "the tensor 'body.1.weight' has the shape [2, 3], but maml on waves needs [3, 2]"),
        ({"rate.head.bias": (1,)}, "have a tensor 'rate.head.bias' that maml on waves does not have (did you mean "
         "'head.bias'?)"),
        *(
            ({"head.bias": torch.tensor([value], dtype=torch.float64)}, "the tensor 'head.bias' holds 1 values that "
             "are not finite")
            for value in (float("nan"), float("inf"), -float("inf"), 1e300)
        ),
        ({"head.bias": torch.zeros(1, dtype=torch.int64)}, "the tensor 'head.bias' holds int64, not real numbers"),
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named_with_the_nearest(tmp_path, network, change, sentence):
    tensors = {**network, **{n: torch.zeros(s) if isinstance(s, tuple) else s for n, s in change.items()}}
    safetensors.torch.save_file({n: t for n, t in tensors.items() if t is not None}, tmp_path / "w.safetensors")
    found = weights.load(tmp_path / "w.safetensors")
    with pytest.raises(MamlBenchError, match=re.escape(f"w.safetensors{':' if sentence[0] == 't' else ''} {sentence}")):
        found.fit(network, "maml on waves")


def test_a_file_that_is_none_is_a_sentence(tmp_path, network):
    good = tmp_path / "good.safetensors"
    weights.save(good, network, {})
    (tmp_path / "half.safetensors").write_bytes(good.read_bytes()[:-4])
    (tmp_path / "text.safetensors").write_text("not weights")
    weights.save(tmp_path / "newer.safetensors", network, {"format_version": 3})
    for name, sentence in (
        ("nowhere", "cannot be read: No such file"),
        ("half", "are damaged: they differ from their checksum"),
        ("text", "are not a whole safetensors file"),
        ("newer", "have format version '3', newer than 2"),
    ):
        with pytest.raises(MamlBenchError, match=rf"{name}\.safetensors {sentence}"):
            weights.load(tmp_path / f"{name}.safetensors")


def test_the_identity_of_weights_is_that_of_their_content():
    assert weights_id([]) == ""
    assert weights_id(["0123456789"]) == "01234567"
    assert len({weights_id(["a" * 64]), weights_id(["a" * 64, "b" * 64]), weights_id(["b" * 64, "a" * 64])}) == 3
    plain = {"id": "r", "preset": "smoke", "tasks": {"name": "t"}, "setup": {"name": "s"}}
    assert relative_path(plain, "0" * 8, 1, "m", "01234567").name == "r-smoke-00000000-w01234567-s1-m.json"


def test_places_go_by_the_record():
    assert weights.place(Path("runs"), RECORD) == Path(
        "runs/weights/sinusoid/maml/sinusoid-k10-smoke-0123abcd-s0-feedbeef.safetensors"
    )
    assert weights.place(Path("runs"), RECORD, 3).name == "sinusoid-k10-smoke-0123abcd-s0-feedbeef-best3.safetensors"


def test_a_run_leaves_its_last_and_its_best_weights(tiny, options):
    record = run(tiny(), 0, options).record
    folder = options.results / "weights" / "sinusoid" / "maml"
    names = sorted(path.name for path in folder.iterdir())
    stem = record.relative_path.stem
    assert names == [f"{stem}-best{rank}.safetensors" for rank in (1, 2, 3)] + [f"{stem}.safetensors"]
    about = {"format_version": "2", "recipe": "sinusoid-k10", "recipe_id": record.recipe_id, "preset": "smoke"}
    table = learner_table(tiny(), build(tiny(), 0, "cpu", "vmap").tasks)
    about |= {"setup": "maml", "seed": "0", LEARNER: json.dumps(table, sort_keys=True)}
    by_step = dict(zip(record.curve.step, record.curve.validation, strict=True))
    assert header_of(folder / names[-1]) == {**about, "step": "12", "validation": str(by_step[12])}
    best = sorted((mean, step) for step, mean in by_step.items() if step)
    for name, (mean, step) in zip(names, best, strict=False):
        assert header_of(folder / name) == {**about, "step": str(step), "validation": str(mean)}
    last = weights.load(folder / names[-1])
    assert last.fit(build(tiny(), 0, "cpu", "vmap").meta, "maml on waves").keys() == last.tensors.keys()


def test_stale_best_weights_go_when_a_run_is_made_again(tiny, options):
    path = run(tiny(), 0, options).record.relative_path
    run(tiny(), 0, replace(options, force=True, budget_steps=5))
    assert [weights.place(options.results, path, rank).exists() for rank in range(4)] == [True, True, False, False]
    assert header_of(weights.place(options.results, path))["step"] == "5"


def test_without_training_or_validation_the_last_stands_alone(tiny, options):
    """A network that is not trained was validated once, as it is."""
    for recipe, validated in ((tiny(setup="scratch"), True), (tiny("validation.episodes=0"), False)):
        path = run(recipe, 0, options).record.relative_path
        assert [weights.place(options.results, path, rank).exists() for rank in (0, 1)] == [True, False]
        assert bool(header_of(weights.place(options.results, path))["validation"]) is validated


def test_a_run_that_diverged_leaves_none(tiny, options):
    path = run(tiny("outer.rate=1e18"), 0, options).record.relative_path
    assert not weights.place(options.results, path).exists()


def test_restored_weights_are_those_of_the_record(tiny, options):
    record = run(tiny(), 0, options).record
    fresh = build(tiny(), 0, "cpu", "vmap")
    assert weights.restore(fresh, options.results, record)
    assert fresh.step == 12
    assert [(mean, step) for mean, step, _ in fresh.kept] == sorted((m, s) for m, s, _ in fresh.kept)
    for other in (replace(record, recipe_id="00000000"), replace(record, outer_steps=11)):
        moved = weights.place(options.results, other.relative_path)
        for rank in range(4):
            place = weights.place(options.results, record.relative_path, rank)
            moved = weights.place(options.results, other.relative_path, rank)
            moved.write_bytes(place.read_bytes())
        assert not weights.restore(build(tiny(), 0, "cpu", "vmap"), options.results, other)
    weights.place(options.results, record.relative_path, 3).unlink()
    assert not weights.restore(build(tiny(), 0, "cpu", "vmap"), options.results, record)


def test_a_file_with_any_bit_changed_is_refused(tmp_path, network):
    path = tmp_path / "w.safetensors"
    weights.save(path, network, {"setup": "maml", "step": 12})
    for _ in with_each_bit_changed(path):
        with pytest.raises(MamlBenchError, match=r"^weights .*safetensors (are|have) [^\n]*$"):
            weights.load(path)


def test_equal_weights_are_equal_files(tmp_path, network):
    """Otherwise their SHA-256, by which records name them, would say that they differ."""
    header = {"setup": "maml", "step": 12, "recipe": "a recipe of Omniglot \N{GREEK SMALL LETTER ALPHA}"}
    files = [tmp_path / f"{number}.safetensors" for number in range(20)]
    for file in files:
        weights.save(file, network, header)
    assert len({file.read_bytes() for file in files}) == 1
    found = weights.load(files[0])
    assert found.header == {"format_version": "2", **{key: str(value) for key, value in header.items()}}
    assert all(torch.equal(found.tensors[name], network[name]) for name in network)


def test_a_file_of_the_first_format_has_no_checksum_and_loads(tmp_path, network):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(network, path, {"format_version": "1", "step": "12"})
    assert weights.load(path).header == {"format_version": "1", "step": "12"}


@pytest.mark.parametrize("version", ["9" * 5000, "3", "0", "-1", "x", "", "\N{SUPERSCRIPT TWO}"])
def test_a_version_that_this_package_does_not_read_is_a_sentence(tmp_path, network, version):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors.torch.save(network, {"format_version": version}))
    with pytest.raises(MamlBenchError, match=r"have format version .*, newer than 2"):
        weights.load(path)


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 300, "-3", "x", "\N{SUPERSCRIPT TWO}"])
def test_numbers_in_a_header_that_are_none_are_left_out(tmp_path, tiny, options, number):
    path = run(tiny(), 0, options).record.relative_path
    file = weights.place(options.results, path)
    header = header_of(file) | {"seed": number, "step": number, "format_version": "1"}
    file.write_bytes(safetensors.torch.save(safetensors.torch.load(file.read_bytes()), header))
    found = evaluate_weights(tiny(), [weights.load(file)], options).record
    assert (found.seed, found.evaluations[0].checkpoint_steps) == (0, [])


def test_a_header_may_begin_as_a_pickle_does(tmp_path, network):
    """The first byte of a file is the lowest of its header's length."""
    for length in range(300):
        path = tmp_path / f"{length}.safetensors"
        weights.save(path, network, {"note": length * "x"})
        assert weights.load(path).header["note"] == length * "x"
    assert b"\x80" in {path.read_bytes()[:1] for path in tmp_path.glob("*.safetensors")}
