"""Whether the numbers of classes and examples in a recipe fit its tasks and its setup."""

from collections.abc import Sequence

from maml_bench import registry
from maml_bench.core.setup import Setup
from maml_bench.errors import MamlBenchError
from maml_bench.harness.sections import EpisodeShape, Test, Validation
from maml_bench.types import TaskDistribution


def refuse_unfit(
    where: str,
    name: str,
    setup: Setup,
    tasks: TaskDistribution,
    shapes: tuple[EpisodeShape, Validation, Sequence[Test]],
) -> None:
    """Check the shapes of training, validation and the tests; ``name`` is that of the setup.

    Raises:
        MamlBenchError: tasks without classes have a number of them, there is no example to learn from or to be scored
            on, or there is a query that nothing reads.
    """
    train, validation, tests = shapes
    scored: dict[str, EpisodeShape] = {"validation": validation} if validation.episodes else {}
    scored |= {f"test[{number}]": test for number, test in enumerate(tests)}
    for at, shape in {"train": train, **scored}.items():
        if shape.way > 1 and not registry.has_ways(type(tasks)):
            raise MamlBenchError(f"{where}: {at}.way is {shape.way}, but must be 1: {tasks.name} has no classes")
        if shape.way < 2 and registry.has_ways(type(tasks)):
            raise MamlBenchError(
                f"{where}: {at}.way is {shape.way}, but must be at least 2: one class leaves nothing to tell apart"
            )
        if not shape.shot and not registry.scored_by_density(tasks):
            raise MamlBenchError(f"{where}: {at}.shot is 0, but must be at least 1: {tasks.name} needs examples")
        if registry.in_order(tasks):
            if shape.query:
                raise MamlBenchError(
                    f"{where}: {at}.query is {shape.query}, but must be 0: {tasks.name} has no query, because each "
                    "example is predicted from those before it"
                )
        elif not shape.query and at != "train":
            raise MamlBenchError(f"{where}: {at}.query is 0, but must be at least 1: a score needs examples")
        elif not shape.query and setup.asks_query():
            raise MamlBenchError(f"{where}: train.query is 0, but {name} learns from the query")
