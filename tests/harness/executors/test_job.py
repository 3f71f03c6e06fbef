"""What travels to a worker, and what a worker does with it."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maml_bench.cli import app
from maml_bench.errors import MamlBenchError
from maml_bench.harness import preflight
from maml_bench.harness.executors.job import Ended, Job, work
from maml_bench.harness.recipe import resolve, resolve_all
from maml_bench.harness.run import Options, run
from maml_bench.harness.run_state import Silent

from ..conftest import TINY

MINE = """
from dataclasses import dataclass

from maml_bench.setups.maml import MAML


@dataclass(frozen=True)
class Mine(MAML):
    pass
"""


@pytest.fixture
def job(tiny, options):
    return Job(tiny(), 3, options)


def never():
    return False


def test_a_job_resolves_in_another_folder_with_the_users_own_code(tmp_path, monkeypatch):
    """Paths that are relative here mean the same there, and they do not enter the record."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    for kind in ("tasks", "network"):
        assert CliRunner().invoke(app, ["new", kind, f"own_{kind}"]).exit_code == 0
    own = {"setups": ["./mine.py"], "tasks": "./own_tasks.py", "network": "./own_network.py"}
    (recipe,) = resolve_all("sinusoid-k10", preset="smoke", settings=TINY, **own)
    job = Job(recipe, 0, Options(Path("runs"), threads=1))
    travelled = pickle.loads(pickle.dumps(job.portable(30.0, machines=True)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outcome = work(travelled, Silent(), never)
    assert outcome.path.is_relative_to(tmp_path / "runs")
    assert str(tmp_path) not in outcome.path.read_text()
    back = Ended.of(job, replace(outcome, path=Path(job.options.results).absolute() / "x"))
    assert back.outcome.path == Path("runs/x")


@pytest.mark.parametrize("name", ["omniglot-5w1s", "navigation", "bandit", "sinusoid-k10"])
def test_recipes_of_all_kinds_travel_as_they_are(name):
    recipe = resolve(name, preset="smoke")
    assert pickle.loads(pickle.dumps(Job(recipe, 0, Options()).portable(1.0))).recipe == recipe


def test_a_worker_for_which_the_recipe_is_another_one_refuses_it(job):
    answer = work(replace(job.portable(30.0), recipe_id="00000000"), Silent(), never)
    assert isinstance(answer, MamlBenchError)
    assert "install the same version there" in str(answer)


def test_two_workers_never_take_the_same_run(job):
    """Also where they are on two machines, which have no lock in common but that in the results folder."""
    sent = job.portable(30.0, machines=True)
    path = run(job.recipe, job.seed, job.options).path
    with preflight.locked(path.absolute(), "busy", shared=sent.options.locks):
        answer = work(sent, Silent(), never)
        assert "another process is at work on" in str(answer)
        assert preflight.at_work(path, job.options.results / preflight.SHARED_LOCKS)
    assert not preflight.at_work(path, job.options.results / preflight.SHARED_LOCKS)
    assert work(sent, Silent(), never).how == "already there"
    assert not list((job.options.results / "locks").iterdir())


def test_a_forced_run_that_is_begun_again_keeps_its_checkpoint(job, listener):
    first = run(job.recipe, job.seed, job.options).record
    forced = replace(job, options=replace(job.options, force=True)).portable(0.0)
    stop = iter([False] * 6)
    work(forced, Silent(), lambda: next(stop, True))
    outcome = work(forced, listener, never, again=True)
    assert any(sentence.startswith("resuming from step ") for sentence in listener.sentences)
    assert outcome.how == "done"
    assert outcome.record.evaluations == first.evaluations


def test_what_is_not_begun_when_all_is_to_stop_is_not_begun(job):
    assert work(job.portable(30.0), Silent(), lambda: True).how == "interrupted"
    assert not job.options.results.exists()
