"""Who may race: the comparison of gradients, and what is said about those who may not."""

import numpy as np
import pytest
from peers.checks import Reference, relative_error
from peers.processes import Failed

ABOUT = {"status": "ok", "reason": None, "library_version": "1.0", "torch": None, "schedule": "s", "python": "3.9"}


class FakeJob:
    """A job that saves the gradients it was given, by precision."""

    def __init__(self, work, name, single, double=None, answer=ABOUT):
        self.work, self.bench, self.asked = work, "some-bench", []
        self.peer = type("Peer", (), {"name": name})
        self._values, self._answer = {False: single, True: double}, answer

    def gradient(self, out, *, double=False):
        self.asked.append(double)
        if isinstance(self._values[double], Exception):
            raise self._values[double]
        if self._values[double] is not None:
            np.savez(out, w=np.asarray(self._values[double], dtype=np.float64))
        return self._answer


def judge(tmp_path, peer_single, peer_double=None, *, loop=(1.0, 2.0), answer=ABOUT):
    reference = FakeJob(tmp_path, "loop", loop, loop)
    return Reference(reference).judge(FakeJob(tmp_path, "peer", peer_single, peer_double, answer)), reference


def test_the_error_is_the_largest_difference_over_the_largest_entry():
    reference = {"w": np.array([1.0, -4.0]), "b": np.array([0.0])}
    assert relative_error({"w": np.array([1.0, -4.0]), "b": np.array([0.2])}, reference) == pytest.approx(0.05)
    assert relative_error({"w": np.array([1.0, np.nan]), "b": np.array([0.0])}, reference) == float("inf")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"w": np.zeros(2)}, "no or unknown parameters: \\['b'\\]"),
        ({"w": np.zeros(3), "b": np.zeros(1)}, "gradient of w has shape \\(3,\\), not \\(2,\\)"),
    ],
)
def test_other_names_or_shapes_are_refused(found, sentence):
    with pytest.raises(ValueError, match=sentence):
        relative_error(found, {"w": np.zeros(2), "b": np.zeros(1)})


def test_agreement_in_float32_suffices(tmp_path):
    verdict, loop = judge(tmp_path, (1.0, 2.00001))
    assert verdict.status == "ok"
    assert verdict.error == pytest.approx(5e-6)
    assert (verdict.library_version, verdict.python) == ("1.0", "3.9")
    assert loop.asked == [False]


def test_rounding_is_told_from_a_wrong_gradient_in_float64(tmp_path):
    verdict, _ = judge(tmp_path, (1.0, 2.2), (1.0, 2.0 + 1e-12))
    assert verdict.status == "ok"
    assert verdict.error < 1e-9
    assert verdict.reason == "checked in float64; 1.0e-01 in float32 is rounding"


def test_a_wrong_gradient_does_not_race(tmp_path):
    verdict, _ = judge(tmp_path, (1.0, 2.2), (1.0, 2.2))
    assert verdict.status == "gradient differs"
    assert verdict.reason == "relative error 1.0e-01 in float32 and 1.0e-01 in float64"
    assert verdict.error == pytest.approx(0.1)


def test_what_cannot_be_expressed_or_fails_keeps_its_reason(tmp_path):
    answer = {"status": "not expressible", "reason": "it has no such thing"}
    verdict, _ = judge(tmp_path, None, answer=answer)
    assert (verdict.status, verdict.reason, verdict.error) == ("not expressible", "it has no such thing", None)
    verdict, _ = judge(tmp_path, Failed("it fell over"))
    assert (verdict.status, verdict.reason) == ("failed", "it fell over")
