"""Hostile files and places, made by rule from the fields of records and from what can lie where a folder should."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from benchmarks.hostility.calls import RECIPE, RUN, RUNS, Case
from maml_bench.declared import options as declared
from maml_bench.record import Record


def records(prepared: Path) -> Iterator[Case]:
    """A good record beside one with a field that is missing, of another type, or out of range, and files that are no
    record. Every verb that reads records meets them."""
    good = next((prepared / RUNS / "records").rglob("*maml*.json"), None)
    good = good or next((prepared / RUNS / "records").rglob("*.json"))
    text = good.read_bytes()
    place = good.relative_to(prepared)
    damaged = place.with_name(f"damaged-{place.name}").as_posix()
    relative = Path(damaged).relative_to(RUNS).as_posix()
    changes = [(f"{key} {number}", content) for key, number, content in damages(json.loads(text))]
    whole = (
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"\xff\xfe",
        text[: len(text) // 2],
        text + text,
        b"[" * 100_000,
        b'{"a":' * 50_000,
    )
    changes += [(f"whole {number}", content) for number, content in enumerate(whole)]
    for number, (name, content) in enumerate(changes):
        # A report takes seconds, so that few records meet it.
        others = (("report", "--results", RUNS), ("show", damaged), ("compare", RUNS, RUNS))
        verb = 0 if number % 15 == 1 else 1 + number % 3 % 2
        arguments = others[verb] if number % 2 else ("records", "--json")
        yield Case(
            f"record {name} {arguments[0]}", arguments, {damaged: content}, results=True,
            refused=arguments[0] == "show", damaged=relative if arguments[0] == "records" else "",
        )  # fmt: skip


def damages(record: dict[str, Any]) -> Iterator[tuple[str, int, bytes]]:
    """A record with one field damaged at a time: its name, a number, and the content of the file."""
    hints = get_type_hints(Record)
    for name in (f.name for f in fields(Record)):
        if name not in record:
            continue
        changed: list[dict[str, Any]] = [{**record, name: value} for value in unfit(hints[name])]
        if name in REQUIRED:
            changed.append({key: value for key, value in record.items() if key != name})
        for number, content in enumerate(changed):
            yield name, number, json.dumps(content).encode()
    for number, path in enumerate(inner_places(record)):
        content = json.loads(json.dumps(record))
        table = content
        for step in path[:-1]:
            table = table[step]
        table[path[-1]] = {"x": ["x"]}
        yield ".".join(map(str, path)), number, json.dumps(content).encode()


REQUIRED = {option.key for option in declared(Record) if option.default is MISSING}
"""The fields that a record must have."""


def unfit(hint: Any) -> Sequence[Any]:
    """Values of another type than ``hint``."""
    parts = {hint, *get_args(hint)}
    kinds = parts | {get_origin(part) for part in parts} | ({dict} if any(map(is_dataclass, parts)) else set())
    values: list[tuple[set[Any], Any]] = [
        ({str}, "x"), ({float}, -1.5), ({bool}, True), ({list}, ["x", {}]), ({dict}, {"x": "y"}), ({type(None)}, None),
        ({list}, [[[[]]]]), ({dict}, {}), ({str}, "0"), ({str}, "nan"),
    ]  # fmt: skip
    return [value for kind, value in values if not kind & kinds and not (isinstance(value, str) and str in kinds)]


def inner_places(record: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Places inside of the tables and lists of a record that hold a number, a text or nothing."""

    def walk(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict):
            for key in value:
                yield from walk(value[key], (*place, key))
        elif isinstance(value, list):
            if value:
                yield from walk(value[0], (*place, 0))
        else:
            yield place

    for key in ("evaluations", "curve", "metric", "recipe", "timing_s"):
        yield from (place for place in walk(record[key], (key,)) if key != "recipe" or place[1] in SECTIONS)


SECTIONS = ("id", "preset", "tasks", "setup", "published")


def places() -> Iterator[Case]:
    """Results and data at places where nothing can be written, or that are no folders."""
    possible = {
        **{"deep": "/".join(["x" * 200] * 10), "markup": "x[/b]y", "dangling": "dangling", "empty": ""},
        **{"line": "x\ny", "bytes": "\udcff", "home": "~nosuchuser/x"},
    }
    impossible = {
        **{"proc": "/proc/x", "sys": "/sys/x", "null": "/dev/null", "full": "/dev/full", "loop": "loop"},
        **{"long": "x" * 300, "file": "file", "below": "file/x", "pipe": "pipe"},
    }
    there: dict[str, Any] = {"files": {"file": b"x"}, "pipes": ("pipe",)}
    there |= {"links": {"loop": "loop", "dangling": "none/x"}}
    for name, spot in (possible | impossible).items():
        for verb in (RUN, ("records",), ("report",), ("suite", "omniglot", "--status")):
            refused = name in impossible and verb == RUN
            yield Case(f"place {name} {verb[0]}", (*verb, "--results", spot), refused=refused, **there)
        for verb in (("data", "list"), ("data", "verify"), ("run", "omniglot-5w1s", "--preset", "smoke")):
            given = {"MAML_BENCH_DATA": spot}
            yield Case(f"place {name} {verb[-1]}", verb, environment=given, refused=verb[0] == "run", **there)
        wrong: list[tuple[str, ...]] = [("compare", "reference", spot), ("data", "add", "omniglot", spot)]
        wrong += [("data", "add", "birds", spot, "--allow-duplicates"), ("data", "add", "birds", spot, "--split", spot)]
        wrong += [("show", spot), (*RUN, "--from", spot), ("evaluate", RECIPE, "--weights", spot)]
        wrong += [("run", f"{spot}.toml"), ("run", RECIPE, "--setup", f"{spot}.py")]
        for words in wrong:
            yield Case(f"place {name} {words[0]} {len(words)}", words, refused=True, **there)
        yield Case(f"place {name} into", ("report", "--into", spot), results=True, **there)


def bits(prepared: Path) -> Iterator[Case]:
    """Weights and a checkpoint with one bit turned over."""
    drawn = random.Random(0)
    file = next((prepared / RUNS / "weights").rglob("*.safetensors"))
    checkpoint = next((prepared / RUNS / "records").rglob("*.ckpt"))
    for number in range(100):
        for path, command in ((file, ()), (checkpoint, (*RUN, "--seeds", "7"))):
            content = bytearray(path.read_bytes())
            content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
            name = path.relative_to(prepared).as_posix()
            scored = ("evaluate", RECIPE, "--weights", name, "--preset", "smoke", "--threads", "1", "--episodes", "2")
            arguments = command or scored
            yield Case(f"bit {path.suffix} {number}", arguments, {name: bytes(content)}, results=True, refused=True)
