"""A place that cannot be written any more while a run goes on: nothing that was trained is lost."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import maml_bench
from maml_bench.errors import CannotWrite
from maml_bench.harness import checkpoint
from maml_bench.harness import run as module
from maml_bench.harness.run import Options, run
from maml_bench.record_files import load_all

from .conftest import Listener
from .test_run import results_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refusing(monkeypatch, folders, number, after=0):
    """Let no more files be begun below some folders, after so many and the one that is tried before the training."""
    make, count = tempfile.mkstemp, [after + 1]

    def refuse(*arguments, dir, **options):
        if any(Path(dir).is_relative_to(folder) for folder in folders):
            count[0] -= 1
            if count[0] < 0:
                raise OSError(number, os.strerror(number), str(dir))
        return make(*arguments, dir=dir, **options)

    monkeypatch.setattr(tempfile, "mkstemp", refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("after", [0, 1, 2, 4, 5], ids=lambda n: f"after {n} files")
def test_what_was_trained_is_kept_and_the_same_call_goes_on(tiny, options, listener, monkeypatch, number, after):
    """After one file the checkpoint is written, then follow four files of weights and the record."""
    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", 1e9)
    whole = run(tiny(), 0, Options(options.results.with_name("whole"), threads=1))
    with monkeypatch.context() as patch:
        refusing(patch, [options.results], number, after)
        with pytest.raises(CannotWrite) as caught:
            run(tiny(), 0, options, observer=listener)
    sentence = str(caught.value)
    assert f"cannot be written ({os.strerror(number)}); what was trained is kept in " in sentence
    assert sentence.endswith(", and the same command continues from there when that is mended")
    assert ("cache/maml-bench/kept" in sentence) == (after == 0)
    assert list(load_all(options.results)) == []
    again = Listener()
    outcome = run(tiny(), 0, options, observer=again)
    assert next(s for s in again.sentences if "resuming" in s).startswith("resuming from step 12 of 12")
    assert results_of(outcome) == results_of(whole)
    assert [path for path in options.results.parent.rglob("*") if path.suffix in (".ckpt", ".tmp")] == []


def test_a_results_folder_that_becomes_a_file_loses_nothing(tiny, options):
    class Vandal(Listener):
        def stepped(self, step, loss):
            if step == 5:
                options.results.rename(options.results.with_name("moved"))
                options.results.touch()

    options.results.mkdir()
    with pytest.raises(CannotWrite, match=r"what was trained is kept in .*kept"):
        run(tiny(), 0, options, observer=Vandal())
    options.results.unlink()
    again = Listener()
    assert run(tiny(), 0, options, observer=again).record.whole
    assert "resuming from step 12 of 12, which was kept in " in "".join(again.sentences)


def test_where_there_is_no_place_at_all_the_run_waits_and_says_so(tiny, options, listener, monkeypatch, tmp_path):
    patch = pytest.MonkeyPatch()
    refusing(patch, [options.results, tmp_path / "cache", tmp_path / "locks"], errno.ENOSPC)
    waited = []

    def pause(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            patch.undo()

    monkeypatch.setattr(module, "pause", pause)
    try:
        assert run(tiny(), 0, options, observer=listener).record.whole
    finally:
        patch.undo()
    told = [s for s in listener.sentences if "nowhere" in s]
    assert told == ["the checkpoint can be written nowhere (No space left on device); waiting until there is room"]
    assert waited == [module.WAIT_S] * 3


def test_the_checkpoint_with_the_most_steps_counts_and_all_are_removed(tiny, options):
    run(tiny(), 0, options, interrupted=iter([False] * 3 + [True] * 9).__next__)
    [place] = options.results.rglob("*.ckpt")
    first = checkpoint.load(place, {})
    other = next(iter(checkpoint.elsewhere(place)))
    checkpoint.save(other, first.__class__(**{**vars(first), "step": first.step + 1}))
    assert checkpoint.find(place, {})[1] == other
    checkpoint.remove(place)
    assert not place.exists()
    assert not other.exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a file system")
def test_a_full_file_system_loses_nothing(tmp_path):
    """64 kB hold the first checkpoints, but not the record with its weights."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1])}
        line = [sys.executable, "-m", "maml_bench", "run", "sinusoid-k10", "--preset", "smoke", "--threads", "1"]

        def once():
            return subprocess.run(
                [*line, "--no-report", "--results", small / "runs"], env=environment, capture_output=True, text=True,
                check=False, timeout=120,
            )  # fmt: skip

        first = once()
        assert first.returncode == 74, first.stderr
        assert "(No space left on device); what was trained is kept in " in first.stderr.splitlines()[-1]
        assert "Traceback" not in first.stderr
        assert once().returncode == 74, "while there is no room"
        subprocess.run(["mount", "-o", "remount,size=16m", small], check=True)
        second = once()
        assert second.returncode == 0, second.stderr
        assert "resuming from step " in second.stderr
        assert [record.whole for _, record in load_all(small / "runs")] == [True]
        assert [path for path in small.rglob("*") if path.suffix in (".ckpt", ".tmp")] == []
    finally:
        subprocess.run(["umount", small], check=False)
