"""A data set on its way into the store: its arrays are filled, hashed, and named in a manifest."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from maml_bench.data.disk import ArrayFile
from maml_bench.data.manifest import MANIFEST, ArrayInfo, Manifest
from maml_bench.data.threads import each

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is being done); an exception it raises ends the work cleanly."""


class Draft:
    """A data set that is being written to the store: create its arrays, fill them, then call `finish`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._files: dict[str, ArrayFile] = {}

    def array(self, key: str, shape: tuple[int, ...]) -> ArrayFile:
        """The new array ``key``, uint8 ``[class, example, C, H, W]``, to be filled class by class.

        Where classes may differ in size it is ``[image, C, H, W]``, to be filled image by image.
        """
        self._files[key] = ArrayFile(self._folder / f"{key}.npy", shape)
        return self._files[key]

    def text(self, name: str, content: str) -> None:
        """Write a text file of that name beside the arrays."""
        (self._folder / name).write_text(content, encoding="utf-8")

    def finish(
        self,
        *,
        version: int,
        source: str,
        classes: Sequence[str],
        how: Mapping[str, str],
        own: Mapping[str, Sequence[str]] | None = None,
        sizes: Mapping[str, Sequence[int]] | None = None,
        preparation: Mapping[str, int | str] | None = None,
        progress: Progress | None = None,
    ) -> Manifest:
        """Hash the arrays, all of which are filled, and write the manifest.

        Args:
            version: that of the source module.
            source: the layout that the data were read from.
            classes: the classes of all arrays together.
            how: a description of how each array was made.
            own: the classes of the arrays that have their own.
            sizes: the numbers of images of each class of each array, where they may differ.
            preparation: how pictures of the user's were prepared.
            progress: counts the bytes hashed.
        """
        labels = {key: tuple(own[key]) if own and key in own else None for key in self._files}
        of_classes = {key: tuple(sizes[key]) if sizes else None for key in self._files}
        examples = {0 if sizes else file.shape[1] for file in self._files.values()}
        assert len(examples) == 1
        rows = {key: file.shape[0] if sizes is None else len(sizes[key]) for key, file in self._files.items()}
        assert all(rows[key] == len(labels[key] or classes) for key in rows)
        bytes_of = {key: file.path.stat().st_size for key, file in self._files.items()}
        digests: dict[str, str] = {}
        with closing(each([iter(self._files)], lambda key: (key, self._files[key].finish()))) as done:
            for key, digest in done:
                digests[key] = digest
                if progress:
                    progress(sum(bytes_of[key] for key in digests), sum(bytes_of.values()), "hashing")
        infos = {
            key: ArrayInfo(file.shape, "uint8", digests[key], how[key], labels[key], of_classes[key])
            for key, file in self._files.items()
        }
        prepared = dict(preparation) if preparation else None
        written = Manifest(self.name, version, source, tuple(classes), examples.pop(), infos, prepared)
        with (self._folder / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(written.to_json())
            file.flush()
            os.fsync(file.fileno())
        return written
