"""From what somebody calls a record to its file: a path, a file name, or parts that tell it from all others."""

import re
from pathlib import Path

from maml_bench.errors import MamlBenchError, nearest
from maml_bench.record_files import record_paths

_STEM = re.compile(
    r"(?P<recipe>.+)-(?P<preset>[^-]+)-(?P<id>[0-9a-f]{8})(?:-w(?P<weights>[0-9a-f]{8}))?"
    r"-(?P<seed>s\d+)-(?P<machine>[0-9a-f]{8})"
)
SHOWN = 8


def find_record(results: Path, name: str) -> Path:
    """The file of the one run record that ``name`` fits.

    ``name`` is a path, also one below ``results``; a file name with or without its ending; or parts with slashes
    between, in any order: recipe, setup, tasks, preset, the recipe's id, seed (``seed0`` or ``s0``), machine. Where no
    record has these very parts, records whose path contains them are meant.

    Raises:
        MamlBenchError: no record fits, or several do; the sentence names the nearest part, or some of the records.
    """
    for path in (Path(name), results / name):
        if path.is_file():
            return path
    folder = results / "records"
    known = {path: _parts(path.relative_to(folder)) for path in record_paths(results)}
    if not known:
        raise MamlBenchError(f"there are no records below {results}; `maml-bench run quickstart` makes some")
    wanted = [re.sub(r"^seed(\d+)$", r"s\1", part) for part in name.split("/") if part not in ("", ".")]
    found = [path for path, parts in known.items() if wanted and set(wanted) <= set(parts)] or [
        path for path in known if wanted and all(part in path.relative_to(folder).as_posix() for part in wanted)
    ]
    if not found:
        parts = {part for parts in known.values() for part in parts}
        raise MamlBenchError(f"no record {name!r} below {results}{_hint(wanted, parts)}")
    if len(found) > 1:
        lines = [f"\n  {path.relative_to(folder).as_posix()}" for path in found[:SHOWN]]
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise MamlBenchError(
            f"{name!r} fits {len(found)} records below {results}; add parts that tell them apart, such as the preset, "
            f"the seed or the machine:{''.join(lines)}{more}"
        )
    return found[0]


def _parts(path: Path) -> list[str]:
    """What a record can be called by: tasks, setup, file name, stem, recipe, preset, id, weights, seed, machine."""
    match = _STEM.fullmatch(path.stem)
    return [*path.parts, path.stem, *(part for part in (match.groups() if match else ()) if part)]


def _hint(wanted: list[str], parts: set[str]) -> str:
    """The nearest right part for the first wrong one."""
    wrong = next((part for part in wanted if not any(part in known for known in parts)), None)
    near = nearest(wrong, parts) if wrong else ""
    return near if near.startswith(" (did you mean") else "; `maml-bench records` lists them"
