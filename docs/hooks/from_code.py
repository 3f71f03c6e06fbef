"""What the site takes from the code: citations, options, keys, fields, commands and the public names."""

import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from typing import Any

import typer
from annotated_doc import Doc
from markdown_text import code, table

from maml_bench import registry
from maml_bench.cli import app
from maml_bench.cli.exit_codes import ExitCode
from maml_bench.errors import MamlBenchError
from maml_bench.harness.executors.where import EXECUTORS
from maml_bench.harness.recipe import Recipe
from maml_bench.record import Record


def citation(setup: str) -> str:
    """The paper of a setup: the opening sentence of its file."""
    module = inspect.getmodule(registry.setup_class(setup))
    return "> " + code(" ".join(paragraphs(module)[0].split()))


def options(setup: str) -> str:
    """The options of a setup, as recipes and ``--set setup.NAME=VALUE`` set them."""
    if not fields(registry.setup_class(setup)):
        return "This setup has no options of its own. Its rate and its number of steps are the keys of `inner`."
    return settable(registry.setup_class(setup), "setup")


def task_options(tasks: str) -> str:
    """The options of a task family, as recipes and ``--set tasks.NAME=VALUE`` set them."""
    return settable(registry.task_class(tasks), "tasks")


def settable(cls: Any, path: str) -> str:
    """A table of options for a dataclass, and one for each dataclass that its fields hold."""
    return "\n\n".join(
        f"Set an option with `--set {where}.NAME=VALUE`.\n\n"
        + table(["option", "type", "default", "meaning"], described(inner))
        for where, inner in nested(cls, path)
    )


def executor_options(name: str) -> str:
    """The options of an executor, as ``--executor-set`` and the files of ``--executor-options`` set them."""
    return table(["option", "type", "default", "meaning"], described(EXECUTORS[name]))


def recipe_keys() -> str:
    """Every key of a recipe: one table for the recipe and one for each dataclass inside it."""
    return all_tables(Recipe, "The recipe", "key")


def record_fields() -> str:
    """Every field of a record: one table for the record and one for each dataclass inside it."""
    return all_tables(Record, "The record", "field")


def exit_codes() -> str:
    """The exit codes of the commands and their meanings."""
    return table(["code", "meaning"], [[str(int(one)), one.meaning] for one in ExitCode])


def all_tables(cls: Any, title: str, head: str) -> str:
    """A table for a dataclass, and one for each dataclass that its fields hold."""
    return "\n\n".join(
        f"### {f'`{path}`' if path else title}\n\n{code(paragraphs(inner)[0])}\n\n"
        + table([head, "type", "default", "meaning"], described(inner))
        for path, inner in nested(cls, "")
    )


def described(cls: Any) -> list[list[str]]:
    """Name, type, default and meaning of every field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return [
        [f"`{f.name}`", kind(hints[f.name]), default(f), code(meaning(cls, f)) or "-"] for f in fields(cls) if f.init
    ]


def meaning(cls: Any, field: "Field[Any]") -> str:
    """The ``Doc`` of a field of a dataclass; empty if it has none."""
    hint = typing.get_type_hints(cls, include_extras=True)[field.name]
    return next((note.documentation for note in getattr(hint, "__metadata__", ()) if isinstance(note, Doc)), "")


def paragraphs(of: Any) -> list[str]:
    """The paragraphs of a docstring."""
    return [" ".join(text.split()) for text in inspect.cleandoc(of.__doc__ or "").split("\n\n")]


def nested(cls: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A dataclass and every dataclass that its fields hold, each with the path of its key."""
    yield path, cls
    hints = typing.get_type_hints(cls)
    for each in fields(cls):
        for inner in dataclasses_in(hints[each.name]):
            yield from nested(inner, f"{path}.{each.name}" if path else each.name)


def dataclasses_in(hint: Any) -> list[Any]:
    if is_dataclass(hint):
        return [hint]
    return [cls for argument in typing.get_args(hint) for cls in dataclasses_in(argument)]


def kind(hint: Any) -> str:
    """A type in the words of a recipe file."""
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "nothing"}
    if hint in words:
        return words[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if typing.get_origin(hint) in (tuple, list):
        return f"list of: {kind(arguments[0])}"
    if typing.get_origin(hint) is dict or hint is dict:
        return "table"
    if arguments:
        return " or ".join(kind(argument) for argument in arguments)
    return "table" if is_dataclass(hint) else str(getattr(hint, "__name__", hint))


def default(field: "Field[Any]") -> str:
    if field.default == "":
        return "empty"
    if field.default is not MISSING:
        return "its own defaults" if is_dataclass(field.default) else f"`{field.default}`"
    return "required" if field.default_factory is MISSING else "empty"


def command_line() -> str:
    """Every command with its arguments and options, from the command line itself."""
    root = typer.main.get_command(app)
    return "\n\n".join(commands(root, "maml-bench"))


def commands(command: Any, name: str) -> Iterator[str]:
    """A section for every command below ``command`` that does something."""
    children = getattr(command, "commands", {})
    if not children:
        rows = [[f"`{spelled(p)}`", marked(p.help or ""), shown(p)] for p in command.params]
        yield f"## `{name}`\n\n{marked(command.help or '')}\n\n{table(['option', 'meaning', 'default'], rows)}"
    for child, inner in children.items():
        yield from commands(inner, f"{name} {child}")


def spelled(parameter: Any) -> str:
    """An option as it is typed, or the name of an argument."""
    if parameter.param_type_name == "option":
        return ", ".join([*parameter.opts, *parameter.secondary_opts])
    return str(parameter.metavar or parameter.name.upper())


def shown(parameter: Any) -> str:
    """The default of an option or argument."""
    if parameter.required:
        return "required"
    value = parameter.default
    return "" if callable(value) or value in (None, False, True, [], ()) else f"`{value}`"


def marked(text: str) -> str:
    """Help with rich's marks as Markdown."""
    text = re.sub(r"\[cyan\](.*?)\[/cyan\]", r"`\1`", inspect.cleandoc(text), flags=re.DOTALL)
    return re.sub(r"\[/?bold\]", "**", text)


def public_names(package: str) -> str:
    """The public names of a package, each documented from its docstring (mkdocstrings reads the source)."""
    module = import_module(package)
    sections = []
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        where = f"{thing.__module__}.{getattr(thing, '__qualname__', name)}"
        # A name can stand on the page of its module too, which is the one that other pages link to.
        sections.append(f"## `{package}.{name}`\n\n::: {where}\n    options:\n      skip_local_inventory: true")
    return "\n\n".join(sections)


def modules(package: str) -> str:
    """Every module of a package, documented from its docstrings."""
    path = import_module(package).__path__
    names = sorted(info.name for info in pkgutil.iter_modules(path) if not info.ispkg)
    if not names:
        raise MamlBenchError(f"{package} has no modules")
    return "\n\n".join(f"## `{package}.{name}`\n\n::: {package}.{name}" for name in names)
