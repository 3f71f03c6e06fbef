"""Recipes: every shipped one resolves, layers lie over each other in the stated order, and a typing error is named."""

import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from maml_bench import registry
from maml_bench.core.setup import Setup
from maml_bench.errors import MamlBenchError
from maml_bench.harness import layers
from maml_bench.harness.options import options
from maml_bench.harness.recipe import PRESETS, default_setups, presets_of, resolve, resolve_all
from maml_bench.harness.recipe_files import load_files
from maml_bench.record import relative_path

RECIPES = [(name, preset) for name in load_files() for preset in presets_of(name)]


def table(name: str, **more: Any) -> dict[str, Any]:
    """A recipe table of the least content, on sinusoids."""
    shape = {"way": 1, "shot": 5, "query": 5}
    return {
        "id": name,
        "title": "Waves",
        "variant": "ours",
        "default_setups": ["maml"],
        "tasks": {"name": "sinusoid"},
        "inner": {"rate": 0.1, "steps": 1},
        "outer": {"steps": 10, "meta_batch": 2},
        "train": shape,
        "validation": {**shape, "episodes": 4, "inner_steps": 1, "every": 5},
        "test": [{**shape, "protocol": "paper", "split": "test", "episodes": 4, "inner_steps": [0, 1]}],
        "presets": {"smoke": {}, "quick": {}},
        **more,
    }


@pytest.fixture
def shelf(monkeypatch) -> dict[str, dict[str, Any]]:
    """The recipe files, replaced by what a test puts here."""
    tables: dict[str, dict[str, Any]] = {"waves": table("waves")}
    monkeypatch.setattr(layers, "load_files", lambda: tables)
    return tables


@pytest.mark.parametrize(("name", "preset"), RECIPES)
def test_every_recipe_resolves_with_every_setup_that_its_tasks_allow(name, preset):
    identities = set()
    tasks = resolve(name, preset=preset).tasks["name"]
    for setup in registry.setup_names():
        if not registry.offers(tasks, setup):
            continue
        found = resolve(name, preset=preset, setup=setup)
        assert (found.id, found.preset, found.setup["name"]) == (name, preset, setup)
        assert all(test.way <= found.train.way for test in found.test)
        assert all(row.value < 1 for row in found.published) or registry.task_class(tasks).metric.name != "accuracy"
        identities.add(found.recipe_id)
    assert len(identities) == sum(registry.offers(tasks, setup) for setup in registry.setup_names())


def test_every_recipe_has_all_presets_and_setups_that_exist():
    for name in load_files():
        assert presets_of(name) == list(PRESETS)
        assert set(default_setups(name)) <= set(registry.setup_names())
    assert default_setups("sinusoid-k10") == ["maml"]
    assert default_setups("quickstart") == ["maml", "scratch", "pretrained", "oracle"]


def test_every_special_table_is_that_of_a_setup():
    for name, content in load_files().items():
        assert set(content.get("setups", {})) <= set(registry.setup_names()), name
        assert {row["setup"] for row in content.get("published", [])} <= set(registry.setup_names()), name


def test_ids_are_unique_over_all_files_of_the_package():
    files = [f for f in resources.files("maml_bench.recipes").iterdir() if f.name.endswith(".toml")]
    ids = [table["id"] for file in files for table in tomllib.loads(file.read_text())["recipe"]]
    assert sorted(ids) == sorted(set(ids)) == sorted(load_files())


def test_the_papers_numbers_stand_in_the_recipes():
    paper = resolve("sinusoid-k10", preset="paper")
    assert (paper.outer.steps, paper.outer.meta_batch, paper.inner.rate) == (70_000, 25, 0.001)
    assert resolve("sinusoid-k10-text", preset="paper").inner.rate == 0.01
    omniglot = resolve("omniglot-5w1s", preset="paper")
    assert (omniglot.inner.rate, omniglot.inner.reduction, omniglot.outer.meta_batch) == (0.4, "per shot", 32)
    assert resolve("omniglot-5w1s-text", preset="paper").inner.reduction == "mean"
    assert resolve("omniglot-20w1s", preset="quick").ranked is False


def test_a_setup_that_does_not_train_gets_no_steps():
    assert resolve("sinusoid-k10", preset="paper", setup="scratch").outer.steps == 0
    two = resolve_all("sinusoid-k10", preset="paper", setups=["maml", "scratch"], settings=["outer.steps=9"])
    assert [recipe.outer.steps for recipe in two] == [9, 0]
    with pytest.raises(MamlBenchError, match=r"outer\.steps is set by --set, but has no effect: .*'scratch' does not"):
        resolve("sinusoid-k10", preset="paper", setup="scratch", settings=["outer.steps=9"])


@pytest.mark.parametrize("settings", [[], ["outer.steps=9"]])
def test_an_idle_key_of_a_file_is_refused_whatever_is_set_beside_it(monkeypatch, settings):
    idle = table("idle", setups={"maml": {"inner": {"estimator": "dice"}}})
    monkeypatch.setattr(layers, "load_files", lambda: {"idle": idle, "fine": table("fine")})
    with pytest.raises(
        MamlBenchError, match=r"inner\.estimator is set by .*idle, but has no effect: .* is not reinforcement learning"
    ):
        resolve("idle", preset="smoke", settings=settings)
    assert resolve("fine", preset="smoke", settings=settings).outer.steps == (9 if settings else 10)


def test_options_of_tasks_and_setup_are_complete_in_the_recipe():
    found = resolve("sinusoid-k10", preset="smoke", setup="reptile")
    assert found.setup == {"name": "reptile", "inner_batch": 10, "inner_optimiser": "sgd"}
    assert found.tasks == {"name": "sinusoid", "reveal": False, "normalisation": "none"}
    assert resolve("sinusoid-k10", preset="smoke", setup="oracle").tasks["reveal"] is True


LAYERS = [
    ("base", {}, {}, 1),
    ("extends", {"inner": {"rate": 2}}, {}, 2),
    ("preset", {"presets": {"smoke": {"inner": {"rate": 3}}}}, {}, 3),
    ("setup", {"setups": {"maml": {"inner": {"rate": 4}}}}, {}, 4),
    ("setup preset", {"setups": {"maml": {"presets": {"smoke": {"inner": {"rate": 5}}}}}}, {}, 5),
    ("settings", {}, {"settings": ["inner.rate=6", "inner.rate=7"]}, 7),
]


@pytest.mark.parametrize("highest", range(len(LAYERS)))
def test_each_layer_lies_over_those_before_it(shelf, highest):
    shelf["waves"]["inner"]["rate"] = 1
    child: dict[str, Any] = {"id": "child", "extends": "waves"}
    arguments: dict[str, Any] = {}
    for _, more, call, _ in LAYERS[: highest + 1]:
        child = layers.merged(child, more)
        arguments |= call
    shelf["child"] = child
    assert resolve("child", preset="smoke", **arguments).inner.rate == LAYERS[highest][3]


def test_other_presets_and_other_setups_do_not_speak(shelf):
    shelf["waves"] |= {
        "presets": {"smoke": {}, "quick": {"inner": {"rate": 9}}},
        "setups": {"fomaml": {"inner": {"rate": 8}}, "maml": {"presets": {"quick": {"outer": {"steps": 3}}}}},
    }
    assert resolve("waves", preset="smoke").inner.rate == 0.1
    assert resolve("waves", preset="smoke").outer.steps == 10
    assert resolve("waves", preset="quick", setup="fomaml").inner.rate == 8
    assert resolve("waves", preset="quick").outer.steps == 3


def test_extension_reaches_over_generations_and_lists_are_replaced(shelf):
    shelf["child"] = {"id": "child", "extends": "waves", "outer": {"steps": 20}, "default_setups": ["anil"]}
    shelf["grandchild"] = {"id": "grandchild", "extends": "child", "presets": {"paper": {"outer": {"meta_batch": 7}}}}
    found = resolve("grandchild", preset="paper")
    assert (found.id, found.outer.steps, found.outer.meta_batch) == ("grandchild", 20, 7)
    assert default_setups("grandchild") == ["anil"]
    assert presets_of("grandchild") == ["smoke", "quick", "paper"]
    one_test = 'test=[{protocol="p", split="validation", way=1, shot=1, query=1, episodes=1, inner_steps=[3]}]'
    assert [t.inner_steps for t in resolve("grandchild", preset="smoke", settings=[one_test]).test] == [(3,)]


@pytest.mark.parametrize("parent", ["child", "nobody"])
def test_extending_nothing_or_oneself_is_a_sentence(shelf, parent):
    shelf["child"] = {"id": "child", "extends": parent}
    with pytest.raises(MamlBenchError, match=f"'child' extends '{parent}', which does not exist or leads back"):
        resolve("child", preset="smoke")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inner.rate=0.5", {"inner": {"rate": 0.5}}),
        ("title=two words", {"title": "two words"}),
        ('title="3"', {"title": "3"}),
        ("ranked=false", {"ranked": False}),
        (" a.b.c = [1, 2]", {"a": {"b": {"c": [1, 2]}}}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_a_setting_is_read_as_toml_else_as_text(text, value):
    assert layers.setting(text) == value


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"settings": ["inner.rat=1"]}, "recipe 'waves': inner has no key 'rat' (did you mean 'rate'?)"),
        ({"settings": ["iner.rate=1"]}, "recipe 'waves' has no key 'iner' (did you mean 'inner'?)"),
        ({"settings": ["inner.rate=fast"]}, "inner.rate is 'fast', but must be a number"),
        ({"settings": ["inner=1"]}, "inner is 1, but must be a table"),
        ({"settings": ["outer.steps=1.5"]}, "outer.steps is 1.5, but must be a whole number"),
        ({"settings": ["outer.decay=liner"]}, "must be one of 'constant', 'linear', 'cosine'"),
        ({"settings": ["tasks.name=omniglto"]}, "no task distribution 'omniglto' (did you mean 'omniglot'?)"),
        ({"settings": ["tasks.colour=1"]}, "tasks has no key 'colour'"),
        ({"settings": ["setup.colour=1"]}, "setup has no key 'colour'"),
        ({"settings": ["extends=x"]}, "has no key 'extends'"),
        ({"settings": ["inner.rate"]}, "--set 'inner.rate' must read key=value, such as inner.rate=0.05"),
        ({"settings": ["=1"]}, "--set '=1' must read key=value"),
        ({"settings": ["inner..rate=1"]}, "--set 'inner..rate=1' must read key=value"),
        ({"settings": ["inner={}"]}, "--set 'inner={}' sets nothing, because the table has no value"),
        ({"settings": [f"outer.steps={'9' * 5000}"]}, "outer.steps is '9999"),
        ({"settings": [f"inner.outside={'[' * 5000}"]}, "inner.outside is '[[[["),
        ({"setup": "mmal"}, "no setup 'mmal' (did you mean 'maml'?)"),
        ({"preset": "smok"}, "recipe 'waves' has no preset 'smok' (did you mean 'smoke'?)"),
        ({"recipe": "wave"}, "no recipe 'wave' (did you mean 'waves'?)"),
    ],
)
def test_a_typing_error_names_the_nearest(shelf, arguments, sentence):
    with pytest.raises(MamlBenchError) as caught:
        resolve(**{"recipe": "waves", "preset": "smoke", **arguments})
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    ["validation.every=0", "outer.meta_batch=0", "outer.steps=-1", "inner.steps=-1", "train.shot=0", "inner.rate=nan"],
)
def test_a_number_that_cannot_run_is_a_sentence(shelf, setting):
    key = setting.partition("=")[0].rpartition(".")[2]
    with pytest.raises(MamlBenchError, match=key):
        resolve("waves", preset="smoke", settings=[setting])


def test_a_test_without_inner_steps_is_a_sentence(shelf):
    shelf["waves"]["test"][0]["inner_steps"] = []
    with pytest.raises(MamlBenchError, match="inner_steps"):
        resolve("waves", preset="smoke")


def test_an_oracle_needs_tasks_that_tell():
    with pytest.raises(MamlBenchError, match="tasks that reveal their identity, which omniglot does not offer"):
        resolve("omniglot-5w1s", preset="smoke", setup="oracle")


def test_published_numbers_are_those_of_the_setup_at_hand(shelf):
    row = {"way": 1, "shot": 5, "inner_steps": 1, "source": "a paper", "query": 5}
    shelf["waves"]["published"] = [{"setup": "maml", "value": 0.5, **row}, {"setup": "anil", "value": 0.7, **row}]
    assert resolve("waves", preset="smoke").plain()["published"] == [
        {"value": 0.5, "ci95": None, "protocol": "paper", **row}
    ]
    assert resolve("waves", preset="smoke", setup="scratch").plain()["published"] == []


LABELLED = {"title": "x", "variant": "x", "ranked": False, "id": "x", "published": []}


@pytest.mark.parametrize("label", LABELLED)
def test_labels_of_a_file_do_not_change_the_identity(shelf, label):
    shelf["waves"]["published"] = [
        {"setup": "maml", "way": 1, "shot": 5, "inner_steps": 1, "value": 1.0, "source": "a paper"}
    ]
    plain = resolve("waves", preset="smoke")
    shelf["waves"][label] = LABELLED[label]
    changed = resolve("waves", preset="smoke")
    assert changed != plain
    assert changed.recipe_id == plain.recipe_id == resolve("waves", preset="quick").recipe_id


SETTABLE_VALUES = {"published": "[]", "ranked": "false", "changed": "[]", "setup": '{name="anil"}'}


@pytest.mark.parametrize("key", [*layers.NOT_OF_SETTINGS, "setup"])
def test_what_names_a_run_or_its_code_cannot_be_set(shelf, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from maml_bench.setups.maml import MAML\nclass Mine(MAML):\n    pass\n")
    named = "setup.name" if key == "setup" else key
    for value in (SETTABLE_VALUES.get(key, "./mine.py"), "../../x", "3"):
        if key != "setup" or value.startswith("{"):
            with pytest.raises(MamlBenchError, match=f"{named} is set by --set, but it cannot be set: "):
                resolve("waves", preset="smoke", settings=["outer.steps=40", f"{key}={value}"])


@pytest.mark.parametrize("key", layers.NOT_OF_TABLES)
@pytest.mark.parametrize(
    "place", [(), ("presets", "smoke"), ("setups", "maml"), ("setups", "maml", "presets", "smoke")]
)
def test_no_table_of_a_recipe_says_which_code_runs(shelf, key, place):
    more = layers.setting(f"{key}=./mine.py")
    for part in reversed(place):
        more = {part: more}
    shelf["waves"] = layers.merged(shelf["waves"], more)
    with pytest.raises(MamlBenchError, match=rf"{key} is set by waves.*, but it cannot be set: "):
        resolve("waves", preset="smoke")


OUTSIDE = ["../../x", "x/../../y", "/x", "..", ".x", "", "x\n", "a[/b]y", "x" * 101, "\N{SNOWMAN}"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_would_leave_the_results_folder_is_refused(shelf, name, tmp_path):
    shelf["waves"]["id"] = name
    with pytest.raises(MamlBenchError, match=r"the id .* (cannot be a part of a file name|is too long)"):
        resolve("waves", preset="smoke")
    shelf["waves"] |= {"id": "waves", "presets": {name: {}}}
    with pytest.raises(MamlBenchError, match=r"the preset .* (cannot be a part of a file name|is too long)"):
        resolve("waves", preset=name)
    shelf["waves"] |= {"presets": {"smoke": {}}}
    fine = resolve("waves", preset="smoke")
    for other in (replace(fine, id=name), replace(fine, preset=name), replace(fine, setup={"name": name})):
        with pytest.raises(MamlBenchError, match=r"(cannot be a part of a file name|is too long)"):
            relative_path(other.plain(), "0" * 8, 0, "0" * 8)


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ([], ()),
        (["outer.steps=10", "inner.rate=1e-1", "inner.reduction=mean", "inner={steps=1}"], ()),
        (["outer.steps=40"], ("outer.steps=40",)),
        (["outer.steps=40", "outer.steps=10"], ()),
        (["inner.rate=2e-1", "outer={steps=4_0}"], ("inner.rate=0.2", "outer.steps=40")),
        (["inner.rate=2", "outer.optimiser=sgd"], ("inner.rate=2", "outer.optimiser=sgd")),
        (["inner.outside=[ 'x' ]", "inner.reduction='per shot'"], ('inner.outside=["x"]', "inner.reduction=per shot")),
        (["outer.repeats=1", "outer.norm=0"], ()),
    ],
)
def test_changed_keys_are_those_whose_resolved_values_differ(shelf, settings, changed):
    found = resolve("waves", preset="smoke", settings=settings)
    assert found.changed == changed
    assert resolve("waves", preset="smoke", settings=changed) == found
    assert bool(changed) == (found.recipe_id != resolve("waves", preset="smoke").recipe_id)


def test_a_changed_test_is_a_setting_that_can_be_given_again(shelf):
    one = 'test=[{protocol="p", split="test", way=1, shot=1, query=1, episodes=1, inner_steps=[3]}]'
    found = resolve("waves", preset="smoke", settings=[one])
    assert [text.partition("=")[0] for text in found.changed] == ["test"]
    assert resolve("waves", preset="smoke", settings=found.changed) == found
    again = layers.as_setting("test", shelf["waves"]["test"])
    assert resolve("waves", preset="smoke", settings=[again]).changed == ()


@pytest.mark.parametrize("name", load_files())
def test_a_key_that_is_set_to_its_value_changes_nothing(name):
    """Every key of every recipe: the record of such a run is the record of the plain one."""
    plain = resolve(name, preset="quick")
    for row in options(name, preset="quick"):
        if row.value is not None and not row.unread:
            again = resolve(name, preset="quick", settings=[layers.as_setting(row.key, row.value)])
            assert again == plain, row.key


@pytest.mark.parametrize(
    ("name", "setup", "setting"),
    [
        ("omniglot-5w1s", "matching", "setup.scale=1.0"), ("cheetah-vel", "rl2", "setup.value_unit=return"),
        ("bandit-n10-k5", "l2rl", "setup.value_unit=return"),
    ],
)  # fmt: skip
def test_an_option_that_came_later_changes_nothing_at_its_default(name, setup, setting):
    plain = resolve(name, preset="quick", setup=setup)
    assert resolve(name, preset="quick", setup=setup, settings=[setting]) == plain


def test_a_recipe_that_settings_complete_names_all_of_them(shelf):
    del shelf["waves"]["inner"]["rate"]
    assert resolve("waves", preset="smoke", settings=["inner.rate=0.1"]).changed == ("inner.rate=0.1",)


@pytest.mark.parametrize(
    "setting",
    [
        "inner.rate=0.2", "inner.reduction=per shot", "inner.outside=['x']", "outer.steps=11", "outer.clip=1",
        "outer.optimiser=sgd", "train.shot=6", "validation.every=6", "validation.episodes=5", "test=[]",
        "setup.inner_batch=11",
    ],
)  # fmt: skip
def test_any_content_changes_the_identity(shelf, setting):
    plain = resolve("waves", preset="smoke", setup="reptile")
    assert resolve("waves", preset="smoke", setup="reptile", settings=[setting]).recipe_id != plain.recipe_id


def test_a_setup_in_a_file_counts_by_content_not_by_place(shelf, tmp_path):
    source = "from maml_bench.setups.maml import MAML\nclass Mine(MAML):\n    pass\n"
    identities = []
    for folder, text in (("a", source), ("b", source), ("c", source + "# changed\n")):
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(text)
        found = resolve("waves", preset="smoke", setup=str(path))
        identities.append(found.recipe_id)
        assert str(tmp_path) not in str(found.plain())
        assert found.setup["name"] == "mine"
    assert identities[0] == identities[1] != identities[2]


def test_a_key_of_a_file_that_a_setting_leaves_without_effect_is_no_fault_but_a_setting_is() -> None:
    """Which rollouts count first is read only where others follow those that end early."""
    assert not resolve("navigation", preset="smoke", settings=["tasks.fill=false"]).tasks.get("fill")
    with pytest.raises(MamlBenchError, match=r"tasks\.first_ended is set by --set, but has no effect.*tasks\.fill"):
        resolve("navigation", preset="smoke", settings=["tasks.fill=false", "tasks.first_ended=true"])


def setup_of(name: str) -> Setup:
    return registry.build_setup({"name": name}, "test")


THEIR_OWN = {"oracle": "sinusoid-k10", "multi_task": "sinusoid-k10", "baseline": "omniglot-5w1s", "rl2": "bandit"}
FORCED = [
    (recipe, setup, key)
    for setup, recipe in THEIR_OWN.items()
    for key in registry.needed(registry.task_class(resolve(recipe, preset="smoke").tasks["name"]), setup_of(setup))
]


@pytest.mark.parametrize(("recipe", "setup", "key"), FORCED)
@pytest.mark.parametrize("value", ["true", "false", "3", "x"])
def test_an_option_that_the_setup_sets_itself_cannot_be_set(recipe, setup, key, value):
    with pytest.raises(MamlBenchError, match=rf"tasks\.{key} is set by --set, but has no effect: the setup "):
        resolve(recipe, preset="smoke", setup=setup, settings=[f"tasks.{key}={value}"])
