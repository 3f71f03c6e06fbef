"""Imports run one way, and a few things are done in one place only: read off the syntax tree."""

import ast
from pathlib import Path

import pytest

import maml_bench

ROOT = Path(maml_bench.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
BASE = {"errors", "files", "checked", "declared", "record", "types"}
MAY_IMPORT = {
    **dict.fromkeys(BASE | {"__init__"}, BASE),
    **dict.fromkeys(("core", "models", "data"), BASE | {"core", "models", "data"}),
    "rl": BASE | {"core", "models", "data", "rl"},
    "classification": BASE | {"models", "data"},
    "tasks": BASE | {"core", "models", "data", "rl", "classification"},
    "setups": BASE | {"core", "models", "data"},
    "registry": BASE | {"core", "tasks", "setups"},
    "recipes": BASE,
    "suites": BASE,
    "harness": BASE | {"core", "data", "registry", "harness", "recipes", "suites", "__init__"},
    "report": BASE | {"report", "suites"},
    "cli": BASE | {"core", "data", "registry", "harness", "report", "recipes", "suites", "cli"},
    "__main__": {"cli"},
}


def room(file: Path) -> str:
    """The package or module below maml_bench that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of all modules of ours that a syntax tree imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(tree: ast.AST) -> set[str]:
    """Rooms that a syntax tree imports from."""
    parts = [name.split(".") for name in imported(tree)]
    return {
        p[1] if len(p) > 1 and (ROOT / p[1]).exists() | (ROOT / f"{p[1]}.py").exists() else "__init__"
        for p in parts
        if p[0] == "maml_bench"
    }


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert ours(tree) <= MAY_IMPORT[room(file)]


@pytest.mark.parametrize("folder", ["tasks", "setups"])
def test_neighbours_do_not_import_each_other(folder: str) -> None:
    for file in (ROOT / folder).glob("*.py"):
        assert not any(name.startswith(f"maml_bench.{folder}.") for name in imported(ast.parse(file.read_text())))


@pytest.mark.parametrize(
    "file", ["record.py", "errors.py", "files.py", "checked.py", "declared.py", "types.py", "report"]
)
def test_records_and_reports_need_no_torch(file: str) -> None:
    paths = [ROOT / file] if file.endswith(".py") else list((ROOT / file).rglob("*.py"))
    for path in paths:
        guarded = [
            n
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)
        ]
        hidden = {name for block in guarded for name in imported(block)}
        assert not any(name.split(".")[0] == "torch" for name in imported(ast.parse(path.read_text())) - hidden)


def calls(tree: ast.AST) -> set[str]:
    """Dotted names of all calls, such as ``time.perf_counter``."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_one_place_for_time_printing_and_seeds(file: Path) -> None:
    found, place = calls(ast.parse(file.read_text())), str(file.relative_to(ROOT))
    if place != "harness/clock.py":
        assert not {c for c in found if c.startswith("time.") or c.startswith("datetime.")}
    if room(file) != "cli":
        assert not found & {"print", "sys.stdout.write", "sys.stderr.write"}
    if place != "harness/seeding.py":
        makers = ("Generator", "manual_seed", "default_rng", "RandomState")
        assert not {c for c in found if c.endswith(makers)} or place in (
            "report/stats.py",
            "tasks/sinusoid.py",
            "rl/published_tasks.py",
        )
    assert not found & {"torch.manual_seed", "random.seed", "np.random.seed"}


def test_harness_and_core_name_no_task_and_no_setup() -> None:
    names = [f.stem for folder in ("tasks", "setups") for f in (ROOT / folder).glob("*.py") if f.stem != "__init__"]
    for folder in ("core", "harness"):
        for file in (ROOT / folder).glob("*.py"):
            tree = ast.parse(file.read_text())
            strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            assert not strings & set(names), f"{file.name} names a task or setup"
