"""The driver of growth: what it measures, when a curve ends, what it keeps; and the process under watch."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from maml_bench.harness import machine
from maml_bench.report.speed.rows import load

GIB = 2**30


@pytest.fixture
def growth(monkeypatch):
    module = importlib.import_module("growth")
    monkeypatch.setattr(machine, "convolution_gflops", lambda device="cpu": 100.0)
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


@pytest.fixture
def asked(growth, monkeypatch):
    """Processes are not started: each answer is a step of 0.1 s a task and 1 MiB, except where told otherwise."""

    class Asked(list):
        answers = {}  # noqa: RUF012

        def run(self, command, surroundings, watched):
            bench = json.loads(command[3])
            schedule = command[command.index("--schedule") + 1] if "--schedule" in command else None
            self.append((bench["tasks"], schedule or Path(command[2]).stem))
            ok = {"status": "ok", "median_s": 0.1 * bench["tasks"], "peak_memory_bytes": 2**20, "compile_s": 0.0}
            ok |= {"library_version": "1", "torch": "2", "schedule": schedule or "loop over tasks"}
            answer = self.answers.get(self[-1], ok)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    found = Asked()
    monkeypatch.setattr(growth, "run", found.run)
    return found


def measure(growth, tmp_path, *more):
    arguments = ["--axis", "meta_batch", "--values", "4,1,2", "--schedule", "vmap", "--schedule", "loop"]
    return growth.main([*arguments, "--results", str(tmp_path), "--threads", "1", *more])


def table(tmp_path):
    return {(row.value, row.line): (row.status, row.median_s) for row in load(tmp_path)}


def test_rounds_go_schedule_by_schedule_and_values_from_small_to_large(growth, asked, tmp_path):
    assert measure(growth, tmp_path, "--rounds", "2") == 0
    assert asked == [(value, name) for value in (1, 2, 4) for _ in range(2) for name in ("vmap", "loop")]
    assert table(tmp_path)[4, "vmap"] == ("ok", 0.4)
    row = load(tmp_path)[0]
    assert (row.rounds, row.threads, row.machine_gflops, row.memory) == (2, 1, 100.0, "retained")
    assert [path.name for path in (tmp_path / "records" / "speed").iterdir()] == [
        f"growth-meta_batch-{machine.identity()}.json"
    ]


def test_a_curve_ends_where_it_does_not_fit_or_is_too_slow(growth, asked, tmp_path):
    asked.answers[2, "loop"] = {"status": "does not fit", "reason": "more than 1.0 GiB"}
    measure(growth, tmp_path, "--seconds", "0.15")
    found = table(tmp_path)
    assert found[2, "loop"] == found[4, "loop"] == ("does not fit", None)
    assert found[2, "vmap"] == ("ok", 0.2)
    assert found[4, "vmap"] == ("too slow", None)
    assert [name for value, name in asked if value == 4] == []
    reasons = {row.line: row.reason for row in load(tmp_path) if row.value == 4}
    assert reasons["loop"] == "not tried: meta_batch 2 did not fit"
    assert reasons["vmap"] == "not tried: a step took 0.2 s at 2"


def test_what_is_there_is_kept_and_failures_are_tried_again(growth, asked, tmp_path):
    asked.answers[2, "loop"] = {"status": "failed", "reason": "a bug"}
    measure(growth, tmp_path, "--rounds", "1")
    assert table(tmp_path)[4, "loop"] == ("ok", 0.4)
    asked.clear()
    asked.answers.clear()
    measure(growth, tmp_path, "--rounds", "1")
    assert asked == [(2, "loop")]
    assert table(tmp_path)[2, "loop"] == ("ok", 0.2)
    measure(growth, tmp_path, "--rounds", "1", "--again")
    assert len(asked) == 7
    assert len(load(tmp_path)) == 6


def test_interrupted_it_keeps_what_is_finished_and_goes_on(growth, asked, tmp_path, capsys):
    asked.answers[2, "loop"] = KeyboardInterrupt()
    assert measure(growth, tmp_path, "--rounds", "1") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert sorted(table(tmp_path)) == [(1, "loop"), (1, "vmap")]
    asked.answers.clear()
    asked.clear()
    assert measure(growth, tmp_path, "--rounds", "1") == 0
    assert (1, "vmap") not in asked
    assert len(load(tmp_path)) == 6


def test_another_library_is_one_curve_in_its_environment(growth, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(growth.environments, "prepare", lambda peers, folder, say: {p.name: "python" for p in peers})
    for _ in range(2):
        measure(growth, tmp_path, "--rounds", "1", "--peer", "torchopt")
    assert table(tmp_path)[2, "torchopt"] == ("ok", 0.2)
    assert [name for _, name in asked].count("torchopt_peer") == 3


def test_a_library_without_environment_is_a_sentence(growth, asked, tmp_path, monkeypatch, capsys):
    missing = growth.environments.NotBuilt("python3.9 is not on the path")
    monkeypatch.setattr(growth.environments, "prepare", lambda peers, folder, say: {p.name: missing for p in peers})
    assert measure(growth, tmp_path, "--peer", "torchmeta") == 2
    assert "error: torchmeta: python3.9 is not on the path" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--peer", "nothing"], ["--values", "0"], ["--schedule", "sideways"]])
def test_bad_options_are_refused(growth, arguments, capsys):
    with pytest.raises(SystemExit):
        growth.main(arguments)
    assert "error: argument" in capsys.readouterr().err


def test_a_damaged_record_is_a_sentence(growth, asked, tmp_path, capsys):
    measure(growth, tmp_path, "--rounds", "1")
    next((tmp_path / "records" / "speed").iterdir()).write_text("{")
    assert measure(growth, tmp_path) == 2
    assert "is not valid JSON" in capsys.readouterr().err


OK = '{"status": "ok", "median_s": 0.1}'


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (f"print('noise'); print('{OK}')", "ok", None),
        ('print(\'{"status": "not expressible", "reason": "no"}\')', "failed", "not expressible: no"),
        ("raise ValueError('a bug')", "failed", "ValueError: a bug"),
        ("raise MemoryError", "does not fit", "more than 1.0 GiB"),
        ("import os; os.kill(os.getpid(), 9)", "does not fit", "killed by the system"),
        ("import os; os.kill(os.getpid(), 15)", "failed", "ended by signal 15: it said nothing"),
        ("import time; time.sleep(60)", "too slow", "no answer after 1 s"),
    ],
)
def test_a_process_under_watch_answers_in_any_case(growth, code, status, reason):
    watched = growth.Watched(GIB, seconds=0.0, start_s=1.0)
    found = growth.run([sys.executable, "-c", code], os.environ, watched)
    assert (found["status"], found.get("reason")) == (status, reason)


def test_a_process_that_holds_too_much_is_ended(growth):
    code = "import time; held = bytearray(b'1') * 100_000_000; time.sleep(60)"
    found = growth.run([sys.executable, "-c", code], os.environ, growth.Watched(50_000_000, 60.0))
    assert found == {"status": "does not fit", "reason": "more than 0.0 GiB"}


@pytest.mark.parametrize("limit_gib", [0, 1])
def test_a_point_runs_an_adapter_on_a_bench_outside_the_table_under_a_ceiling(growth, tmp_path, limit_gib):
    adapter = tmp_path / "an_adapter.py"
    (tmp_path / "benches.py").write_text(
        "from dataclasses import dataclass\nBENCHES = {}\n@dataclass\nclass Bench:\n    name: str\n    tasks: int\n"
    )
    adapter.write_text(
        "import sys\nfrom benches import BENCHES\nimport json\nheld = bytearray(2 * 2**30)\n"
        'print(json.dumps({"status": "ok", "tasks": BENCHES[sys.argv[1]].tasks}))\n'
    )
    command = [sys.executable, str(growth.POINT), str(adapter), '{"name": "b", "tasks": 3}']
    found = growth.run([*command, str(limit_gib * GIB), "b"], os.environ, growth.Watched(4 * GIB, 60.0))
    assert found.get("tasks") == (None if limit_gib else 3)
    assert found["status"] == ("does not fit" if limit_gib else "ok")
