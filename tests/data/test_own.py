"""Users' own images in the store and in memory: their splits, their bytes, and what is told or refused."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from own_factory import SIZES, picture, write
from PIL import Image

import maml_bench
from maml_bench.data import own, store
from maml_bench.data.class_draws import numbers_of, split
from maml_bench.data.images import Images, load_part
from maml_bench.data.layouts.pictures import listed
from maml_bench.data.preparation import Preparation
from maml_bench.data.splits import parse
from maml_bench.errors import MamlBenchError, Notice

SMALL = Preparation(8)
PARTS = (2, 1, 2)


@pytest.fixture
def birds(tmp_path: Path, home: Path) -> Path:
    """Five classes of different sizes."""
    return write(tmp_path / "birds", SIZES)


def add(
    source: object, name: str = "birds", how: Preparation = SMALL, parts: object = PARTS, **options: object
) -> store.Manifest:
    """Store images whose parts are, on purpose, too small for tasks of five classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\w+: (there are only|an earlier call had already read)", Notice)
        return own.add(name, source, how=how, parts=parts, **options)  # type: ignore[arg-type]


def refused(call, *arguments: object, **options: object) -> str:
    with pytest.raises(MamlBenchError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def folder(*names: str) -> list[Path]:
    return sorted(path for path in (store.data_home()).rglob("*") if path.is_file())


def test_what_is_stored_are_the_prepared_pictures_class_by_class(birds):
    manifest = add(birds)
    assert manifest.source == "class folders"
    assert manifest.classes == tuple(SIZES)
    assert manifest.preparation == {"size": 8, "colour": "rgb", "resize": "crop"}
    assert store.verify("birds") == store.manifest("birds") == manifest
    assert store.stored() == [manifest]
    met = []
    for part in ("train", "validation", "test"):
        array, sizes = store.load("birds", part), manifest.sizes_of(part)
        assert sizes == tuple(SIZES[name] for name in manifest.classes_of(part))
        assert array.shape == (sum(sizes), 3, 8, 8)
        paths = [birds / name / f"{n:03}.png" for name in manifest.classes_of(part) for n in range(SIZES[name])]
        for path, stored in zip(paths, array, strict=True):
            assert torch.equal(SMALL.prepare(path), torch.from_numpy(stored))
        met += manifest.classes_of(part)
    assert sorted(met) == list(SIZES)


def test_the_split_lies_beside_the_arrays_and_can_be_passed_on(birds, tmp_path):
    manifest = add(birds)
    file = store.place("birds") / store.SPLIT
    content = json.loads(file.read_text())
    assert parse(content).parts == {part: manifest.classes_of(part) for part in manifest.arrays}
    assert content["rule"] == "drawn by class: 2/1/2 of 5 classes, seed 0"
    again = add(birds, "again", parts=None, split_file=Path(shutil.copy(file, tmp_path / "mine.json")))
    assert again.fingerprint == manifest.fingerprint
    assert add(birds, seed=2).fingerprint != manifest.fingerprint


def test_the_fingerprint_knows_the_sizes_of_classes(birds, tmp_path):
    """The same pictures with another border between two classes have the same bytes."""
    add(birds, parts=(0, 0, 5))
    (birds / "bee" / "000.png").rename(birds / "ant" / "999.png")
    other = add(birds, "other", parts=(0, 0, 5))
    assert store.manifest("birds").arrays["test"].sha256 == other.arrays["test"].sha256
    assert store.manifest("birds").fingerprint != other.fingerprint


def test_a_part_without_classes_has_no_array(birds):
    assert set(add(birds, parts=(0, 0, 5)).arrays) == {"test"}
    assert refused(load_part, "birds", "train").startswith(
        "birds has no train classes (it has: test); add it again with "
    )


def test_folders_of_a_split_say_the_parts(tmp_path, home):
    root = tmp_path / "all"
    for number, (part, sizes) in enumerate({"train": {"a": 2, "b": 3}, "val": {"c": 2}, "test": {"d": 4}}.items()):
        write(root / part, sizes, first=10 * number)
    manifest = add(root, parts=None)
    assert {part: manifest.classes_of(part) for part in manifest.arrays} == {
        "train": ("a", "b"), "validation": ("c",), "test": ("d",),
    }  # fmt: skip


def test_a_seed_is_refused_where_nothing_is_drawn(tmp_path, home):
    root = tmp_path / "all"
    for number, part in enumerate(("train", "val", "test")):
        write(root / part, {f"c{number}": 2}, first=10 * number)
    assert refused(add, root, parts=None, seed=0) == (
        "the seed 0 has no effect, because the parts are given by the class folders in folders of a split"
    )


def test_one_class_in_two_parts_is_refused_unless_a_split_is_drawn(tmp_path, home):
    """The layout of a data set for ordinary classification."""
    root = tmp_path / "all"
    for number, part in enumerate(("train", "val", "test")):
        write(root / part, {"a": 2, "b": 2, "c": 2}, first=10 * number)
    sentence = refused(add, root, parts=None)
    assert sentence.startswith("the class 'a' is in test and again in train, but a class belongs to one part alone")
    assert sentence.endswith(
        "draw a split by class instead, with `--parts 0.64,0.16,0.2`, which joins the pictures of a class"
    )
    manifest = add(root, parts=(1, 1, 1))
    assert [manifest.sizes_of(part) for part in manifest.arrays] == [(6,), (6,), (6,)]


@pytest.mark.parametrize(
    ("parts", "classes", "expected"),
    [
        ((0.64, 0.16, 0.2), 100, [64, 16, 20]),
        ((0.64, 0.16, 0.2), 5, [3, 1, 1]),
        ((0.64, 0.16, 0.2), 3, [1, 1, 1]),
        ((0.5, 0.0, 0.5), 5, [3, 0, 2]),
        ((0.0, 0.0, 1.0), 5, [0, 0, 5]),
        ((0.1, 0.1, 0.1), 20, [2, 2, 2]),
        ((1, 1, 2), 5, [1, 1, 2]),
    ],
)
def test_numbers_of_classes_in_parts(tmp_path, parts, classes, expected):
    listing = listed(write(tmp_path / "all", {f"c{number:03}": 2 for number in range(classes)}))
    chosen = split(listing, parts=parts)
    assert [len(names) for names in chosen.names.values()] == expected
    drawn = [name for names in chosen.names.values() for name in names]
    assert len(set(drawn)) == len(drawn)
    left = classes - sum(expected)
    told = (f"{left} of {classes} classes are in no part, so they are not stored",) if left else ()
    assert chosen.notes == told
    assert split(listing, parts=parts).names == chosen.names


def test_every_class_is_as_likely_in_every_part(tmp_path):
    listing = listed(write(tmp_path / "all", {f"c{number}": 2 for number in range(5)}))
    counts = {f"c{number}": 0 for number in range(5)}
    for seed in range(500):
        for name in split(listing, parts=(3, 0, 2), seed=seed).names["test"]:
            counts[name] += 1
    assert all(150 < count < 250 for count in counts.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"parts": (4, 1, 1)}, "the parts 4,1,1 need 6 classes with at least 2 images each, but there are 5"),
        ({"parts": (0.7, 0.2, 0.2)}, "the parts 0.7,0.2,0.2 are fractions of the classes, but their sum is 1.1, not 1"),
        ({"parts": (0, 0, 0)}, "the parts are 0,0,0, but must be three numbers of at least 0, and not all 0"),
        ({"parts": (1, 2)}, "the parts are 1,2, but must be three numbers"),
        ({"parts": (-1, 2, 2)}, "the parts are -1,2,2, but must be"),
        ({"parts": (float("nan"), 0.5, 0.5)}, "the parts are nan,0.5,0.5, but must be"),
        (
            {"parts": PARTS, "file": Path("x.json")},
            "a split is read from a file or drawn: name a split file or parts, ",
        ),
    ],
)
def test_parts_that_cannot_be_filled_are_refused(tmp_path, options, sentence):
    listing = listed(write(tmp_path / "all", SIZES))
    assert refused(split, listing, **options).startswith(sentence)


@pytest.mark.parametrize("classes", [1, 2])
def test_too_few_classes_for_three_parts_are_refused_with_the_way_out(tmp_path, classes):
    listing = listed(write(tmp_path / "all", {f"c{number}": 2 for number in range(classes)}))
    said = refused(split, listing)
    assert said.startswith(f"{classes} class")
    assert said.endswith(
        " with at least 2 images cannot fill the parts 0.64,0.16,0.2; to make all of them test classes, say "
        f"`--parts 0,0,{classes}`"
    )


@pytest.mark.parametrize(("text", "parts"), [("0.64,0.16,0.2", (0.64, 0.16, 0.2)), (" 60, 16,20", (60, 16, 20))])
def test_parts_are_read_from_text(text, parts):
    assert numbers_of(text) == parts
    assert [type(part) for part in numbers_of(text)] == [type(part) for part in parts]


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,b,c", "1;2;3"])
def test_parts_of_another_form_are_refused(text):
    assert "but must be three numbers of classes such as 60,16,20" in refused(numbers_of, text)


def of(*lists: list, **more: object) -> dict[str, object]:
    return dict(zip(("train", "validation", "test"), lists, strict=False)) | more


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("no json", "must be JSON with the lists train, validation and test of class names"),
        ("[]", "must be JSON with the lists"),
        (of(["ant"]), "must be JSON with the lists"),
        (of(["ant"], [], [3]), "must be JSON with the lists"),
        (of([], [], []), "has no classes"),
        (of(["ant"], ["ant"], []), "has ant in train and again in validation"),
        (of(["ant"], ["be"], []), "has the validation class 'be', which the data lack or have fewer than 2 images of"),
        (of(["ant"], [], [], counts={"train": 2, "validation": 0, "test": 0}), "states 2 train classes but has 1"),
        (of(["ant"], [], [], counts=3), "must be JSON with the lists"),
        (of(["ant"], [], [], sha256="0"), "does not have the content that its sha256 states"),
    ],
)
def test_a_wrong_split_file_is_refused(tmp_path, content, sentence):
    listing, file = listed(write(tmp_path / "all", SIZES)), tmp_path / "split.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    assert sentence in refused(split, listing, file=file)
    assert "cannot be read: No such file" in refused(split, listing, file=tmp_path / "nowhere.json")


def test_a_split_file_needs_no_counts_and_may_leave_classes_out(tmp_path):
    listing, file = listed(write(tmp_path / "all", SIZES)), tmp_path / "split.json"
    file.write_text(json.dumps({"train": ["dog", "ant"], "validation": ["emu"], "test": []}))
    chosen = split(listing, file=file)
    assert chosen.names == {"train": ["ant", "dog"], "validation": ["emu"], "test": []}
    assert chosen.notes == (f"2 of 5 classes are in no part of {file}, so they are not stored",)


def test_classes_with_one_picture_are_left_out_and_told(birds):
    write(birds, {"fly": 1, "gnu": 1}, first=90)
    with pytest.warns(Notice, match="birds: left out, because they have fewer than 2 images: fly, gnu"):
        manifest = add(birds)
    assert manifest.classes == tuple(SIZES)
    lonely = write(birds.parent / "lonely", {"a": 1, "b": 1})
    assert refused(add, lonely) == "none of the 2 classes has 2 images or more, which an episode needs"


def test_what_was_ignored_and_converted_is_told(birds):
    (birds / "ant" / "notes.txt").write_text("x")
    Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12) * 300).save(birds / "ant" / "deep.png")
    with pytest.warns(Notice) as told:
        manifest = add(birds)
    assert [str(one.message) for one in told] == [
        "birds: ignored: 1 file that is no picture", "birds: images scaled to 8 bits: 1",
    ]  # fmt: skip
    assert "scaled to 8 bits: 1 (all parts)" in manifest.arrays["train"].how


def test_parts_that_are_too_small_for_the_recipes_are_told(birds):
    with pytest.warns(
        Notice, match="birds: there are only 2 train classes and 1 validation class and 2 test classes, too few"
    ):
        own.add("birds", birds, how=SMALL, parts=PARTS)
    many = write(birds.parent / "many", {f"c{number:02}": 2 for number in range(16)})
    with pytest.warns(Notice, match=r"only 3 validation classes and 3 test classes, .* such as --parts 6,5,5"):
        own.add("many", many, how=SMALL)


def same(birds: Path, *places: str) -> None:
    for place in places:
        picture(200).save(birds / place)


def test_one_picture_in_two_parts_is_a_leak(birds):
    parts = {part: names[0] for part, names in split(listed(birds), parts=PARTS).names.items()}
    same(birds, f"{parts['train']}/x.png", f"{parts['test']}/y.bmp")
    said = refused(add, birds)
    assert said.startswith("two parts hold the same picture, so that the test is not of new ones: ")
    assert f"{parts['train']}/x.png (train) and " in said
    assert f"{parts['test']}/y.bmp (test)" in said
    assert [path.name for path in folder()] == ["birds.sqlite3"]  # the pictures that were read
    with pytest.warns(Notice, match="two parts hold the same picture"):
        add(birds, allow_duplicates=True)
    pictures = maml_bench.ImageFolder(birds, size=8)
    assert "two parts hold the same picture" in refused(pictures.split, *PARTS)


def test_one_picture_twice_in_one_part_is_told(birds):
    one, other = split(listed(birds), parts=PARTS).names["train"]
    same(birds, f"{one}/x.png", f"{one}/y.png", f"{other}/z.png")
    with pytest.warns(Notice) as told:
        add(birds)
    assert [str(one.message) for one in told] == [
        "birds: pictures that are the same as one of another class of their part: 1",
        "birds: pictures that are the same as another one of their class: 1",
    ]


def test_a_damaged_picture_is_named_and_nothing_is_stored(birds):
    manifest = add(birds)
    path = birds / "dog" / "002.png"
    path.write_bytes(path.read_bytes()[:60])
    assert str(path) in refused(add, birds)
    assert store.manifest("birds") == manifest
    assert store.verify("birds") == manifest


def test_ctrl_c_keeps_what_was_stored_before(birds):
    manifest = add(birds)

    def stop(done: int, total: int, what: str) -> None:
        assert (total, what) == (17, "reading images")
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(birds, how=Preparation(9), progress=stop)
    assert store.verify("birds") == manifest
    stored = [path for path in folder() if path.parent.name == "birds"]
    assert len(stored) == 5  # three arrays, the manifest and the split
    assert [path.name for path in folder() if path not in stored] == ["birds.sqlite3"]


@pytest.mark.parametrize("name", ["omniglot", "Mini-ImageNet", "torchmeta", "mine.toml"])
def test_names_that_have_a_meaning_are_refused(birds, name):
    assert (
        refused(add, birds, name)
        == f"the name {name!r} has a meaning of its own here: choose another name for your data set"
    )


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a:b", "x" * 200])
def test_names_that_cannot_be_a_folder_are_refused(birds, name):
    assert refused(add, birds, name).startswith("the data set ")


def test_a_data_set_can_be_removed(birds):
    add(birds)
    store.remove("birds")
    assert not folder()
    assert refused(store.remove, "birds") == "there is no data set 'birds' (known: mini-imagenet, omniglot)"
    assert "omniglot is not stored in " in refused(store.remove, "omniglot")


def test_only_stored_data_are_replaced_or_removed(tmp_path, monkeypatch):
    """The data folder may be where users keep their pictures, which must not be replaced by what is made of them."""
    birds = write(tmp_path / "birds", SIZES)
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path))
    sentence = (
        f"{birds} holds other files than those of a stored data set, so it is neither replaced nor removed: choose "
    )
    assert refused(add, birds).startswith(sentence)
    (birds / "manifest.json").write_text("{}")
    assert refused(store.remove, "birds").startswith(sentence)
    assert sorted(path.name for path in birds.iterdir()) == [*SIZES, "manifest.json"]
    (birds / "manifest.json").unlink()
    add(birds, "wings")
    (tmp_path / "wings" / "manifest.json").write_text("damaged")
    add(birds, "wings")
    store.remove("wings")
    assert sorted(path.name for path in birds.iterdir()) == list(SIZES)


def test_names_are_kept_as_they_are_written(birds):
    add(birds, "my_birds")
    assert store.manifest("my_birds").name == "my_birds"
    assert refused(store.manifest, "my-birds") == "there is no data set 'my-birds' (did you mean 'my_birds'?)"


def test_an_image_folder_has_the_bytes_and_the_split_of_the_store(birds):
    add(birds)
    pictures = maml_bench.ImageFolder(birds, size=8)
    assert pictures.classes == tuple(SIZES)
    assert pictures.counts == SIZES
    assert repr(pictures).startswith("ImageFolder(5 classes, 17 pictures, Preparation(size=8")
    for part, found in zip(("train", "validation", "test"), pictures.split(*PARTS), strict=True):
        stored = load_part("birds", part)
        assert torch.equal(found.pixels, stored.pixels)
        assert (found.sizes, found.classes, found.how) == (stored.sizes, stored.classes, stored.how)
    whole = pictures.images
    assert whole.sizes == tuple(SIZES.values())
    assert torch.equal(whole.pixels[3], SMALL.prepare(birds / "bee" / "000.png"))


def test_an_image_folder_decodes_each_picture_once(birds, monkeypatch):
    read = []
    real = Preparation.prepared
    monkeypatch.setattr(Preparation, "prepared", lambda self, *given: read.append(given) or real(self, *given))
    pictures = maml_bench.ImageFolder(birds, size=8)
    assert read == []
    pictures.split(2, 1, 2)
    pictures.split(1, 1, 1, seed=3)
    assert pictures.images.pixels.shape == (17, 3, 8, 8)
    assert len(read) == 17


def test_an_image_folder_reads_a_data_set_and_stores_it(birds, home):
    class Pairs:
        classes = ("even", "odd", "third")

        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return picture(index), index % 3

    pictures = maml_bench.ImageFolder(Pairs(), size=8, colour="grey")
    assert pictures.counts == {"even": 4, "odd": 4, "third": 4}
    with pytest.warns(Notice, match="there are only"):
        manifest = pictures.add("numbers", parts=(1, 1, 1))
    assert manifest.source == "a data set in Python"
    (train, *_) = pictures.split(1, 1, 1)
    assert torch.equal(load_part("numbers", "train").pixels, train.pixels)


def test_an_image_folder_takes_the_parts_of_folders(tmp_path):
    for number, part in enumerate(("train", "val", "test")):
        write(tmp_path / "all" / part, {f"c{number}": 2}, first=10 * number)
    assert [part.classes for part in maml_bench.ImageFolder(tmp_path / "all", size=8).split()] == [
        ("c0",),
        ("c1",),
        ("c2",),
    ]


def test_images_check_that_their_fields_fit():
    pixels = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    Images(pixels, (1, 2), ("a", "b"), SMALL)
    assert "but must be uint8 [4, 3, 8, 8]" in refused(Images, pixels, (2, 2), ("a", "b"), SMALL)
    assert "the pixels are torch.float32" in refused(Images, pixels.float(), (1, 2), ("a", "b"), SMALL)
    assert refused(Images, pixels, (1, 2), ("a",), SMALL) == "there are 2 sizes, but 1 names of classes"


def test_older_manifests_are_read_as_before(home):
    """A manifest without sizes and preparation, as version 1 of this package wrote them."""
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 1, 2, 2)
    written = store.write("omniglot", version=1, source="zips", classes=("a", "b"), arrays={"x": (array, "by hand")})
    text = (home / "omniglot" / "manifest.json").read_text()
    assert "sizes" not in text
    assert "preparation" not in text
    assert written.sizes_of("x") == (3, 3)
    assert written.fingerprint == "ce36000c75fa"
