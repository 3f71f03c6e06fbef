"""Every key of every recipe is read under every setup, or refused by name.

A run is built and taken through one meta-step, a validation and a test with sections that note which of their fields
are read. Recipes that differ in values alone share a run: what is read depends on the tasks, the setup, the optimiser
and the keys that are refused.
"""

import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin

import pytest

from maml_bench import registry
from maml_bench.core.learner import Inner, Learner
from maml_bench.core.setup import Capability
from maml_bench.declared import annotations, of_network
from maml_bench.errors import MamlBenchError
from maml_bench.harness import build, loop, meta_test
from maml_bench.harness.layers import as_setting, leaves
from maml_bench.harness.options import options
from maml_bench.harness.protocols import asked_tests
from maml_bench.harness.recipe import PRESETS, Recipe, resolution, resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.run_state import RunState
from maml_bench.harness.unread import NOTHING_ELSE, inner_keys
from maml_bench.rl.losses import ESTIMATORS
from maml_bench.rl.protocol import acts
from maml_bench.types import Estimator
from tests.conftest import data_of, shared_images, stored
from tests.tasks.torchmeta_data import real, write_omniglot

SECTIONS = ("inner", "outer", "train", "validation", "tasks", "setup")


@pytest.fixture(scope="module", autouse=True)
def images() -> Iterator[None]:
    with shared_images():
        yield


class Silent:
    """An observer that hears nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def watched(section: Any, prefix: str, seen: set[str]) -> Any:
    """``section`` itself, which from now on adds the dotted names of its fields to ``seen`` when they are read.

    The learner's own check of ``inner.outside`` is no use of it.
    """
    cls = type(section)
    names = {f.name for f in fields(cls)}

    def read(self: Any, name: str) -> Any:
        if name in names and sys._getframe(1).f_code is not Learner.__init__.__code__:
            seen.add(f"{prefix}{name}")
        return object.__getattribute__(self, name)

    for f in fields(cls):
        inside = getattr(section, f.name)
        if is_dataclass(inside):
            object.__setattr__(section, f.name, watched(replace(inside), f"{prefix}{f.name}.", seen))
    object.__setattr__(section, "__class__", type(cls.__name__, (cls,), {"__getattribute__": read}))
    return section


def groups() -> Iterator[Any]:
    """A recipe and setup for each way in which keys can be read, marked by what data it needs."""
    known: set[Any] = set()
    for name in load_files():
        for setup in registry.setup_names():
            tasks = resolve(name, preset="smoke").tasks["name"]
            if not registry.offers(tasks, setup):
                continue
            found = resolution(name, preset="smoke", setup=setup)
            key = (tasks, setup, type(found.recipe.outer), frozenset(found.unread))
            if key not in known:
                known.add(key)
                marks = [pytest.mark.real_data] * (stored(tasks) is not None)
                alike = acts(found.tasks) and tasks not in ("navigation", "bandit")
                marks += [pytest.mark.slow] * (alike and setup != "maml")
                yield pytest.param(name, setup, id=f"{name}-{setup}", marks=marks)


GROUPS = list(groups())


def small(recipe: Recipe) -> Recipe:
    """The recipe with a meta-batch and a validation of few tasks, and few classes where their number is free."""
    few = min(recipe.outer.meta_batch, 2) if "pool" not in recipe.tasks else recipe.outer.meta_batch
    validation = replace(recipe.validation, episodes=min(recipe.validation.episodes, 2))
    return replace(
        recipe, outer=replace(recipe.outer, meta_batch=few, steps=min(1, recipe.outer.steps)), validation=validation
    )


def taken_through(recipe: Recipe, seen: set[str], monkeypatch: pytest.MonkeyPatch) -> RunState:
    """The recipe built and run with watched sections: a meta-step, a validation, and the tests on one task each."""
    tests = [replace(test, episodes=1, inner_steps=test.inner_steps[:2]) for test in asked_tests(recipe)]
    parts = {name: watched(replace(getattr(recipe, name)), f"{name}.", seen) for name in SECTIONS[:4]}
    for name in ("setup", "tasks"):
        make = getattr(registry, f"build_{name}")
        watch = lambda *args, make=make, name=name: watched(make(*args), f"{name}.", seen)  # noqa: E731
        monkeypatch.setattr(registry, f"build_{name}", watch)
    recipe = replace(recipe, **parts)
    run = build.build(recipe, 0, "cpu", "vmap")
    build.rehearse(run, tests)
    loop.train(run, Silent(), lambda: False, lambda: None)
    meta_test.evaluations(run, tests, Silent())
    return run


def asked_of_networks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that from now on grows when the network of a learner computes something."""
    asked: list[str] = []
    for name in ("apply", "draw"):
        real = getattr(Learner, name)

        def noted(*arguments: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            asked.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(Learner, name, noted)
    return asked


@pytest.mark.parametrize(("name", "setup"), GROUPS)
def test_every_key_is_read_or_refused(
    name: str, setup: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke = resolve(name, preset="smoke", setup=setup)
    wide = ["tasks.radius=0.4"] * (
        smoke.tasks.get("reward") == "sparse"
    )  # or hardly a rollout of so few is rewarded, and no step is tried
    tasks = smoke.tasks["name"]
    asks = Capability.OWN_NETWORK not in registry.setup_class(setup).capabilities
    narrow = ["tasks.conv.filters=6"] * (
        tasks == "mini_imagenet" and asks and setup != "relation"
    )  # which wants 32 maps
    found = resolution(name, preset="smoke", setup=setup, settings=[*data_of(tasks), *wide, *narrow])
    if data := stored(tasks):
        request.getfixturevalue(data)
    if tasks == "torchmeta":
        real(write_omniglot, request.getfixturevalue("tmp_path"), monkeypatch)
    seen: set[str] = set()
    if (tasks, setup, found.recipe.tasks.get("network")) == ("omniglot", "relation", "mlp"):
        with pytest.raises(MamlBenchError, match="the relation module compares"):
            build.build(found.recipe, 0, "cpu", "vmap")
        return
    asked = asked_of_networks(monkeypatch)
    taken_through(small(found.recipe), seen, monkeypatch)
    assert bool(asked) != (Capability.OWN_NETWORK in found.setup.capabilities), "whether the network is asked"
    rows = {row.key for row in options(name, preset="smoke", setup=setup) if row.key.partition(".")[0] in SECTIONS}
    rows -= {"outer.optimiser"}
    single = {key for key in rows if only_one_value(found, key)}
    unused = rows - seen - set(found.unread) - single
    assert not unused, "keys that are neither read nor refused"
    if not acts(found.tasks):  # there the loss is built, and rollouts are drawn, for every setup
        wrongly = {key for key in seen & set(found.unread) if key.startswith("inner.")} - {"inner.steps"}
        assert not wrongly, "keys that are read but refused"


def only_one_value(found: Any, key: str) -> bool:
    """Whether nothing else can be set: the type has one value, as that of ``tasks.normalisation`` without a choice."""
    section, *names = key.split(".")
    hint: Any = type({"tasks": found.tasks, "setup": found.setup}.get(section) or getattr(found.recipe, section))
    for name in names:
        hint = annotations(hint).get(name, (hint,))[0]
    return get_origin(hint) is not None and len(get_args(hint)) == 1


CHANGES = {
    "inner.rate": "0.777", "inner.steps": "7", "inner.reduction": "per shot", "inner.outside": "['*']",
    "inner.later_rate": "0.5", "inner.norm": "0.5", "inner.estimator": "dice", "outer.rate": "0.7", "outer.clip": "0.7",
    "outer.norm": "0.7",
    "outer.repeats": "3", "outer.estimator": "dice", "outer.steps": "3", "outer.trust.bound": "0.3",
    "outer.trust.share": "0.3",
}  # fmt: skip


@pytest.mark.parametrize(("name", "setup"), GROUPS)
def test_a_key_that_is_not_read_is_refused_by_name_and_others_change_the_identity(name: str, setup: str) -> None:
    found = resolution(name, preset="smoke", setup=setup)
    for key, value in CHANGES.items():
        if key in found.unread:
            with pytest.raises(MamlBenchError, match=rf"{key} is set by --set, but has no effect: "):
                resolve(name, preset="smoke", setup=setup, settings=[f"{key}={value}"])
        elif key != "inner.reduction" or found.recipe.inner.reduction == "mean":
            changed = resolve(name, preset="smoke", setup=setup, settings=[f"{key}={value}"])
            assert changed.recipe_id != found.recipe.recipe_id, key


@pytest.mark.parametrize(("name", "setup"), GROUPS)
def test_a_setup_that_never_asks_the_network_refuses_its_keys(name: str, setup: str) -> None:
    found = resolution(name, preset="smoke", setup=setup)
    for row in options(name, preset="smoke", setup=setup):
        if row.key.removeprefix("tasks.") in of_network(type(found.tasks)) and row.value is not None:
            own = Capability.OWN_NETWORK in found.setup.capabilities
            again = [as_setting(row.key, row.value)]
            if own or row.unread:
                with pytest.raises(MamlBenchError, match=rf"{row.key} is set by --set, but has no effect: "):
                    resolve(name, preset="smoke", setup=setup, settings=again)
            else:
                assert resolve(name, preset="smoke", setup=setup, settings=again) == found.recipe


def test_no_file_of_the_package_sets_a_key_that_nothing_reads() -> None:
    """Resolving refuses what a recipe or a setup's file sets in vain; here every key that a file sets is looked up."""
    for name, table in load_files().items():
        for setup, special in table.get("setups", {}).items():
            unread = [resolution(name, preset=preset, setup=setup).unread for preset in PRESETS]
            for key, value in leaves({k: v for k, v in special.items() if k != "presets"}):
                usual = ([], 0, 0.0, "mean", NOTHING_ELSE.get(key))
                assert not all(key in each for each in unread) or value in usual, (name, setup, key)


@pytest.mark.parametrize("setup", registry.setup_names())
def test_a_setup_reads_keys_that_there_are(setup: str) -> None:
    cls = registry.setup_class(setup)
    assert cls.inner_keys <= {f.name for f in fields(Inner)}
    if Capability.ACTS in cls.capabilities and Capability.TRAINS in cls.capabilities:
        assert "steps" in inner_keys(cls(), acting=True)


def test_the_names_of_estimators_are_those_of_the_losses() -> None:
    assert set(get_args(Estimator)) == set(ESTIMATORS)
