"""Class splits: pinned, disjoint, reproducible from their stated rule, and refused when a file contradicts itself."""

import copy
import json
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest

from maml_bench.data import splits, store
from maml_bench.data.sources import omniglot
from maml_bench.errors import MamlBenchError

COUNTS = {"finn": (1100, 100, 423), "vinyals": (1028, 172, 423), "lake": (883, 81, 659)}


def all_classes() -> list[str]:
    return sorted(
        f"{half}/{alphabet}/character{number:02d}"
        for half, counts in omniglot.alphabets().items()
        for alphabet, count in counts.items()
        for number in range(1, count + 1)
    )


def content(name: str) -> dict:
    return json.loads((files("maml_bench.data") / "class_splits" / f"omniglot-{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", COUNTS)
def test_the_parts_cover_omniglot_once(name: str) -> None:
    split = splits.load_split("omniglot", name)
    assert tuple(split.parts) == splits.PARTS
    assert tuple(len(split.parts[part]) for part in splits.PARTS) == COUNTS[name]
    assert sorted(sum(split.parts.values(), ())) == all_classes()


def test_the_content_is_pinned() -> None:
    known = {name: splits.load_split("omniglot", name).sha256[:12] for name in COUNTS}
    assert known == {"finn": "c11eb83c14c5", "vinyals": "eae9990c08d0", "lake": "798c411344bd"}


def test_finn_follows_from_its_rule() -> None:
    classes = all_classes()
    assert "numpy.random.RandomState(1).permutation(1623)" in content("finn")["rule"]
    order = np.random.RandomState(1).permutation(1623)
    parts = splits.load_split("omniglot", "finn").parts
    assert parts["train"] == tuple(sorted(classes[index] for index in order[:1100]))
    assert parts["validation"] == tuple(sorted(classes[index] for index in order[1100:1200]))
    assert parts["test"] == tuple(sorted(classes[index] for index in order[1200:]))


def test_lake_follows_from_its_rule() -> None:
    sizes = omniglot.alphabets()["background"]
    fewest = sorted(sizes, key=lambda alphabet: sizes[alphabet])[:5]
    assert sum(sizes[alphabet] <= sizes[fewest[-1]] for alphabet in sizes) == 5, "the rule leaves no choice"
    for part, names in splits.load_split("omniglot", "lake").parts.items():
        assert list(names) == sorted(names)
        where = {tuple(name.split("/")[:2]) for name in names}
        assert {half for half, _ in where} == {"evaluation" if part == "test" else "background"}
        if part != "test":
            assert {alphabet in fewest for _, alphabet in where} == {part == "validation"}


def test_vinyals_keeps_alphabets_together_except_gurmukhi() -> None:
    where: dict[str, Counter[str]] = {}
    for part, names in splits.load_split("omniglot", "vinyals").parts.items():
        for name in names:
            where.setdefault(name.split("/")[1], Counter())[part] += 1
    assert {alphabet: dict(parts) for alphabet, parts in where.items() if len(parts) > 1} == {
        "Gurmukhi": {"train": 41, "test": 4}
    }
    validation = {alphabet for alphabet, parts in where.items() if parts["validation"]}
    assert validation == {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}


def test_a_planted_class_in_two_parts_is_caught() -> None:
    leaky = copy.deepcopy(content("finn"))
    leaky["test"][0] = leaky["train"][0]
    with pytest.raises(MamlBenchError, match=f"{leaky['train'][0]} in train and again in test"):
        splits.parse(leaky)


def test_wrong_counts_and_changed_content_are_caught() -> None:
    short = copy.deepcopy(content("finn"))
    short["validation"].pop()
    with pytest.raises(MamlBenchError, match="states 100 validation classes but has 99"):
        splits.parse(short)
    swapped = copy.deepcopy(content("finn"))
    swapped["train"][0], swapped["test"][0] = swapped["test"][0], swapped["train"][0]
    with pytest.raises(MamlBenchError, match="sha256"):
        splits.parse(swapped)


def test_unknown_splits_suggest_the_nearest() -> None:
    with pytest.raises(MamlBenchError, match="did you mean 'vinyals'"):
        splits.load_split("omniglot", "vinyal")
    with pytest.raises(MamlBenchError, match="no class split for 'imagenet'"):
        splits.load_split("imagenet", "finn")


def test_indices_point_at_the_named_classes() -> None:
    split, classes = splits.load_split("omniglot", "vinyals"), all_classes()[::-1]
    for part in splits.PARTS:
        found = splits.indices(split, part, classes)
        assert found.dtype == np.int64
        assert tuple(classes[index] for index in found) == split.parts[part]


def test_indices_refuse_unknown_parts_and_missing_classes() -> None:
    split = splits.load_split("omniglot", "finn")
    with pytest.raises(MamlBenchError, match="did you mean 'validation'"):
        splits.indices(split, "valid", all_classes())
    lacking = [name for name in all_classes() if name != split.parts["test"][5]]
    with pytest.raises(MamlBenchError, match=f"lack 1 of the 423 test classes.*{split.parts['test'][5]}"):
        splits.indices(split, "test", lacking)


@pytest.mark.real_data
@pytest.mark.usefixtures("omniglot")
@pytest.mark.parametrize("name", COUNTS)
def test_the_stored_data_hold_every_class(name: str) -> None:
    split, classes = splits.load_split("omniglot", name), store.manifest("omniglot").classes
    found = np.concatenate([splits.indices(split, part, classes) for part in splits.PARTS])
    assert sorted(found) == list(range(1623))


def test_ravi_has_the_published_classes_in_their_order() -> None:
    split = splits.load_split("mini_imagenet", "ravi")
    assert {part: len(names) for part, names in split.parts.items()} == {"train": 64, "validation": 16, "test": 20}
    assert split.sha256.startswith("0da78d591262")
    firsts = [split.parts[part][0] for part in splits.PARTS]
    assert firsts == ["n01532829", "n01855672", "n01930112"]  # the first lines of train.csv, val.csv and test.csv


@pytest.mark.real_data
@pytest.mark.usefixtures("mini_imagenet")
def test_the_stored_mini_imagenet_holds_every_class_in_its_own_array() -> None:
    split, manifest = splits.load_split("mini_imagenet", "ravi"), store.manifest("mini_imagenet")
    for part in splits.PARTS:
        classes = manifest.classes_of(part)
        assert sorted(splits.indices(split, part, classes)) == list(range(len(classes)))
