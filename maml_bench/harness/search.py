"""A search as it stands in its file: all trials, also those that diverged or failed, and which of them is best."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maml_bench.checked import construct_json
from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_write, read_bytes
from maml_bench.harness.search_space import Dimension, settings_of
from maml_bench.record import Metric, as_text
from maml_bench.record_search import Status, TrialScore


@dataclass
class Trial:
    """One trial. ``status`` is None until it is over. ``validation`` is its score, and ``step`` the outer steps after
    which it was reached; both are None where there is none. ``nonfinite`` is the number of validation tasks that the
    score leaves out, because theirs is not finite. ``record`` is a path below the folder of the search."""

    number: int
    values: dict[str, Any]
    status: Status | None = None
    reason: str | None = None
    validation: float | None = None
    step: int | None = None
    train_s: float = 0.0
    record: str | None = None
    nonfinite: int = 0

    @property
    def over(self) -> bool:
        return self.status is not None

    def score(self) -> TrialScore:
        """What stands of it in the record of a winner."""
        status = self.status or "failed"
        return TrialScore(self.number, settings_of(self.values), self.validation, self.step, status, self.nonfinite)


@dataclass
class Search:
    """What the file of a search holds. ``outer_steps`` are those of each trial."""

    recipe: str
    preset: str
    setup: str
    fixed: list[str]
    space: list[str]
    seed: int
    sampler: str
    outer_steps: int
    metric: Metric
    trials: list[Trial] = field(default_factory=list)
    schema: int = 1

    @property
    def title(self) -> str:
        """Recipe and setup, for messages."""
        return f"{self.recipe} {self.setup}"

    @property
    def done(self) -> list[Trial]:
        """The trials that are over."""
        return [trial for trial in self.trials if trial.over]

    @property
    def ranked(self) -> list[Trial]:
        """The trials that are over, the best first, and last those without a score.

        One whose score leaves out tasks comes after all whose score is of all tasks, see record.Metric.order.
        """
        order = self.metric.order
        return sorted(
            self.done, key=lambda t: (t.validation is None, order(t.validation or 0.0, t.nonfinite), t.number)
        )

    @property
    def winner(self) -> Trial | None:
        """The trial with the best score, of equal ones the first; None where none has a score."""
        return next((trial for trial in self.ranked if trial.validation is not None), None)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        atomic_write(path, as_text(asdict(self)))


def load(path: Path, space: Sequence[Dimension]) -> Search:
    """Read the file of a search of ``space``.

    Raises:
        MamlBenchError: it cannot be read, or it does not hold trials of this space.
    """
    where = f"search {path}"
    try:
        search = construct_json(Search, read_bytes(path), lambda raw: raw, where)
    except OSError as error:
        raise MamlBenchError(f"{where} cannot be read: {error.strerror}") from error
    for number, trial in enumerate(search.trials, 1):
        held = trial.values.keys() == {one.key for one in space}
        if trial.number != number or not held or not all(one.holds(trial.values[one.key]) for one in space):
            raise MamlBenchError(f"{where} is damaged: its trial {number} is not of the space that is searched")
        if not trial.over and number < len(search.trials):
            raise MamlBenchError(f"{where} is damaged: its trial {number} is not over, but others come after it")
    return search
