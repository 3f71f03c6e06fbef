"""Searches from Python: ``maml_bench.tune``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maml_bench.api.running import as_settings, numbers_of, setups_of
from maml_bench.errors import MamlBenchError, shortened
from maml_bench.harness.layers import as_setting
from maml_bench.harness.recipe import AnySetup, default_setups
from maml_bench.harness.run import Options
from maml_bench.harness.run_state import Observer, Silent
from maml_bench.harness.search_plan import plans
from maml_bench.harness.search_space import is_range
from maml_bench.harness.tuning import Tuning
from maml_bench.harness.tuning import tune as steps_of


def tune(
    recipe: str,
    ranges: Mapping[str, str | Sequence[Any]],
    setup: AnySetup | Sequence[AnySetup] | None = None,
    seeds: int | Sequence[int] = 0,
    preset: str = "quick",
    set: Mapping[str, Any] | None = None,
    *,
    trials: int = 20,
    trial_steps: int | None = None,
    search_seed: int = 0,
    tasks: Any = None,
    network: Any = None,
    results: str | Path = "runs",
    device: str = "cpu",
    threads: int | None = None,
    force: bool = False,
    observer: Observer | None = None,
) -> list[Tuning]:
    """Search for values of keys on validation alone, then run the best ones with all tests.

    All setups get the same number of trials in the same ranges. No test task is drawn before all searches are over. All
    trials stay in one file below ``results``. If a search is interrupted by Ctrl-C, the same call continues it, and a
    call with more ``trials`` goes on from those that are there.

    Args:
        recipe: the name of a recipe, or the path of a recipe file.
        ranges: what is searched: for each key a range such as ``"0.001..0.1"``, or on a logarithmic scale
            ``"0.001..0.1:log"``, or choices as a list such as ``["constant", "cosine"]`` or as a text with ``|``
            between them.
        setup: as `run` takes it. The default is the first setup of the recipe.
        seeds: one seed or several, with which the best values are run at the end.
        preset: the budget: ``smoke`` (seconds), ``quick`` (minutes) or ``paper`` (all of it).
        set: keys with one value in all trials, such as ``{"outer.meta_batch": 8}``.
        trials: the number of trials of each setup, 1 or more.
        trial_steps: the outer steps of a trial, at most those of the recipe, which are the default.
        search_seed: the seed of the values that are tried and of the training of every trial.
        tasks: another family of tasks, as `run` takes it.
        network: another network, as `run` takes it.
        results: the folder for records, weights, checkpoints and the files of searches.
        device: ``cpu`` or ``cuda``.
        threads: processor threads; the default is all cores, or one if the tasks are as small as sinusoids.
        force: begin an interrupted trial and the runs at the end from the start. Finished trials always stay.
        observer: who is told of the progress; by default nobody.

    Returns:
        What was found for each setup, in their order.

    Raises:
        MamlBenchError: the input is at fault, and nothing has been trained then; the extra ``tune`` is not installed;
            or the file of the search is damaged.
    """
    numbers = numbers_of(seeds)
    setups = setups_of(setup) or default_setups(recipe)[:1]
    settings = [*as_settings(set or {}), *(_as_range(key, asked) for key, asked in ranges.items())]
    planned = plans(
        recipe, setups, settings, trials,
        preset=preset, seed=search_seed, trial_steps=trial_steps, tasks=tasks, network=network, device=device,
    )  # fmt: skip
    watch, options = observer or Silent(), Options(Path(results), device, threads, force=force)
    found: dict[int, Tuning] = {}
    for tuning, _ in steps_of(planned, numbers, options, watch, watch):
        found[id(tuning)] = tuning
    return list(found.values())


def _as_range(key: str, asked: Any) -> str:
    """A range or choices as ``--set`` takes them.

    Raises:
        MamlBenchError: it is neither, or a recipe cannot hold one of the choices.
    """
    if isinstance(asked, str):
        if not is_range(asked):
            raise MamlBenchError(
                f"ranges[{key!r}] is {shortened(asked)}, but must be a range such as '0.001..0.1:log' or choices such "
                "as 'a|b': a key with one value belongs into `set`"
            )
        return f"{key}={asked}"
    if not isinstance(asked, list | tuple) or len(asked) < 2:
        raise MamlBenchError(
            f"ranges[{key!r}] is {shortened(asked)}, but must be a text such as '0.001..0.1:log' or a list of at least "
            "two choices"
        )
    try:
        written = [as_setting(key, choice).partition("=")[2] for choice in asked]
    except (TypeError, ValueError) as error:
        raise MamlBenchError(f"ranges[{key!r}] has a choice that cannot be the value of a key: {error}") from error
    if any("|" in choice for choice in written):
        raise MamlBenchError(f"ranges[{key!r}] has a choice with '|' in it, which cannot be searched")
    return f"{key}={'|'.join(written)}"
