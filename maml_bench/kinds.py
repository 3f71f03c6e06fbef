"""The three kinds of code that a user can bring: setups, families of tasks and networks, and what each must have."""

import hashlib
import importlib
import inspect
import pkgutil
from dataclasses import is_dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from maml_bench.core.learner import Inner
from maml_bench.core.setup import Capability, Setup
from maml_bench.declared import annotations
from maml_bench.errors import MamlBenchError, nearest, shortened
from maml_bench.own_code import Kind
from maml_bench.own_digests import digest_of
from maml_bench.record import Metric


def task_names() -> list[str]:
    """Names of the task distributions, sorted."""
    return list(_names("maml_bench.tasks"))


def setup_names() -> list[str]:
    """Names of the setups in the package, sorted."""
    return list(_names("maml_bench.setups"))


@cache
def _names(package: str) -> tuple[str, ...]:
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return tuple(sorted(m.name for m in modules if not m.name.startswith("_")))


def digest_of_module(network: nn.Module) -> str:
    """The digest of a module that Python code gives: of the code and attributes of its parts, and of their values."""
    parts: list[object] = [repr(network)]
    for name, module in network.named_modules():
        if not type(module).__module__.startswith("torch."):
            parts.append(digest_of(type(module)))
        simple = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str | tuple) and k[0] != "_"}
        parts += [name, sorted(simple.items())]
    digest = hashlib.sha256(repr(parts).encode())
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _refuse_unfit_setup(cls: Any, where: str) -> None:
    """Raise MamlBenchError where a class of the user's is no setup that can be run."""
    cls = cls if inspect.isclass(cls) else type(cls)
    if "adapt" in getattr(cls, "__abstractmethods__", ()):
        raise MamlBenchError(
            f"{where}: the class {cls.__name__} has no method `adapt`: write `def adapt(self, learner, meta, support, "
            "steps)`, which returns a list of the states after 0, 1, ..., steps inner steps"
        )
    _refuse_undeclared(cls, where)
    capabilities = cls.capabilities
    if not isinstance(capabilities, frozenset) or not all(isinstance(one, Capability) for one in capabilities):
        raise MamlBenchError(
            f"{where}: `capabilities` of {cls.__name__} is {shortened(capabilities)}, but must be a frozenset of "
            "members of maml_bench.core.setup.Capability, such as frozenset({Capability.TRAINS})"
        )
    if unknown := sorted(set(cls.inner_keys) - set(annotations(Inner))):
        raise MamlBenchError(
            f"{where}: `inner_keys` of {cls.__name__} has {unknown[0]!r}, which is no key of `inner`"
            f"{nearest(unknown[0], annotations(Inner))}"
        )


def _refuse_unfit_tasks(cls: Any, where: str) -> None:
    """Raise MamlBenchError where a class of the user's is no family that can be run."""
    cls = cls if inspect.isclass(cls) else type(cls)
    declared = {name for base in cls.__mro__ for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    for name, how in TASKS_MEMBERS.items():
        if name not in declared:
            raise MamlBenchError(f"{where}: the class {cls.__name__} has no `{name}`: write `{how}`")
    if not isinstance(cls.metric, Metric):
        raise MamlBenchError(
            f"{where}: `metric` of {cls.__name__} is {shortened(cls.metric)}, but must be a "
            f"maml_bench.record.Metric, such as {TASKS_MEMBERS['metric'].partition(' = ')[2]}"
        )
    _refuse_undeclared(cls, where)


def _refuse_undeclared(cls: Any, where: str) -> None:
    """Raise MamlBenchError where a class has options, but is no frozen dataclass itself."""
    parameters = vars(cls).get("__dataclass_params__")
    hints = inspect.get_annotations(cls)
    options = [name for name, hint in hints.items() if "ClassVar" not in str(hint)]
    if (parameters is None and (options or not is_dataclass(cls))) or (
        parameters is not None and not parameters.frozen
    ):
        raise MamlBenchError(
            f"{where}: the class {cls.__name__} is no frozen dataclass, so its options could change while it runs "
            "or would not be read: write `@dataclass(frozen=True)` in the line above `class`"
        )


TASKS_MEMBERS = {
    "name": 'name: ClassVar[str] = "waves"',
    "version": "version: ClassVar[int] = 1",
    "metric": 'metric: ClassVar[Metric] = Metric("mse", higher_is_better=False)',
    "normalisation": 'normalisation: str = "none"',
    "model": "def model(self, shape, generator)",
    "sample": 'def sample(self, split, first, count, *, key, shape, device="cpu")',
    "loss": "def loss(self, predict, batch)",
    "score": "def score(self, predict, batch)",
    "fingerprint": "def fingerprint(self)",
}
"""What a family of tasks must have (types.TaskDistribution), and how each is written."""
PACKAGES = {"setup": "maml_bench.setups", "task distribution": "maml_bench.tasks"}
SETUP = Kind(
    "setup", "a subclass of maml_bench.core.setup.Setup", lambda cls: issubclass(cls, Setup),
    lambda cls, named: named, setup_names, _refuse_unfit_setup, "maml_bench.setups",
)  # fmt: skip
TASKS = Kind(
    "task distribution", "a class with `sample`", lambda cls: hasattr(cls, "sample"),
    lambda cls, named: str(cls.name), task_names, _refuse_unfit_tasks, "maml_bench.tasks",
)  # fmt: skip
NETWORK = Kind(
    "network", "a torch.nn.Module, or a function that makes one", lambda cls: issubclass(cls, nn.Module),
    lambda made, named: getattr(made, "__name__", type(made).__name__), lambda: [], lambda made, where: None,
    callable=True,
)  # fmt: skip
