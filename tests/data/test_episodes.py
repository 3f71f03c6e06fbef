"""The index sampler on an array whose pixels say which class and example they belong to."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from maml_bench.data import episodes
from maml_bench.data.draws import key_of
from maml_bench.data.episodes import draw_indices, sample_images
from maml_bench.errors import MamlBenchError
from maml_bench.types import Batch, Episode, Shape

CLASSES, EXAMPLES = 30, 20
shapes = st.builds(Shape, st.integers(1, 8), st.integers(1, 6), st.integers(0, 10))


def marked() -> Tensor:
    """uint8 [30, 20, 1, 2, 2]: the top left pixel is the class + 1, the top right the example + 1, the others 0."""
    images = torch.zeros(CLASSES, EXAMPLES, 1, 2, 2, dtype=torch.uint8)
    images[..., 0, 0] = torch.arange(1, CLASSES + 1).view(-1, 1, 1)
    images[..., 0, 1] = torch.arange(1, EXAMPLES + 1).view(1, -1, 1)
    return images


def draw(
    shape: Shape, *, first: int = 0, count: int = 8, key: int = 5, classes=None, rotations: str = "none"
) -> Episode:
    subset = np.arange(CLASSES) if classes is None else classes
    return sample_images(marked(), subset, first, count, key=key, stream=("t",), shape=shape, rotations=rotations)


def origins(batch: Batch) -> list[list[tuple[int, int]]]:
    """(class, example) of every image of every task."""
    pixels = (batch.x * 255).round().long()
    return [[(int(i[0, 0, 0]) - 1, int(i[0, 0, 1]) - 1) for i in task] for task in pixels]


def assert_no_leak(episode: Episode) -> None:
    """No image of a task's query stands in its support."""
    for support, query in zip(origins(episode.support), origins(episode.query), strict=True):
        assert not set(support) & set(query), "a query image is in the support"


@given(shape=shapes, first=st.integers(0, 10**9))
def test_support_and_query_are_disjoint_and_labels_name_classes(shape: Shape, first: int) -> None:
    episode = draw(shape, first=first)
    assert_no_leak(episode)
    assert episode.support.x.shape == (8, shape.way * shape.shot, 1, 2, 2)
    assert episode.query.x.shape == (8, shape.way * shape.query, 1, 2, 2)
    for task in range(8):
        named: dict[int, set[int]] = {}
        for batch in episode:
            for (cls, _), label in zip(origins(batch)[task], batch.y[task].tolist(), strict=True):
                named.setdefault(label, set()).add(cls)
        assert set(named) == set(range(shape.way))
        assert all(len(classes) == 1 for classes in named.values()), "a label means two classes"
        assert len(set.union(*named.values())) == shape.way, "two labels mean one class"
        images = [o for batch in episode for o in origins(batch)[task]]
        assert len(set(images)) == len(images), "an image stands twice in a task"


def test_a_planted_leak_is_found() -> None:
    episode = draw(Shape(5, 1, 1))
    leaky = Episode(episode.support, Batch(episode.support.x, episode.support.y))
    with pytest.raises(AssertionError, match="a query image is in the support"):
        assert_no_leak(leaky)


@given(shape=shapes, first=st.integers(0, 1000), cut=st.integers(1, 7))
def test_an_episode_depends_on_its_number_alone(shape: Shape, first: int, cut: int) -> None:
    whole, part = draw(shape, first=first, rotations="per class"), draw(shape, first=first + cut, rotations="per class")
    assert torch.equal(whole.support.x[cut:], part.support.x[: 8 - cut])
    assert torch.equal(whole.query.y[cut:], part.query.y[: 8 - cut])
    assert torch.equal(whole.query.x, draw(shape, first=first, rotations="per class").query.x)


def test_keys_and_streams_give_other_episodes() -> None:
    one, other = draw(Shape(5, 2, 2), key=1), draw(Shape(5, 2, 2), key=2)
    assert origins(one.support) != origins(other.support)


def test_only_the_given_classes_are_used() -> None:
    used = {
        cls
        for batch in draw(Shape(4, 2, 2), count=200, classes=np.array([3, 7, 8, 21]))
        for t in origins(batch)
        for cls, _ in t
    }
    assert used == {3, 7, 8, 21}


def test_classes_examples_labels_and_turns_are_uniform() -> None:
    drawn = draw_indices(CLASSES, EXAMPLES, 0, 6000, key=9, shape=Shape(5, 1, 0), rotations="per class")
    first_label, first_row = drawn.label[:, 0, 0], drawn.row[:, 0, 0]
    for found, kinds in ((drawn.row, CLASSES), (drawn.example, EXAMPLES), (drawn.turn, 4), (first_label, 5)):
        assert stats.chisquare(np.bincount(found.flatten(), minlength=kinds)).pvalue > 1e-3
    first_class_by_label = np.bincount(first_row * 5 + first_label, minlength=CLASSES * 5)
    assert stats.chisquare(first_class_by_label).pvalue > 1e-3, "labels depend on classes"


def test_every_round_has_every_class_once() -> None:
    label = draw_indices(CLASSES, EXAMPLES, 0, 50, key=9, shape=Shape(5, 3, 2), rotations="none").label
    assert label.shape == (50, 5, 5)
    assert (np.sort(label, axis=-1) == np.arange(5)).all()


@given(shape=shapes, first=st.integers(0, 10**10), rotations=st.sampled_from(["per class", "extra classes", "none"]))
def test_indices_do_not_depend_on_the_blocks_they_are_drawn_in(shape: Shape, first: int, rotations: str) -> None:
    def drawn() -> list[list[int]]:
        found = draw_indices(CLASSES, EXAMPLES, first, 9, key=1, shape=shape, rotations=rotations)
        return [field.tolist() for field in found]

    usual = drawn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(episodes, "BLOCK_IMAGES", 4 * shape.way * (shape.shot + shape.query))
        assert drawn() == usual


def test_kept_indices_cannot_be_changed() -> None:
    drawn = draw_indices(CLASSES, EXAMPLES, 0, 4, key=9, shape=Shape(5, 1, 1), rotations="none")
    with pytest.raises(ValueError, match="read-only"):
        drawn.label[0] = 0
    episode = draw(Shape(5, 1, 1))
    episode.support.y.zero_()
    assert not torch.equal(draw(Shape(5, 1, 1)).support.y, episode.support.y)


def test_no_episodes_are_an_empty_meta_batch() -> None:
    episode = draw(Shape(5, 1, 2), count=0)
    assert episode.support.x.shape == (0, 5, 1, 2, 2)
    assert episode.query.y.shape == (0, 10)


def test_support_and_query_are_contiguous() -> None:
    episode = draw(Shape(5, 1, 2), rotations="per class")
    assert all(tensor.is_contiguous() for batch in episode for tensor in batch)


def test_a_class_is_turned_alike_throughout_its_task() -> None:
    """Turned clockwise or not, the marks of one class lie in one corner of all its images."""
    episode = draw(Shape(5, 2, 3), count=40, rotations="per class")
    turns_seen = set()
    for task in range(40):
        corner: dict[int, set[int]] = {}
        for batch in episode:
            for image, label in zip(batch.x[task], batch.y[task].tolist(), strict=True):
                corner.setdefault(label, set()).add(int((image.flatten() == 0).long() @ torch.tensor([1, 2, 4, 8])))
        assert all(len(c) == 1 for c in corner.values())
        turns_seen |= set.union(*corner.values())
    assert len(turns_seen) == 4


def test_turns_go_counter_clockwise_by_quarters() -> None:
    drawn = draw_indices(CLASSES, EXAMPLES, 0, 30, key=key_of(5, "t"), shape=Shape(2, 1, 0), rotations="per class")
    episode = draw(Shape(2, 1, 0), count=30, rotations="per class")
    sources = marked()[torch.tensor(drawn.row), torch.tensor(drawn.example)].flatten(0, 2)
    for image, source, turn in zip(episode.support.x.flatten(0, 1), sources, drawn.turn.flatten(), strict=True):
        assert torch.equal((image * 255).round().byte(), torch.rot90(source, int(turn), (-2, -1)))


def test_extra_classes_let_one_character_stand_in_a_task_twice() -> None:
    """With four classes of each of two characters and five ways, some character must appear more than once."""
    drawn = draw_indices(2, EXAMPLES, 0, 20, key=1, shape=Shape(5, 1, 0), rotations="extra classes")
    kinds = (drawn.row * 4 + drawn.turn)[:, 0].tolist()
    assert all(len(set(task)) == 5 for task in kinds)
    assert int(drawn.row.max()) == 1


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (Shape(31, 1, 1), "way is 31, but this split has 30 classes"),
        (Shape(0, 1, 1), "way is 0"),
        (Shape(5, 11, 10), "need 21 examples of each class, but there are 20"),
        (Shape(5, -1, 3), "shot -1"),
        (Shape(5, 0, 0), "need 0 examples"),
    ],
)
def test_impossible_shapes_are_refused(shape: Shape, sentence: str) -> None:
    with pytest.raises(MamlBenchError, match=sentence):
        draw(shape)


def test_the_largest_shapes_work() -> None:
    episode = draw(Shape(30, 10, 10), count=1)
    assert len(set(origins(episode.support)[0]) | set(origins(episode.query)[0])) == 600


def test_torchmeta_batches_convert_both_ways() -> None:
    episode = draw(Shape(5, 1, 2))
    batch = episode.to_torchmeta()
    assert set(batch) == {"train", "test"}
    inputs, targets = batch["train"]
    assert inputs is episode.support.x
    assert targets.shape == (8, 5)
    back = Episode.from_torchmeta({"train": list(batch["train"]), "test": list(batch["test"])})
    assert back.query.y is episode.query.y
    assert isinstance(back.support, Batch)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_the_images_of_a_torchmeta_batch_stay_as_they_are(scale: float) -> None:
    """An episode shares the tensors of the user's loader, and scales nothing by a guess."""
    batch = {part: [torch.full((2, 5, 1, 4, 4), scale), torch.arange(5).expand(2, 5)] for part in ("train", "test")}
    episode = Episode.from_torchmeta(batch)
    assert episode.support.x is batch["train"][0]
    assert episode.query.x is batch["test"][0]


@pytest.mark.parametrize("rotations", ["none", "extra classes"])
def test_joint_labels_are_classes_of_the_split(rotations: str) -> None:
    """4 * place + turns with extra classes: a pixel in the corner tells the class and, by its place, the turns."""
    subset = np.array([7, 3, 20, 11])
    shape, images = Shape(3, 2, 1), marked()
    episode = sample_images(
        images, subset, 0, 50, key=5, stream=("t",), shape=shape, rotations=rotations, joint=True
    )  # fmt: skip
    places = [(0, 0), (1, 0), (1, 1), (0, 1)]  # of the top left corner after 0, 1, 2, 3 quarters counter-clockwise
    for batch in episode:
        for image, label in zip(batch.x.flatten(0, 1), batch.y.flatten().tolist(), strict=True):
            place, turns = divmod(label, 4) if rotations == "extra classes" else (label, 0)
            assert round(float(image[0][places[turns]]) * 255) == subset[place] + 1


@given(shape=shapes, first=st.integers(0, 10**9), rotations=st.sampled_from(["none", "per class", "extra classes"]))
def test_classes_of_one_size_give_the_same_episodes_with_and_without_their_sizes(shape, first, rotations) -> None:
    options = {"key": 5, "stream": ("t",), "shape": shape, "rotations": rotations}
    expected = sample_images(marked(), np.arange(CLASSES), first, 3, **options)
    flat = marked().flatten(0, 1)
    found = sample_images(flat, np.arange(CLASSES), first, 3, sizes=(EXAMPLES,) * CLASSES, **options)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)


SIZES = tuple(4 + row % 7 for row in range(CLASSES))


def unequal() -> Tensor:
    """The first images of each class of `marked`, as many as SIZES says: uint8 [images, 1, 2, 2]."""
    return torch.cat([of_class[:count] for of_class, count in zip(marked(), SIZES, strict=True)])


def test_classes_of_different_sizes_give_all_of_their_images_and_no_others() -> None:
    shape = Shape(5, 1, 3)
    episode = sample_images(
        unequal(), np.arange(3, CLASSES), 0, 2000, key=5, stream=("t",), shape=shape, sizes=SIZES, joint=True
    )
    assert_no_leak(episode)
    met = [place for batch in episode for task in origins(batch) for place in task]
    assert set(met) == {(row, example) for row in range(3, CLASSES) for example in range(SIZES[row])}
    for task, labels in zip(origins(episode.query), episode.query.y, strict=True):
        assert [row for row, _ in task] == (labels + 3).tolist()
    counts = np.bincount([example for row, example in met if row == 6], minlength=SIZES[6])
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_class_with_too_few_images_is_refused() -> None:
    with pytest.raises(MamlBenchError, match="need 5 examples of each class, but there are 4"):
        sample_images(unequal(), np.arange(CLASSES), 0, 1, key=5, stream=("t",), shape=Shape(5, 2, 3), sizes=SIZES)
