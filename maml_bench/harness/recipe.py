"""Recipes: one experiment completely, as data. `resolve` makes one of the tables in `layers`.

Each section becomes the dataclass in `sections` that says what its keys mean. What is not read is refused where it is
set: by ``--set``, or by the table that says what one setup does differently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Annotated, Any

from annotated_doc import Doc

from maml_bench import registry
from maml_bench.checked import UnknownKey, construct, later, plain
from maml_bench.core.learner import Inner
from maml_bench.core.memory import Remembering
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import annotations, unread
from maml_bench.errors import MamlBenchError, nearest, shortened
from maml_bench.files import refuse_unfit_name
from maml_bench.harness import episode_shapes, recipe_identity, trials
from maml_bench.harness.layers import PRESETS, Layer, chain_of, laid, layers, leaves, merged, raw
from maml_bench.harness.own_parts import is_of_user, put_own_code, unusual
from maml_bench.harness.sections import (
    OPTIMISERS,
    Descent,
    EpisodeShape,
    Outer,
    Published,
    Test,
    TrustRegion,
    Validation,
)
from maml_bench.harness.unread import defaults_of, refused, unread_keys
from maml_bench.own_code import REFERENCE, is_file
from maml_bench.rl.protocol import acts
from maml_bench.types import TaskDistribution

OF_BATCH_NORM = ("*.beta", "*.gamma")
"""The patterns of the scales and offsets of batch normalisation."""
AnySetup = str | Setup | type[Setup]
"""A setup by its name, by its file, or as an object."""

__all__ = (
    "OF_BATCH_NORM", "PRESETS", "AnySetup", "EpisodeShape", "Outer", "Recipe", "Test", "Validation",
    "default_setups", "presets_of", "resolution", "resolve", "resolve_all",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One experiment; see `sections` for its parts."""

    id: Annotated[str, Doc("The recipe's name.")]
    title: Annotated[str, Doc("What the experiment is, in a few words.")]
    variant: Annotated[str, Doc("Which of several readings it follows, such as `paper text` or `released code`.")]
    preset: Annotated[str, Doc("The name of the budget: `smoke`, `quick` or `paper`.")]
    tasks: Annotated[dict[str, Any], Doc("The task family and all of its options.")]
    setup: Annotated[dict[str, Any], Doc("The setup and all of its options.")]
    inner: Annotated[Inner, Doc("The inner loop.")]
    outer: Annotated[Outer, Doc("The outer loop; its keys depend on the optimiser.")]
    train: Annotated[EpisodeShape, Doc("The shape of training episodes.")]
    validation: Annotated[Validation, Doc("How the learning curve is measured.")]
    test: Annotated[tuple[Test, ...], Doc("The tests after training.")]
    ranked: Annotated[bool, Doc("False marks a budget that is too small to rank setups by.")] = True
    published: Annotated[tuple[Published, ...], Doc("The published numbers of this setup.")] = ()
    changed: Annotated[tuple[str, ...], Doc("What differs from the recipe of this id, as settings.")] = ()
    network: Annotated[
        dict[str, str] | None,
        Doc("A network of the user's own in the place of the family's: its name and the hash of its code."),
    ] = later(None)
    outer_unread: Annotated[
        dict[str, Any],
        Doc("What tables for all setups say in `outer` and this optimiser does not read. It counts only for the id."),
    ] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        name_or_path: str,
        *,
        preset: str = "quick",
        setup: AnySetup | None = None,
        tasks: Any = None,
        network: Any = None,
        settings: Sequence[str] = (),
    ) -> "Recipe":
        """The recipe of that name, or the one in a TOML file (a path that ends in ``.toml``). See `resolve`."""
        return resolve(name_or_path, preset=preset, setup=setup, tasks=tasks, network=network, settings=settings)

    @property
    def recipe_id(self) -> str:
        """Eight hex digits over the content; labels and published numbers do not count."""
        return recipe_identity.recipe_id(self)

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON-ready data, as it stands in records; published numbers of this setup only."""
        return recipe_identity.layout(self)


@dataclass(frozen=True)
class _Tables:
    """A recipe as its tables: what is checked first."""

    id: str
    title: str
    variant: str
    preset: str
    tasks: dict[str, Any]
    setup: dict[str, Any]
    inner: dict[str, Any]
    outer: dict[str, Any]
    train: dict[str, Any]
    validation: dict[str, Any]
    test: tuple[dict[str, Any], ...]
    ranked: bool = True
    published: tuple[Published, ...] = ()
    network: dict[str, str] | None = None


@dataclass(frozen=True)
class Resolution:
    """A recipe with what it was made of: its setup and tasks as objects, its layers, the keys that have no effect on it
    (each with the reason), and of each setting that sets one of those a sentence."""

    recipe: Recipe
    setup: Setup
    tasks: TaskDistribution
    layers: list[Layer]
    unread: dict[str, str]
    ignored: dict[str, str]


def default_setups(recipe: str) -> list[str]:
    """The setups that ``run`` takes if none is named.

    Raises:
        MamlBenchError: the recipe and all that it extends name none.
    """
    named = raw(recipe).get("default_setups")
    if not named:
        raise MamlBenchError(f"recipe {recipe!r} lacks the key 'default_setups'")
    return list(named)


def presets_of(recipe: str) -> list[str]:
    """The presets that a recipe has, smallest first."""
    return [preset for preset in PRESETS if preset in raw(recipe).get("presets", {})]


def resolve(
    recipe: str,
    *,
    preset: str,
    setup: AnySetup | None = None,
    tasks: Any = None,
    network: Any = None,
    settings: Sequence[str] = (),
) -> Recipe:
    """The complete recipe for ``preset`` and ``setup`` (default: the recipe's first).

    ``tasks`` and ``network`` take the place of the recipe's family and of its network: the name of one, a file, or an
    object. The options of another family start from its own defaults. ``settings`` such as ``inner.rate=0.05`` are laid
    over the recipe.

    Raises:
        MamlBenchError: no such recipe, preset, setup, family, network or key; a value of the wrong type or outside of
            its range; a key is set that has no effect on this recipe with this setup.
    """
    found = resolution(recipe, preset=preset, setup=setup, tasks=tasks, network=network, settings=settings)
    for sentence in found.ignored.values():
        raise MamlBenchError(sentence)
    return found.recipe


def resolve_all(
    recipe: str,
    *,
    preset: str,
    setups: Sequence[AnySetup],
    tasks: Any = None,
    network: Any = None,
    settings: Sequence[str] = (),
) -> list[Recipe]:
    """As `resolve`, for several setups together: a setting must have an effect on one of them at least.

    The others keep it in their id, where it makes no other difference.
    """
    found = [
        resolution(recipe, preset=preset, setup=setup, tasks=tasks, network=network, settings=settings)
        for setup in setups
    ]
    for text in settings:
        if found and all(text in one.ignored for one in found):
            raise MamlBenchError(found[0].ignored[text])
    return [one.recipe for one in found]


def resolution(
    recipe: str,
    *,
    preset: str,
    setup: AnySetup | None = None,
    tasks: Any = None,
    network: Any = None,
    settings: Sequence[str] = (),
) -> Resolution:
    """As `resolve`, with what the recipe was made of; a setting that has no effect is not refused, but told of."""
    chain = chain_of(recipe)
    whole: dict[str, Any] = reduce(merged, (table for _, table in chain), {})
    if preset not in whole.get("presets", {}):
        raise MamlBenchError(f"recipe {recipe!r} has no preset {preset!r}{nearest(preset, whole.get('presets', {}))}")
    setup = setup or default_setups(recipe)[0]
    reference = registry.setup_reference(setup)
    name = reference["name"]
    if isinstance(network, str) and not is_file(network):  # a network that the family knows by its name
        network, settings = None, [f"tasks.network={network}", *settings]
    found = layers(chain, preset, name, settings)
    content: dict[str, Any] = reduce(laid, (layer.table for layer in found if layer.kind != "--set"), {})
    own_numbers = whole.get("setups_published", {}).get(name, ()) if not is_of_user(content) else ()
    content["published"] = [*content.get("published", ()), *own_numbers]
    content["preset"] = preset
    options, of_recipe = registry.options_of(setup), content.get("setup", {})
    content["setup"] = {**of_recipe, **options, **reference}
    replaced = put_own_code(content, tasks, network)
    as_it_stands = content
    content = reduce(merged, (layer.table for layer in found if layer.kind == "--set"), content)
    where = f"recipe {recipe!r}"
    refuse_unfit_name(str(content.get("id")), f"{where}: the id")
    refuse_unfit_name(preset, f"{where}: the preset")
    try:
        built, method, family = _built(content, where)
    except UnknownKey as error:
        more = f" --setup {setup}" * (isinstance(setup, str) and setup != whole.get("default_setups", [setup])[0])
        raise MamlBenchError(f"{error}: see maml-bench options {recipe}{more}") from error
    keys, defaults = unread_keys(built, method, family), defaults_of(method, family)
    # A file is at fault only for what has no effect in it as it stands, not for what a setting of the user stops.
    plain_one, keys_of_file = _without_settings(as_it_stands, where) if settings else (built, keys)
    if replaced:  # nor for what it says of a family or a network that is not there
        keys_of_file = {key: why for key, why in keys_of_file.items() if not key.startswith("tasks.")}
    set_by_user = dict(leaf for layer in found if layer.kind == "--set" for leaf in leaves(layer.table))
    changed = recipe_identity.changed(built, plain_one, set_by_user)
    changed = (*replaced, *unusual(options, of_recipe, defaults), *changed)
    built = replace(built, changed=changed)
    ignored: dict[str, str] = {}
    first = name == next(iter(whole.get("default_setups", ())), None)
    texts = iter(settings)
    for layer in found:
        sentence = refused(layer, keys if layer.kind == "--set" else keys_of_file, defaults)
        text = next(texts) if layer.kind == "--set" else ""
        if sentence and text:
            ignored[text] = f"{where}: {sentence}"
        elif sentence and layer.own and (layer.kind == "setup" or first):
            raise MamlBenchError(f"{where}: {sentence}")
    return Resolution(built, method, family, found, keys, ignored)


def _without_settings(content: Mapping[str, Any], where: str) -> tuple[Recipe | None, dict[str, str]]:
    """A recipe as its files have it, and the keys that have no effect on it; None where settings alone complete it."""
    try:
        plain_one, method, tasks = _built(content, where)
    except MamlBenchError:
        return None, {}
    return plain_one, unread_keys(plain_one, method, tasks)


def _built(content: Mapping[str, Any], where: str) -> tuple[Recipe, Setup, TaskDistribution]:
    """The recipe that the merged tables mean, with its setup and tasks."""
    tables = construct(_Tables, content, where)
    inner = construct(Inner, content["inner"], where, "inner")
    outer, outer_unread = _outer(content["outer"], where)
    train = construct(EpisodeShape, content["train"], where, "train")
    validation = construct(Validation, content["validation"], where, "validation")
    test = tuple(construct(Test, table, where, f"test[{i}]") for i, table in enumerate(content["test"]))
    method = registry.build_setup(content["setup"], where)
    name = content["setup"]["name"]
    tasks = registry.build_tasks(content["tasks"], where, method)
    episode_shapes.refuse_unfit(where, name, method, tasks, (train, validation, test))
    if isinstance(method, Remembering) and acts(tasks):
        trials.refuse_unfit(where, name, method, tasks, inner.steps, (train, validation, test))
    if content["tasks"].get("mixed") and (method.asks_query() or Capability.TRAINS not in method.capabilities):
        raise MamlBenchError(
            f"{where}: tasks.mixed is for setups that train one policy for all tasks and use no query, as oracle does; "
            f"{name} with these options does not"
        )
    if method.pool not in (0, outer.meta_batch):
        raise MamlBenchError(
            f"{where}: outer.meta_batch is {outer.meta_batch}, but {name} needs all its tasks in one, {method.pool}"
        )
    if isinstance(outer, TrustRegion) and not acts(tasks):
        raise MamlBenchError(
            f"{where}: the outer optimiser {outer.optimiser!r} is for reinforcement learning; take 'adam', 'sgd' or "
            "'rmsprop'"
        )
    if Capability.TRAINS not in method.capabilities:
        outer = replace(outer, steps=0)
    if tasks.normalisation != "transductive":  # no batch-norm, so none of its scales and offsets to leave alone
        outside = tuple(pattern for pattern in inner.outside if pattern not in OF_BATCH_NORM)
        inner = replace(inner, outside=outside)
    options = {option.name for option in fields(method)}
    beside = {key: value for key, value in content["setup"].items() if key not in options}  # such as its name
    built = Recipe(
        id=tables.id, title=tables.title, variant=tables.variant, preset=tables.preset,
        tasks={**_code(content["tasks"]), **plain(tasks)}, setup={**beside, **plain(method)},
        inner=inner, outer=outer, train=train, validation=validation, test=test,
        ranked=tables.ranked, published=tables.published, network=tables.network, outer_unread=outer_unread,
    )  # fmt: skip
    return built, method, tasks


def _code(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a table says of the code that it names."""
    return {key: value for key, value in table.items() if key in REFERENCE}


def _outer(table: Mapping[str, Any], where: str) -> tuple[Outer, dict[str, Any]]:
    """The section ``outer``, and the values in it that its optimiser or its decay does not read."""
    name = table.get("optimiser", next(iter(OPTIMISERS)))
    if not isinstance(name, str) or name not in OPTIMISERS:
        raise MamlBenchError(
            f"{where}: there is no outer.optimiser {shortened(name)}{nearest(str(name)[:80], OPTIMISERS)}"
        )
    cls = OPTIMISERS[name]
    others = {key: other for other in OPTIMISERS.values() for key in annotations(other) if key not in annotations(cls)}
    mine = {key: value for key, value in table.items() if key != "optimiser" and key not in others}
    outer = construct(cls, mine, where, "outer")
    if isinstance(outer, Descent) and outer.decay == "halve" and outer.halve_every < 1:
        raise MamlBenchError(f"{where}: outer.halve_every is {outer.halve_every}, but must be at least 1")
    idle: dict[str, Any] = {}
    for key in (key for key in table if key in others):
        other = construct(others[key], {"steps": 0, "meta_batch": 1, key: table[key]}, where, "outer")
        idle |= {key: plain(other)[key]} if key in plain(other) else {}
    usual = cls(steps=outer.steps, meta_batch=outer.meta_batch)
    kept = {key: getattr(usual, key) for key in unread(outer) if "." not in key}
    idle |= {key: getattr(outer, key) for key, default in kept.items() if getattr(outer, key) != default}
    return replace(outer, **kept), idle
