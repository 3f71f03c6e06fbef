"""Builds the peers' virtual environments with venv and pip; what is built is used again while its list is unchanged."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from maml_bench.files import atomic_write

from .catalogue import Environment, Peer

STAMP = "requirements.json"


class NotBuilt(Exception):
    """A peer has no environment here; says why in a sentence."""


def check_out(commit: str, folder: Path) -> tuple[Path, str]:
    """The source tree of a commit of this clone, below ``folder``, and the commit's whole hash.

    Raises:
        NotBuilt: git knows no such commit here.
    """
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root)]
    found = subprocess.run(
        [*git, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise NotBuilt(f"this clone has no commit {commit}")
    known = found.stdout.strip()
    tree = folder / f"maml-bench-{known[:12]}"
    if not (tree / "maml_bench").is_dir():
        tree.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run([*git, "archive", known, "maml_bench", "benchmarks"], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
            packed.extractall(tree, filter="data")
    return tree, known


def prepare(peers: Iterable[Peer], folder: Path, say: Callable[[str], None]) -> dict[str, Path | NotBuilt]:
    """The interpreter of each peer by name, or why there is none. Environments lie below ``folder``."""
    built: dict[str, tuple[Path, NotBuilt | None] | NotBuilt] = {}
    found: dict[str, Path | NotBuilt] = {}
    for peer in peers:
        if peer.environment is None:
            found[peer.name] = Path(sys.executable)
            continue
        name = peer.environment.name
        if name not in built:
            try:
                built[name] = ensure(peer.environment, folder / name, say)
            except NotBuilt as reason:
                built[name] = reason
        place = built[name]
        found[peer.name] = place if isinstance(place, NotBuilt) else _importable(peer, *place)
    return found


def ensure(environment: Environment, target: Path, say: Callable[[str], None]) -> tuple[Path, NotBuilt | None]:
    """The interpreter in ``target``, and which call of pip failed if one did: what came before it is usable.

    Raises:
        NotBuilt: there is no such interpreter here, or it makes no virtual environment.
    """
    base, version = interpreter(environment)
    python = target / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = json.dumps({"python": version, "installs": environment.installs}, indent=1)
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
        return python, None
    shutil.rmtree(target, ignore_errors=True)
    say(f"building the environment {environment.name} ({version}) in {target}")
    if failed := _run([base, "-m", "venv", str(target)]):
        raise NotBuilt(f"no virtual environment {environment.name}: {failed}")
    for packages in environment.installs:
        if failed := _run([str(python), "-m", "pip", "install", "--disable-pip-version-check", *packages]):
            return python, NotBuilt(f"pip install {' '.join(packages)}: {failed}")
    atomic_write(stamp, wanted)
    return python, None


def interpreter(environment: Environment) -> tuple[str, str]:
    """(path, version) of the environment's base interpreter.

    Raises:
        NotBuilt: it is not on the path, or what is there under its name does not run.
    """
    if environment.python is None:
        return sys.executable, "Python " + sys.version.split()[0]
    path = shutil.which(environment.python)
    # Version managers leave a command of that name on the path that fails when the version is not chosen.
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False) if path else None
    if path is None or done is None or done.returncode:
        raise NotBuilt(f"{environment.python} is not on the path ({environment.why})")
    return path, done.stdout.strip()


def _importable(peer: Peer, python: Path, failed: NotBuilt | None) -> Path | NotBuilt:
    """The interpreter, if the peer's library can be imported there."""
    if reason := _run([str(python), "-c", f"import {peer.module}"]):
        return failed or NotBuilt(f"{peer.module} cannot be imported: {reason}")
    return python


def _run(command: list[str]) -> str | None:
    """None if the command succeeds, else the most telling line of what it said."""
    outside = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=outside)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    return telling[0] if telling else f"exit status {done.returncode}"
