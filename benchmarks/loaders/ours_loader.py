"""maml_bench itself: one call of sample_images for each meta-batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import maml_bench
import numpy as np
import torch
from maml_bench.data.episodes import sample_images
from maml_bench.types import Shape

from common import Bench, Loader, MetaBatch, main


class OurLoader(Loader):
    """Classes are turned as in the MAML code: one turn for each class of a task."""

    library = "maml-bench"

    def __init__(self, bench: Bench, images: np.ndarray, threads: int, schedule: str) -> None:
        torch.set_num_threads(threads)
        self.bench, self.images = bench, torch.from_numpy(images)

    def batches(self) -> Iterator[Any]:
        bench, first = self.bench, 0
        classes, shape = np.arange(len(self.images)), Shape(bench.way, bench.shot, bench.query)
        while True:
            yield sample_images(
                self.images, classes, first, bench.tasks, key=1, stream=("race",), shape=shape,
                rotations="per class" if bench.turned else "none",
            )  # fmt: skip
            first += bench.tasks

    def arrays(self, batch: Any) -> MetaBatch:
        return MetaBatch(*(tensor.numpy() for part in batch for tensor in part))

    def versions(self) -> dict[str, str | None]:
        return {"library_version": maml_bench.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    main(OurLoader)
