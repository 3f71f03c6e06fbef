"""Whether the trials of a recipe fit a setup that acts by a memory."""

from collections.abc import Iterator, Sequence

from maml_bench.core.memory import Remembering
from maml_bench.errors import MamlBenchError
from maml_bench.harness.sections import EpisodeShape, Test, Validation
from maml_bench.rl.protocol import Acting


def refuse_unfit(
    where: str,
    name: str,
    setup: Remembering,
    tasks: Acting,
    steps: int,
    shapes: tuple[EpisodeShape, Validation, Sequence[Test]],
) -> None:
    """Check the trials of training, where ``steps`` is ``inner.steps``, of validation and of the tests.

    Raises:
        MamlBenchError: episodes follow each other within a rollout, the rollouts of a trial differ in number, or a
            trial has more steps than the memory holds.
    """
    if tasks.lengths_vary():
        raise MamlBenchError(
            f"{where}: tasks.fill puts several episodes into a rollout, but {name} carries its memory from one rollout "
            "to the next: set tasks.fill=false"
        )
    most = setup.longest()
    for section, shape, before in _trials(steps, *shapes):
        if before and shape.shot != shape.query:
            raise MamlBenchError(
                f"{where}: {section}.shot is {shape.shot} and {section}.query is {shape.query}, but {name} goes on "
                "with the same trials from rollout to rollout: make them equal"
            )
        length = tasks.longest() * (before + 1)
        if most is not None and length > most:
            raise MamlBenchError(
                f"{where}: a trial of {section} has {length} steps, but the memory of {name} holds {most}: set "
                f"setup.steps={length}"
            )


def _trials(
    steps: int, train: EpisodeShape, validation: Validation, tests: Sequence[Test]
) -> Iterator[tuple[str, EpisodeShape, int]]:
    """Each section with its shape and the most rollouts before the last one of a trial."""
    yield "train", train, steps
    if validation.episodes:
        yield "validation", validation, validation.inner_steps
    for number, test in enumerate(tests):
        yield f"test[{number}]", test, max(test.inner_steps)
