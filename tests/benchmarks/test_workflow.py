"""``pytest benchmarks``: baselines by machine, compared as pytest-benchmark does it, in the memory of a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maml_bench.harness import machine, memory

CONFTEST = Path(__file__).parents[2] / "benchmarks" / "conftest.py"
SUITE = """
import os, time

def test_nap(benchmark):
    benchmark.pedantic(lambda: time.sleep(float(os.environ["NAP"])), rounds=3)
"""


@pytest.fixture
def suite(tmp_path):
    """Call pytest on a suite of one nap, in a folder of its own."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    (tmp_path / "benchmarks").mkdir()
    shutil.copy(CONFTEST, tmp_path / "benchmarks")
    (tmp_path / "benchmarks" / "test_nap.py").write_text(SUITE)

    def call(*arguments, nap=0.02, **settings):
        ours = (*memory.SETTINGS, *(name for name in os.environ if name.startswith("PYTEST_")))
        plain = {name: value for name, value in os.environ.items() if name not in ours}
        plain |= {"NAP": str(nap), "OMP_NUM_THREADS": "1", memory.CHOICE: "default", **settings}
        paths = [str(CONFTEST.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider", *arguments],
            cwd=tmp_path,
            env=plain | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_a_baseline_is_saved_by_machine_and_a_slower_run_fails_against_it(suite, tmp_path):
    first = suite("--benchmark-autosave", "--benchmark-compare")  # no baseline yet: a warning, no error
    assert first.returncode == 0
    assert f"machine {machine.identity()}, torch" in first.stdout
    (saved,) = (tmp_path / ".benchmarks" / machine.identity()).rglob("*.json")
    content = json.loads(saved.read_text())
    assert content["machine_info"] == {"machine": machine.identity(), **machine.describe()}
    assert set(content["benchmarks"][0]["extra_info"]) == {"threads", "memory", "torch", "machine_gflops"}

    compare = ("--benchmark-compare", "--benchmark-compare-fail=median:100%")
    slower = suite(*compare, nap=0.2)
    assert "baseline: torch" in slower.stderr
    assert slower.returncode == 1
    assert "slower than the baseline" in slower.stderr
    assert "Traceback" not in slower.stdout + slower.stderr

    other = suite("--benchmark-compare", OMP_NUM_THREADS="2")
    assert other.returncode == 4
    assert "the baseline was made with threads 1, this run has 2" in other.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="memory is retained with glibc only")
def test_memory_is_retained_unless_declined_and_the_header_says_so(suite, tmp_path):
    kept = suite("--benchmark-storage", str(tmp_path / "mine"), "--benchmark-autosave", MAML_BENCH_MEMORY="")
    assert kept.returncode == 0
    assert "retained memory" in kept.stdout
    assert list((tmp_path / "mine").rglob("*.json"))
    assert not (tmp_path / ".benchmarks").exists()
    declined = suite("--benchmark-compare-fail=median:10%")
    assert "default memory" in declined.stdout
    assert declined.returncode == 4
    assert "requires valid --benchmark-compare" in declined.stderr
