"""Tasks of users' own images: drawn from the store and from memory alike, with classes of different sizes."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from maml_bench import registry
from maml_bench.data import own, store
from maml_bench.data.images import Images, load_part
from maml_bench.data.preparation import Preparation
from maml_bench.errors import MamlBenchError, Notice
from maml_bench.harness.layers import on_data
from maml_bench.harness.recipe import resolve
from maml_bench.tasks._shared.in_memory import ImagesInMemory
from maml_bench.tasks._shared.photographs import IMAGENET
from maml_bench.tasks.images import OwnImages
from maml_bench.types import Shape

SIZE = 4
COUNTS = {
    **{f"large{number}": 9 + number for number in range(5)},
    **{f"middle{number}": 5 for number in range(6)},
    **{f"small{number}": 2 + number for number in range(5)},
}
SPLIT = {part: [f"{kind}{n}" for kind, n in names] for part, names in {
    "train": [("large", 0), ("large", 1), ("large", 2), ("middle", 0), ("small", 0), ("small", 1)],
    "validation": [("large", 3), ("middle", 1), ("middle", 2), ("small", 2)],
    "test": [("large", 4), ("middle", 3), ("middle", 4), ("middle", 5), ("small", 3), ("small", 4)],
}.items()}  # fmt: skip


class Pairs:
    """A data set of one-coloured pictures: red names the class and green the example."""

    classes = tuple(COUNTS)

    def __init__(self, side: int = SIZE) -> None:
        self.places = [(row, n) for row, count in enumerate(COUNTS.values()) for n in range(count)]
        self.targets, self.side = [row for row, _ in self.places], side

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        row, example = self.places[index]
        return np.full((self.side, self.side, 3), (row, example, self.side), dtype=np.uint8), row


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def birds(home: Path) -> str:
    """The data set, stored by the split above."""
    return add(home, "birds")


def add(home: Path, name: str, size: int = SIZE, colour: str = "rgb") -> str:
    file = home / "split.json"
    file.write_text(str(SPLIT).replace("'", '"'))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # of the small parts, and in grey of equal pictures
        own.add(
            name,
            Pairs(size),
            how=Preparation(size, colour),
            split_file=file,
            allow_duplicates=True,  # type: ignore[arg-type]
        )
    return name


def in_memory(**options: object) -> ImagesInMemory:
    return ImagesInMemory(images={part: load_part("birds", part) for part in SPLIT}, **options)  # type: ignore[arg-type]


def classes_of(tasks: OwnImages, x: torch.Tensor, part: str) -> list[str]:
    """The names of the classes of images, by their red."""
    return [list(COUNTS)[int(red)] for red in (255 * x[..., 0, 0, 0]).round().flatten()]


def test_a_task_has_classes_of_its_part_with_enough_images(birds):
    tasks = OwnImages(data=birds)
    with pytest.warns(Notice) as told:
        episode = tasks.sample("train", 0, 200, key=3, shape=Shape(3, 2, 3))
    assert [str(one.message) for one in told] == [
        "2 of the 6 train classes have fewer than the 5 images that 2 shots and 3 queries of a class need (the "
        "smallest, small0, has 2); left out: small0, small1"
    ]
    assert set(classes_of(tasks, episode.support.x, "train")) == {"large0", "large1", "large2", "middle0"}
    for x, y in (episode.support, episode.query):
        names = np.array(classes_of(tasks, x, "train")).reshape(y.shape)
        for task, labels in zip(names, y, strict=True):
            assert len(set(zip(task, labels.tolist(), strict=True))) == 3
    tasks.sample("train", 0, 1, key=3, shape=Shape(3, 2, 3))  # what was told once is not told again


def test_all_classes_that_have_exactly_enough_take_part(birds):
    episode = OwnImages(data=birds).sample("validation", 0, 300, key=1, shape=Shape(3, 1, 3))
    assert set(classes_of(OwnImages(), episode.query.x, "validation")) == {"large3", "middle1", "middle2", "small2"}


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (
            Shape(5, 1, 5),
            "a task needs 5 classes, but only 2 of the 6 test classes have the 6 images that 1 shots and 5 queries of "
            "a class need (the smallest, middle3, has 5)",
        ),
        (Shape(7, 1, 1), "a task needs 7 classes, but there are 6 test classes"),
    ],
)
def test_too_few_classes_are_refused_with_the_counts(birds, shape, sentence):
    with pytest.raises(MamlBenchError) as caught:
        OwnImages(data=birds).sample("test", 0, 1, key=0, shape=shape)
    assert str(caught.value) == sentence


def test_memory_and_store_give_the_same_tasks_and_networks(birds):
    stored, held = OwnImages(data=birds), in_memory()
    for part, shape in (("train", Shape(5, 1, 1)), ("test", Shape(3, 2, 3))):
        for one, other in zip(
            stored.sample(part, 7, 9, key=2, shape=shape), held.sample(part, 7, 9, key=2, shape=shape), strict=True
        ):
            assert torch.equal(one.x, other.x)
            assert torch.equal(one.y, other.y)
    assert held.fingerprint() == in_memory().fingerprint()
    bytes_of = ImagesInMemory.of(OwnImages(pixels="bytes", joint=True), held.images)
    assert (bytes_of.pixels, bytes_of.joint, bytes_of.images) == ("bytes", True, held.images)
    fewer = {**held.images, "test": held.images["train"]}
    assert ImagesInMemory(images=fewer).fingerprint() != held.fingerprint()
    with pytest.raises(MamlBenchError, match="there are no test images"):
        ImagesInMemory(images={"train": held.images["train"]}).sample("test", 0, 1, key=0, shape=Shape(2, 1, 1))
    with pytest.raises(MamlBenchError, match=r"there is no part 'tset' of a split \(did you mean 'test'\?\)"):
        ImagesInMemory(images={"tset": held.images["test"]})
    small = Images(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), (2,), ("a",), Preparation(3, "grey"))
    with pytest.raises(MamlBenchError, match=r"the images of train are \[3, 4, 4\], but those of test are \[1, 3, 3\]"):
        ImagesInMemory(images={"train": held.images["train"], "test": small})


def test_joint_labels_count_the_classes_with_enough_images(birds):
    tasks = OwnImages(data=birds, joint=True)
    shape = Shape(3, 4, 0)
    with pytest.warns(Notice, match="2 of the 6 train classes"):
        assert tasks.outputs(shape) == 4
    x, y = tasks.sample("train", 0, 100, key=0, shape=shape).support
    names = classes_of(tasks, x, "train")
    assert set(zip(names, y.flatten().tolist(), strict=True)) == {
        ("large0", 0), ("large1", 1), ("large2", 2), ("middle0", 3),
    }  # fmt: skip
    assert tasks.sample("test", 0, 1, key=0, shape=Shape(3, 1, 1)).support.y.max() == 2


def test_tests_may_be_of_another_data_set(birds, home):
    add(home, "flowers")
    tasks = OwnImages(data=birds, test_data="flowers")
    found = tasks.fingerprint()
    assert (found["name"], found["test_data"]["name"]) == ("birds", "flowers")
    assert found["test_data"]["fingerprint"] == store.manifest("flowers").fingerprint
    assert OwnImages(data=birds).fingerprint() == {key: found[key] for key in ("name", "version", "fingerprint")}
    assert tasks.part("test").pixels.data_ptr() != tasks.part("train").pixels.data_ptr()
    assert tasks.part("validation").classes == load_part("birds", "validation").classes


@pytest.mark.parametrize(
    ("size", "colour", "what"), [(8, "rgb", "8x8 rgb"), (SIZE, "grey", "4x4 grey"), (8, "grey", "8x8 grey")]
)
def test_another_size_or_colour_in_test_is_refused_with_the_command(birds, home, size, colour, what):
    add(home, "flowers", size, colour)
    with pytest.raises(MamlBenchError) as caught:
        OwnImages(data=birds, test_data="flowers").part("test")
    assert str(caught.value) == (
        f"the images of birds are 4x4 rgb, but those of flowers are {what}: add them again with `maml-bench data add "
        "flowers PATH --size 4 --colour rgb`"
    )


@pytest.mark.real_data
def test_the_data_sets_of_this_package_can_be_read_too(omniglot):
    tasks = OwnImages(data="omniglot")
    known = registry.build_tasks({"name": "omniglot", "images": "grey28", "rotations": "none"}, "test")
    assert [len(tasks.part(part).classes) for part in SPLIT] == [1100, 100, 423]
    names = tasks.part("test").classes
    row = store.manifest("omniglot").classes.index(names[5])
    expected = torch.from_numpy(store.load("omniglot", "grey28")[row])
    assert torch.equal(tasks.part("test").pixels[100:120], expected)
    found = tasks.fingerprint()
    assert {key: known.fingerprint()[key] for key in found} == found


@pytest.mark.real_data
def test_mini_imagenet_stays_a_memory_map_and_meets_another_size_with_a_sentence(mini_imagenet, omniglot):
    tasks = OwnImages(data="mini-imagenet", test_data="omniglot")
    assert tasks.part("train").pixels.shape == (64 * 600, 3, 84, 84)
    assert tasks.part("train").sizes == (600,) * 64
    assert tasks.part("train").classes == store.manifest("mini-imagenet").classes_of("train")
    with pytest.raises(MamlBenchError, match="are 84x84 rgb, but those of omniglot are 28x28 grey"):
        tasks.part("test")


def test_pixels_are_scaled_as_in_the_family_of_photographs(birds):
    shape, x = Shape(2, 1, 1), {}
    for pixels in ("unit", "bytes", "standardised"):
        x[pixels] = OwnImages(data=birds, pixels=pixels).sample("train", 0, 1, key=0, shape=shape).support.x
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    assert torch.allclose(x["bytes"], 255 * x["unit"])
    assert torch.allclose(x["standardised"], (x["unit"] - mean) / deviation)


def test_without_a_data_set_it_is_said_how_to_add_one(home):
    with pytest.raises(MamlBenchError) as caught:
        OwnImages().sample("train", 0, 1, key=0, shape=Shape(2, 1, 1))
    assert str(caught.value) == (
        "these tasks need a data set of yours: add one with `maml-bench data add NAME FOLDER`, and run a recipe on it "
        "with `maml-bench run images-5w1s --data NAME`"
    )
    with pytest.raises(MamlBenchError, match=r"there is no data set 'brids' \(known: mini-imagenet, omniglot\)"):
        OwnImages(data="brids").fingerprint()
    with pytest.raises(MamlBenchError, match=r"images has no split 'dev' \(known: train, validation, test\)"):
        OwnImages(data="birds").part("dev")


@pytest.mark.parametrize("name", ["birds", "2024", "true", "1e5", "mini-imagenet", "my birds+more"])
def test_any_name_of_a_data_set_fills_the_recipe(name):
    recipe, settings = on_data("images-5w1s", name, None)
    assert (recipe, settings) == (f"images-5w1s:{name}", [])
    assert resolve(recipe, preset="smoke").tasks["data"] == name


def test_the_data_set_of_the_tests_is_a_setting():
    recipe, settings = on_data("images-5w5s", "birds", "2024")
    assert resolve(recipe, preset="smoke", settings=settings).tasks["test_data"] == "2024"
    assert on_data("images-5w1s:birds", None, "flowers") == ("images-5w1s:birds", ["tasks.test_data=flowers"])
    assert on_data("sinusoid-k10", None, None) == ("sinusoid-k10", [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sinusoid-k10", "birds", None), "recipe 'sinusoid-k10' does not read --data; recipes that do: images-5w1s, "),
        (("torchmeta", "birds", None), "recipe 'torchmeta' does not read --data"),
        (("mini-imagenet-5w1s", None, "birds"), "recipe 'mini-imagenet-5w1s' does not read --test-data"),
        (
            ("images-5w1s:birds", "birds", None),
            "the data set is named twice: by the recipe 'images-5w1s:birds' and by ",
        ),
    ],
)
def test_a_data_set_for_a_recipe_that_reads_none_is_refused(arguments, sentence):
    with pytest.raises(MamlBenchError) as caught:
        on_data(*arguments)
    assert str(caught.value).startswith(sentence)


def test_a_recipe_file_of_the_users_takes_a_data_set_too(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('extends = "images-5w1s"\n')
    recipe, settings = on_data(str(file), "birds", None)
    assert resolve(recipe, preset="smoke", settings=settings).tasks["data"] == "birds"
