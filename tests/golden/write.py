"""Make the golden values anew: ``python -m tests.golden.write`` from the project's folder, with what changed.

Without ``--yes`` nothing is written.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from maml_bench.types import Params
from tests.golden import adapter

HERE = Path(__file__).parent / "values"
CHANGED = (
    ("navigation", "maml", "outer.trust.share=0.1"),
    ("cheetah-dir", "maml", "outer.steps=200", "outer.trust.share=0.1", "tasks.trace=0.95"),
    ("sinusoid-k10", "maml", "inner.rate=0.02"),
    ("omniglot-5w1s", "protonet", "tasks.conv.filters=32", "setup.scale=0.1"),
    ("mini-imagenet-5w1s", "maml", "outer.decay=cosine", "outer.floor=1e-5"),
    ("navigation", "promp", "inner.later_rate=0.2"),
)


def summary(tensors: Params) -> list[float]:
    """The length of all tensors together, and three of their entries."""
    flat = torch.cat([t.flatten() for _, t in sorted(tensors.items())])
    return [float(flat.norm()), *(float(flat[i]) for i in (len(flat) // 7, len(flat) // 2, len(flat) - 1))]


def problem(tasks: str, setup: str) -> dict[str, Any]:
    """What is kept of one setup on one family of tasks."""
    built = adapter.Problem(tasks, setup)
    return {
        "parameters": built.parameters(),
        "gradient": summary(built.gradient()),
        "losses": built.three_losses(),
        "outputs": built.policy_outputs() if built.acts else built.outputs(),
    }


def everything() -> dict[str, dict[str, Any]]:
    names, setups = adapter.recipe_names(), adapter.setup_names()
    with adapter.small_store():
        return {
            "recipe_ids": {
                f"{recipe} {preset}": {setup: adapter.recipe_id(recipe, preset, setup) for setup in setups}
                for recipe in names
                for preset in adapter.PRESETS
            },
            "changed_ids": {" ".join(c): adapter.recipe_id(c[0], "paper", *c[1:]) for c in CHANGED},
            "record_ids": adapter.record_ids(HERE.parents[2] / "results" / "records"),
            "episodes": adapter.drawn(),
            "problems": {" ".join(pair): problem(*pair) for pair in adapter.pairs()},
            "initial": {" ".join(pair): summary(adapter.initial(*pair)) for pair in adapter.pairs()},
            "modes": adapter.modes(),
            "estimators": adapter.estimators(),
        }


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, found in everything().items():
        path = HERE / f"{name}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        changed = [line for line in {**before, **found} if before.get(line) != found.get(line)]
        print(f"{name}: {len(changed)} of {len(found)} lines change", *changed[:20], sep="\n  ")
        if "--yes" in sys.argv:
            lines = [f"{json.dumps(line)}: {json.dumps(value)}" for line, value in found.items()]
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
