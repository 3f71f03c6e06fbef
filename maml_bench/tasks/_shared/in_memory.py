"""Tasks of images in memory: the family `images` without a stored data set, for code that has the images already."""

import hashlib
from dataclasses import dataclass, field, fields
from typing import Any

from maml_bench.data.images import Images
from maml_bench.data.splits import PARTS
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.tasks.images import OwnImages


@dataclass(frozen=True)
class ImagesInMemory(OwnImages):
    """As `OwnImages`; ``images`` has the images of each part (train, validation and test), or of some of them.

    All parts must have one size and one number of channels.
    """

    images: dict[str, Images] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, tasks: OwnImages, images: dict[str, Images]) -> "ImagesInMemory":
        """Tasks of ``images`` with the options of ``tasks``, such as those that a recipe was resolved to."""
        return cls(**{f.name: getattr(tasks, f.name) for f in fields(OwnImages)}, images=images)

    def __post_init__(self) -> None:
        """MamlBenchError: a part that there is not, or images of different sizes."""
        for part in self.images:
            if part not in PARTS:
                raise MamlBenchError(f"there is no part {part!r} of a split{nearest(part, PARTS)}")
        forms = {part: list(images.pixels.shape[1:]) for part, images in self.images.items()}
        for part, form in forms.items():
            if form != next(iter(forms.values())):
                first = next(iter(forms))
                raise MamlBenchError(
                    f"the images of {first} are {forms[first]}, but those of {part} are {form}: prepare both alike"
                )

    def fingerprint(self) -> dict[str, Any]:
        """A hash of the classes, sizes and pixels of each part."""
        digest = hashlib.sha256()
        for part in PARTS:
            if part in self.images:
                images = self.images[part]
                digest.update(repr((part, images.classes, images.sizes, images.how)).encode())
                digest.update(images.pixels.contiguous().numpy().data)
        return {"name": "images in memory", "version": self.version, "fingerprint": digest.hexdigest()[:12]}

    def _load(self, split: str) -> Images:
        if split not in self.images or not self.images[split].sizes:
            raise MamlBenchError(f"there are no {split} images: give some classes of yours to this part")
        return self.images[split]
