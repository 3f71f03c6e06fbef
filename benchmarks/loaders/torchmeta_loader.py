"""torchmeta (Deleu et al. 2019, arXiv:1909.06576): BatchMetaDataLoader over a CombinationMetaDataset.

As its documentation and its own Omniglot have it: a ClassDataset of one data set for each class, ToTensor, Categorical
targets, ClassSplitter; turned classes are its class augmentation, each turn a class. The images lie in memory, where
its own data sets read them from HDF5: its MiniImagenet races too, by its helper, from the file that its download makes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import torchmeta
from PIL import Image
from torchmeta.datasets.helpers import miniimagenet
from torchmeta.transforms import Categorical, ClassSplitter, Rotation
from torchmeta.utils.data import BatchMetaDataLoader, ClassDataset, CombinationMetaDataset, Dataset
from torchvision.transforms import ToTensor

from common import Bench, Loader, MetaBatch, NotExpressible, main


class OneClass(Dataset):
    """The images of one class, and its number as their target."""

    def __init__(self, index: int, images: Any, transform: Any, target_transform: Any) -> None:
        super().__init__(index, transform=transform, target_transform=target_transform)
        self.images, self.number = images, index

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, target = self.images[index], self.number
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target


class Classes(ClassDataset):
    """All classes of ``images [class, example, ...]``, turned ones after the others."""

    def __init__(self, images: Any, transform: Any, turned: bool) -> None:
        augmentations = [Rotation([90, 180, 270])] if turned else None
        super().__init__(meta_train=True, class_augmentations=augmentations)
        self.images, self.transform = images, transform

    @property
    def num_classes(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> OneClass:
        images = self.images[index % self.num_classes]
        return OneClass(index, images, self.get_transform(index, self.transform), self.get_target_transform(index))


def write_hdf5(images: np.ndarray, root: Path) -> None:
    """Its training file of mini-ImageNet with the classes of ``images``, unless it is there."""
    folder = root / "miniimagenet"
    labels = folder / "train_labels.json"
    if labels.exists():
        return
    folder.mkdir(exist_ok=True)
    names = [f"n{row:08d}" for row in range(len(images))]
    with h5py.File(folder / "train_data.hdf5", "w") as file:
        group = file.create_group("datasets")
        for name, of_class in zip(names, images):
            group.create_dataset(name, data=of_class.transpose(0, 2, 3, 1))
    labels.write_text(json.dumps(names))


class TorchmetaLoader(Loader):
    """``floats``: all images are made tensors beforehand; ``ToTensor``: each is converted when it is drawn;
    ``MiniImagenet``: its own loader, which reads it from the file first."""

    library = "torchmeta"

    def __init__(self, bench: Bench, images: np.ndarray, threads: int, schedule: str) -> None:
        torch.set_num_threads(threads)
        how, workers = schedule.split(", num_workers=")
        if bench.own != (how == "MiniImagenet"):
            raise NotExpressible("its MiniImagenet races where mini-ImageNet is read from files, the others elsewhere")
        if bench.own:
            root = Path(images.filename).parent
            write_hdf5(images, root)
            tasks = miniimagenet(str(root), bench.shot, bench.way, test_shots=bench.query, meta_train=True)
            self.loader = BatchMetaDataLoader(tasks, batch_size=bench.tasks, shuffle=True, num_workers=int(workers))
            return
        if bench.turned:
            if how == "floats":
                raise NotExpressible("its Rotation turns PIL images, not tensors")
            drawings = [[Image.fromarray(image[0]) for image in drawn] for drawn in images]
            classes = Classes(drawings, ToTensor(), turned=True)
        elif how == "floats":
            classes = Classes(torch.from_numpy(images / np.float32(255)), None, turned=False)
        else:
            classes = Classes(np.ascontiguousarray(images.transpose(0, 1, 3, 4, 2)), ToTensor(), turned=False)
        tasks = CombinationMetaDataset(classes, bench.way, target_transform=Categorical(bench.way))
        tasks = ClassSplitter(tasks, shuffle=True, num_train_per_class=bench.shot, num_test_per_class=bench.query)
        self.loader = BatchMetaDataLoader(tasks, batch_size=bench.tasks, shuffle=True, num_workers=int(workers))

    def batches(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def arrays(self, batch: Any) -> MetaBatch:
        return MetaBatch(*(tensor.numpy() for part in ("train", "test") for tensor in batch[part]))

    def versions(self) -> dict[str, str | None]:
        return {"library_version": torchmeta.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "The number of possible tasks", UserWarning)
    main(TorchmetaLoader)
