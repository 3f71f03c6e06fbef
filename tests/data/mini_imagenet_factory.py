"""A miniature mini-ImageNet, seven classes of five photographs, written in every layout in public use."""

import io
import json
import pickle
import random
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from maml_bench.data import store
from maml_bench.data.sources import mini_imagenet

PARTS = {
    "train": ("n00000003", "n00000001", "n00000007"),
    "validation": ("n00000002", "n00000005"),
    "test": ("n00000006", "n00000004"),
}
EXAMPLES = 5
FOLDERS = {"train": "train", "validation": "val", "test": "test"}
Files = dict[str, bytes]


def add(path: Path, **options: object) -> store.Manifest:
    """The miniature in place of the whole."""
    return mini_imagenet.add_parts(path, PARTS, EXAMPLES, **options)


def jpeg(seed: int, size: tuple[int, int] = (84, 84), mode: str = "RGB") -> bytes:
    """A photograph of noise."""
    bands = len(mode) if mode != "L" else 1
    drawn = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    content = io.BytesIO()
    Image.frombytes(mode, size, drawn.tobytes()).save(content, "JPEG", quality=90)
    return content.getvalue()


def photographs() -> Files:
    """``<split>/<wnid>/<wnid><8 digits>.jpg``, each photograph another."""
    return {
        f"{FOLDERS[part]}/{wnid}/{wnid}{10 * index:08d}.jpg": jpeg(int(wnid[1:]) * 100 + index)
        for part, wnids in PARTS.items()
        for wnid in wnids
        for index in range(EXAMPLES)
    }


def decoded(content: bytes) -> np.ndarray:
    """uint8 [84, 84, 3]: decoded, made RGB and resized, in that order."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image if image.size == (84, 84) else image.resize((84, 84), Image.Resampling.LANCZOS))


def expected(files: Files) -> dict[str, np.ndarray]:
    """The arrays to be stored: classes and photographs sorted by name."""
    found = {}
    for part, wnids in PARTS.items():
        rows = [[decoded(files[n]) for n in sorted(files) if n.split("/")[1] == wnid] for wnid in sorted(wnids)]
        found[part] = np.asarray(rows).transpose(0, 1, 4, 2, 3)
    return found


def save(folder: Path, files: Files) -> Path:
    """The files below ``folder``, which is returned."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(path: Path, names: Iterable[str], files: Files) -> Path:
    """A tar archive of some of the files in the order of ``names``, compressed as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = {"xz": "w:xz", "gz": "w:gz"}.get(path.suffix[1:], "w")
    with tarfile.open(path, mode) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return path


def csv_lists(folder: Path, files: Files) -> Path:
    """Ravi & Larochelle's lists of the files, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in FOLDERS.values():
        rows = [name.split("/")[::-1][:2] for name in files if name.startswith(split)]
        (folder / f"{split}.csv").write_text("filename,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    return folder


def arrays(files: Files, split: str) -> tuple[np.ndarray, dict[str, list[int]]]:
    """image_data and class_dict of a split, as Ren et al. have them: classes as they come."""
    names = [name for name in sorted(files) if name.startswith(split)]
    kinds: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        kinds.setdefault(name.split("/")[1], []).append(index)
    return np.asarray([decoded(files[name]) for name in names]), kinds


def pickles(folder: Path, files: Files, protocol: int) -> Path:
    """Ren et al.'s three pickles; protocol 0 stands for those that Python 2 wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in FOLDERS.values():
        images, kinds = arrays(files, split)
        content = {"image_data": images, "class_dict": kinds}
        dumped = pickle.dumps(content, protocol) if protocol else python2(images, kinds)
        (folder / f"mini-imagenet-cache-{split}.pkl").write_bytes(dumped)
    return folder


def python2(images: np.ndarray, kinds: dict[str, list[int]]) -> bytes:
    """What Python 2 wrote, opcode by opcode: its strings are bytes, its numpy that of 2018."""

    def short(text: str) -> bytes:
        return b"U" + bytes([len(text)]) + text.encode()

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short("b") + b"\x87R"
    array += b"(K\x01(" + b"".join(map(number, images.shape)) + b"t"
    array += b"cnumpy\ndtype\n" + short("u1") + b"K\x00K\x01\x87R"
    array += b"(K\x03" + short("|") + b"NNN" + number(-1) * 2 + b"K\x00tb"
    raw = images.tobytes()
    array += b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    lists = b"".join(short(wnid) + b"](" + b"".join(map(number, places)) + b"e" for wnid, places in kinds.items())
    return b"\x80\x02}(" + short("image_data") + array + short("class_dict") + b"}(" + lists + b"uu."


def hdf5(folder: Path, files: Files) -> Path:
    """torchmeta's HDF5 files and labels, as its download makes them of the pickles."""
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    for split in FOLDERS.values():
        images, kinds = arrays(files, split)
        with h5py.File(folder / f"{split}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            for wnid, places in kinds.items():
                group.create_dataset(wnid, data=images[places])
        (folder / f"{split}_labels.json").write_text(json.dumps(sorted(kinds)))
    return folder


def archives(folder: Path, files: Files, end: str, *, order: Callable[[list[str]], list[str]] = list) -> Path:
    """Tar archives by split, those for training in two."""
    for split in ("train", "val", "test"):
        names = order([name for name in files if name.startswith(split)])
        if split == "train":
            cut = [name for name in names if "n00000003" in name]
            pack(folder / f"train-1{end}", cut, files)
            pack(folder / f"train-2{end}", [name for name in names if name not in cut], files)
        else:
            pack(folder / f"{split}{end}", names, files)
    return folder


def shuffled(names: list[str]) -> list[str]:
    return random.Random(0).sample(names, len(names))


def flat(files: Files, folder: str = "images") -> Files:
    return {f"{folder}/{name.split('/')[-1]}": content for name, content in files.items()}


def by_class(files: Files, folder: str = "") -> Files:
    return {folder + "/".join(name.split("/")[1:]): content for name, content in files.items()}


LAYOUTS: dict[str, tuple[str, Callable[[Path, Files], Path]]] = {
    "folders": ("folders", save),
    "folders, one level down": ("folders", lambda at, f: save(at / "mini-imagenet", f).parent),
    "folders of classes": ("folders", lambda at, f: save(at, by_class(f))),
    "tar": ("4 tar archives", lambda at, f: archives(at, f, ".tar")),
    "tar.xz": ("4 tar archives", lambda at, f: archives(at, f, ".tar.xz")),
    "tar.gz": ("4 tar archives", lambda at, f: archives(at, f, ".tar.gz")),
    "tar, any order": ("4 tar archives", lambda at, f: archives(at, f, ".tar", order=shuffled)),
    "one of the tars": ("4 tar archives", lambda at, f: archives(at, f, ".tar") / "val.tar"),
    "one tar": ("a tar archive", lambda at, f: pack(at / "mini.tar.gz", shuffled([*f]), f)),
    "one tar, its folder": ("a tar archive", lambda at, f: pack(at / "mini.tar", f, f).parent),
    "tars with lists": ("4 tar archives with lists", lambda at, f: archives(csv_lists(at, f), f, ".tar")),
    "images with lists": ("images with lists", lambda at, f: save(csv_lists(at, f), flat(f))),
    "images beside lists": ("images with lists", lambda at, f: save(csv_lists(at, f), flat(f, "."))),
    "folders with lists": ("images with lists", lambda at, f: save(csv_lists(at, f), f)),
    "classes with lists": ("images with lists", lambda at, f: save(csv_lists(at, f), by_class(f))),
    "pickles": ("three pickles (Ren et al.)", lambda at, f: pickles(at, f, 5)),
    "pickles of protocol 2": ("three pickles (Ren et al.)", lambda at, f: pickles(at, f, 2)),
    "pickles of Python 2": ("three pickles (Ren et al.)", lambda at, f: pickles(at, f, 0)),
    "HDF5": ("HDF5 files (torchmeta)", lambda at, f: hdf5(at / "miniimagenet", f).parent),
}
