"""A setup, a family of tasks, a network and a recipe of the user's run from outside of the package as ours do."""

import importlib.metadata
import linecache
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import maml_bench
from maml_bench import own_code, own_digests, registry
from maml_bench.contracts.checking import check
from maml_bench.errors import MamlBenchError
from maml_bench.harness.options import options
from maml_bench.harness.recipe import Recipe, resolve
from maml_bench.tasks.sinusoid import Sinusoid

WAVES = '''
"""Sums of two sine waves."""
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from maml_bench import Batch, Episode
from maml_bench.data.draws import key_of, uniform, words
from maml_bench.models import MLP
from maml_bench.record import Metric


@dataclass(frozen=True)
class Waves:
    faster: float = 2.0
    normalisation: str = "none"
    name: ClassVar[str] = "waves"
    version: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("mse", higher_is_better=False)

    def model(self, shape, generator):
        return MLP([1, 8, 1], normalise="none", generator=generator)

    def sample(self, split, first, count, *, key, shape, device="cpu"):
        random = words(key_of(key, self.name, split), first, count, 2 + shape.shot + shape.query, device)
        phase, x = uniform(random[:, :2], 0.0, 3.14), uniform(random[:, 2:], -5.0, 5.0)
        y = torch.sin(x - phase[:, :1]) + torch.sin(self.faster * x - phase[:, 1:])
        x, y, k = x.unsqueeze(-1).float(), y.unsqueeze(-1).float(), shape.shot
        return Episode(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]))

    def loss(self, predict, batch):
        return F.mse_loss(predict(batch.x), batch.y)

    score = loss

    def fingerprint(self):
        return None
'''
NET = """
from torch import nn


class Block(nn.Linear):
    pass


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(Block(1, 6), nn.Tanh(), Block(6, 1))


def wide(shape, generator):
    return nn.Sequential(nn.Linear(1, 20 * shape.way), nn.Tanh(), nn.Linear(20, 1))
"""
MINE = """
from dataclasses import dataclass

from maml_bench.setups.maml import MAML


@dataclass(frozen=True)
class Mine(MAML):
    more: float = 1.0
"""
RECIPE = """
extends = "sinusoid-k10"
tasks = { name = "./waves.py" }
network = "./net.py:Net"
default_setups = ["./mine.py"]
"""
FILES = {"waves.py": WAVES, "net.py": NET, "mine.py": MINE, "mine.toml": RECIPE}
TINY = {"outer.steps": 2, "outer.meta_batch": 2, "validation.episodes": 2, "validation.every": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a user in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """All classes of the user in one module, imported as Python does it."""
    (folder / "all_of_mine.py").write_text(WAVES + NET + MINE)
    monkeypatch.syspath_prepend(str(folder))
    import all_of_mine  # type: ignore[import-not-found]

    yield all_of_mine
    del sys.modules["all_of_mine"]


def smoke(recipe: str = "sinusoid-k10", **choices: object) -> Recipe:
    return resolve(recipe, preset="smoke", **choices)  # type: ignore[arg-type]


FIVE = {"way": 5, "shot": 1, "query": 2}
CHOICES = {
    "tasks": {"tasks": "./waves.py"},
    "network": {"network": "./net.py:Net"},
    "function": {"network": "./net.py:wide"},
    "all": {"tasks": "./waves.py", "network": "./net.py:Net", "setup": "./mine.py"},
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_files_run_alone_and_together(choices: dict[str, str]) -> None:
    (record,) = maml_bench.run("sinusoid-k10", preset="smoke", set=TINY, threads=1, **choices)  # type: ignore[arg-type]
    assert record.status == "ok"
    assert all(point.mean is not None for test in record.evaluations for point in test.points)
    for part in choices:
        assert len(record.recipe[part]["sha256"]) == 64
        assert "file" not in record.recipe[part]
    assert record.recipe["tasks"]["name"] == ("waves" if "tasks" in choices else "sinusoid")
    assert record.recipe["published"] == []
    wide = choices.get("network") == "./net.py:wide"
    assert "network" not in choices or record.parameters == (61 if wide else 19)


@pytest.mark.usefixtures("folder")
def test_a_recipe_file_names_files_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_options = smoke(setup="./mine.py", tasks="./waves.py", network="./net.py:Net")
    monkeypatch.chdir("/")
    by_file = smoke(str(tmp_path / "mine.toml"))
    assert by_file.recipe_id == by_options.recipe_id
    assert (by_file.changed, by_options.changed) == ((), ("tasks=waves", "network=Net"))
    assert by_file.setup["name"] == "mine"
    assert by_file.published == by_options.published == ()


@pytest.mark.parametrize("name", ["waves.py", "net.py", "mine.py"])
def test_the_content_counts_for_the_identity_and_the_path_does_not(folder: Path, name: str) -> None:
    here = smoke("mine.toml")
    (folder / "below").mkdir()
    for each, text in FILES.items():
        (folder / "below" / each).write_text(text)
    there = smoke("below/mine.toml")
    assert there.recipe_id == here.recipe_id
    assert str(folder) not in str(there.plain())
    (folder / "below" / name).write_text(FILES[name] + "# changed\n")
    assert smoke("below/mine.toml").recipe_id != here.recipe_id


@pytest.mark.usefixtures("folder")
def test_another_family_leaves_the_options_and_numbers_of_the_recipe_behind() -> None:
    plain = smoke()
    assert plain.published
    found = smoke(tasks="./waves.py", settings=["tasks.faster=3"])
    assert {key: found.tasks[key] for key in ("name", "faster")} == {"name": "waves", "faster": 3.0}
    assert "reveal" not in found.tasks
    assert found.published == ()
    assert found.changed == ("tasks=waves", "tasks.faster=3")
    assert smoke(tasks="sinusoid") == plain
    assert smoke("omniglot-5w1s", tasks="mini_imagenet").tasks["conv"]["filters"] == 32
    assert smoke("omniglot-5w1s", network="mlp") == smoke("omniglot-5w1s", settings=["tasks.network=mlp"])


@pytest.mark.usefixtures("folder")
def test_keys_of_the_network_of_the_tasks_are_refused_where_another_takes_its_place() -> None:
    with pytest.raises(MamlBenchError, match=r"tasks\.context is set by --set, but has no effect: the network 'Net'"):
        smoke(network="./net.py:Net", settings=["tasks.context=3"])
    rows = {row.key: row for row in options("omniglot-5w1s", preset="smoke", network="./net.py:Net")}
    assert "takes the place of that of the tasks" in rows["tasks.conv.filters"].unread


def test_a_file_of_a_family_is_found_in_python_too(folder: Path) -> None:
    assert maml_bench.load_tasks("./waves.py", faster=4).faster == 4.0
    assert registry.task_class(str(folder / "waves.py")).name == "waves"


def test_classes_and_instances_run_from_python(imported: ModuleType) -> None:
    choices = {"setup": imported.Mine(more=2.0), "tasks": imported.Waves(faster=3.0), "network": imported.Net}
    (record,) = maml_bench.run("sinusoid-k10", preset="smoke", set=TINY, threads=1, **choices)
    assert record.status == "ok"
    setup, tasks = record.recipe["setup"], record.recipe["tasks"]
    assert (setup["name"], setup["more"], tasks["name"], tasks["faster"]) == ("mine", 2.0, "waves", 3.0)
    assert record.recipe["network"]["name"] == "Net"
    assert record.recipe["changed"][:3] == ["tasks=waves", "network=Net", "setup.more=2"]
    assert setup["sha256"] == tasks["sha256"]  # of the one file
    assert smoke(setup=imported.Mine).setup["sha256"] == smoke(setup="./all_of_mine.py:Mine").setup["sha256"]


def test_instances_of_our_classes_are_ours() -> None:
    usual = registry.build_setup(smoke(setup="reptile").setup, "here")
    found = smoke(setup=replace(usual, inner_batch=3))
    assert found == smoke(setup="reptile", settings=["setup.inner_batch=3"])
    assert found.changed == ("setup.inner_batch=3",)
    assert smoke(setup=usual) == smoke(setup="reptile")
    found = smoke(tasks=Sinusoid(pool=7))
    assert found.tasks == smoke(settings=["tasks.pool=7"]).tasks
    assert found.published == ()


def test_a_module_starts_every_seed_from_its_own_values_which_count() -> None:
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    recipe = smoke(network=model)
    made = registry.build_network(recipe.network, Sinusoid(), "here")
    for seed in (0, 1):
        network = made(maml_bench.Shape(1, 5, 5), torch.Generator().manual_seed(seed))
        assert network is not model
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        model[0].weight += 1
    assert smoke(network=model).recipe_id != recipe.recipe_id


def test_code_of_a_notebook_is_known_by_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {}
    for number, text in enumerate((MINE, MINE.replace("more: float", "less: float"), MINE)):
        name = f"<cell {number}>"
        monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(True), name))
        module = ModuleType("a_notebook")
        monkeypatch.setitem(sys.modules, "a_notebook", module)
        source = text + "\n    def adapt(self, learner, meta, support, steps):\n        return [meta] * (steps + 1)\n"
        monkeypatch.setitem(linecache.cache, name, (len(source), None, source.splitlines(True), name))
        exec(compile(source, name, "exec"), vars(module))
        cells[number] = smoke(setup=module.Mine).setup["sha256"]
    assert cells[0] == cells[2]
    lost = ModuleType("a_prompt")
    monkeypatch.setitem(sys.modules, "a_prompt", lost)
    exec(compile(MINE, "<nowhere>", "exec"), vars(lost))
    with pytest.raises(MamlBenchError, match=r"the source of Mine cannot be found.*save it in a file"):
        smoke(setup=lost.Mine)


def test_an_object_of_another_process_is_a_sentence() -> None:
    with pytest.raises(MamlBenchError, match="the setup 'mine' is not in this process, because Python code gave it"):
        registry.build_setup({"name": "mine", "sha256": "0" * 64}, "here")


def test_a_function_that_reads_variables_around_it_is_refused() -> None:
    width = 3

    def made() -> nn.Module:
        return nn.Linear(1, width)

    with pytest.raises(MamlBenchError, match="made reads variables of the function around it"):
        smoke(network=made)


class Package:
    """What Python knows of an installed package."""

    name, version = "two-waves", "0.3"


@pytest.fixture
def installed(imported: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers a setup and a family of tasks."""
    found = [
        importlib.metadata.EntryPoint("mine", "all_of_mine:Mine", "maml_bench.setups")._for(Package()),  # type: ignore[attr-defined]
        importlib.metadata.EntryPoint("waves", "all_of_mine:Waves", "maml_bench.tasks")._for(Package()),  # type: ignore[attr-defined]
        importlib.metadata.EntryPoint("maml", "all_of_mine:Mine", "maml_bench.setups")._for(Package()),  # type: ignore[attr-defined]
    ]
    monkeypatch.setattr(own_code, "entry_points", lambda group: [point for point in found if point.group == group])


@pytest.mark.usefixtures("installed")
def test_installed_packages_offer_setups_and_tasks() -> None:
    (record,) = maml_bench.run("sinusoid-k10", "mine", preset="smoke", set=TINY, threads=1, tasks="waves")
    assert record.status == "ok"
    for part, name in (("setup", "mine"), ("tasks", "waves")):
        assert record.recipe[part]["name"] == name
        assert record.recipe[part]["sha256"] == own_digests.digest_of_source(
            Path.cwd(), Path("all_of_mine.py").read_bytes()
        )
    assert "sha256" not in smoke(setup="maml").setup  # a name of ours is ours
    with pytest.raises(MamlBenchError, match=r"no setup 'mime' \(did you mean 'mine'\?\)"):
        smoke(setup="mime")


WRONG = {
    "no such file": ({"tasks": "./none.py"}, "task distribution file none.py does not exist"),
    "no such part": ({"network": "./net.py:Nett"}, "net.py defines no 'Nett' (did you mean 'Net'?)"),
    "not a network": ({"network": "./mine.py:Mine"}, "Mine in mine.py is not like this: a torch.nn.Module"),
    "several": ({"network": "./net.py"}, "it has 2 (Block, Net): name one of them, such as ./net.py:Net"),
    "no family": ({"tasks": "./mine.py"}, "mine.py must define exactly one class like this: a class with `sample`"),
    "an object that is no setup": ({"setup": nn.Linear(1, 1)}, "the setup is Linear("),
    "an object that is no family": ({"tasks": 3}, "the task distribution is 3, but must be a name, a file, or"),
    "an object that is no network": ({"network": 3}, "the network is 3, but must be a file, or a torch.nn.Module"),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("choices", "sentence"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_taken_is_a_sentence(choices: dict[str, object], sentence: str) -> None:
    with pytest.raises(MamlBenchError) as caught:
        smoke(**choices)
    assert sentence in str(caught.value)


WRONG_TEXTS = {
    "without a member": (
        ("tasks", "waves.py", "def fingerprint", "def fingerprnt"),
        "waves.py, line 15: the class Waves has no `fingerprint`: write `def fingerprint(self)`",
    ),
    "not frozen": (("tasks", "waves.py", "(frozen=True)", ""), "waves.py, line 15: the class Waves is no frozen data"),
    "no metric": (("tasks", "waves.py", "Metric(", "dict(a="), "`metric` of Waves is {'a': 'mse'"),
    "our name": (("tasks", "waves.py", '"waves"', '"sinusoid"'), "has the name of a task distribution of this package"),
    "no adapt": (
        ("setup", "mine.py", "MAML)", "Setup)"),
        "mine.py, line 7: the class Mine has no method `adapt`: write `def adapt(self, learner, meta, support, steps)`",
    ),
    "a set": (
        ("setup", "mine.py", "    more", "    capabilities = {'TRAINS'}\n    more"),
        "`capabilities` of Mine is {'TRAINS'}, but must be a frozenset of members of",
    ),
    "an unknown key": (
        ("setup", "mine.py", "    more", "    inner_keys = frozenset({'rat'})\n    more"),
        "`inner_keys` of Mine has 'rat', which is no key of `inner` (did you mean 'rate'?)",
    ),
    "not decorated": (("setup", "mine.py", "@dataclass(frozen=True)\n", ""), "the class Mine is no frozen dataclass"),
    "a parameter": (
        ("network", "net.py", "__init__(self)", "__init__(self, width)"),
        "Net has the parameter 'width' without a default",
    ),
    "no module": (
        ("function", "net.py", "return nn.Sequential(", "return tuple, ("),
        "wide returned a tuple, but must return a torch.nn.Module",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_code_that_lacks_something_is_a_sentence_with_file_and_line(
    folder: Path, change: tuple[str, str, str, str], sentence: str
) -> None:
    part, name, old, new = change
    choice = {"setup": {"setup": "./mine.py"}}.get(part) or CHOICES[part]
    text = (folder / name).read_text()
    assert old in text
    changed = text.replace(old, new)
    if "Setup)" in new:
        changed = changed.replace("maml_bench.setups.maml import MAML", "maml_bench import Setup")
    (folder / name).write_text(changed)
    with pytest.raises(MamlBenchError) as caught:
        maml_bench.run("sinusoid-k10", preset="smoke", set=TINY, threads=1, **choice)  # type: ignore[arg-type]
    assert sentence in str(caught.value)


@pytest.mark.usefixtures("folder")
def test_code_that_changed_after_it_was_named_is_not_run_under_that_name() -> None:
    recipe = smoke(**CHOICES["all"])
    for name in ("waves.py", "net.py"):
        Path(name).write_text(FILES[name] + "# changed\n")
    with pytest.raises(MamlBenchError, match=r"waves\.py is not the code that the recipe was made with"):
        registry.build_tasks(recipe.tasks, "here")
    with pytest.raises(MamlBenchError, match=r"net\.py:Net is not the code that the recipe was made with"):
        registry.build_network(recipe.network, Sinusoid(), "here")


@pytest.mark.parametrize(
    "table", ["tasks.sha256 = 'x'", "network = {name = 'x'}", "[presets.smoke]\nnetwork = {name='x'}"]
)
def test_no_table_says_what_the_code_is(folder: Path, table: str) -> None:
    (folder / "wrong.toml").write_text(f"extends = 'sinusoid-k10'\n{table}\n")
    with pytest.raises(MamlBenchError):
        smoke("wrong.toml")


CLASSES = """
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from maml_bench import Batch, Episode
from maml_bench.classification import Classification
from maml_bench.data.draws import key_of, uniform, words


@dataclass(frozen=True)
class Directions(Classification):
    normalisation: str = "none"
    name: ClassVar[str] = "directions"

    def model(self, shape, generator):
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, shape.way))

    def sample(self, split, first, count, *, key, shape, device="cpu"):
        way, each = shape.way, shape.shot + shape.query
        random = words(key_of(key, self.name, split), first, count, way * 3 * (1 + each), device)
        numbers = uniform(random, -1.0, 1.0).float().reshape(count, 1 + each, way, 3)
        x = numbers[:, :1] + 0.1 * numbers[:, 1:]
        y = torch.arange(way).expand(count, each, way)
        sides = (slice(0, shape.shot), slice(shape.shot, each))
        return Episode(*(Batch(x[:, s].flatten(1, 2), y[:, s].flatten(1, 2)) for s in sides))

    def fingerprint(self):
        return None
"""


def test_a_family_of_classes_needs_no_more_than_its_own_episodes(folder: Path) -> None:
    (folder / "directions.py").write_text(CLASSES)
    assert {finding.status for finding in check("./directions.py")} == {"holds"}
    changes = {**TINY, "test": [{"protocol": "paper", "split": "test", "episodes": 2, "inner_steps": [0, 1], **FIVE}]}
    for record in maml_bench.run(
        "omniglot-5w1s", ["maml", "protonet"], preset="smoke", set=changes, threads=1, tasks="./directions.py"
    ):
        assert (record.status, record.metric.name) == ("ok", "accuracy")
    with pytest.raises(MamlBenchError, match="directions has no option `joint` for that"):
        smoke("omniglot-5w1s", setup="baseline", tasks="./directions.py")


def test_a_file_may_import_what_stands_beside_it(folder: Path) -> None:
    (folder / "beside_mine.py").write_text("MORE = 3.0\n")
    (folder / "mine.py").write_text("from beside_mine import MORE\n" + MINE.replace("1.0", "MORE"))
    path = list(sys.path)
    assert smoke(setup="./mine.py").setup["more"] == 3.0
    assert sys.path == path
    del sys.modules["beside_mine"]
