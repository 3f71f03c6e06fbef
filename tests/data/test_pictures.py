"""Layouts of users' own images: what is read of folders, CSV files and data sets, what is ignored, what is refused."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from own_factory import SIZES, picture, write

from maml_bench.data.layouts.pictures import Listing, in_words, listed
from maml_bench.errors import MamlBenchError


def sizes(listing: Listing) -> dict[str, int]:
    return {one.name: len(one.items) for one in listing.classes}


def files(listing: Listing) -> list[str]:
    return [Path(str(item.read())).name for one in listing.classes for item in one.items]


def refused(source: object) -> str:
    with pytest.raises(MamlBenchError) as caught:
        listed(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_folders_are_read_in_the_order_of_names(tmp_path):
    found = listed(write(tmp_path / "all", SIZES))
    assert sizes(found) == SIZES
    assert {one.part for one in found.classes} == {None}
    assert files(found) == [f"{number:03}.png" for count in SIZES.values() for number in range(count)]
    assert not found.ignored


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "valid", "TEST"), ("training", "validation", "test")]
)
def test_folders_of_a_split_are_respected(tmp_path, names):
    root = tmp_path / "all"
    for number, name in enumerate(names):
        write(root / name, {f"class{number}{letter}": 2 for letter in "ab"}, first=10 * number)
    (root / "logs").mkdir()
    found = {one.name: one.part for one in listed(root).classes}
    assert found == {
        **dict.fromkeys(("class0a", "class0b"), "train"),
        **dict.fromkeys(("class1a", "class1b"), "validation"),
        **dict.fromkeys(("class2a", "class2b"), "test"),
    }


def test_a_class_may_have_the_name_of_a_part(tmp_path):
    found = listed(write(tmp_path, {"train": 2, "test": 3, "car": 2}))
    assert sizes(found) == {"car": 2, "test": 3, "train": 2}
    assert {one.part for one in found.classes} == {None}


def test_a_split_beside_classes_and_a_part_twice_are_refused(tmp_path):
    write(tmp_path / "one" / "train", {"a": 2})
    write(tmp_path / "one", {"dog": 2}, first=5)
    assert "holds folders of a split, such as train, beside dog" in refused(tmp_path / "one")
    write(tmp_path / "two" / "val", {"a": 2})
    write(tmp_path / "two" / "valid", {"b": 2})
    assert "holds val and valid, which are one part" in refused(tmp_path / "two")


def test_what_is_no_picture_is_ignored_and_counted(tmp_path):
    root = write(tmp_path / "all", {"a": 2, "b": 3})
    for name in (".hidden.png", "Thumbs.db"):
        (root / "a" / name).write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "a" / "notes.txt").write_text("no picture")
    (root / "b" / "empty.jpg").write_bytes(b"")
    (root / "b" / "inside").mkdir()
    (root / "readme.md").write_text("no picture")
    picture(77).save(root / "stray.png")
    (root / "nothing").mkdir()
    found = listed(root)
    assert sizes(found) == {"a": 2, "b": 3}
    assert found.ignored == Counter(
        {
            **{"hidden file": 3, "file that is no picture": 2, "empty file": 1, "class without pictures": 1},
            **{"folder within a class folder": 1, "picture outside of the class folders": 1},
        }
    )
    assert in_words(Counter({"hidden file": 3, "empty file": 1})) == "1 empty file, 3 hidden files"


def test_symbolic_links_are_not_followed(tmp_path):
    outside = write(tmp_path / "outside", {"secret": 3})
    root = write(tmp_path / "all", {"a": 2, "b": 2}, first=9)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "other").symlink_to(outside / "secret", target_is_directory=True)
    (root / "a" / "x.png").symlink_to(outside / "secret" / "000.png")
    (root / "b" / "dangling.png").symlink_to(root / "nowhere")
    found = listed(root)
    assert sizes(found) == {"a": 2, "b": 2}
    assert found.ignored == {"symbolic link, which is not followed": 5}
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert sizes(listed(tmp_path / "link")) == {"a": 2, "b": 2}  # this one was named by the user


def test_names_that_are_not_utf8(tmp_path):
    root = write(tmp_path / "all", {"a": 2, "b": 2})
    file = os.fsencode(root / "a") + b"/\xff.png"
    with open(file, "wb") as bad:  # noqa: PTH123
        picture(5).save(bad, "PNG")
    found = listed(root)
    assert sizes(found) == {"a": 3, "b": 2}
    assert found.classes[0].items[-1].what.endswith("\\udcff.png")
    os.mkdir(os.fsencode(root) + b"/\xfe")  # noqa: PTH102
    assert "is not UTF-8: rename it" in refused(root)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"),
        (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
        ("ﬁsh", "fish"),
        ("ß", "SS"),
    ],
)
def test_class_names_that_look_alike_are_refused(tmp_path, one, other):
    write(tmp_path, {one: 2})
    if (tmp_path / other).exists():
        pytest.skip("this file system takes the two names for one")
    write(tmp_path, {other: 2}, first=4)
    assert "differ only by case, or in how Unicode writes their letters: join them or rename one" in refused(tmp_path)


def test_one_name_is_stored_in_one_way_of_writing(tmp_path):
    write(tmp_path, {unicodedata.normalize("NFD", "é"): 2})
    assert listed(tmp_path).classes[0].name == unicodedata.normalize("NFC", "é")


def test_a_class_name_that_cannot_be_printed_is_refused(tmp_path):
    write(tmp_path, {"a\nb": 2})
    assert "has characters that cannot be printed: rename it" in refused(tmp_path)


def test_what_holds_no_pictures_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(f"{tmp_path / 'empty'} holds no pictures in class folders; ")
    (tmp_path / "flat").mkdir()
    picture(1).save(tmp_path / "flat" / "a.png")
    assert "(ignored: 1 picture outside of the class folders)" in refused(tmp_path / "flat")
    (tmp_path / "file.zip").write_bytes(b"PK")
    assert refused(tmp_path / "file.zip").endswith("is no folder; name a folder of class folders, or a CSV file")
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "holds no pictures; give a folder, a CSV file, or a data set" in refused(3)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_refused_by_name(tmp_path):
    root = write(tmp_path / "all", {"a": 2})
    (root / "a").chmod(0)
    try:
        assert refused(root).endswith("a cannot be read: Permission denied")
    finally:
        (root / "a").chmod(0o700)


def test_a_folder_that_the_system_refuses_is_named(tmp_path, monkeypatch):
    root, real = write(tmp_path / "all", {"a": 2}), os.scandir

    def denied(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert refused(root) == f"{root / 'a'} cannot be read: Permission denied"


def table(folder: Path, *lines: str, encoding: str = "utf-8", name: str = "list.csv") -> Path:
    """A CSV file in ``folder``, where there are pictures 0.png to 7.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        picture(number).save(folder / f"{number}.png")
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_file_names_pictures_and_their_classes(tmp_path, encoding):
    path = table(tmp_path, "path,label", "2.png,b", "0.png,a", "./1.png,a", "3.png,é", encoding=encoding)
    assert sizes(listed(path)) == {"a": 2, "b": 1, "é": 1}
    assert files(listed(path)) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_csv_file_may_have_a_split_and_other_columns(tmp_path):
    path = table(
        tmp_path, "note,Path,Label,Split", "x,0.png,a,train", ",1.png,b,val", "y,2.png,c,TEST", '"a,b",3.png,c,test'
    )
    assert [(one.name, one.part, len(one.items)) for one in listed(path).classes] == [
        ("a", "train", 1), ("b", "validation", 1), ("c", "test", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["path,class", "0.png,a"], "has no column 'label', but only 'path, class'; it needs path,label"),
        (["path;label", "0.png;a"], "has no column 'path', but only 'path;label'"),
        ([""], "has no column 'path', but no columns"),
        (["path,label", "0.png,a", "9.png,a"], "line 3 of {} names 9.png, but there is no file {}"),
        (["path,label", "/etc/hosts,a"], "line 2 of {} has the absolute path /etc/hosts; paths must be relative"),
        (["path,label", "0.png,a", "x/../0.png,b"], "line 3 of {} names x/../0.png again, which line 2 names too"),
        (["path,label", "0.png,"], "line 2 of {} has no label"),
        (["path,label", ",a"], "line 2 of {} has no path"),
        (["path,label,split", "0.png,a,dev"], "line 2 of {} has the split 'dev'; it must be train, validation or test"),
        (["path,label", "0.png"], "line 2 of {} has not as many fields as the header"),
        (["path,label", "0.png,a,b"], "line 2 of {} has not as many fields as the header"),
        (["path,label", '"0.png,a'], "cannot be read as CSV: unexpected end of data"),
        (["path,label"], "holds no pictures in class folders"),
    ],
)
def test_a_wrong_csv_file_is_refused_with_its_line(tmp_path, lines, sentence):
    path = table(tmp_path, *lines)
    assert sentence.format(path, tmp_path / "9.png") in refused(path)


def test_a_csv_file_of_another_encoding_is_refused(tmp_path):
    assert refused(table(tmp_path, "path,label", "0.png,é", encoding="latin-1")).endswith("list.csv is not UTF-8")


class Pairs:
    """A data set as torchvision has them."""

    def __init__(self, labels, classes=None, targets=None):
        self.labels, self.read = labels, 0
        if classes is not None:
            self.classes = classes
        if targets is not None:
            self.targets = targets

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.read += 1
        return picture(index), self.labels[index]


def test_a_data_set_in_python_has_pictures_and_labels():
    assert sizes(listed(Pairs([1, 0, 1], classes=["a", "b"]))) == {"a": 1, "b": 2}
    assert sizes(listed(Pairs(np.array([3, 3, 5])))) == {"3": 2, "5": 1}
    assert sizes(listed(Pairs(["x", "y", "x"]))) == {"x": 2, "y": 1}
    quick = Pairs([0, 0, 1], targets=[0, 0, 1])
    assert sizes(listed(quick)) == {"0": 2, "1": 1}
    assert quick.read == 0


def test_a_wrong_data_set_is_refused():
    assert "item 1 of the data set has the label 2, which `classes` does not name" in refused(
        Pairs([0, 2], classes=["a"])
    )
    assert "item 0 of the data set is no pair of a picture and a label" in refused([picture(0)])
    assert "holds no pictures" in refused(Pairs([]))
