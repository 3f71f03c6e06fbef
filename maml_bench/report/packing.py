"""The reference records in one small file: what the wheel has in place of the folder ``results``.

Only the standard library is imported here, because the build of the wheel calls `pack` before anything is installed.
"""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = "reference.jsonl.xz"
"""Name of the file in the wheel, beside this module. It has one record in each line."""
DIGITS = 4
"""Significant digits of a score of one test task. Rounding moves a score by less than a hundredth of a threshold."""


def pack(results: Path) -> bytes:
    """What a comparison needs of the run records below ``results``, compressed.

    Superseded records are left out, as in every comparison. A record keeps all its fields but the learning curve and
    the exhibit. Its tests keep the inner steps for which any setup has a published value, those of validation and the
    last ones, with rounded scores.
    """
    folder = results / "records"
    paths = [path for path in sorted(folder.rglob("*.json")) if path.relative_to(folder).parts[0] != "speed"]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    counting = [record for record in records if not record.get("superseded")]
    wanted = {
        (record["recipe"]["id"], number["way"], number["shot"], number["inner_steps"])
        for record in counting
        for number in record["recipe"].get("published", ())
    }
    lines = [json.dumps(_short(record, wanted), sort_keys=True, separators=(",", ":")) for record in counting]
    return lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)


def unpack(packed: bytes) -> Iterator[bytes]:
    """The JSON text of each record of `pack`."""
    yield from lzma.decompress(packed).splitlines()


def _short(record: dict[str, Any], wanted: set[tuple[str, int, int, int]]) -> dict[str, Any]:
    own = record["curve"].get("inner_steps", 0)
    tests = []
    for test in record["evaluations"]:
        named = {steps for name, *shape, steps in wanted if (name, *shape) == (record["recipe"]["id"], *_shape(test))}
        kept = {*named, own, *(point["inner_steps"] for point in test["points"][-1:])}
        points = [
            point | {"values": [None if score is None else float(f"{score:.{DIGITS}g}") for score in point["values"]]}
            for point in test["points"]
            if point["inner_steps"] in kept
        ]
        tests.append(test | {"points": points})
    return record | {"evaluations": tests, "exhibit": None, "curve": {"inner_steps": own}}


def _shape(test: dict[str, Any]) -> tuple[int, int]:
    return test["way"], test["shot"]
