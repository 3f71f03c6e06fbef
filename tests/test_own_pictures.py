"""From a folder of pictures to predictions: `ImageFolder`, `fit`, and ``maml-bench predict``."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import maml_bench
from maml_bench import ImageFolder, MamlBenchError, Predictor
from maml_bench.cli import app, predicting
from maml_bench.core.evaluate import Request
from maml_bench.data import store
from maml_bench.data.images import Images, Preparation
from maml_bench.errors import Notice
from maml_bench.fitting import queries
from maml_bench.harness import loop
from maml_bench.predictor import Adapted
from maml_bench.tasks.images import OwnImages

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (128, 128, 128),
           "white": (250, 250, 250), "black": (5, 5, 5), "cyan": (40, 200, 200), "pink": (220, 120, 160)}  # fmt: skip
DENSE = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
SMALL = {"way": 2, "shot": 1, "query": 2, "steps": 4, "every": 2, "episodes": 4, "progress": False}


def pictures(folder: Path, seed: int = 0) -> Path:
    """Class folders of noisy pictures of one colour each, 4 to 6 of them, 20 wide and 16 high."""
    random = np.random.default_rng(seed)
    for number, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True)
        for k in range(4 + number % 3):
            pixels = np.clip(np.array(colour) + random.integers(-20, 20, (16, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("pictures") / "colours")


@pytest.fixture(scope="module")
def parts(folder: Path) -> tuple[Images, Images, Images]:
    return ImageFolder(folder, size=16, resize="stretch").split(4, 2, 2, seed=0)


@pytest.fixture(scope="module")
def model(parts: tuple[Images, Images, Images]) -> Predictor:
    return maml_bench.fit("protonet", parts[0], parts[1], **SMALL)


def support(folder: Path, *names: str) -> tuple[list[Path], list[str]]:
    """The paths and the labels of two pictures of each class."""
    paths = [folder / name / f"{k}.png" for name in names for k in range(2)]
    return paths, [path.parent.name for path in paths]


@pytest.mark.parametrize("setup", ["protonet", "maml", "baseline", "pixel_nearest_neighbour"])
def test_a_learner_of_pictures_tells_colours_apart_after_it_was_saved(setup: str, folder, parts, tmp_path) -> None:
    changes = {"inner.rate": 0.01} if setup == "maml" else {}
    model = maml_bench.fit(setup, parts[0], parts[1], **{**SMALL, "steps": 20, "set": changes})
    model.save(tmp_path / "colours.safetensors")
    loaded = maml_bench.load(tmp_path / "colours.safetensors")
    few, again = (each.adapt(*support(folder, "red", "blue")) for each in (model, loaded))
    asked = [folder / name / "3.png" for name in ("red", "blue", "blue", "red")]
    assert few.classes == ("red", "blue")
    assert few.predict(asked) == again.predict(asked) == ["red", "blue", "blue", "red"]
    assert torch.equal(few.predict_proba(asked), again.predict_proba(asked))
    alone = torch.cat([few.predict_proba(path) for path in asked])
    torch.testing.assert_close(alone, few.predict_proba(asked), rtol=1e-4, atol=1e-5)


def test_pictures_have_the_pixels_of_the_training(folder, model, parts, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MAML_BENCH_DATA", str(tmp_path))
    with pytest.warns(Notice, match="too few for the usual tasks of 5 classes"):
        ImageFolder(folder, size=16, resize="stretch").add("colours", parts=(4, 2, 2))
    tasks = OwnImages(data="colours")
    part = tasks.part("train")
    drawn = tasks.sample("train", 0, 1, key=0, shape=maml_bench.Shape(4, 2, 2)).support
    known = {picture.numpy().tobytes(): None for picture in model.inputs(sorted(folder.rglob("*.png")))}
    assert all(picture.numpy().tobytes() in known for picture in drawn.x[0])
    path = folder / part.classes[0] / "0.png"
    as_image, as_array = Image.open(path), np.asarray(Image.open(path))
    as_tensor = torch.from_numpy(as_array.copy()).permute(2, 0, 1)
    stored = part.pixels[0].float() / 255
    for picture in (path, str(path), as_image, as_array, as_tensor, as_tensor / 255):
        assert torch.equal(model.inputs([picture])[0], stored)
    assert store.manifest("colours").sizes_of("train") == part.sizes


def test_the_score_is_the_mean_accuracy_on_random_tasks_of_a_part(model, parts) -> None:
    score = model.score(parts[2], query=1, episodes=20)
    assert 0.4 <= score.mean <= 1
    assert score == model.score(parts[2], query=1, episodes=20)
    with pytest.raises(MamlBenchError, match="a task needs 3 classes, but there are 2 test classes"):
        model.score(parts[2], way=3, query=1)


@pytest.mark.parametrize(("network", "mode"), [("conv4", "support"), (DENSE, "transductive")])
def test_the_validation_normalises_as_predictions_do(parts, monkeypatch, network, mode) -> None:
    seen = []

    def request(*fields: Any) -> Request:
        seen.append(Request(*fields))
        return seen[-1]

    monkeypatch.setattr(loop, "Request", request)
    maml_bench.fit("protonet", parts[0], parts[1], network=None if network == "conv4" else network, **SMALL)
    assert [(one.split, one.mode) for one in seen] == [("validation", mode)] * 3


def test_without_validation_the_last_step_counts(parts) -> None:
    for validation, change in ((None, {}), (parts[1], {"episodes": 0})):
        model = maml_bench.fit("protonet", parts[0], validation, **{**SMALL, **change})
        assert (model.about["step"], model.about["validation"]) == ("4", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"way": 1}, "way is 1, but must be at least 2"),
        ({"train": "photos"}, "train is a str, but must be a part of the classes of an ImageFolder"),
    ],
)
def test_training_that_cannot_work_is_refused_by_a_sentence(change, said, parts) -> None:
    with pytest.raises(MamlBenchError, match=said):
        maml_bench.fit(**{"setup": "protonet", "train": parts[0], "validation": parts[1], **SMALL, **change})


def test_one_array_is_one_picture_wherever_its_shape_says_so(folder, model) -> None:
    few = model.adapt(*support(folder, "red", "blue"))
    grey = np.asarray(Image.open(folder / "red" / "3.png").convert("L"))
    colour = np.asarray(Image.open(folder / "red" / "3.png"))
    alone = few.predict_proba([colour])
    torch.testing.assert_close(few.predict_proba(colour), alone)
    torch.testing.assert_close(few.predict_proba(colour[None]), alone)
    torch.testing.assert_close(few.predict_proba(torch.tensor(colour).permute(2, 0, 1)[None]), alone)
    assert few.predict_proba(grey).shape == (1, 2)
    assert few.predict_proba(np.stack([grey] * 5)).shape == (5, 2)
    for unclear in (torch.tensor(colour), torch.tensor(colour).permute(2, 0, 1)):
        with pytest.raises(MamlBenchError, match="can be one picture or several: give a list of pictures"):
            few.predict(unclear)
    with pytest.raises(MamlBenchError, match="pictures must be a list, not int"):
        few.predict(3)


def test_the_number_of_queries_leaves_most_classes_in() -> None:
    def of(*sizes: int) -> Images:
        how = Preparation(8, "grey")
        names = tuple(map(str, sizes))
        return Images(torch.zeros(sum(sizes), 1, 8, 8, dtype=torch.uint8), sizes, names, how)

    assert queries([of(600, 600, 600)], 2, 1) == 15
    assert queries([of(30, 20, 10, 6)], 2, 5) == 5  # three of the four classes have ten
    assert queries([of(30, 20, 10, 6)], 4, 5) == 1  # a task needs all of them
    assert queries([of(30, 30), of(8, 8)], 2, 1) == 7
    assert queries([of(2, 2)], 2, 5) == 1


def command(*words: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, words)])


@pytest.fixture
def saved(model: Predictor, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    model.save(path)
    return path


def test_the_command_says_what_python_says(saved, model, folder, tmp_path) -> None:
    for name in ("red", "blue"):
        (tmp_path / "some" / name).mkdir(parents=True)
        for k in range(2):
            (tmp_path / "some" / name / f"{k}.png").write_bytes((folder / name / f"{k}.png").read_bytes())
    asked = [folder / "red" / "3.png", folder / "blue"]
    paths = [folder / "red" / "3.png", *sorted((folder / "blue").iterdir())]
    few = model.adapt(*support(folder, "blue", "red"))
    expected, probabilities = few.predict(paths), few.predict_proba(paths)
    found = json.loads(command(saved, *asked, "--support", tmp_path / "some", "--json").output)
    assert [(one["image"], one["label"]) for one in found] == [
        (str(p), e) for p, e in zip(paths, expected, strict=True)
    ]
    torch.testing.assert_close(torch.tensor([list(one["probabilities"].values()) for one in found]), probabilities)
    rows = list(csv.DictReader(io.StringIO(command(saved, *asked, "--support", tmp_path / "some", "--csv").output)))
    assert [row["label"] for row in rows] == expected
    assert list(rows[0]) == ["image", "label", "blue", "red"]
    table = command(saved, *asked, "--support", tmp_path / "some").output
    assert all(f"{path}" in table for path in paths)


def test_of_equal_probabilities_the_label_is_not_named_again(capsys) -> None:
    predicting._print(
        Adapted(None, ("b", "c", "a"), None, False), [Path("new.png")], torch.ones(1, 3) / 3, False, False
    )
    assert [word for word in capsys.readouterr().out.split() if word in ("a", "b", "c")] == ["b", "c", "a"]


def test_a_learner_of_numbers_is_no_learner_of_pictures(folder, tmp_path) -> None:
    waves = maml_bench.fit("maml", maml_bench.load_tasks("sinusoid"), steps=1, episodes=0, progress=False)
    waves.save(tmp_path / "waves.safetensors")
    given = ["predict", str(tmp_path / "waves.safetensors"), "--support", str(folder), str(folder / "red")]
    with pytest.raises(MamlBenchError, match="is a learner of sinusoid, but predict needs one of pictures"):
        CliRunner().invoke(app, given, catch_exceptions=False)
    with pytest.raises(MamlBenchError, match=r"the learner cannot be written to .*: Is a directory"):
        waves.save(folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{saved}", "{folder}/red/0.png", "--support", "nowhere"], "nowhere does not exist"),
        (["{saved}", "nothing.png", "--support", "{folder}"], "nothing.png cannot be read"),
        (["{saved}", "{empty}", "--support", "{folder}"], "holds no pictures"),
        (["nothing.safetensors", "{folder}", "--support", "{folder}"], "nothing.safetensors cannot be read"),
        (["{saved}", "{folder}/red", "--support", "{folder}", "--json", "--csv"], "choose one"),
        (["{saved}", "{folder}/red", "--support", "{folder}", "--normalisation", "one-by-on"], "one by one"),
        (["{saved}", "{folder}/red", "--support", "{folder}", "--setup", "mine.py"], "mine.py would have no effect"),
    ],
)
def test_what_cannot_be_predicted_is_refused_by_a_sentence(words, said, saved, folder, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    given = [word.format(saved=saved, folder=folder, empty=tmp_path / "empty") for word in words]
    with pytest.raises(MamlBenchError, match=said):
        CliRunner().invoke(app, ["predict", *given], catch_exceptions=False)
