"""What a search tries next: a point that the sampler of optuna makes of the trials before.

The sampler is the tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for hyper-parameter
optimization"), whose first ten points are random.
"""

from collections.abc import Sequence
from typing import Any

from maml_bench.harness.executors.job import extra
from maml_bench.harness.search_space import Dimension, Values, points, size
from maml_bench.harness.seeding import stream_key

AGAIN = 100
"""So often the sampler is asked for a point that no trial has had."""


def optuna() -> Any:
    """The library, whose messages about every study are left out.

    Raises:
        MamlBenchError: it is not installed.
    """
    module = extra("optuna", "tune", "tune")
    module.logging.set_verbosity(module.logging.WARNING)
    return module


def sampler() -> str:
    """What chooses the points, and its version."""
    return f"TPE of optuna {optuna().__version__}"


def proposed(space: Sequence[Dimension], known: Sequence[tuple[Values, int | None]], seed: int) -> Values:
    """The next point, which none of the ``known`` trials has had as long as the space has others.

    ``known`` has the values of each trial before and its place among all of them, 0 for the best, None where it has no
    score. The sampler looks only at the order of scores, so it gets the places. It is made anew for
    every point, from the seed and the number of the trial. So the same trials are followed by the same point, also
    after an interruption.
    """
    library = optuna()
    distributions = {one.key: _distribution(library, one) for one in space}
    trials = [_trial(library, space, distributions, values, place) for values, place in known]
    had = [values for values, _ in known]
    for attempt in range(AGAIN):
        key = stream_key(f"trial {len(known) + 1} of a search, attempt {attempt + 1}", seed)
        study = library.create_study(
            sampler=library.samplers.TPESampler(seed=key % 2**32),
            direction="minimize",
        )
        study.add_trials(trials)
        asked = study.ask(distributions).params
        values = {one.key: one.choices[asked[one.key]] if one.choices else one.rounded(asked[one.key]) for one in space}
        if values not in had:
            return values
    return values if size(space) is None else next(point for point in points(space) if point not in had)


def _distribution(library: Any, one: Dimension) -> Any:
    """What the library calls a dimension. Choices are numbered, since it takes no lists as choices."""
    if one.choices:
        return library.distributions.CategoricalDistribution(range(len(one.choices)))
    kind = library.distributions.IntDistribution if one.whole else library.distributions.FloatDistribution
    return kind(one.low, one.high, log=one.log)


def _trial(
    library: Any, space: Sequence[Dimension], distributions: dict[str, Any], values: Values, place: int | None
) -> Any:
    """A trial for the sampler. One without a score counts as pruned, which is worse than every score."""
    return library.trial.create_trial(
        state=library.trial.TrialState.PRUNED if place is None else library.trial.TrialState.COMPLETE,
        value=place,
        params={one.key: one.choices.index(values[one.key]) if one.choices else values[one.key] for one in space},
        distributions=distributions,
    )
