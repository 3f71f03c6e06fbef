"""Pictures that were decoded before ``data add`` was interrupted, so that the next call need not decode them again.

They lie in the data folder as ``.decoded/NAME.sqlite3`` until the data set is stored. SQLite keeps this file whole also
where the process is killed.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

import numpy as np

from maml_bench.data.disk import present
from maml_bench.data.preparation import Preparation, Prepared

FOLDER = ".decoded"


class KeptPictures:
    """Prepared pictures of files by what was read: path, size, time of the last change, and the preparation.

    Several threads may call its methods at once. A full disk ends the keeping and nothing else.
    """

    def __init__(self, path: Path, how: Preparation) -> None:
        self._path, self._how, self._lock = path, how, Lock()
        self._file: sqlite3.Connection | None = None
        self.found = 0
        """How many pictures were there already."""
        for _ in range(2):  # the second time in place of a file that is damaged
            try:
                self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)  # each row at once
                self._file.execute("PRAGMA synchronous=OFF")  # a killed process loses nothing by it
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS pictures (key BLOB PRIMARY KEY, digest BLOB, pixels BLOB, notes TEXT)"
                )
                return
            except sqlite3.Error:
                self.remove()

    def get(self, path: Path) -> Prepared | None:
        """Return the prepared picture of a file, if it was kept and the file has not changed since."""
        with self._lock:
            if self._file is None:
                return None
            try:
                row = self._file.execute(
                    "SELECT digest, pixels, notes FROM pictures WHERE key = ?", (self._key(path),)
                ).fetchone()
            except (OSError, sqlite3.Error):
                return None
            if row is None or _digest(row[1]) != row[0]:
                return None
            self.found += 1
        pixels = np.frombuffer(row[1], np.uint8).reshape(self._how.channels, self._how.size, self._how.size)
        return Prepared(pixels, tuple(json.loads(row[2])))

    def put(self, path: Path, prepared: Prepared) -> None:
        """Keep the prepared picture of a file."""
        pixels = prepared.pixels.tobytes()
        with self._lock:
            if self._file is None:
                return
            try:
                row = (self._key(path), _digest(pixels), pixels, json.dumps(prepared.notes))
                self._file.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", row)
            except (OSError, sqlite3.Error):
                self.remove()

    def close(self) -> None:
        """End the work; what was put stays for the next call."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Keep nothing, and remove the file."""
        self.close()
        forget(self._path)

    def _key(self, path: Path) -> bytes:
        state = path.stat()
        identity = (str(path.absolute()), state.st_size, state.st_mtime_ns, self._how)
        return _digest(ascii(identity).encode())


@contextmanager
def kept_pictures(home: Path, name: str, how: Preparation) -> Iterator[KeptPictures]:
    """Yield what an interrupted call kept for the data set ``name``; once the block ends well, it is removed.

    It is removed on a full disk too, whose room the data set needs.
    """
    path = place_of(home, name)
    with present(path.parent):
        kept = KeptPictures(path, how)
    try:
        yield kept
    except OSError:
        kept.remove()
        raise
    except BaseException:
        kept.close()
        raise
    kept.remove()


def place_of(home: Path, name: str) -> Path:
    """The file of the pictures that are kept for the data set ``name``."""
    return home / FOLDER / f"{name}.sqlite3"


def forget(path: Path) -> None:
    """Remove such a file, and its folder if nothing else is kept."""
    for place in (path, path.with_name(f"{path.name}-journal")):
        place.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
