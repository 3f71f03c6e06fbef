"""The race of loaders: its check lets nothing wrong pass, its rows are those that reports read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.loaders import race
from benchmarks.loaders.common import BENCHES, Bench, MetaBatch, check
from benchmarks.peers.environments import NotBuilt
from benchmarks.peers.processes import MEMORY, Failed, Job
from benchmarks.peers.rows import save, target
from maml_bench.data import store
from maml_bench.data.episodes import sample_images
from maml_bench.report.speed.rows import load
from maml_bench.types import Shape

BENCH = Bench("loader-test", "binary28", tasks=3, way=5, shot=2, query=1)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 1, 5, 5), dtype=np.uint8)


def loaded(rotations: str = "none") -> MetaBatch:
    shape = Shape(BENCH.way, BENCH.shot, BENCH.query)
    episode = sample_images(
        torch.from_numpy(IMAGES), np.arange(8), 0, BENCH.tasks, key=1, stream=(), shape=shape, rotations=rotations
    )
    return MetaBatch(*(tensor.numpy() for batch in episode for tensor in batch))


@pytest.mark.parametrize("rotations", ["none", "per class", "extra classes"])
def test_what_is_right_passes(rotations: str) -> None:
    check(replace(BENCH, turned=rotations != "none"), IMAGES, loaded(rotations))


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda b: b._replace(query_x=b.query_x.astype(np.float64)), "query inputs are float64"),
        (lambda b: b._replace(support_x=b.support_x[:, :5]), r"support inputs are float32 \(3, 5"),
        (lambda b: b._replace(query_y=b.query_y + 1), "query labels are not 0 to 4, 1 of each"),
        (lambda b: b._replace(support_x=b.support_x / 3), "support inputs are not bytes over 255"),
        (lambda b: b._replace(support_x=b.support_x[..., ::-1]), "an image is not of the array"),
        (
            lambda b: b._replace(query_x=b.support_x[:, :5], query_y=b.support_y[:, :5]),
            "an image stands in a task twice",
        ),
        (lambda b: b._replace(query_y=(b.query_y + 1) % 5), "a label stands for two classes"),
    ],
)
def test_faults_are_found(fault: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check(BENCH, IMAGES, fault(loaded()))


def test_benches_of_mini_imagenet_take_its_stored_training_images(tmp_path: Path, monkeypatch) -> None:
    """Only torchmeta has files of its own for them, which its adapter writes from this array."""
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "home"))
    with store.drafting("mini_imagenet") as draft:
        file = draft.array("train", IMAGES.shape)
        for row, of_class in enumerate(IMAGES):
            file.fill(row, of_class)
        draft.finish(version=1, source="here", classes="abcdefgh", how={"train": "by hand"})
    race.write_images("mini_imagenet", tmp_path / "images.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), IMAGES)
    own = [bench for bench in BENCHES.values() if bench.own]
    assert [(bench.images, bench.shot, bench.query) for bench in own] == [("mini_imagenet", 1, 15)]


SECONDS = {"one call a meta-batch": 0.001, "floats, num_workers=0": 0.3, "ToTensor, num_workers=0": 0.2}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    """Processes that answer at once: half as fast by default memory; torchmeta's workers fail."""

    def time(job: Job, memory: str, seconds: float) -> dict[str, object]:
        if job.peer.schedule not in SECONDS:
            raise Failed("no workers here")
        median = SECONDS[job.peer.schedule] * (2 if memory == "default" else 1)
        about = {"status": "ok", "library_version": "1", "torch": "2", "python": "3", "schedule": job.peer.schedule}
        return about | ({"median_s": median, "peak_memory_bytes": 7} if seconds else {})

    monkeypatch.setattr(Job, "time", time)
    return Job(race.LIBRARIES["maml-bench"], tmp_path, BENCH.name, tmp_path, 1, tmp_path)


def test_the_fastest_way_of_each_library_races_and_its_rows_are_read(jobs: Job, tmp_path: Path) -> None:
    entries = [race.enter(library, tmp_path, jobs, 1.0) for library in ("maml-bench", "torchmeta", "learn2learn")]
    entries.append(race.enter("torchmeta", NotBuilt("no interpreter"), jobs, 1.0))
    for entry in entries:
        for kind in MEMORY * 2:
            race.take_turn(entry, kind, 1.0)
    common = {"threads": 1, "machine": "0123abcd", "commit": None, "dirty": None, "started_at": None}
    save(target(tmp_path, BENCH.name, "0123abcd"), race.rows(BENCH, entries, [100.0, 300.0], common))
    found = load(tmp_path)
    assert [(row.library, row.memory, row.status, row.ratio_to_ours) for row in found] == [
        ("maml-bench", "retained", "ok", 1.0),
        ("maml-bench", "default", "ok", 2.0),
        ("torchmeta", "retained", "ok", 200.0),
        ("torchmeta", "default", "ok", 400.0),
        ("learn2learn", "retained", "failed", None),
        ("learn2learn", "default", "failed", None),
        ("torchmeta", "retained", "not built", None),
        ("torchmeta", "default", "not built", None),
    ]
    assert found[0].episodes_per_s == pytest.approx(3000)
    assert found[2].schedule == "ToTensor, num_workers=0"
    assert found[2].more["tried_s"] == {"floats, num_workers=0": 0.3, "ToTensor, num_workers=0": 0.2}
    assert "no workers here" in found[4].reason
