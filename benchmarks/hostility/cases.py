"""Hostile inputs of the command line, made by rule from what is declared: the keys of recipes and the options of the
commands. Those of files stand in `file_cases`."""

import json
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args

import typer

from benchmarks.hostility import file_cases
from benchmarks.hostility.calls import NOWHERE, RECIPE, RUN, RUNS, TAKEN, Case
from benchmarks.hostility.ranges import ENTRY, beside, ends, numbers
from maml_bench import cli, registry
from maml_bench.harness.layers import NOT_OF_SETTINGS, NOT_OF_TABLES, as_setting
from maml_bench.harness.options import Row, options
from maml_bench.harness.recipe import default_setups, resolution
from maml_bench.harness.recipe_files import load_files

PATHS = (
    "../../x",
    "x/../../y",
    "/proc/x",
    "..",
    ".",
    "x" * 5000,
    "a[/b]y",
    "x\ny",
    "~nosuchuser/x",
    "\udcff",
    "\N{SNOWMAN}",
)
WORDS = ("", " ", "nosuch", "[bold]x[/bold]", "'", '"', "{}", "x" * 5000, "\u0663", "-1", "\udcff")
NUMBERS = ("x", "", "1.5x", "nan", "inf", "-inf", "1e400", "9" * 400, "9" * 5000, "\u0663", "0x10", "1,5")
WRONG = {
    "whole number": ("1.5", "x", "true", "[1]", "{a=1}", "1e400", "nan", "''", "1979-05-27", "9" * 400, "9" * 5000),
    "number": ("x", "true", "[1]", "{a=1}", "1e400", "nan", "inf", "-inf", "''", "1979-05-27", "9" * 5000),
    "one of": ("", "nosuch", "3", "[]", "true", "x" * 5000),
    "true or false": ("3", "x", "[]", "''", "0", "yes"),
    "list": ("3", "x", "[[1]]", "true", "{a=1}", "[{}]"),
    "text": ("3", "[]", "true"),
}
"""Values that are of no use for a key of each type."""


def corpus(prepared: Path) -> Iterator[Case]:
    """Every case, in an order that does not change. ``prepared`` holds the results of two small runs."""
    yield from settings()
    yield from bookkeeping()
    yield from ranges()
    yield from recipe_files()
    yield from verbs(prepared)
    yield from file_cases.records(prepared)
    yield from file_cases.places()
    yield from file_cases.bits(prepared)


def settings() -> Iterator[Case]:
    """Each key of each section, with values outside of its range, of another type, misspelt, and where nothing reads
    it."""
    seen: set[tuple[str, str]] = set()
    for recipe, setup in pairs():
        found = resolution(recipe, preset="smoke", setup=setup)
        objects = {"setup": found.setup, "tasks": found.tasks}
        for row in options(recipe, preset="smoke", setup=setup):
            section = row.key.partition(".")[0]
            whole = objects.get(section) or getattr(found.recipe, section)
            owner = type(whole).__qualname__
            if (owner, row.key) in seen and not row.unread:
                continue
            seen.add((owner, row.key))
            for number, text in enumerate(hostile_settings(row, whole)):
                name = f"setting {recipe} {setup} {row.key} {number}"
                arguments = ("run", recipe, "--preset", "smoke", "--setup", setup, "--set", text, *NOWHERE)
                yield Case(name, arguments, refused=True, accepted=(TAKEN,))


def pairs() -> Iterator[tuple[str, str]]:
    """A recipe with its default setup for every family, and every setup with the first recipe that it fits."""
    setups, families = set[str](), set[str]()
    for recipe in load_files():
        found = resolution(recipe, preset="smoke")
        tasks, first = found.recipe.tasks["name"], default_setups(recipe)[0]
        fits = [name for name in registry.setup_names() if registry.offers(tasks, name)]
        new = [name for name in fits if name not in setups]
        if tasks not in families and first not in new:
            new = [first, *new]
        setups.update(new)
        families.add(tasks)
        yield from ((recipe, name) for name in new)


def hostile_settings(row: Row, whole: Any) -> Iterator[str]:
    """Settings of one key that no recipe can take."""
    section, *place = row.key.split(".")
    if row.unread:
        yield f"{row.key}={1 if row.value is None else as_setting(row.key, row.value).partition('=')[2]}"
        return
    kind = "list" if row.type.startswith("list") else row.type.removesuffix(" or nothing")
    for value in WRONG.get(kind, ()):
        yield f"{row.key}={value}"
    yield f"{row.key}x=1"
    yield f"{section}.{section}.{'.'.join(place)}=1"
    yield f"{row.key}.deeper=1"
    if not is_dataclass(whole):
        return
    for found, typed, extras in numbers(type(whole)):
        for bound, end in ends(extras):
            outside = beside(typed, bound, end)[1]
            if found == tuple(place):
                yield f"{row.key}={outside!r}"
                yield f"{row.key}={10 * outside if abs(outside) > 1 else outside - 10 * (bound[0] == 'g') or 10}"
            elif found == (*place, ENTRY):
                yield f"{row.key}=[{outside!r}]"


def bookkeeping() -> Iterator[Case]:
    """Each key that names a run or its code, set on the command line or in a recipe file, with hostile values."""
    mine = {"mine.py": b"from maml_bench.setups.maml import MAML\n\n\nclass Mine(MAML):\n    pass\n"}
    for key in NOT_OF_SETTINGS:
        for number, value in enumerate(("./mine.py", "[]", "3", "true", *PATHS)):
            arguments = ("run", RECIPE, "--preset", "smoke", "--set", f"{key}={value}", *NOWHERE)
            yield Case(f"bookkeeping {key} {number}", arguments, mine, refused=True, accepted=(TAKEN,))
    for key in NOT_OF_TABLES:
        file = {"own.toml": f'extends = "{RECIPE}"\n{key} = "./mine.py"\n'.encode()}
        arguments = ("run", "./own.toml", "--preset", "smoke", *NOWHERE)
        yield Case(f"bookkeeping file {key}", arguments, mine | file, refused=True, accepted=(TAKEN,))
    for number, path in enumerate(PATHS):
        text = json.dumps(path, ensure_ascii=False).encode(errors="surrogateescape")
        fit = path == "x" * 50
        for what, content in (("id", b"id = %s\n" % text), ("preset", b"[presets.%s]\n" % text)):
            arguments = ("run", "./own.toml", "--preset", path if what == "preset" else "smoke", *NOWHERE)
            file = {"own.toml": b'extends = "%s"\n' % RECIPE.encode() + content}
            yield Case(f"bookkeeping name {what} {number}", arguments, file, refused=not fit, accepted=(TAKEN,))


SEARCHES = ("..", "1..", "..1", "1..x", "2..1", "1..1", "0..1:lgo", "-1..1:log", "nan..1", "0..inf", "|", "1||2", "1|1")
"""Ranges and choices that no key can take."""


def ranges() -> Iterator[Case]:
    """Each key with ranges and choices of no use, and the keys that cannot be searched with any."""
    for row in options(RECIPE, preset="smoke"):
        fixed = row.unread or row.key == "test" or row.key.startswith("validation.")
        for number, text in enumerate((*SEARCHES, "1..2", "1|2") if fixed else SEARCHES):
            arguments = ("tune", RECIPE, "--preset", "smoke", "--set", f"{row.key}={text}", *NOWHERE)
            yield Case(f"range {row.key} {number}", arguments, refused=True, accepted=(TAKEN,))


def recipe_files() -> Iterator[Case]:
    """Recipe files whose keys have another type than they should, and files that are no TOML."""
    base = f'extends = "{RECIPE}"\n'
    keys = (
        *("id", "title", "variant", "extends", "presets", "setups", "setups_published", "default_setups", "fills"),
        *("tasks", "setup", "inner", "outer", "train", "validation", "test", "ranked", "published", "nosuch"),
    )
    for key in keys:
        for number, value in enumerate(("3", "[]", "[3]", "'x'", "true", "1979-05-27", "{a = 3}", "[{a = 3}]")):
            content = (base if key != "extends" else "") + f"{key} = {value}\n"
            fits = (key, value) in {("title", "'x'"), ("variant", "'x'"), ("id", "'x'"), ("ranked", "true")}
            fits |= (key, value) in {("published", "[]"), ("test", "[]"), ("default_setups", "[]")}
            fits |= (key, value) in {("fills", "'x'"), ("test", "[{a = 3}]")}  # the preset has tests of its own
            arguments = ("run", "./own.toml", "--preset", "smoke", *NOWHERE)
            file = {"own.toml": content.encode()}
            yield Case(f"recipe {key} {number}", arguments, file, refused=not fits, accepted=(TAKEN,))
    broken = (
        b"",
        b"\x00",
        b"\xff\xfe",
        b"x = [" * 5000,
        b"x = " + b"[" * 5000,
        b"a = 1\na = 2\n",
        b"[recipe]\n[recipe]\n",
    )
    for number, content in enumerate((*broken, b"recipe = 3\n", b"[[recipe]]\n[[recipe]]\n", b"x = " + b"9" * 5000)):
        arguments = ("run", "./own.toml", "--preset", "smoke", *NOWHERE)
        yield Case(f"recipe broken {number}", arguments, {"own.toml": content}, refused=True, accepted=(TAKEN,))
    for number, content in enumerate(
        (b"", b"\x00", b"\xff", b"def (", b"1/0", b"raise SystemExit(0)", b"import sys; sys.exit()")
    ):
        arguments = ("run", RECIPE, "--preset", "smoke", "--setup", "./mine.py", *NOWHERE)
        yield Case(f"recipe code {number}", arguments, {"mine.py": content}, refused=True, accepted=(TAKEN,))


BASES: dict[str, tuple[str, ...]] = {
    "run": RUN[1:],
    "tune": (*RUN[1:], "--set", "inner.rate=0.1..0.2", "--trials", "1"),
    "suite": ("omniglot", "--status"),
    "list": (),
    "options": (RECIPE,),
    "records": (),
    "report": (),
    "data add": ("omniglot", "copy"),
    "data list": (),
    "data verify": (),
    "data remove": ("omniglot", "--yes"),
}
"""Arguments with which each verb does what it is for; those that need a file of the prepared results follow below."""


def verbs(prepared: Path) -> Iterator[Case]:
    """Each argument and option of each verb, with values of no use for its type."""
    record = next((prepared / RUNS / "records").rglob("*.json")).relative_to(prepared).as_posix()
    weights = next((prepared / RUNS / "weights").rglob("*.safetensors")).relative_to(prepared).as_posix()
    scored = ("--weights", weights, "--preset", "smoke", "--threads", "1", "--episodes", "2")
    bases = BASES | {"show": (record,), "compare": (RUNS, RUNS), "evaluate": (RECIPE, *scored)}
    for verb, command in leaves(typer.main.get_command(cli.app)):
        if verb == "data download" or verb not in bases:
            continue
        words = tuple(verb.split())
        yield Case(f"verb {verb} unknown option", (*words, *bases[verb], "--nosuch"), results=True, refused=True)
        yield Case(f"verb {verb} one argument too many", (*words, *bases[verb], *["x"] * 9), results=True, refused=True)
        for parameter in command.params:
            if parameter.name in ("rerun", "rerun_base", "rerun_new", "help"):
                continue
            for number, (value, refused) in enumerate(hostile_values(parameter)):
                given = (*bases[verb], parameter.opts[0], value)
                if parameter.param_type_name == "argument":
                    given = (value, *bases[verb][1:])
                arguments = (*words, *given)
                yield Case(f"verb {verb} {parameter.name} {number}", arguments, results=True, refused=refused)


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each verb, with its words."""
    if hasattr(command, "commands"):
        for word, inside in command.commands.items():
            yield from leaves(inside, f"{name} {word}".strip())
    else:
        yield name, command


def hostile_values(parameter: Any) -> Iterator[tuple[str, bool]]:
    """Values for a parameter of a verb, each with whether its declaration refuses it."""
    if getattr(parameter, "is_flag", False):
        return
    kind = parameter.type_descriptor.annotation
    kinds = {kind, *get_args(kind)}
    if kinds & {int, float}:
        fit = ("nan", "inf", "-inf", "1e400", "\u0663")  # to Python these are numbers
        yield from ((value, value not in fit) for value in NUMBERS if value[:1] != "9")
        if parameter.min is not None:
            yield from ((str(parameter.min - away), True) for away in (1, 10**9))
        return
    yield from ((value, False) for value in (*PATHS, *WORDS))
