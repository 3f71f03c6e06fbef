"""Weights from files under any protocol, as a Record of kind ``evaluation``: nothing is trained."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from maml_bench import registry
from maml_bench.core.normalisation import MODES
from maml_bench.engine.execution import refuse_unknown
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.files import remove_leftovers
from maml_bench.harness import machine, meta_test, preflight
from maml_bench.harness.build import build, rehearse, threads_for
from maml_bench.harness.protocols import asked_tests, normalises_batches
from maml_bench.harness.recipe import Recipe, Test
from maml_bench.harness.record_of_run import Segment, conditions_of, record_of
from maml_bench.harness.run import Options, Outcome, sentence
from maml_bench.harness.run_state import Observer, Silent
from maml_bench.harness.weights import LEARNER, Weights
from maml_bench.own_faults import explaining, trace_of
from maml_bench.record import Evaluation, Record, relative_path, weights_id
from maml_bench.record_files import load
from maml_bench.record_search import Status


def setup_of(files: Sequence[Weights]) -> str | None:
    """The setup that the weights say they are of, if this package has it."""
    named = {file.header.get("setup") for file in files}
    return named.pop() if len(named) == 1 and named <= set(registry.setup_names()) else None


def evaluate_weights(
    recipe: Recipe,
    files: Sequence[Weights],
    options: Options | None = None,
    *,
    seed: int | None = None,
    normalisation: str | None = None,
    episodes: int | None = None,
    observer: Observer | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Score ``files`` on the tests of ``options.protocols`` (none: paper); leave a Record below ``options.results``.

    Several files are tested together, as an ensemble. What an earlier record of the same weights holds stays in it.

    Args:
        recipe: tasks, network, inner loop and tests; its budget does not matter.
        files: what was loaded with harness.weights.load.
        options: where and how; budgets mean nothing here.
        seed: of what a test draws by seed, which the test split does not; default: that of the weights, else 0.
        normalisation: one of core.statistics.MODES instead of the tests' own.
        episodes: tasks to test on instead of the tests' own number.
        observer: who watches.
        interrupted: asked between tasks; once true, nothing is written.

    Raises:
        MamlBenchError: the input is at fault, or another process is at work on the same record.
    """
    options, observer = options or Options(), observer or Silent()
    if normalisation is not None and normalisation not in MODES:
        raise MamlBenchError(f"no normalisation {normalisation!r}{nearest(normalisation, MODES)}")
    if registry.build_setup(recipe.setup, f"recipe {recipe.id!r}").network_per_task:
        raise MamlBenchError(
            f"the setup {recipe.setup['name']!r} starts each test task from a new network here, so it would not use "
            "the weights: set setup.networks=one"
        )
    tests = _asked(recipe, options.protocols or ("paper",), normalisation, episodes)
    device = preflight.usable_device(options.device)
    if options.schedule != "auto":
        refuse_unknown(options.schedule)
    machine.commit()
    seed = _number_of(files[0], "seed") or 0 if seed is None else seed
    preflight.refuse_unfit_seed(seed)
    content = weights_id([file.sha256 for file in files])
    path = options.results / relative_path(recipe.plain(), recipe.recipe_id, seed, machine.identity(device), content)
    preflight.refuse_unwritable(path)
    remove_leftovers(options.results)
    with preflight.alone(path):
        machine.reset_peak_memory(device)
        with explaining():
            training = build(recipe, seed, device, options.schedule)
        what = f"{recipe.setup['name']} on {recipe.id}"
        models = [(_number_of(file, "step"), file.fit(training.meta, what)) for file in files]
        with explaining():
            rehearse(training, tests)
        threads = options.threads or threads_for(training)
        torch.set_num_threads(threads)
        for file in files:
            observer.said(_about(file))
        gflops = machine.convolution_gflops(device)
        status: Status = "ok"
        reason, trace, found = None, "", list[Evaluation]()
        try:
            found = meta_test.evaluations(training, tests, observer, interrupted, given=models)
        except meta_test.Stopped:
            return Outcome("interrupted", 0)
        except MamlBenchError:
            raise
        except Exception as error:
            status, reason, trace = "failed", sentence(error, training.setup), trace_of(error)
        conditions = conditions_of(training, threads)
        record = record_of(
            *(training, conditions, Segment(), gflops, status, reason),
            meta_test.joined(_earlier(path, training.tasks.version), found),
            kind="evaluation",
            weights=[{"file": f.path.name, "sha256": f.sha256, "header": _told(f)} for f in files],
            outer_steps=0,
            budget_steps=0,
            trace=trace,
        )
        record.save(options.results)
        return Outcome("done", 0, record, path)


def _asked(recipe: Recipe, protocols: Sequence[str], normalisation: str | None, episodes: int | None) -> list[Test]:
    """The tests, with another normalisation where the network has statistics, and another number of tasks."""
    changes: dict[str, Any] = {"episodes": episodes} if episodes else {}
    changes |= {"normalisation": normalisation} if normalisation and normalises_batches(recipe) else {}
    return list(dict.fromkeys(replace(test, **changes) for test in asked_tests(recipe, protocols)))


def _earlier(path: Path, version: int) -> list[Evaluation]:
    """What an earlier record of the same weights holds, if it is of the same tasks."""
    if not path.exists():
        return []
    earlier: Record = load(path)
    return earlier.evaluations if earlier.task_version == version else []


def _told(file: Weights) -> dict[str, str]:
    """The header without the table of the learner, which the recipe of the record says already."""
    return {key: text for key, text in file.header.items() if key != LEARNER}


def _number_of(file: Weights, key: str) -> int | None:
    """A whole number in the header of a file; None where it holds something else."""
    text = file.header.get(key, "")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _about(file: Weights) -> str:
    known = {key: file.header[key] for key in ("recipe", "setup", "preset", "seed", "step") if file.header.get(key)}
    words = ", ".join(f"{key} {value}" for key, value in known.items()) or "nothing said of where they come from"
    return f"weights {file.path} ({file.sha256[:8]}): {words}"
