"""``maml-bench check`` names what is wrong with a user's code with file, line and what to write instead."""

import json
from pathlib import Path

import pytest

from maml_bench.contracts import checking
from maml_bench.contracts.blobs import Blobs
from maml_bench.contracts.checking import Finding, check
from maml_bench.contracts.checks import Unchecked
from maml_bench.contracts.of_acting import ACTING_SETUP, ACTING_TASKS
from maml_bench.contracts.of_setups import SETUP
from maml_bench.contracts.of_tasks import NETWORK, TASKS
from maml_bench.errors import MamlBenchError
from maml_bench.harness.recipe import resolve
from tests.test_own_code import FILES, MINE, NET, RECIPE, WAVES

HEAD = """from dataclasses import dataclass
from typing import ClassVar

import torch

from maml_bench import Setup
from maml_bench.core.inner import SGD
from maml_bench.core.setup import Capability


@dataclass(frozen=True)
class Bad(Setup):
    inner_keys = frozenset({"steps", "reduction", "outside"})

    def adapt(self, learner, meta, support, steps):
        path = learner.adapt(meta, support, SGD(0.1), steps)
"""
OWN_STEPS = HEAD.replace(
    "        path = learner.adapt(meta, support, SGD(0.1), steps)\n", "        path = [dict(meta)]\n"
)
BAD_SETUPS = {
    "the last state alone": (
        HEAD + "        return path[-1]\n",
        "bad.py, line 15: adapt of the setup Bad returned a dict with steps=0: it must return a list of",
    ),
    "a list of tensors": (
        HEAD + "        return [state['head.bias'] for state in path]\n",
        "bad.py, line 15: adapt returned a list of Tensor, but a state must be a dict of tensors by name",
    ),
    "the value of a tensor": (
        HEAD
        + "        scale = support.x.mean().item()\n"
        + "        return [{n: p * scale for n, p in s.items()} for s in path]\n",
        "bad.py, line 17: the value of a tensor is taken out of it here, as `.item()`",
    ),
    "an if on data": (
        HEAD + "        if support.x.mean() > 0:\n            return path\n        return path[:1] * len(path)\n",
        "bad.py, line 17: this depends on the value of a tensor, as `if` and `while` do",
    ),
    "in place": (
        OWN_STEPS
        + "        for _ in range(steps):\n            grads = torch.func.grad(learner.batch_loss)(path[-1], support)\n"
        + "            for name, p in path[-1].items():\n                p -= 0.1 * grads[name]\n"
        + "            path.append(dict(path[-1]))\n        return path\n",
        "bad.py, line 20: `sub_` changes the meta-parameters or the support in place",
    ),
    "a draw": (
        HEAD + "        return [{n: p + torch.randn_like(p) for n, p in s.items()} for s in path]\n",
        "bad.py, line 17: `randn_like` draws from torch's global generator",
    ),
    "parameters are lacking": (
        HEAD + "        return [{n: p for n, p in s.items() if 'bias' not in n} for s in path]\n",
        "bad.py, line 15: of the states that adapt returns: the parameters that are given to the network lack",
    ),
    "another type": (
        HEAD + "        return [{n: p.half() for n, p in s.items()} for s in path]\n",
        "bad.py, line 15: of the states that adapt returns: tensors of different types meet here",
    ),
    "no gradient": (
        HEAD + "        return [{n: p.detach() for n, p in s.items()} for s in path]\n",
        "bad.py, line 15: the meta-gradient is zero, so training changes nothing",
    ),
    "a gradient that is cut": (
        HEAD + "        return [{n: p.detach() + 0.5 * meta[n] for n, p in s.items()} for s in path]\n",
        "bad.py, line 15: a step of length 1e-09 against the meta-gradient lowers the outer loss by",
    ),
    "another gradient than one of a task": (
        HEAD
        + "        return path\n\n    def predict(self, learner, meta, state, x):\n"
        + "        return learner.apply(state, x)[:, 0]\n",
        "bad.py, line 19: predict returned the shape [10], but must return that of the targets, [10, 1]",
    ),
    "it does not need the query": (
        HEAD + "        return path\n\n    def loss(self, learner, meta, episode):\n"
        "        return learner.batch_loss(meta, episode.support)\n",
        "training does not read the query: leave Capability.NEEDS_QUERY out of `capabilities`",
    ),
    "it needs the query": (
        HEAD.replace("    inner_keys", "    capabilities = frozenset({Capability.TRAINS})\n    inner_keys")
        + "        return path\n",
        "training reads the query: add Capability.NEEDS_QUERY to `capabilities`",
    ),
    "a key without effect": (
        HEAD.replace('{"steps"', '{"rate", "steps"') + "        return path\n",
        "`inner_keys` has 'rate', but inner.rate has no effect: leave it out",
    ),
    "a key that is not told": (
        HEAD.replace("SGD(0.1)", "learner.inner.rule()") + "        return path\n",
        "the setup reads inner.rate: add 'rate' to `inner_keys`",
    ),
    "no adapt": (
        HEAD.replace("def adapt", "def adopt") + "        return path\n",
        "bad.py, line 11: the class Bad has no method",
    ),
    "not frozen": (
        HEAD.replace("(frozen=True)", "") + "        return path\n",
        "TypeError: cannot inherit non-frozen dataclass from a frozen one: write `@dataclass(frozen=True)` (line ",
    ),
    "a backward pass": (
        HEAD
        + "        torch.autograd.grad(learner.batch_loss(meta, support), list(meta.values()))\n        return path\n",
        "bad.py, line 17: there is no gradient of this inside of torch.func",
    ),
}
BAD_TASKS = {
    "a global draw": (
        ("random = words", "torch.rand(1)\n        random = words"),
        "bad.py, line 27: `rand` draws from torch's global generator",
    ),
    "episodes of a call": (
        ("x, y, k = x.unsq", "y = y + torch.arange(count).reshape(-1, 1)\n        x, y, k = x.unsq"),
        "bad.py, line 26: episode 5 of a batch is another one than episode 5 alone",
    ),
    "no key": (("key_of(key, ", "key_of("), "training episodes do not depend on `key`"),
    "no split": (("self.name, split)", "self.name)"), "the splits train and validation have an example in common"),
    "hash": (
        ("key_of(key, self.name, split)", "hash((key, split)) % 2**63"),
        "in two processes return different episodes",
    ),
    "the shape": (
        ("y.unsqueeze(-1).float()", "y.float()"),
        "the network returned the shape [10, 1], but must return that of the",
    ),
    "a lost example": (
        ("y[:, k:])", "y[:, k + 1 :])"),
        "query.y has the shape [3, 9, 1] for 3 episodes of 1 way and 10",
    ),
    "whole numbers": (("x.unsqueeze(-1).float()", "x.unsqueeze(-1).long()"), "support has x of torch.int64"),
    "losses": (
        ("F.mse_loss(predict(batch.x), batch.y)", "(predict(batch.x) - batch.y) ** 2"),
        "loss returned [10, 1], but",
    ),
    "outputs": (
        ("MLP([1, 8, 1]", "MLP([1, 8, 2]"),
        "the network returned the shape [10, 2], but must return that of the",
    ),
}
BAD_NETWORKS = {
    "outputs": (NET.replace("Block(6, 1)", "Block(6, 3)"), "the network returned the shape [10, 3], but must return"),
    "an if on data": (
        NET.replace("class Net(nn.Sequential):", "class Net(nn.Sequential):\n    def forward(self, x):\n"
        "        return super().forward(x) if x.sum() > 0 else super().forward(-x)\n"),
        "bad.py, line 11: the value of a tensor is taken out of it here",
    ),
    "inputs": (NET.replace("Block(1, 6)", "Block(2, 6)"), "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
}  # fmt: skip


def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str = "./bad.py") -> list[Finding]:
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(text)
    return check(name)


def fails_with(found: list[Finding], sentence: str) -> None:
    """One finding says this, and none has more than a sentence."""
    failed = [finding.sentence for finding in found if finding.status == "fails"]
    assert any(sentence in one for one in failed), failed
    assert all(one and "\n" not in one for one in failed)


@pytest.mark.parametrize(("text", "sentence"), BAD_SETUPS.values(), ids=BAD_SETUPS)
def test_a_bad_setup_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    fails_with(findings(tmp_path, monkeypatch, text), sentence)


@pytest.mark.parametrize(("change", "sentence"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_a_bad_family_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], sentence: str
) -> None:
    assert change[0] in WAVES
    fails_with(findings(tmp_path, monkeypatch, WAVES.replace(*change)), sentence)


@pytest.mark.parametrize(("text", "sentence"), BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_a_bad_network_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    fails_with(findings(tmp_path, monkeypatch, text, "./bad.py:Net"), sentence)


@pytest.mark.parametrize(
    ("text", "contracts"), [(MINE, SETUP), (WAVES, TASKS), (NET, NETWORK)], ids=["mine", "waves", "net"]
)
def test_good_code_keeps_every_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, contracts: dict[str, object]
) -> None:
    found = findings(tmp_path, monkeypatch, text, "./bad.py:Net" if text == NET else "./bad.py")
    assert [(finding.contract, finding.status) for finding in found] == [(name, "holds") for name in contracts]


def test_a_recipe_file_is_checked_with_all_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir("/")
    found = check(str(tmp_path / "mine.toml"))
    assert {finding.status for finding in found} == {"holds"}
    assert len(found) == 1 + len(SETUP) + len(TASKS) + len(NETWORK)
    (tmp_path / "mine.toml").write_text(RECIPE + "inner = { rat = 1 }\n")
    assert checking.broken(check(str(tmp_path / "mine.toml")))


@pytest.mark.parametrize("setup", ["protonet", "baseline", "maml"])
def test_setups_that_need_classes_are_checked_on_made_up_ones(setup: str) -> None:
    problem = checking._built(resolve("omniglot-5w1s", preset="smoke", setup=setup, tasks=Blobs))
    contracts = {**SETUP, **{name: TASKS[name] for name in list(TASKS)[:6]}} if setup == "maml" else SETUP
    for holds in contracts.values():
        holds(problem)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("./none.py", "the file ./none.py does not exist"),
        ("maml", "maml must be a Python file"),
        ("./none.toml", "cannot be read"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(MamlBenchError, match=sentence):
        check(name)


def test_findings_are_plain_data() -> None:
    assert json.dumps(vars(Finding("setup", "it can be built", "holds")))


LINE = '''from dataclasses import dataclass
from typing import ClassVar

import torch

from maml_bench.data.draws import key_of, uniform, words
from maml_bench.rl.actions import Actions, Gaussian
from maml_bench.rl.control import Control


@dataclass(frozen=True)
class Line(Control):
    """Go to a point on a line."""

    horizon: int = 5
    hidden: tuple[int, ...] = (8,)
    name: ClassVar[str] = "line"
    actions: ClassVar[Actions] = Gaussian()

    def sizes(self):
        return 1, 1

    def draw(self, split, first, count, key):
        return uniform(words(key_of(key, self.name, split), first, count, 1), -1, 1)

    def start(self, tasks, rollouts, noise):
        return Walk(tasks, rollouts)


class Walk:
    def __init__(self, tasks, rollouts):
        self.goal = tasks
        self.at = torch.zeros(len(tasks), rollouts)

    def observe(self):
        return self.at.unsqueeze(-1)

    def act(self, actions):
        self.at = self.at + actions[..., 0].clamp(-0.1, 0.1)
        return -(self.at - self.goal).abs(), torch.zeros(self.at.shape, dtype=torch.bool)
'''
"""A family of the user's in which somebody acts."""
BAD_LINES = {
    "one task for all splits": (
        ("key_of(key, self.name, split)", "key_of(key, self.name)"),
        "the splits train and validation have a task in common",
    ),
    "the same tasks for all seeds": (
        ("key_of(key, self.name, split)", "key_of(0, self.name, split)"),
        "training tasks do not depend on `key`",
    ),
    "a draw": (
        ("torch.zeros(len(tasks), rollouts)", "torch.rand(len(tasks), rollouts)"),
        "`rand` draws from torch's global generator",
    ),
    "a counter": (
        ("self.at = torch.zeros(len(tasks), rollouts)", "CALLS.append(1)\n        self.at = torch.full("
         "(len(tasks), rollouts), 0.01 * len(CALLS))"),
        "the same actor collects different rollouts in two equal calls",
    ),
}  # fmt: skip


def test_a_good_family_that_acts_keeps_every_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(tmp_path, monkeypatch, LINE)
    assert [(one.contract, one.status) for one in found] == [(name, "holds") for name in ACTING_TASKS], found


@pytest.mark.parametrize(("change", "sentence"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_family_that_acts_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], sentence: str
) -> None:
    assert change[0] in LINE
    fails_with(findings(tmp_path, monkeypatch, "CALLS = []\n" + LINE.replace(*change)), sentence)


@pytest.mark.parametrize(
    ("recipe", "setup"), [("navigation", "maml"), ("bandit-n10-k5", "rl2"), ("mdp", "promp"), ("bandit", "thompson")]
)
def test_our_families_and_setups_that_act_keep_every_contract(recipe: str, setup: str) -> None:
    problem = checking._built(resolve(recipe, preset="smoke", setup=setup))
    for holds in {**ACTING_TASKS, **ACTING_SETUP}.values():
        holds(problem)


def test_a_family_of_few_tasks_says_why_its_splits_were_not_checked() -> None:
    problem = checking._built(resolve("two-step", preset="smoke", setup="rl2"))
    with pytest.raises(Unchecked, match="there are only 2 different tasks in 100, so all splits have them"):
        ACTING_TASKS["no task is in two splits"](problem)
