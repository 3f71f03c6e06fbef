"""learn2learn (Arnold et al. 2020, arXiv:2008.12284): TaskDataset over a MetaDataset, with its fused transform.

As its Omniglot benchmark and examples/vision/maml_omniglot.py have it: K + Q examples per class, sorted by label, are
split by indices into support and query, task by task; no meta-batch is stacked, as none is there. Images lie in memory
as floats, as those of its MiniImagenet do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import learn2learn
import numpy as np
import torch
from learn2learn.data import MetaDataset, TaskDataset
from learn2learn.data.transforms import ConsecutiveLabels, FusedNWaysKShots, KShots, LoadData, NWays, RemapLabels
from learn2learn.vision.transforms import RandomClassRotation
from torch.utils.data import Dataset, TensorDataset

from common import Bench, Loader, MetaBatch, main


class Images(Dataset):
    """Images as float tensors, and their class as a plain int, which learn2learn looks up faster than a tensor."""

    def __init__(self, x: torch.Tensor, examples: int) -> None:
        self.x, self.examples = x, examples

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.x[index], index // self.examples


class Learn2learnLoader(Loader):
    """``fused`` draws classes and examples in one transform; ``plain`` chains NWays and KShots."""

    library = "learn2learn"

    def __init__(self, bench: Bench, images: np.ndarray, threads: int, schedule: str) -> None:
        torch.set_num_threads(threads)
        how, labels = schedule.split(", ")
        examples, each = images.shape[1], bench.shot + bench.query
        x = torch.from_numpy(images.reshape(-1, *images.shape[2:]) / np.float32(255))
        y = torch.arange(len(images)).repeat_interleave(examples)
        data = MetaDataset(Images(x, examples) if labels == "int labels" else TensorDataset(x, y))
        chosen = [NWays(data, bench.way), KShots(data, each)] if how == "plain" else []
        transforms = [
            *(chosen or [FusedNWaysKShots(data, n=bench.way, k=each)]),
            LoadData(data),
            RemapLabels(data),
            ConsecutiveLabels(data),
            *([RandomClassRotation(data, [0.0, 90.0, 180.0, 270.0])] if bench.turned else []),
        ]
        self.bench, self.tasks = bench, TaskDataset(data, transforms, num_tasks=-1)
        place = torch.arange(bench.way * each).view(bench.way, each)
        self.support, self.query = place[:, : bench.shot].flatten(), place[:, bench.shot :].flatten()

    def batches(self) -> Iterator[Any]:
        while True:
            batch = []
            for _ in range(self.bench.tasks):
                x, y = self.tasks.sample()
                batch.append((x[self.support], y[self.support], x[self.query], y[self.query]))
            yield batch

    def arrays(self, batch: Any) -> MetaBatch:
        return MetaBatch(*(torch.stack(field).numpy() for field in zip(*batch)))

    def versions(self) -> dict[str, str | None]:
        return {"library_version": learn2learn.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    main(Learn2learnLoader)
