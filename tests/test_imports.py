"""Imports run one way, and a few things are done in one place only: read off the syntax tree, without exceptions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import maml_bench

ROOT = Path(maml_bench.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
BASE = (
    "errors",
    "files",
    "checked",
    "declared",
    "record",
    "record_files",
    "record_search",
    "record_tables",
    "checksum",
    "types",
    "native_code",
    "trees",
)
ROOMS = (
    BASE, ("core",), ("models", "data"), ("resnet",), ("engine",), ("classification",), ("rl",), ("tasks", "setups"),
    ("own_digests",), ("own_code",), ("own_faults", "kinds"), ("registry",), ("recipes", "suites"), ("harness",),
    ("report", "contracts"), ("api", "predictor"), ("learner_files",), ("cli",), ("templates", "fitting"),
)  # fmt: skip
"""From the lowest room to the highest. A room may import from itself and from the rooms below it."""
NARROWER = {
    "data": BASE,
    "setups": (*BASE, "core"),
    "report": (*BASE, "suites"),
    "recipes": BASE,
    "suites": BASE,
}
"""Rooms that need less than what lies below them."""


def room(file: Path) -> str:
    """The package or module below maml_bench that a file belongs to; ``__init__`` for the package itself."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of all modules that a syntax tree imports, anywhere in it but for the eyes of type checkers."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parsed(file: Path) -> ast.AST:
    """The syntax tree of a file, without the blocks that only type checkers read."""

    class Runs(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            return node.orelse if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    return Runs().visit(ast.parse(file.read_text(encoding="utf-8")))


def ours(tree: ast.AST) -> set[str]:
    """Rooms that a syntax tree imports from."""
    parts = [name.split(".") for name in imported(tree)]
    return {
        p[1] if len(p) > 1 and ((ROOT / p[1]).exists() or (ROOT / f"{p[1]}.py").exists()) else "__init__"
        for p in parts
        if p[0] == "maml_bench"
    }


def may_import(name: str) -> set[str]:
    """The rooms that a room may import from."""
    if name == "__main__":
        return {"cli"}
    if name == "__init__":
        return set()
    level = next(i for i, rooms in enumerate(ROOMS) if name in rooms)
    below = {other for rooms in ROOMS[:level] for other in rooms}
    own = set(BASE) if name in BASE else {name}
    return (
        own
        | set(NARROWER.get(name, below))
        | ({"__init__"} if name in ("harness", "report", "cli", "templates") else set())
    )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    assert ours(parsed(file)) <= may_import(room(file))


def module_graph() -> dict[str, set[str]]:
    """Which modules of the package each module imports when it is loaded, functions left out."""
    names = {
        ".".join(("maml_bench", *f.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): f for f in FILES
    }
    graph = {}
    for name, file in names.items():
        tree = parsed(file)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = [ast.Pass()]
        found = set()
        for target in imported(tree):
            while target and target not in names:
                target = target.rpartition(".")[0]
            found.add(target)
        graph[name] = found - {"", name, "maml_bench"}
    return graph


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Paths that lead back to where they began."""

    def walk(path: list[str], seen: set[str]) -> Iterator[list[str]]:
        for target in graph[path[-1]]:
            if target in path:
                yield path[path.index(target) :]
            elif target not in seen:
                seen.add(target)
                yield from walk([*path, target], seen)

    seen: set[str] = set()
    for start in graph:
        if start not in seen:
            seen.add(start)
            yield from walk([start], seen)


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not list(cycles(module_graph()))


BELOW_THE_COMMAND_LINE = [file for file in FILES if room(file) not in ("cli", "__init__")]


@pytest.mark.parametrize("file", BELOW_THE_COMMAND_LINE, ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_of_ours_is_imported_inside_a_function(file: Path) -> None:
    """But in the command line, which answers at once, and for what an optional extra brings (Triton, MuJoCo)."""
    inside = {
        name
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef)
        for name in imported(node)
        if name.startswith("maml_bench.") and not name.startswith("maml_bench.engine.kernels.gpu")
    }
    assert not inside


@pytest.mark.parametrize("folder", ["tasks", "setups"])
def test_neighbours_do_not_import_each_other(folder: str) -> None:
    for file in (ROOT / folder).glob("*.py"):
        others = {n for n in imported(parsed(file)) if n.startswith(f"maml_bench.{folder}.")}
        assert not {name for name in others if not name.startswith(f"maml_bench.{folder}._")}


@pytest.mark.parametrize(
    "file",
    [
        "record.py",
        "record_search.py",
        "errors.py",
        "files.py",
        "checked.py",
        "declared.py",
        "types.py",
        "report",
        "__init__.py",
    ],
)
def test_records_and_reports_need_no_torch(file: str) -> None:
    paths = [ROOT / file] if file.endswith(".py") else list((ROOT / file).rglob("*.py"))
    for path in paths:
        assert not any(name.split(".")[0] == "torch" for name in imported(parsed(path)))


def calls(tree: ast.AST) -> set[str]:
    """Dotted names of all calls, such as ``time.perf_counter``."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_one_place_for_time_printing_and_seeds(file: Path) -> None:
    found, place = calls(parsed(file)), str(file.relative_to(ROOT))
    if place != "harness/clock.py":
        assert not {c for c in found if c.startswith("time.") or c.startswith("datetime.")}
    if room(file) != "cli":
        assert not found & {"print", "sys.stdout.write", "sys.stderr.write"}
    if place not in ("harness/seeding.py", "data/published_draws.py"):
        makers = ("Generator", "manual_seed", "default_rng", "RandomState")
        assert not {c for c in found if c.endswith(makers)}
    assert not found & {"torch.manual_seed", "random.seed", "np.random.seed"}


def test_harness_core_and_engine_name_no_task_and_no_setup() -> None:
    names = [f.stem for folder in ("tasks", "setups") for f in (ROOT / folder).glob("*.py") if f.stem != "__init__"]
    for folder in ("core", "engine", "harness"):
        for file in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            assert not strings & set(names), f"{file.name} names a task or setup"
