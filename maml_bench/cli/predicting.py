"""``maml-bench predict``: the classes of new pictures, from a trained learner and a few pictures of each class."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maml_bench.cli.terminal import AsJson, Device, print_json, print_table, put, say

if TYPE_CHECKING:
    from torch import Tensor

    from maml_bench.predictor import Adapted


def predict(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS.safetensors", help="A learner of pictures: what a run or maml_bench.fit saved."
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to predict, or folders that hold some.")
    ],
    support: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Some pictures of each class: a folder of class folders, or a CSV with path,label."
        ),
    ],
    steps: Annotated[int | None, typer.Option(min=0, help="Inner steps. Default: those of the validation.")] = None,
    normalisation: Annotated[
        str,
        typer.Option(
            help="Whose statistics batch-norm uses: [cyan]support[/cyan] (a picture gets the same answer alone as "
            "among others), [cyan]one-by-one[/cyan] (each picture with the support), [cyan]transductive[/cyan] (those "
            "of the pictures that are predicted)."
        ),
    ] = "support",
    setup: Annotated[
        str | None, typer.Option(help="The file of the setup, where the learner was trained with one of your own.")
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: image, label, and the probability of each class.")
    ] = False,
) -> None:
    """Adapt a trained learner to a few pictures of each class, and say which class new pictures are of.

    The classes may be others than those of the training: that is what the learner is for. Pictures are prepared as in
    training. The probabilities are what the method says; nothing has calibrated them.

    Examples: [cyan]maml-bench predict birds.safetensors --support my-birds new1.jpg new2.jpg[/cyan] ·
    [cyan]maml-bench predict birds.safetensors --support my-birds unsorted/ --csv > labels.csv[/cyan]
    """
    from maml_bench.classification import ImageClassification
    from maml_bench.data.layouts.pictures import in_words, listed
    from maml_bench.errors import MamlBenchError
    from maml_bench.learner_files import load

    if as_json and as_csv:
        raise MamlBenchError("--json and --csv are two forms of one output: choose one")
    model = load(weights, setup=setup, device=device)
    if not isinstance(model.tasks, ImageClassification):
        raise MamlBenchError(f"{weights} is a learner of {model.tasks.name}, but predict needs one of pictures")
    found = listed(support)
    if found.ignored:
        say(f"ignored in {support}: {in_words(found.ignored)}")
    items = [(item, one.name) for one in found.classes for item in one.items]
    few = model.adapt(
        [item.read() for item, _ in items],
        [name for _, name in items],
        steps=steps,
        normalisation=normalisation.replace("-", " "),
    )
    paths = _pictures(images)
    _print(few, paths, few.predict_proba(paths), as_json, as_csv)


def _pictures(given: list[Path]) -> list[Path]:
    """The pictures, with those in each folder in its place, sorted by name.

    Raises:
        MamlBenchError: a path does not exist, or a folder holds no picture.
    """
    from maml_bench.data.preparation import SUFFIXES
    from maml_bench.errors import MamlBenchError

    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
        if not inside:
            raise MamlBenchError(f"{path} holds no pictures; they end in {', '.join(SUFFIXES)}")
        found += inside
    return found


def _print(few: "Adapted", paths: list[Path], probabilities: "Tensor", as_json: bool, as_csv: bool) -> None:
    classes = [str(name) for name in few.classes]
    best = probabilities.argmax(1).tolist()
    rows: list[tuple[str, str, list[float]]] = [
        (str(path), classes[place], row) for path, place, row in zip(paths, best, probabilities.tolist(), strict=True)
    ]
    if as_json:
        print_json(
            [
                {"image": image, "label": label, "probabilities": dict(zip(classes, row, strict=True))}
                for image, label, row in rows
            ]
        )
        return
    if as_csv:
        writer = csv.writer(_Lines(), lineterminator="\n")
        writer.writerow(["image", "label", *classes])
        writer.writerows([image, label, *row] for image, label, row in rows)
        return
    shown: list[list[Any]] = []
    for image, label, row in rows:
        ranked = sorted(range(len(row)), key=lambda place: -row[place])[1:3]  # of equal ones the first is the label
        rest = ", ".join(f"{classes[place]} {row[place]:.1%}" for place in ranked)
        shown.append([image, label, f"{max(row):.1%}", rest])
    print_table("", ["image", "label", "probability", "then"], shown)


class _Lines:
    """A file for the csv module that writes to standard output as the other verbs do."""

    def write(self, text: str) -> None:
        put(text)
