"""Names to classes: near misses are named, and a file of the user's serves as well as one of ours."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Ge, Gt, Le

from benchmarks.hostility.ranges import beside
from maml_bench import own_code, registry
from maml_bench.core.setup import Setup
from maml_bench.declared import BOUNDS, annotations
from maml_bench.errors import MamlBenchError
from maml_bench.setups.maml import MAML
from maml_bench.setups.oracle import Oracle

MINE = """
from dataclasses import dataclass
from typing import ClassVar

from maml_bench.core.setup import Setup
from maml_bench.setups.maml import MAML


@dataclass(frozen=True)
class Mine(Setup):
    rate: float = 0.5

    citation: ClassVar[str] = "nowhere"

    def adapt(self, learner, meta, support, steps):
        return [meta]
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """A setup in a file of the working folder, which imports another setup without being it."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_names_are_files():
    package = Path(registry.__file__).parent
    for names, folder in ((registry.task_names(), "tasks"), (registry.setup_names(), "setups")):
        assert names == sorted(p.stem for p in (package / folder).glob("*.py") if p.stem != "__init__")
    assert "sinusoid" in registry.task_names()
    assert "maml" in registry.setup_names()


@pytest.mark.parametrize("name", registry.task_names())
def test_every_task_file_holds_one_distribution_of_its_name(name):
    assert registry.task_class(name).name == name


@pytest.mark.parametrize("name", registry.setup_names())
def test_every_setup_file_holds_one_setup_that_cites_its_paper(name):
    found = registry.setup_class(name)
    assert issubclass(found, Setup)
    assert found.citation


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: registry.task_class("sinusiod"), "no task distribution 'sinusiod' (did you mean 'sinusoid'?)"),
        (lambda: registry.setup_class("mamml"), "no setup 'mamml' (did you mean 'maml'?)"),
        (lambda: registry.setup_class("./none.py"), "setup file none.py does not exist"),
        (lambda: registry.setup_reference("./none.py"), "setup file none.py does not exist"),
        (lambda: registry.build_tasks({}, "here"), "here: tasks lacks the key 'name'"),
        (lambda: registry.build_tasks({"name": 3}, "here"), "here: tasks lacks the key 'name'"),
        (
            lambda: registry.build_tasks({"name": "omniglot", "netwrk": "mlp"}, "here"),
            "here: tasks has no key 'netwrk' (did you mean 'network'?)",
        ),
        (
            lambda: registry.build_tasks({"name": "omniglot"}, "here", Oracle()),
            "here: the setup needs tasks that reveal their identity, which omniglot does not offer",
        ),
        (
            lambda: registry.build_setup({"name": "maml", "inner_bach": 3}, "here"),
            "here: setup has no key 'inner_bach'",
        ),
        (lambda: registry.build_setup({"name": "reptile", "inner_bach": 3}, "here"), "(did you mean 'inner_batch'?)"),
    ],
)
def test_a_wrong_name_is_a_sentence(call, sentence):
    with pytest.raises(MamlBenchError) as caught:
        call()
    assert sentence in str(caught.value)


def test_options_reach_tasks_and_setup():
    assert registry.build_tasks({"name": "omniglot", "network": "mlp"}, "here").network == "mlp"
    assert registry.build_tasks({"name": "sinusoid"}, "here", Oracle()).reveal is True
    assert registry.build_setup({"name": "reptile", "inner_batch": 3}, "here").inner_batch == 3


@pytest.mark.parametrize(
    ("name", "option", "kind", "bound"),
    [
        (name, option, kind, getattr(extra, kind))
        for name in registry.setup_names()
        for option, (_, extras) in annotations(registry.setup_class(name)).items()
        for extra in extras
        for kind in BOUNDS
        if hasattr(extra, kind)
    ],
)
def test_a_setup_made_in_python_keeps_its_bounds(name, option, kind, bound):
    cls = registry.setup_class(name)
    _, value = beside(annotations(cls)[option][0], kind, bound)
    with pytest.raises(MamlBenchError) as caught:
        cls(**{option: value})
    assert str(caught.value) == f"{cls.__name__}: {option} is {value!r}, but must be {BOUNDS[kind][0]} {bound:g}"
    for wrong in (float("nan"), "many"):
        with pytest.raises(MamlBenchError, match=f"{option} is {wrong!r}, but must be "):
            cls(**{option: wrong})


def test_the_bounds_of_a_setup_with_more_to_check_hold_too():
    @dataclass(frozen=True)
    class Careful(MAML):
        share: Annotated[float, Ge(0), Le(1)] = 0.5
        more: Annotated[int, Gt(2)] = 3

        def __post_init__(self):
            super().__post_init__()
            if self.more == 5:
                raise MamlBenchError("five is too many")

    assert Careful(1.0, 4).share == 1.0
    for option, value in (("share", 1.5), ("share", -0.5), ("more", 2)):
        with pytest.raises(MamlBenchError, match=f"Careful: {option} is {value}, but must be "):
            Careful(**{option: value})
    with pytest.raises(MamlBenchError, match="five is too many"):
        Careful(more=5)


def test_a_setup_in_a_file_is_named_hashed_and_built(file):
    reference = registry.setup_reference("./mine.py")
    assert reference == {
        "name": "mine",
        "file": "./mine.py",
        "sha256": hashlib.sha256(MINE.encode()).hexdigest(),
    }
    assert registry.build_setup({**reference, "rate": 2}, "here").rate == 2.0
    assert registry.setup_reference("maml") == {"name": "maml"}


def test_a_file_may_postpone_its_annotations(file):
    file.write_text("from __future__ import annotations\n" + MINE)
    assert registry.build_setup(registry.setup_reference("./mine.py"), "here").rate == 0.5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "mine.py must define exactly one class like this: a subclass of maml_bench.core.setup.Setup; it has 0"),
        (MINE + MINE.replace("class Mine", "class Other"), "it has 2"),
        ("def broken(:", "setup file mine.py cannot be loaded: SyntaxError: "),
        ("import no_such_module_anywhere", "cannot be loaded: ModuleNotFoundError: No module named 'no_such"),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit: 0"),
        ("x = '\0'", "cannot be loaded: SyntaxError: "),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_without_one_setup_is_a_sentence(file, text, sentence):
    file.write_text(text)
    with pytest.raises(MamlBenchError) as caught:
        registry.setup_class("./mine.py")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_with_the_name_of_a_shipped_setup_is_refused(tmp_path):
    (tmp_path / "maml.py").write_text("from maml_bench.setups.anil import ANIL\n\n\nclass Mine(ANIL):\n    pass\n")
    with pytest.raises(MamlBenchError, match="has the name of a setup of this package"):
        registry.setup_reference(str(tmp_path / "maml.py"))


def test_code_that_changed_after_it_was_named_is_not_run_under_that_name(file):
    reference = registry.setup_reference("./mine.py")
    file.write_text(MINE.replace("0.5", "0.7"))
    with pytest.raises(MamlBenchError, match=r"mine\.py is not the code that the recipe was made with"):
        registry.build_setup(reference, "here")
    assert registry.build_setup(registry.setup_reference("./mine.py"), "here").rate == 0.7


@pytest.mark.parametrize("options", [{"name": "maml", "file": "./mine.py"}, {"name": "mine", "file": "./mine.py"}])
def test_code_of_a_file_runs_only_under_its_own_name_and_hash(file, options):
    with pytest.raises(MamlBenchError, match=r"mine\.py is not the code that the recipe was made with"):
        registry.build_setup(options, "here")
    with pytest.raises(MamlBenchError, match=r"no setup '\./mine\.py'"):
        registry.build_setup({"name": "./mine.py"}, "here")


@pytest.mark.parametrize("package", [False, True])
def test_what_a_file_imports_from_its_folder_counts_too(file, monkeypatch, package):
    monkeypatch.syspath_prepend(str(file.parent))
    name = f"beside_{package}".lower()
    file.write_text(f"import {name}\n" + MINE)
    inside = file.with_name(name) / "deeper.py" if package else file.with_name(f"{name}.py")
    inside.parent.mkdir(exist_ok=True)
    inside.write_text("STEPS = 1\n")
    if package:
        inside.with_name("__init__.py").write_text("from . import deeper\n")
    first = registry.setup_reference("./mine.py")["sha256"]
    assert first != hashlib.sha256(file.read_bytes()).hexdigest()
    inside.write_text("STEPS = 2\n")
    own_code._executed.cache_clear()
    assert registry.setup_reference("./mine.py")["sha256"] != first
    for module in (name, f"{name}.deeper"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize("stem", ["a[-b]y", "..", "x" * 101, "-rf"])
def test_a_file_whose_name_cannot_stand_in_records_is_a_sentence(file, stem):
    file.rename(file.with_name(f"{stem}.py"))
    with pytest.raises(MamlBenchError, match=r"the setup name .* (cannot be a part of a file name|is too long)"):
        registry.setup_reference(f"./{stem}.py")
