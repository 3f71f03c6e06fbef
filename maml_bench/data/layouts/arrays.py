"""mini-ImageNet as arrays: the pickles of Ren et al. (2018, arXiv:1803.00676), and the HDF5 files that torchmeta
(arXiv:1909.06576) makes of them."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maml_bench.data.disk import Array
from maml_bench.data.layouts.found import Layout, OneClass, three
from maml_bench.data.layouts.photographs import SIDE, Photo
from maml_bench.data.layouts.unpickling import unpickle
from maml_bench.errors import MamlBenchError

PICKLE, HDF5, LABELS = "mini-imagenet-cache-{}.pkl", "{}_data.hdf5", "{}_labels.json"


def pickles(place: Path) -> Layout | None:
    """``image_data`` uint8 ``[images, 84, 84, 3]`` and ``class_dict`` from wnid to places in it, a pickle a split.

    Raises:
        MamlBenchError: one of the three is missing; from the stream: one is damaged, or asks for code to be run.
    """
    paths = three(place, PICKLE)

    def classes() -> Iterator[OneClass]:
        for split, path in paths.items():
            found = unpickle(path)  # one at a time: they take up to 0.8 GB
            try:
                content = {_string(key): value for key, value in found.items()}
                images, kinds = content["image_data"], content["class_dict"]
                indices = {_string(wnid): np.asarray(places, dtype=np.int64) for wnid, places in kinds.items()}
                form, dtype = images.shape, str(images.dtype)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise MamlBenchError(f"{path} has not the arrays image_data and class_dict of mini-ImageNet") from None
            _check_form(f"image_data in {path}", form, dtype)
            used = np.concatenate([*indices.values(), np.empty(0, np.int64)])
            if len(np.unique(used)) < len(used) or not ((used >= 0) & (used < len(images))).all():
                raise MamlBenchError(f"class_dict in {path} names an image twice, or one that is not in image_data")
            for wnid, of_class in indices.items():
                yield _of_array(wnid, split, str(path), of_class.tolist(), partial(images.__getitem__, of_class))

    name = "three pickles (Ren et al.)"
    return Layout(name, "examples in the order of the pickles' class_dict", [], [classes()]) if paths else None


def hdf5(place: Path) -> Layout | None:
    """``datasets`` with an array uint8 ``[images, 84, 84, 3]`` for each wnid, a file a split.

    Raises:
        MamlBenchError: one of the three is missing or damaged, or there is no h5py.
    """
    paths = three(place, HDF5)
    if not paths:
        return None
    try:
        import h5py
    except ImportError:
        raise MamlBenchError(
            f"{paths['train']} is read with h5py, which is not installed: `python -m pip install h5py`"
        ) from None

    def rows(path: Path, wnid: str) -> Array:
        try:
            with h5py.File(path) as file:
                read: Array = file["datasets"][wnid][()]
        except OSError:
            raise MamlBenchError(f"{wnid} in {path} is damaged or cannot be read") from None
        return read

    listed = []
    for split, path in paths.items():
        try:
            with h5py.File(path) as file:
                forms = {str(wnid): (data.shape, str(data.dtype)) for wnid, data in file["datasets"].items()}
            labels = path.with_name(LABELS.format(split))
            named = json.loads(labels.read_text(encoding="utf-8")) if labels.exists() else list(forms)
        except (OSError, KeyError, AttributeError, ValueError):
            raise MamlBenchError(f"{path} or its labels cannot be read as torchmeta's mini-ImageNet") from None
        if not isinstance(named, list) or {*map(str, named)} != {*forms}:
            raise MamlBenchError(f"{labels} does not name the classes that {path} holds")
        for wnid, (form, dtype) in forms.items():
            _check_form(f"{wnid} in {path}", form, dtype)
            names = [str(index) for index in range(form[0])]
            listed.append(_of_array(wnid, split, str(path), names, partial(rows, path, wnid)))
    return Layout("HDF5 files (torchmeta)", "examples in the order of the HDF5 files", listed, [])


def _check_form(what: str, form: tuple[int, ...], dtype: str) -> None:
    if form[1:] != (SIDE, SIDE, 3) or dtype != "uint8":
        raise MamlBenchError(f"{what} is {dtype} {list(form)} instead of uint8 [images, {SIDE}, {SIDE}, 3]")


def _of_array(wnid: str, split: str, where: str, names: list[Any], rows: Callable[[], Array]) -> OneClass:
    return OneClass(
        wnid, split, where, [str(name) for name in names], lambda: (Photo(row, f"{wnid} in {where}") for row in rows())
    )


def _string(value: str | bytes) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value
