"""Hostile inputs: a sample of the corpus ends well, and each bad ending is told by the verdict that names it."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import hostile
from benchmarks.hostility import calls, cases, kills
from maml_bench import cli
from maml_bench.harness import machine

SAMPLE = 40
GROUPS = ("setting", "bookkeeping", "range", "recipe", "verb", "record", "place", "bit")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setattr(machine, "convolution_gflops", lambda device="cpu": 100.0)
    monkeypatch.setenv("MAML_BENCH_MEMORY", "default")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The results that the corpus damages."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "convolution_gflops", lambda device="cpu": 100.0)
        hostile.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(prepared) -> list[calls.Case]:
    return list(cases.corpus(prepared))


def test_the_corpus_has_a_thousand_inputs_of_every_kind_each_once(corpus):
    names = Counter(case.name for case in corpus)
    assert len(corpus) >= 1000
    assert names.most_common(1)[0][1] == 1
    assert {case.group for case in corpus} == set(GROUPS)


def test_a_sample_of_the_corpus_ends_well(corpus, prepared):
    bad = []
    for case in random.Random(0).sample(corpus, SAMPLE):
        verdict, why = calls.judge(case, calls.run(case, prepared, 60.0))
        if verdict != "well":
            bad.append((case.name, verdict, why))
    assert bad == []


def raised(error: BaseException):
    def main():
        raise error

    return main


def wait():
    while True:
        pass


def printed(out: str, code: int):
    def main():
        print(out)  # noqa: T201
        raise SystemExit(code)

    return main


@pytest.mark.parametrize(
    ("main", "verdict"),
    [
        (raised(ValueError("lost")), "traceback"),
        (raised(RecursionError("deep")), "traceback"),
        (raised(SystemExit(70)), "traceback"),
        (printed("Traceback (most recent call last)", 2), "traceback"),
        (raised(SystemExit(0)), "silent"),
        (raised(SystemExit(None)), "silent"),
        (printed("records/damaged.json", 0), "silent"),
        (wait, "hang"),
        (raised(SystemExit(2)), "well"),
    ],
)
def test_each_ending_has_its_verdict(monkeypatch, prepared, main, verdict):
    monkeypatch.setattr(cli, "main", main)
    case = calls.Case("made up", ("run",), refused=main.__name__ != "main" or verdict != "well", damaged="damaged.json")
    assert calls.judge(case, calls.run(case, prepared, 0.2))[0] == verdict


def test_a_call_leaves_nothing_behind(monkeypatch, prepared):
    before = Path.cwd(), sorted(prepared.rglob("*"))
    case = calls.Case("made up", ("list", "--json"), files={"a/b": b"x"}, links={"c": "a"}, pipes=("d",), results=True)
    assert calls.run(case, prepared, 60.0).code == 0
    assert (Path.cwd(), sorted(prepared.rglob("*"))) == before


def test_what_was_replayed_is_not_replayed_again(prepared, tmp_path, capsys, monkeypatch):
    def main(*more: str) -> dict[str, dict[str, int]]:
        with pytest.raises(SystemExit) as ended:
            hostile.main(["--work", str(tmp_path), "--only", "recipe code", "--json", *more])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)["counts"]

    monkeypatch.setattr(hostile.resource, "setrlimit", lambda *arguments: None)
    first = main()
    monkeypatch.setattr(calls, "run", raised(AssertionError("this must not run")))
    assert main() == first
    assert first["all"]["cases"] == first["recipe"]["cases"] == 7


@pytest.mark.slow
def test_a_process_that_was_killed_comes_to_the_same_end(tmp_path):
    [(name, verdict, why)] = kills.kill(tmp_path / "kills", 1, 0, set())
    assert (name, verdict) == ("kill run 0 0", "well"), why
    assert list(kills.kill(tmp_path / "kills", 1, 0, {name})) == []
