"""pytest-benchmark as ``pytest benchmarks`` uses it: memory as in ``maml-bench run``, baselines that fit the machine.

A baseline (``--benchmark-autosave``) goes to ``.benchmarks/<machine>``, a folder per kind of machine, so that
``--benchmark-compare`` finds those of this kind only. Each timing carries threads, memory mode, torch version and the
machine's convolution rate; a baseline of other threads or memory is refused.
"""

import sys
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from pytest_benchmark.logger import PytestBenchmarkWarning
from pytest_benchmark.session import PerformanceRegression

from maml_bench.harness import machine, memory

DEFAULT_STORAGE = "file://./.benchmarks"  # of pytest-benchmark
COLUMNS = ["median", "iqr", "min", "max", "rounds"]  # the rest makes lines of 230 characters
SAME = ("threads", "memory")
DRIFT = 0.1


@cache
def surroundings() -> dict[str, Any]:
    """What a timing depends on besides the code, as every timing carries it."""
    return {
        "threads": torch.get_num_threads(),
        "memory": memory.mode(),
        "torch": torch.__version__,
        "machine_gflops": machine.convolution_gflops(),
    }


def in_words(found: dict[str, Any]) -> str:
    """One line of ``surroundings``."""
    return "torch {torch}, {threads} threads, {memory} memory, convolutions at {machine_gflops:,.0f} GFLOP/s".format(
        **found
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start again with retained memory; choose folder and columns before pytest-benchmark makes its session."""
    retain(config)
    warnings.simplefilter("default", PytestBenchmarkWarning)  # a missing baseline is no error
    config.addinivalue_line("filterwarnings", "default::pytest_benchmark.logger.PytestBenchmarkWarning")
    config.option.benchmark_columns = config.option.benchmark_columns or COLUMNS
    if config.option.benchmark_storage == DEFAULT_STORAGE:
        config.option.benchmark_storage = f"file://{config.rootpath / '.benchmarks' / machine.identity()}"


def retain(config: pytest.Config) -> None:
    """As ``maml-bench run`` does; only where pytest is the command itself, and with its hands off the terminal."""
    arguments = config.invocation_params.args
    if not arguments or tuple(sys.orig_argv[-len(arguments) :]) != tuple(arguments) or hasattr(config, "workerinput"):
        return
    if capture := config.pluginmanager.getplugin("capturemanager"):
        capture.suspend_global_capture(in_=True)  # pytest resumes by itself when a test begins
    memory.retain()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The surroundings, and how to have the other memory mode."""
    other = "start it as a command of its own, without glibc settings" if memory.mode() == "default" else "default"
    how = f"{memory.CHOICE}={other}" if memory.mode() == "retained" else other
    return [f"maml-bench: machine {machine.identity()}, {in_words(surroundings())}", f"other memory mode: {how}"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary() -> Iterator[None]:
    """A time that got worse ends the run with a sentence and exit status 1, not with pytest-benchmark's traceback."""
    try:
        return (yield)
    except PerformanceRegression:
        pytest.exit("slower than the baseline, see above", returncode=1)
    except pytest.UsageError as error:
        pytest.exit(str(error), returncode=4)


@pytest.fixture(autouse=True)
def timed_in(request: pytest.FixtureRequest) -> None:
    """Every timing says what it was made in."""
    if "benchmark" in request.fixturenames:
        request.getfixturevalue("benchmark").extra_info.update(surroundings())


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    """The machine as in records, without host names; equal for all runs of a folder, so that nothing warns."""
    return {"machine": machine.identity(), **machine.describe()}


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, benchmarksession: Any, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Say what the baseline was made in, and refuse it where threads or memory differ.

    Raises:
        UsageError: they do.
    """
    before = next((b["extra_info"] for b in compared_benchmark["benchmarks"] if "torch" in b["extra_info"]), None)
    if before is None:
        return
    now = surroundings()
    for key in SAME:
        if before[key] != now[key]:
            raise pytest.UsageError(f"the baseline was made with {key} {before[key]}, this run has {now[key]}")
    benchmarksession.logger.info(f"baseline: {in_words(before)}", newline=False)
    moved = now["machine_gflops"] / before["machine_gflops"] - 1
    if abs(moved) > DRIFT:
        benchmarksession.logger.info(
            f"note: the machine's own convolution rate moved by {moved:+.0%} since the baseline", newline=False
        )
