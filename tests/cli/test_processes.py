"""The command as a process of its own: Ctrl-C from outside, memory kept, and the same command again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import maml_bench

from .conftest import RUN


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupted_process_resumes_by_the_same_command():
    environment = {**os.environ, "PYTHONPATH": str(Path(maml_bench.__file__).parents[1]), "MAML_BENCH_MEMORY": ""}
    settings = ("--set", "outer.steps=400", "--set", "validation.every=400")
    line = [sys.executable, "-m", "maml_bench", "run", "sinusoid-k10", *RUN, *settings, "--json"]
    with subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = process.stderr.readline()
        assert said == "sinusoid-k10 maml seed 0: 400 steps to go\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "stopping after this step" in err
    last = err.splitlines()[-1]
    step = int(last.removeprefix("stopped at step ").partition(";")[0])
    assert last == f"stopped at step {step}; the same command continues from there"
    assert 0 <= step < 400
    assert [path.suffix for path in Path("runs").rglob("*") if path.is_file()] == [".ckpt"]

    again = subprocess.run(line, env=environment, text=True, capture_output=True, check=True, timeout=120)
    assert f"resuming from step {step} of 400\n" in again.stderr
    rows = json.loads(again.stdout)
    assert {(row["status"], row["outer_steps"]) for row in rows} == {("ok", 400)}
    record = json.loads(Path("runs", rows[0]["path"]).read_text())
    assert record["segments"] == 2
    assert record["memory"] == (
        "retained" if sys.platform == "linux" and os.confstr("CS_GNU_LIBC_VERSION") else "default"
    )
