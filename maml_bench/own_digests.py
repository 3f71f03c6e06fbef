"""The digest of a user's code: of its file and of what that imports beside it, or of its text."""

import ast
import hashlib
import inspect
import sys
from pathlib import Path
from types import CodeType
from typing import Any

from maml_bench.errors import MamlBenchError


def digest_of(thing: Any) -> str:
    """The digest of the code of a class or function: of its file with what that imports beside it, or of its text where
    it is in no file, as in a notebook.

    Raises:
        MamlBenchError: neither a file nor the text can be found.
    """
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    if file and Path(file).is_file() and Path(file).suffix == ".py":
        path = Path(file)
        _files.add(str(file))
        return digest_of_source(path.resolve().parent, path.read_bytes())
    text = _text_of(thing)
    if not text:
        raise MamlBenchError(
            f"the source of {thing.__name__} cannot be found, so records could not tell which code ran: save it in a "
            "file and import it from there"
        )
    return hashlib.sha256(text.encode()).hexdigest()


def _text_of(thing: Any) -> str:
    """The source of a class or function, or at least that of the functions of a class; empty where there is none."""
    parts = [thing, *(value for value in vars(thing).values() if inspect.isfunction(value))]
    found: list[str] = []
    for part in parts:
        try:
            found.append(inspect.getsource(part))
        except (OSError, TypeError):
            continue
        code = getattr(part, "__code__", None)
        _files.update({code.co_filename} if isinstance(code, CodeType) else ())
    return "".join(found)


def digest_of_source(folder: Path, source: bytes) -> str:
    """The hash of ``source``, or where it has imported from its folder, the hash of that and of what it imported."""
    digests = {"": hashlib.sha256(source).hexdigest()}
    _add_imported(folder, source, digests)
    own = digests.pop("")
    whole = "".join([own, *(digest for _, digest in sorted(digests.items()))])
    return hashlib.sha256(whole.encode()).hexdigest() if digests else own


def _add_imported(folder: Path, source: bytes, digests: dict[str, str]) -> None:
    """Add the hash of each module or package of ``folder`` that ``source`` has imported, and of what those import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in {each.partition(".")[0] for each in imported} - digests.keys() - {"maml_bench"}:
                file = Path(getattr(sys.modules.get(name), "__file__", None) or "").resolve()
                if file in (folder / f"{name}.py", folder / name / "__init__.py"):
                    files = sorted((folder / name).rglob("*.py")) if file.name == "__init__.py" else [file]
                    _files.update(map(str, files))
                    contents = [part.read_bytes() for part in files]
                    digests[name] = hashlib.sha256(b"".join(contents)).hexdigest()
                    for content in contents:
                        _add_imported(folder, content, digests)


_files: set[str] = set()
"""The files of users from which code was taken, as they stand in traces."""


def note_own(path: Path) -> None:
    """Note that code is taken from a file of a user's."""
    _files.add(str(path))


def is_own(file: str) -> bool:
    """Whether code in this file, as it stands in a trace, is a user's."""
    return file in _files or str(Path(file).resolve()) in _files
