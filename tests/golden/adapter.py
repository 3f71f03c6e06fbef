"""The one place where the golden test meets the package: only the imports and the bodies of this file may change.

Everything is built as the harness builds it, and then freed from what differs from host to host: parameters and inputs
are replaced by numbers of numpy's legacy generator, in float64, and images come from a small store made by a formula.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from maml_bench import registry
from maml_bench.core.evaluate import answer, evaluate
from maml_bench.core.outer import take
from maml_bench.core.setup import Capability
from maml_bench.data import splits, store
from maml_bench.errors import MamlBenchError
from maml_bench.harness.build import build
from maml_bench.harness.layers import merged
from maml_bench.harness.recipe import resolve
from maml_bench.harness.recipe_files import load_files
from maml_bench.harness.sections import TrustRegion
from maml_bench.record_files import load
from maml_bench.rl.trajectories import Trajectories
from maml_bench.types import Batch, Episode, Shape

PRESETS = ("smoke", "quick", "paper")
TASKS = 2
ROLLOUTS, STEPS = 2, 3
OTHERS = ("speed",)
"""Folders of records that are not of runs."""
IMAGES = {"omniglot": (1, 28), "mini_imagenet": (3, 21)}
ALIKE = ("ant_vel", "cheetah_vel")
"""Families whose policies and losses are those of another, which meets all setups."""
NARROW = ("tasks.conv.filters=8",)
SMALL = {
    "relation": (),  # it has a module of its own, made for the papers' widths
    "r2d2": (),  # it has widths of its own
    "mann": ("setup.units=8", "setup.rows=6", "setup.size=4", *NARROW),
    "reptile": ("setup.inner_optimiser=sgd", *NARROW),  # Adam would make whole steps of rounding in inert biases
    "rl2": ("setup.units=5",),
    "l2rl": ("setup.units=5",),
    "snail_rl": ("setup.filters=3", "setup.keys=2", "setup.values=2"),
    "multi_task": ("setup.regressors=3", "outer.meta_batch=3"),
}

DAMPED = {"mdp": 1.0}
"""Families with another damping of the trust region: with that of their recipe, ten iterations of conjugate gradient
make of a change in the last digit another step, so that every kind of processor has its own."""


def recipe_names() -> list[str]:
    return list(load_files())


def setup_names() -> list[str]:
    return registry.setup_names()


def recipe_id(recipe: str, preset: str, setup: str, *settings: str) -> str | None:
    """The id of the resolved recipe; None where the combination is refused."""
    try:
        return resolve(recipe, preset=preset, setup=setup, settings=settings).recipe_id
    except MamlBenchError:
        return None


def record_ids(folder: Path) -> dict[str, str]:
    """The recipe id of every record below ``folder``, by relative path."""
    paths = [path for path in sorted(folder.rglob("*.json")) if path.relative_to(folder).parts[0] not in OTHERS]
    return {str(path.relative_to(folder)): load(path).recipe_id for path in paths}


@contextmanager
def small_store() -> Iterator[None]:
    """A store whose images are made by a formula: all of Omniglot's characters, and the classes of mini-ImageNet."""
    manifests, arrays = {}, {}
    for name, (channels, size) in IMAGES.items():
        split = splits.load_split(name, SPLITS[name])
        classes = tuple(sorted(label for part in split.parts for label in split.parts[part]))
        flat = np.arange(len(classes) * 20 * channels * size**2, dtype=np.uint64) * 2654435761 >> 9
        pixels = (flat.astype(np.uint8) // (1 if channels == 3 else 128) * (1 if channels == 3 else 255)).astype(
            np.uint8
        )
        pixels = pixels.reshape(len(classes), 20, channels, size, size)
        own = {part: classes if name == "omniglot" else tuple(split.parts[part]) for part in split.parts}
        rows = {label: row for row, label in enumerate(classes)}
        for part in split.parts:
            arrays[name, part] = pixels if name == "omniglot" else pixels[[rows[label] for label in own[part]]]
        arrays[name, "images"] = pixels
        manifests[name] = SimpleNamespace(
            name=name, version=1, fingerprint="golden", classes=classes,
            classes_of=lambda array, own=own, classes=classes: own.get(array, classes),
        )  # fmt: skip
    kept = store.load, store.manifest
    store.load = lambda name, array: arrays[name, array if (name, array) in arrays else "images"]
    store.manifest = lambda name: manifests[name]
    try:
        yield
    finally:
        store.load, store.manifest = kept


OF_USERS = ("torchmeta", "images")
"""Families of files of the user's."""
SPLITS = {"omniglot": "finn", "mini_imagenet": "ravi"}


def pairs() -> list[tuple[str, str]]:
    """Every family of tasks that needs no files of the user's, with every setup that it fits."""
    return [
        (tasks, setup)
        for tasks in registry.task_names()
        for setup in registry.setup_names()
        if tasks not in OF_USERS
        and not registry.in_order(registry.task_class(tasks))  # tests/setups/test_reader.py has their numbers
        and registry.offers(tasks, setup)
        and (tasks not in ALIKE or setup in ("maml", "oracle"))
    ]


@cache
def recipe_of(tasks: str) -> str:
    """The first shipped recipe on these tasks."""
    return next(n for n in recipe_names() if load_tasks_name(n) == tasks)


def load_tasks_name(recipe: str) -> str:
    table = load_files()[recipe]
    return table["tasks"]["name"] if "name" in table.get("tasks", {}) else load_tasks_name(table["extends"])


def uniform(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Numbers between -scale and scale that depend on ``name`` alone."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    return torch.from_numpy(scale * (2 * drawn - 1))


class Problem:
    """A setup on tasks, with fixed parameters and episodes. All parameters are multiplied by 1 + ``shift``."""

    def __init__(self, tasks: str, setup: str, shift: float = 0.0) -> None:
        images = tasks in IMAGES
        settings = SMALL.get(setup, NARROW if images else ())
        if not images:
            settings = tuple(s for s in settings if not s.startswith("tasks.conv"))
        asks = Capability.OWN_NETWORK not in registry.setup_class(setup).capabilities
        taken = [text for text in settings if asks or text not in NARROW]
        recipe = resolve(recipe_of(tasks), preset="smoke", setup=setup, settings=taken)
        if len(taken) < len(settings):  # its parameters stand among the meta-parameters, although nobody asks it
            recipe = replace(recipe, tasks=merged(recipe.tasks, {"conv": {"filters": 8}}))
        if tasks in DAMPED and isinstance(recipe.outer, TrustRegion):
            trust = replace(recipe.outer.trust, damping=DAMPED[tasks])
            recipe = replace(recipe, outer=replace(recipe.outer, trust=trust))
        run = build(recipe, 0, "cpu", "vmap")
        run.learner.model.double()
        self.run, self.recipe, self.setup, self.learner = run, recipe, run.setup, run.learner
        self.meta = {name: (1 + shift) * _replaced(name, p.detach().double()) for name, p in run.meta.items()}
        self.acts = hasattr(run.tasks, "path")
        count = max(TASKS, run.setup.pool)
        if self.acts:
            shots = [self._rolled(f"support {k}", count) for k in range(max(1, recipe.inner.steps))]
            shots = [self._acted(shot, shots[:k]) for k, shot in enumerate(shots)]
            query = self._acted(self._rolled("query", count), shots)
            self.episodes = Episode(shots, query)
        else:
            key = 5
            drawn = run.tasks.sample("train", 0, count, key=key, shape=recipe.train.shape)
            self.episodes = _filled("train", drawn, tasks)
            test = recipe.test[0]
            drawn = run.tasks.sample("test", 0, TASKS, key=key, shape=test.shape)
            self.test = _filled("test", drawn, tasks)

    def _acted(self, rolled: Any, before: list[Any]) -> Any:
        """The same trajectories, as if they were of the policy that was adapted to those before."""
        behaviour = []
        for task in range(len(rolled.observations)):
            state = self.setup.adapt(self.learner, self.meta, take(before, task), len(before))[-1]
            behaviour.append(self.setup.predict(self.learner, self.meta, state, rolled.observations[task]))
        return rolled._replace(behaviour=torch.stack(behaviour).detach())

    def _rolled(self, name: str, count: int) -> Any:
        tasks = self.run.tasks
        seen, actions = tasks.inputs(), tasks.sizes()[1]
        lead = (count, ROLLOUTS, STEPS)
        discrete = not tasks.actions.spread
        outputs = uniform(f"{name} behaviour", (*lead, tasks.actions.size(actions)), 0.3)
        acted = uniform(f"{name} actions", lead if discrete else (*lead, actions))
        if discrete:
            acted = ((acted + 1) / 2 * actions).long()
        mask = torch.ones(lead, dtype=torch.float64)
        mask[:, -1, -1] = 0
        time = torch.arange(STEPS, dtype=torch.float64).expand(lead) * mask
        rest = [uniform(f"{name} {field}", lead) * mask for field in ("rewards", "values", "advantages")]
        return Trajectories(uniform(f"{name} observations", (*lead, seen)), acted, outputs, *rest, mask, time)

    def parameters(self) -> dict[str, list[int]]:
        return {name: list(p.shape) for name, p in self.meta.items()}

    def gradient(self) -> dict[str, Tensor]:
        gradient, _ = self.run.meta_step.gradient(self.meta, self.episodes)
        return gradient

    def three_losses(self) -> list[float]:
        """Mean outer losses of three training steps on the same episodes, with the recipe's outer optimiser."""
        rate = getattr(self.recipe.outer, "rate", 0.0)
        meta, state, found = self.meta, self.run.meta_step.init(self.meta), []
        for number in range(3):
            meta, state, losses = self.run.meta_step(meta, state, self.episodes, number, rate)
            found.append(float(losses.mean()))
        return found

    def outputs(self) -> list[float]:
        """Norms of the outputs on a test task's queries after 0, 1 and 2 inner steps, and its scores."""
        learner = self.learner.with_way(self.recipe.test[0].way)
        one = take(self.test, 0)
        found = answer(self.setup, learner, self.meta, Batch(*one.support), one.query.x, (0, 1, 2))
        norms = [float(found[k].norm()) for k in (0, 1, 2)]
        scores = evaluate(self.setup, learner, self.meta, self.test, (0, 1, 2))
        return norms + scores.flatten().tolist()

    def policy_outputs(self) -> list[float]:
        """Norms of a policy's outputs for what was seen, after each inner step of the first task."""
        states = self.setup.adapt(self.learner, self.meta, take(self.episodes.support, 0), len(self.episodes.support))
        seen = self.episodes.query.observations[0]
        return [float(self.setup.predict(self.learner, self.meta, state, seen).norm()) for state in states]


def initial(tasks: str, setup: str) -> dict[str, Tensor]:
    """The meta-parameters that seed 0 begins with, in float64."""
    return {name: p.detach().double() for name, p in Problem(tasks, setup).run.meta.items()}


def modes() -> dict[str, list[float]]:
    """Losses of MAML on a small convolutional network under every choice of statistics at test."""
    from maml_bench.core.evaluate import population
    from maml_bench.core.normalisation import MODES

    problem = Problem("mini_imagenet", "maml")
    learner = problem.learner.with_way(problem.recipe.test[0].way)
    learner.score = learner.loss
    moments = population(problem.setup, learner, problem.meta, problem.episodes.support, (0, 2))
    found = {}
    for mode in MODES:
        given = [moments] if mode == "running" else ()
        scores = evaluate(problem.setup, learner, problem.meta, problem.test, (0, 2), mode=mode, moments=given)
        found[mode] = scores.flatten().tolist()
    return found


def estimators() -> dict[str, float]:
    """Every loss of policies, on fixed trajectories under a fixed policy."""
    from maml_bench.rl.losses import ESTIMATORS

    problem = Problem("navigation", "maml")
    batch = take(problem.episodes.query, 0)
    state = {name: 1.01 * p for name, p in problem.meta.items()}
    predict = lambda x: problem.setup.predict(problem.learner, problem.meta, state, x)  # noqa: E731
    tasks = problem.run.tasks
    found = {name: float(tasks.estimate(name)(predict, batch)) for name in ESTIMATORS}
    found["clipped"] = float(tasks.clipped(predict, batch, 0.2))
    found["credit"] = float(tasks.credit(predict, take(problem.episodes.support[0], 0), batch))
    return found


def drawn() -> dict[str, list[float] | str]:
    """The first tasks of each family and split: numbers that are compared, or for images the bytes' sha256."""
    import hashlib

    found: dict[str, list[float] | str] = {}
    for name in registry.task_names():
        if name in OF_USERS:
            continue
        tasks = registry.build_tasks(resolve(recipe_of(name), preset="smoke").tasks, "golden")
        for split in ("train", "validation", "test"):
            where = f"{name} {split}"
            if hasattr(tasks, "draw"):
                found[where] = tasks.draw(split, 3, 2, 7).flatten().tolist()[:6]
                continue
            of_one = {"sinusoid": [Shape(1, 5, 3)], "omniglot_generation": [Shape(1, 4, 2), Shape(1, 0, 1)]}
            shapes = of_one.get(name) or [Shape(5, 1, 2), Shape(20, 5, 1)]
            shapes = [Shape(5, 3, 0)] if registry.in_order(type(tasks)) else shapes
            for shape in shapes if name != "mini_imagenet" else shapes[:1]:
                episode = tasks.sample(split, 3, 2, key=7, shape=shape)
                tensors = pytree.tree_leaves(episode)
                if name == "sinusoid":
                    found[where] = torch.cat([t.flatten() for t in tensors]).tolist()[:12]
                else:
                    content = b"".join(np.ascontiguousarray(t.numpy()).tobytes() for t in tensors)
                    found[f"{where} {tuple(shape)}"] = hashlib.sha256(content).hexdigest()
    return found


def _replaced(name: str, p: Tensor) -> Tensor:
    """Fixed numbers of a weight's usual size; what starts as a constant stays one."""
    if p.numel() < 2 or bool((p == p.flatten()[0]).all()):
        return p
    return uniform(name, tuple(p.shape), 1.5 / max(1, p[0].numel()) ** 0.5)


def _filled(name: str, episode: Episode, tasks: str) -> Episode:
    """The episode with fixed real numbers, in float64; a density is of zeros and ones and keeps its own."""
    if tasks == "omniglot_generation":
        return pytree.tree_map(lambda t: t.double(), episode)
    return Episode(*(_filled_batch(f"{name} {part}", b) for part, b in zip(("s", "q"), episode, strict=True)))


def _filled_batch(name: str, batch: Any) -> Any:
    fields = [uniform(f"{name} {i}", tuple(t.shape)) if t.is_floating_point() else t for i, t in enumerate(batch)]
    return Batch(*fields)
