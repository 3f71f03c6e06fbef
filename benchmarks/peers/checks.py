"""Before a peer may race: does it compute the same meta-gradient as our plain loop over tasks?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .processes import Failed, Job

LIMIT = 1e-4
DOUBLE_LIMIT = 1e-9
"""Of relative errors in float32 and float64. Second derivatives through ReLU and batch-norm amplify rounding, over
several inner steps to percents in float32; float64 tells such a case from a wrong gradient."""


@dataclass(frozen=True)
class Verdict:
    """Whether a peer may race (``status`` ok), why not, and the relative error that decided."""

    status: str
    reason: str | None = None
    error: float | None = None
    library_version: str | None = None
    torch: str | None = None
    schedule: str | None = None
    python: str | None = None


def relative_error(found: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
    """max |found - reference| / max |reference| over all entries of all parameters; infinite if any is not finite.

    Raises:
        ValueError: names or shapes differ.
    """
    if set(found) != set(reference):
        raise ValueError(f"the gradient has no or unknown parameters: {sorted(set(found) ^ set(reference))}")
    for name, values in reference.items():
        if found[name].shape != values.shape:
            raise ValueError(f"the gradient of {name} has shape {found[name].shape}, not {values.shape}")
    if not all(np.isfinite(values).all() for values in found.values()):
        return float("inf")
    difference = max(float(np.abs(found[name] - values).max()) for name, values in reference.items())
    return difference / max(float(np.abs(values).max()) for values in reference.values())


class Reference:
    """The loop's gradient of one bench, in float32 and, when a peer first needs it, in float64."""

    def __init__(self, loop: Job) -> None:
        self._loop = loop
        self._stored: dict[bool, dict[str, np.ndarray]] = {}

    def judge(self, job: Job) -> Verdict:
        """Compare the peer's gradient with the loop's. A loop that fails lets nobody race."""
        try:
            answer, error = self._compare(job, double=False)
            if answer["status"] != "ok":
                return Verdict(answer["status"], answer["reason"])
            about = {key: answer[key] for key in ("library_version", "torch", "schedule", "python")}
            if error <= LIMIT:
                return Verdict("ok", None, error, **about)
            _, exact = self._compare(job, double=True)
        except (Failed, ValueError) as reason:
            return Verdict("failed", str(reason))
        if exact <= DOUBLE_LIMIT:
            return Verdict("ok", f"checked in float64; {error:.1e} in float32 is rounding", exact, **about)
        reason = f"relative error {error:.1e} in float32 and {exact:.1e} in float64"
        return Verdict("gradient differs", reason, error, **about)

    def _compare(self, job: Job, *, double: bool) -> tuple[dict[str, str], float]:
        out = job.work / f"gradient-{job.bench}-{job.peer.name}{'-double' * double}.npz"
        answer = job.gradient(out, double=double)
        if answer["status"] != "ok":
            return answer, float("inf")
        return answer, relative_error(_load(out), self._gradient(double))

    def _gradient(self, double: bool) -> dict[str, np.ndarray]:
        if double not in self._stored:
            out = self._loop.work / f"reference-{self._loop.bench}{'-double' * double}.npz"
            self._loop.gradient(out, double=double)
            self._stored[double] = _load(out)
        return self._stored[double]


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}
