"""Recipes: one experiment completely, as data, from the tables of `recipe_files`.

Resolution lays tables over each other, later ones winning key by key: the recipe that ``extends`` names, the recipe,
its ``presets.<preset>``, its ``setups.<setup>``, its ``setups.<setup>.presets.<preset>``, and what ``--set`` says. The
result must fit the dataclasses below exactly.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from maml_bench import registry
from maml_bench.checked import construct, later, plain
from maml_bench.core.learner import Inner
from maml_bench.core.normalisation import Mode
from maml_bench.errors import MamlBenchError, nearest
from maml_bench.harness.recipe_files import load_files
from maml_bench.rl.trust_region import Trust
from maml_bench.types import Shape

PRESETS = ("smoke", "quick", "paper")
_LAYERS = ("extends", "presets", "setups", "setups_published", "default_setups", "fills")
_LABELS = ("id", "title", "variant", "preset", "ranked", "published", "changed")


@dataclass(frozen=True)
class Outer:
    """The outer loop: ``steps`` meta-steps of ``meta_batch`` tasks each; ``clip`` bounds gradient entries, 0 is off.

    The meta-gradient is that of the mean query loss over tasks. ``decay`` leads the rate from ``rate`` to ``floor``
    over the steps (linear, cosine), halves it every ``halve_every`` steps (halve) or keeps it. The optimiser ``trpo``
    takes steps of its own size, by ``trust``. ``estimator`` names the outer loss where somebody acts (rl.losses);
    ``repeats`` steps are taken on the same tasks before new ones are drawn.
    """

    steps: int
    meta_batch: int
    optimiser: Literal["adam", "sgd", "trpo"] = "adam"
    rate: float = 1e-3
    decay: Literal["constant", "linear", "cosine", "halve"] = "constant"
    clip: float = 0.0
    halve_every: int = later(0)
    floor: float = later(0.0)
    trust: Trust = later(Trust())
    estimator: str = later("ratio")
    repeats: int = later(1)


@dataclass(frozen=True)
class EpisodeShape:
    """N way, K shot, Q query examples per class."""

    way: int
    shot: int
    query: int

    @property
    def shape(self) -> Shape:
        return Shape(self.way, self.shot, self.query)


@dataclass(frozen=True)
class Validation(EpisodeShape):
    """``episodes`` validation tasks every ``every`` meta-steps, after ``inner_steps``; 0 episodes for none."""

    episodes: int
    inner_steps: int
    every: int


@dataclass(frozen=True)
class Test(EpisodeShape):
    """One test: ``episodes`` tasks of ``split``, scored after each number of ``inner_steps``.

    ``normalisation`` says whose statistics batch-norm uses for the query (see core.statistics.Mode), ``checkpoint``
    which meta-parameters are tested: the ``last``, those ``selected`` as best by validation, or the ``ensemble`` of the
    best five. What makes no difference, as without batch-norm or without training, is ignored.
    """

    protocol: str
    split: Literal["train", "validation", "test"]
    episodes: int
    inner_steps: tuple[int, ...]
    normalisation: Mode = later("transductive")
    checkpoint: Literal["last", "selected", "ensemble"] = later("last")


@dataclass(frozen=True)
class Published:
    """A published number for one setup and test point, as a metric value (accuracy is a fraction), with its source.

    ``query`` is named where the number was measured with another query count than the recipe's test: it then stands
    beside tests of that count only. So it is with ``normalisation``, which is else transductive, and with ``ensemble``,
    a number of several checkpoints together.
    """

    setup: str
    way: int
    shot: int
    inner_steps: int
    value: float
    source: str
    ci95: float | None = None
    query: int | None = None
    protocol: str = "paper"
    normalisation: Mode | None = later(None)
    ensemble: bool = later(False)


@dataclass(frozen=True)
class Recipe:
    """One experiment; see the parts.

    ``ranked`` False marks a budget too small to rank setups by; ``changed`` are the settings that make it another
    experiment than the one of its id.
    """

    id: str
    title: str
    variant: str
    preset: str
    tasks: dict[str, Any]
    setup: dict[str, Any]
    inner: Inner
    outer: Outer
    train: EpisodeShape
    validation: Validation
    test: tuple[Test, ...]
    ranked: bool = True
    published: tuple[Published, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def recipe_id(self) -> str:
        """Eight hex digits over the content; labels and published numbers do not count."""
        content = {key: value for key, value in self.plain().items() if key not in _LABELS}
        content["setup"] = {key: value for key, value in self.setup.items() if key != "file"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON-ready data, published numbers of this setup only."""
        found: dict[str, Any] = plain(self)
        found["setup"].pop("file", None)
        found["published"] = [row for row in found["published"] if row.pop("setup") == self.setup["name"]]
        return found


def default_setups(recipe: str) -> list[str]:
    """The setups that ``run`` takes if none is named.

    Raises:
        MamlBenchError: the recipe and all that it extends name none.
    """
    named = _raw(recipe).get("default_setups")
    if not named:
        raise MamlBenchError(f"recipe {recipe!r} lacks the key 'default_setups'")
    return list(named)


def presets_of(recipe: str) -> list[str]:
    """The presets that a recipe has, smallest first."""
    return [preset for preset in PRESETS if preset in _raw(recipe).get("presets", {})]


def resolve(recipe: str, *, preset: str, setup: str | None = None, settings: Sequence[str] = ()) -> Recipe:
    """The complete recipe for ``preset`` and ``setup`` (default: the recipe's first).

    ``settings`` such as ``inner.rate=0.05`` are laid over it.

    Raises:
        MamlBenchError: no such recipe, preset, setup or key; a value of the wrong type.
    """
    raw = _raw(recipe)
    if preset not in raw.get("presets", {}):
        raise MamlBenchError(f"recipe {recipe!r} has no preset {preset!r}{nearest(preset, raw.get('presets', {}))}")
    reference = registry.setup_reference(setup or default_setups(recipe)[0])
    special = raw.get("setups", {}).get(reference["name"], {})
    content: dict[str, Any] = {key: value for key, value in raw.items() if key not in _LAYERS}
    layers = [
        {"preset": preset, "setup": reference, "changed": list(settings)},
        raw["presets"][preset],
        {key: value for key, value in special.items() if key != "presets"},
        special.get("presets", {}).get(preset, {}),
        *(_setting(text) for text in settings),
    ]
    for layer in layers:
        content = _merge(content, layer)
    content["published"] = [*content.get("published", ()), *raw.get("setups_published", {}).get(reference["name"], ())]
    where = f"recipe {recipe!r}"
    built = construct(Recipe, content, where)
    _check(built, where)
    method = registry.build_setup(built.setup, where)
    if method.asks_query() and not built.train.query:
        raise MamlBenchError(f"{where}: train: query is 0, but {built.setup['name']} learns from the query")
    tasks = registry.build_tasks(
        built.tasks,
        where,
        reveal=method.reveals,
        joint=method.joint,
        classes=method.classifies,
        pool=method.pool,
        acts=method.acts,
        only_acts=method.only_acts,
    )
    if method.pool not in (0, built.outer.meta_batch):
        raise MamlBenchError(
            f"{where}: outer: meta_batch is {built.outer.meta_batch}, but {built.setup['name']} needs all its tasks in "
            f"one, {method.pool}"
        )
    return construct(
        Recipe,
        content
        | {"tasks": {"name": built.tasks["name"], **plain(tasks)}, "setup": {**built.setup, **plain(method)}}
        | ({} if method.trains else {"outer": content["outer"] | {"steps": 0}})
        | ({} if tasks.normalisation == "transductive" else {"inner": _without_batch_norm(content["inner"])}),
        where,
    )


def _without_batch_norm(inner: Mapping[str, Any]) -> dict[str, Any]:
    """The inner loop of a recipe whose network has no batch-norm, so none of its scales and offsets to leave alone."""
    outside = [pattern for pattern in inner.get("outside", ()) if pattern not in ("*.beta", "*.gamma")]
    return {**inner, **({"outside": outside} if "outside" in inner else {})}


_LEAST = {
    "way": 1,
    "shot": 1,
    "query": 0,
    "steps": 0,
    "meta_batch": 1,
    "episodes": 0,
    "inner_steps": 0,
    "every": 1,
    "repeats": 1,
}


def _check(built: Recipe, where: str) -> None:
    """Refuse counts that nothing can be done with."""
    parts = {"inner": built.inner, "outer": built.outer, "train": built.train, "validation": built.validation}
    parts |= {f"test[{i}]": t for i, t in enumerate(built.test)}
    for part, values in parts.items():
        for key, least in _LEAST.items():
            value = getattr(values, key, least)
            if value == () or (min(value) if isinstance(value, tuple) else value) < least:
                raise MamlBenchError(f"{where}: {part}: {key} is {value}, but must be at least {least}")
    if built.outer.decay == "halve" and built.outer.halve_every < 1:
        raise MamlBenchError(f"{where}: outer: halve_every is {built.outer.halve_every}, but must be at least 1")
    for part, rate in (("inner", built.inner.rate), ("outer", built.outer.rate)):
        if rate < 0:
            raise MamlBenchError(f"{where}: {part}: rate is {rate}, but must not be negative")


def _raw(recipe: str) -> dict[str, Any]:
    """The tables of a recipe and all that it extends. What ``id:filling`` says after the colon fills the key that the
    recipe names in ``fills``; the id is then ``id-filling``."""
    tables = load_files()
    name, colon, filling = recipe.partition(":")
    if name not in tables or (colon and not (filling and "fills" in tables[name])):
        raise MamlBenchError(f"no recipe {recipe!r}{nearest(recipe, tables)}")
    chain = [name]
    while "extends" in tables[chain[-1]]:
        parent = tables[chain[-1]]["extends"]
        if parent not in tables or parent in chain:
            raise MamlBenchError(f"recipe {chain[-1]!r} extends {parent!r}, which does not exist or leads back to it")
        chain.append(parent)
    content: dict[str, Any] = {}
    for name in reversed(chain):
        content = _merge(content, tables[name])
    if filling:
        content = _merge(content, {"id": recipe.replace(":", "-"), **_setting(f"{content['fills']}={filling}")})
    return content


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _setting(text: str) -> dict[str, Any]:
    """``a.b=value`` to ``{"a": {"b": value}}``; the value is read as TOML, else as a string."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise MamlBenchError(f"--set {text!r} must read key=value, such as inner.rate=0.05")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for key in reversed(path.strip().split(".")):
        parsed = {key: parsed}
    return parsed  # type: ignore[no-any-return]
