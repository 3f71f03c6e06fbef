"""The driver: what it refuses, the order of a race, and what is left when one entrant fails or Ctrl-C comes."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import race
from peers import processes
from peers.benches import BENCHES, METRIC, write_inputs
from peers.catalogue import PEERS
from peers.checks import Verdict
from peers.environments import NotBuilt
from peers.processes import Failed, Job
from peers.rows import refuse_to_replace
from rich.console import Console

from maml_bench.errors import MamlBenchError
from maml_bench.harness.memory import SETTINGS
from maml_bench.report.speed.rows import load

ROUNDS = 3


@pytest.fixture
def plan(tmp_path):
    chosen = ["--bench=sinusoid", "--peer=higher", "--peer=torchmeta", f"--rounds={ROUNDS}", "--threads=1"]
    return race.parse([*chosen, f"--results={tmp_path}", f"--envs={tmp_path / 'envs'}"])


@pytest.fixture
def turns(monkeypatch, tmp_path) -> list:
    """A race without processes: (peer, memory) in order of their turns; higher takes longer in each round."""
    turns: list = []

    def time(job: Job, memory: str, seconds: float) -> dict:
        turns.append((job.peer.name, memory))
        if turns.count(("torchmeta", "default")) == 2 and turns[-1] == ("torchmeta", "default"):
            raise Failed("it fell over")
        count = turns.count((job.peer.name, memory))
        factor = {"maml-bench": 1.0, "higher": 2.0 + count, "torchmeta": 8.0}[job.peer.name]
        return {
            "median_s": 0.1 * count * factor * (1.5 if memory == "default" else 1.0),
            "compile_s": 9.0 / count,
            "peak_memory_bytes": None if memory == "default" else 100 * count,
        }

    monkeypatch.setattr(Job, "time", time)
    verdict = Verdict("ok", None, 1e-7, "1.0", "2.0", None, "3.11")
    rates = itertools.count(100.0, 100.0)
    monkeypatch.setattr(race.Reference, "judge", lambda self, job: verdict)
    monkeypatch.setattr(
        race.environments, "prepare", lambda peers, folder, say: {peer.name: tmp_path / "python" for peer in peers}
    )
    monkeypatch.setattr(race.machine, "convolution_gflops", lambda: next(rates))
    return turns


def run(plan) -> list[dict]:
    race.Race(plan, Console(quiet=True)).run()
    [path] = (plan.results / "records" / "speed").iterdir()
    assert path.name == f"sinusoid-{race.machine.identity()}.json"
    assert len(load(plan.results)) == len(json.loads(path.read_text()))
    return json.loads(path.read_text())


def test_everybody_races_once_per_round_and_ratios_are_of_the_same_round(plan, turns):
    rows = {(row["library"], row["memory"]): row for row in run(plan)}
    names = [(name, memory) for name in ("maml-bench", "torchmeta", "higher") for memory in ("retained", "default")]
    assert turns == [*names, *names, *(name for name in names if name != ("torchmeta", "default"))]
    assert len({tuple(row) for row in rows.values()}) == 1, "all rows have the same keys"
    ours, higher = rows["maml-bench", "retained"], rows["higher", "retained"]
    assert (ours["ratio_to_ours"], ours["ratio_low"], ours["ratio_high"]) == (1.0, 1.0, 1.0)
    assert ours["round_medians_s"] == pytest.approx([0.1, 0.2, 0.3])
    assert higher["ratio_to_ours"] == pytest.approx(4.0)
    assert (higher["ratio_low"], higher["ratio_high"]) == (pytest.approx(3.0), pytest.approx(5.0))
    assert rows["higher", "default"]["ratio_to_ours"] == pytest.approx(6.0), "theirs by default against ours retained"
    assert rows["maml-bench", "default"]["ratio_to_ours"] == pytest.approx(1.5)
    assert (higher["rounds"], higher["compile_s"], higher["peak_memory_bytes"]) == (ROUNDS, 9.0, 200)
    assert (higher["machine_gflops"], higher["threads"]) == (200.0, 1)
    assert higher["machine_share"] == pytest.approx(higher["model_gflop"] / higher["median_s"] / 200)
    assert rows["higher", "default"]["peak_memory_bytes"] is None


def test_who_fails_is_out_and_the_others_go_on(plan, turns):
    rows = {(row["library"], row["memory"]): row for row in run(plan)}
    failed = rows["torchmeta", "default"]
    assert (failed["status"], failed["reason"]) == ("failed", "round 2: it fell over")
    assert (failed["median_s"], failed["ratio_to_ours"], failed["rounds"]) == (None, None, 0)
    assert rows["torchmeta", "retained"]["rounds"] == ROUNDS


def test_who_is_not_built_is_told_and_not_started(plan, turns, monkeypatch, tmp_path):
    monkeypatch.setattr(
        race.environments,
        "prepare",
        lambda peers, folder, say: {p.name: NotBuilt("no luck") if p.name == "higher" else tmp_path for p in peers},
    )
    rows = [row for row in run(plan) if row["library"] == "higher"]
    assert [(row["status"], row["reason"], row["median_s"]) for row in rows] == [("not built", "no luck", None)] * 2
    assert all(name != "higher" for name, _ in turns)


def test_ctrl_c_keeps_the_benches_that_are_done(turns, monkeypatch, tmp_path, capsys):
    arguments = ["race.py", "--bench=fomaml-q1", "--bench=omniglot-q1", "--peer=higher", "--rounds=1", "--threads=1"]
    monkeypatch.setattr("sys.argv", [*arguments, f"--results={tmp_path / 'out'}"])
    monkeypatch.setattr(race.memory, "retain", lambda: None)
    monkeypatch.setattr(race.torch, "set_num_threads", lambda count: None)
    time = Job.time

    def stop(job: Job, memory: str, seconds: float) -> dict:
        if job.bench == "fomaml-q1":
            raise KeyboardInterrupt
        return time(job, memory, seconds)

    monkeypatch.setattr(Job, "time", stop)
    assert race.main() == 130
    assert [path.name[:11] for path in (tmp_path / "out" / "records" / "speed").iterdir()] == ["omniglot-q1"]
    assert "the benches that were done are saved" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bench=omniglot"], "invalid choice: 'omniglot'"),
        (["--threads=100000"], "--threads 1 to"),
        (["--rounds=-1"], "--rounds is 1 or more"),
        (["--against=no-such-commit"], "this clone has no commit no-such-commit"),
        (["--against=HEAD", "--peer=higher"], "--against races another commit of maml-bench alone"),
        (
            ["--bench=protonet-mini", "--peer=higher"],
            "no --peer that was named races on protonet-mini: choose from loop",
        ),
        (
            ["--bench=omniglot-q1", "--bench=relation-omniglot", "--peer=loop", "--peer=torch"],
            "torch races on none of the benches that were named: choose from reptile-omniglot",
        ),
    ],
)
def test_wrong_arguments_stop_it(arguments, sentence, capsys):
    with pytest.raises(SystemExit):
        race.parse(arguments)
    assert sentence in capsys.readouterr().err


def test_a_part_of_a_race_replaces_no_whole_one(tmp_path):
    path = tmp_path / "sinusoid-0.json"
    refuse_to_replace([path], "--peer")
    path.touch()
    refuse_to_replace([path], None)
    with pytest.raises(MamlBenchError, match="--peer makes this race a part of one, which does not replace it: choose"):
        refuse_to_replace([path], "--peer")


def test_who_has_the_method_of_a_bench_races_on_it_and_nobody_else(turns, monkeypatch, tmp_path):
    judged = []
    verdict = Verdict("not expressible", "only its name is asked for here")
    monkeypatch.setattr(race.Reference, "judge", lambda self, job: judged.append((job.bench, job.peer.name)) or verdict)
    plan = race.parse(["--bench=matching-omniglot", "--bench=reptile-omniglot", f"--results={tmp_path}", "--rounds=1"])
    race.Race(plan, Console(quiet=True)).run()
    assert judged == [
        *(("matching-omniglot", name) for name in ("maml-bench", "loop", "easyfsl")),
        *(("reptile-omniglot", name) for name in ("maml-bench", "loop", "torch")),
    ]


def test_a_peer_alone_races_on_the_benches_of_its_methods():
    plan = race.parse(["--peer=easyfsl"])
    assert [bench.name for bench in plan.benches] == [
        bench.name for bench in BENCHES.values() if bench.method in METRIC
    ]
    assert [peer.name for peer in plan.peers] == ["maml-bench", "easyfsl"]


def test_defaults_race_all_and_a_choice_keeps_ours():
    everything, chosen, quick = race.parse([]), race.parse(["--peer=higher"]), race.parse(["--quick"])
    assert everything.benches == tuple(BENCHES.values())
    assert everything.peers == tuple(PEERS.values())
    assert everything.partial is None
    assert [peer.name for peer in chosen.peers] == ["maml-bench", "higher"]
    assert (quick.rounds, quick.seconds, quick.partial) == (1, 1.0, "--quick")


@pytest.mark.skipif(not (race.ROOT / ".git").exists(), reason="needs a clone with its history")
def test_another_commit_races_from_its_own_source(tmp_path):
    plan = race.parse(["--against=HEAD", "--bench=sinusoid", f"--envs={tmp_path}", "--threads=1"])
    ours, before = plan.peers
    assert (ours.name, ours.source, plan.partial) == ("maml-bench", None, "--against")
    [tree] = tmp_path.iterdir()
    assert (before.source, before.name) == (tree, f"maml-bench@{tree.name.removeprefix('maml-bench-')[:8]}")
    inputs = tmp_path / "inputs.npz"
    write_inputs(inputs, BENCHES["sinusoid"], race.SEED)
    job = Job(before, Path(sys.executable), "sinusoid", inputs, 1, tmp_path)
    assert job.surroundings("default")["PYTHONPATH"] == str(tree)
    told = [sys.executable, "-c", "import maml_bench; print(maml_bench.__file__)"]
    found = subprocess.run(
        told, env=job.surroundings("default"), capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Path(found.stdout.strip()).is_relative_to(tree)
    assert job.gradient(tmp_path / "gradient.npz")["library_version"] == version("maml-bench")
    assert race.parse(["--against=HEAD", f"--envs={tmp_path}"]).peers[1] == before, "what is unpacked is used again"


@pytest.fixture
def scripts(tmp_path):
    """A job that runs a script in place of an adapter."""

    def job(text: str) -> Job:
        script = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        script.write_text(text)
        return Job(
            replace(PEERS["maml-bench"], script=str(script)), Path(sys.executable), "sinusoid", script, 1, tmp_path
        )

    return job


SECONDS = "import json, sys; print(json.dumps(sys.argv[sys.argv.index('--seconds') + 1]))"


def test_each_of_two_in_turns_gets_as_much_time_as_if_it_raced_alone(scripts):
    assert processes.time_in_turns([scripts(SECONDS), scripts(SECONDS)], "default", 2.0) == ["4.0", "4.0"]


def test_one_that_fails_in_its_turn_does_not_stop_the_other(scripts):
    failed, answer = processes.time_in_turns([scripts("import nonesuch"), scripts("print('{}')")], "default", 1.0)
    assert isinstance(failed, processes.Failed)
    assert "nonesuch" in str(failed)
    assert answer == {}


def test_surroundings_differ_by_memory_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "mine")
    monkeypatch.setenv("PYTHONPATH", "mine")
    job = Job(PEERS["jax-map"], tmp_path / "python", "sinusoid", tmp_path / "x.npz", 2, tmp_path)
    retained, default = job.surroundings("retained"), job.surroundings("default")
    assert {name: retained[name] for name in SETTINGS} == SETTINGS
    assert not set(SETTINGS) & set(default)
    assert "PYTHONPATH" not in retained
    assert retained["OMP_NUM_THREADS"] == retained["MKL_NUM_THREADS"] == "2"
    assert job.command()[-2:] == ["--schedule", "jit(grad(lax.map))"]
