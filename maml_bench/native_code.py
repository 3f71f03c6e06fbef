"""C++ files of the package: compiled once per machine by the system's compiler, then loaded."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from maml_bench.errors import MamlBenchError
from maml_bench.files import atomic_path, cache_folder, cache_home

FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-fno-math-errno")


class NoCompiler(MamlBenchError):
    """C++ files cannot be compiled here; the message says why."""


def compiler() -> str | None:
    """The C++ compiler: ``CXX``, else g++, c++ or clang++ on the path; None if there is none."""
    wanted = os.environ.get("CXX")
    names = [wanted] if wanted else ["g++", "c++", "clang++"]
    return next((found for name in names if (found := shutil.which(name))), None)


def refuse_without_compiler() -> str:
    """The C++ compiler.

    Raises:
        NoCompiler: there is none.
    """
    program = compiler()
    if program is None:
        raise NoCompiler("this schedule needs a C++ compiler: install g++, or name one in CXX; or choose schedule vmap")
    return program


@cache
def library(source: Path) -> ctypes.CDLL:
    """The loaded library of the C++ file ``source``, which may include headers from its own folder.

    The first call on a machine compiles it, which takes up to ten seconds; the result stays in the user's cache folder.

    Raises:
        NoCompiler: there is no C++ compiler, or it cannot compile the file.
    """
    text = source.read_text(encoding="utf-8")
    path = _compiled(text, tuple(sorted(source.parent.glob("*.h"))), source.name)
    # torch has loaded its OpenMP runtime already, under the same name: both share one pool of threads.
    torch.get_num_threads()
    return ctypes.CDLL(str(path))


def function_of(text: str, headers: tuple[Path, ...]) -> Callable[..., int]:
    """The function ``int program(...)`` of a generated C++ text, which includes ``headers`` by their names.

    It is compiled like ``library``, and keeps Python's lock while it runs, since it is over in less than a millisecond.

    Raises:
        NoCompiler: there is no C++ compiler, or it cannot compile the text.
    """
    return ctypes.PyDLL(str(_compiled(text, headers, "a recording"))).program


def _compiled(text: str, headers: tuple[Path, ...], name: str) -> Path:
    """The library of a C++ text, which may include ``headers``, from the user's cache folder or compiled now."""
    program = refuse_without_compiler()
    if os.name == "nt":
        raise NoCompiler("C++ kernels are not built on Windows")
    included = b"".join(path.read_bytes() for path in headers)
    version = subprocess.run([program, "--version"], capture_output=True, check=False).stdout
    parts = [text.encode(), included, version, " ".join(FLAGS).encode(), _processor().encode()]
    name_of_file = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    path = _place(f"{name_of_file}.so")
    if not path.exists():
        folders = [f"-I{folder}" for folder in {header.parent for header in headers}]
        with atomic_path(path) as new:
            done = subprocess.run(
                [program, *FLAGS, *folders, "-x", "c++", "-o", str(new), "-"],
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no message"])[0]
                raise NoCompiler(f"{program} cannot compile {name}: {reason}")
    return path


def _place(name: str) -> Path:
    """Where a library is; or, if it has yet to be compiled, where it can be written."""
    try:
        ready = cache_home() / "kernels" / name
    except MamlBenchError:
        return cache_folder("kernels") / name
    return ready if ready.exists() else cache_folder("kernels") / name


def _processor() -> str:
    """What -march=native depends on: the flags of the first processor, if the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
