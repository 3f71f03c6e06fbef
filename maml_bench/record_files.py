"""Reading records: from JSON of this schema or an older one, one file or a whole results folder."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maml_bench.checked import construct, construct_json, fits
from maml_bench.errors import MamlBenchError, Notice
from maml_bench.files import read_bytes
from maml_bench.record import SCHEMA, Record
from maml_bench.record_tables import EXHIBITS, misfit


def load(path: Path) -> Record:
    """Read one record.

    Raises:
        MamlBenchError: the file is missing, not JSON, of a newer schema, or does not have the fields of a record.
    """
    try:
        text = read_bytes(path)
    except OSError as error:
        raise MamlBenchError(f"record {path} cannot be read: {error.strerror}") from error
    return parse(text, f"record {path}")


def parse(text: bytes, where: str) -> Record:
    """The record that a JSON text holds; ``where`` names it in messages.

    Raises:
        MamlBenchError: as `load`.
    """
    record = construct_json(Record, text, lambda raw: migrate(raw, where), where)
    for i, test in enumerate(record.evaluations):
        for j, point in enumerate(test.points):
            if len(point.values) != test.episodes:
                raise MamlBenchError(
                    f"{where}: evaluations[{i}].points[{j}].values has {len(point.values)} scores, but there are "
                    f"{test.episodes} episodes"
                )
        if len(test.best) not in (0, test.episodes):
            raise MamlBenchError(
                f"{where}: evaluations[{i}].best has {len(test.best)} values, but there are {test.episodes} episodes"
            )
    columns = {name: len(value) for name, value in vars(record.curve).items() if isinstance(value, list) and value}
    if len(set(columns.values())) > 1:
        lengths = ", ".join(f"{length} of {name}" for name, length in columns.items())
        raise MamlBenchError(f"{where}: the lists of curve differ in length ({lengths})")
    exhibit = record.exhibit or {}
    kind = exhibit.get("kind")
    if isinstance(kind, str) and kind in EXHIBITS:
        if not fits(EXHIBITS[kind], exhibit):
            construct(EXHIBITS[kind], exhibit, where, "exhibit")
        words = misfit(exhibit)
        if words:
            raise MamlBenchError(f"{where}: {words} in exhibit")
    return record


def migrate(raw: Any, where: str) -> Any:
    """Bring the plain form of a record to the present schema. Each old schema has its step here."""
    if not isinstance(raw, dict):
        return raw
    schema = raw.get("schema")
    if type(schema) is int and schema == 1:  # True is equal to 1
        renamed = {"sittings": "segments"}
        return {renamed.get(key, key): value for key, value in raw.items()} | {"schema": SCHEMA}
    if isinstance(schema, int) and schema > SCHEMA:
        raise MamlBenchError(
            f"{where}: record schema {str(schema)[:20]} is newer than {SCHEMA}, the one this version reads; upgrade "
            "maml-bench"
        )
    return raw


def record_paths(results: Path) -> list[Path]:
    """The files of all run records below ``results``, sorted; none where it has no folder of records.

    Raises:
        MamlBenchError: a folder cannot be read.
    """
    folder, found = results / "records", []

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise MamlBenchError(f"the folder {error.filename} of records cannot be read: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        if Path(place) == folder and "speed" in folders:
            folders.remove("speed")
        found += [Path(place, name) for name in names if name.endswith(".json")]
    return sorted(found)


def load_all(results: Path) -> Iterator[tuple[Path, Record]]:
    """Yield (path, record) for every run record below ``results``, in path order.

    A file that is no record is skipped with a `Notice`, so that it does not keep the others from being read.

    Raises:
        MamlBenchError: a folder cannot be read.
    """
    for path in record_paths(results):
        try:
            record = load(path)
        except MamlBenchError as error:
            skipped(path, error)
        else:
            yield path, record


def skipped(path: Path, error: MamlBenchError) -> None:
    """Warn that a file with records is left out, why, and how to be rid of the warning."""
    warnings.warn(f"{error}; it is skipped. To remove it, delete the file {path}", Notice, stacklevel=3)
