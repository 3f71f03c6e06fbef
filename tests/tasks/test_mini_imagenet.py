"""mini-ImageNet tasks on the real data."""

import numpy as np
import pytest
import torch

from maml_bench.data import splits, store
from maml_bench.errors import MamlBenchError
from maml_bench.tasks._shared.photographs import IMAGENET
from maml_bench.tasks.mini_imagenet import MiniImagenet
from maml_bench.types import Shape

pytestmark = [pytest.mark.real_data, pytest.mark.usefixtures("mini_imagenet")]
SHAPE = Shape(5, 1, 15)


def test_episodes_are_photographs_from_0_to_1() -> None:
    episode = MiniImagenet().sample("train", 0, 4, key=1, shape=SHAPE)
    assert episode.support.x.shape == (4, 5, 3, 84, 84)
    assert episode.query.x.shape == (4, 75, 3, 84, 84)
    assert sorted(episode.query.y[0].tolist()) == [label for label in range(5) for _ in range(15)]
    assert (float(episode.query.x.min()), float(episode.query.x.max())) == (0.0, 1.0)
    assert len(episode.query.x[0].unique()) == 256


def test_tasks_come_from_their_part_of_the_split_and_know_its_classes() -> None:
    """Photographs of 20 tasks are found in the part's own array, those of one label in one class."""
    for part, count in (("train", 64), ("validation", 16), ("test", 20)):
        images = store.load("mini_imagenet", part)
        classes: dict[bytes, set[int]] = {}
        for row in range(count):
            for lines in images[row, :, 0, 40:42]:  # two lines of red tell nearly all apart
                classes.setdefault(lines.tobytes(), set()).add(row)
        tasks = MiniImagenet().sample(part, 0, 20, key=1, shape=Shape(5, 1, 2))
        for task in range(20):
            found: dict[int, set[int]] = {}
            for batch in tasks:
                for image, label in zip(batch.x[task], batch.y[task].tolist(), strict=True):
                    rows = classes[(image[0, 40:42] * 255).round().byte().numpy().tobytes()]
                    found[label] = found.get(label, rows) & rows
            assert sorted(found) == [0, 1, 2, 3, 4]
            assert all(found.values())
            assert len(set.union(*found.values())) == 5


def test_every_class_is_drawn() -> None:
    """Joint labels are places among the 64 training classes."""
    drawn = MiniImagenet(joint=True).sample("train", 0, 100, key=1, shape=SHAPE._replace(query=1)).support.y
    assert drawn.unique().tolist() == list(range(64))


@pytest.mark.parametrize("part", splits.PARTS)
def test_rows_follow_the_order_of_the_split(part: str) -> None:
    """The classes of the split file, looked up by name in the array of their own part."""
    names = store.manifest("mini_imagenet").classes_of(part)
    rows = MiniImagenet()._classes[part]
    assert [names[row] for row in rows] == list(splits.load_split("mini_imagenet", "ravi").parts[part])


def test_pixel_scales() -> None:
    unit, bytes_, standardised = (
        MiniImagenet(pixels=pixels).sample("test", 0, 1, key=1, shape=Shape(5, 1, 5)).query.x
        for pixels in ("unit", "bytes", "standardised")
    )
    assert bytes_.unique().tolist() == list(range(256))
    torch.testing.assert_close(bytes_ / 255, unit)
    mean, deviation = (np.asarray(values).reshape(3, 1, 1) for values in IMAGENET)
    np.testing.assert_allclose(standardised, (unit.numpy() - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_an_unknown_split_part_is_a_sentence() -> None:
    with pytest.raises(MamlBenchError, match="no split 'val'"):
        MiniImagenet().sample("val", 0, 1, key=0, shape=SHAPE)


def test_the_network_has_the_papers_size() -> None:
    """Counted on maml.py (cbfinn/maml), 5-way with 32 filters: 3*32*9+32, three times 32*32*9+32, 800*5+5."""
    model = MiniImagenet().model(SHAPE, torch.Generator().manual_seed(0))
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert sum(n for name, n in sizes.items() if name.endswith("beta")) == 128
    assert sum(n for name, n in sizes.items() if not name.endswith("beta")) == 896 + 3 * 9248 + 4005 == 32_645


def test_fingerprint_names_data_and_split() -> None:
    found = MiniImagenet().fingerprint()
    assert found["fingerprint"] == store.manifest("mini_imagenet").fingerprint
    assert found["split_sha256"] == splits.load_split("mini_imagenet", "ravi").sha256
