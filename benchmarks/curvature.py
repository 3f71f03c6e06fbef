"""What a step of the trust region loses when its curvature is taken from a share of the rollouts.

  python benchmarks/curvature.py cheetah-vel                        at the initial parameters
  python benchmarks/curvature.py cheetah-vel --weights FILE         at those of a run, as it leaves them below weights/

All shares work on one draw of the recipe's meta-batch, with the same gradient g. A direction d gains g'd / sqrt(d'Hd),
H the curvature of all rollouts: what the loss falls by, to first order, for an equal divergence. Shown is the gain
beside that of the direction from H itself, what the step then taken lets the loss fall by, and the seconds of the
direction.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from maml_bench.core.linear_systems import conjugate_gradient, dot
from maml_bench.core.outer import in_parts, meta_gradient
from maml_bench.errors import MamlBenchError
from maml_bench.harness import memory, weights
from maml_bench.harness.build import build
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run_state import RunState
from maml_bench.rl.trust_region import TrustRegion

SHARES = (1.0, 0.5, 0.2, 0.1)


def directions(run: RunState) -> Iterator[dict[str, Any]]:
    """A row for every share."""
    recipe, meta, trust = run.recipe, run.meta, run.recipe.outer.trust
    episodes = run.episodes.draw(run.meta, "train", 0, recipe.outer.meta_batch, key=0, shape=recipe.train.shape)
    gradient, losses = meta_gradient(run.setup, run.learner, meta, episodes)

    def region(share: float) -> TrustRegion:
        geometry, part = run.tasks, replace(trust, share=share)
        return TrustRegion(run.setup, run.learner, geometry, part, in_parts, plain=False)

    whole = region(1.0).product(meta, episodes)
    best = None
    for share in SHARES:
        start, at = time.perf_counter(), region(share)
        direction, _ = conjugate_gradient(at.product(meta, episodes), gradient, trust.iterations)
        seconds = time.perf_counter() - start
        gain = dot(gradient, direction) / dot(direction, whole(direction)).sqrt()
        best = gain if best is None else best
        moved, _ = at(meta, episodes)
        loss, divergence = at.loss_and_divergence(moved, episodes)
        yield {
            "share": share,
            "gain": float(gain / best),
            "loss_falls": float(losses.mean() - loss),
            "divergence": float(divergence),
            "seconds": seconds,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="one whose outer optimiser is trpo")
    parser.add_argument("--weights", type=Path, help="safetensors file of meta-parameters")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as run takes it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    memory.retain()
    torch.set_num_threads(options.threads)
    try:
        run = build(resolve(options.recipe, preset="paper", settings=tuple(options.set)), 0, "cpu", "traced")
        if options.weights:
            run.meta = weights.load(options.weights).fit(run.meta, options.recipe)
    except MamlBenchError as error:
        parser.error(str(error))
    if run.recipe.outer.optimiser != "trpo":
        parser.error(f"{options.recipe} has no trust region: its outer optimiser is {run.recipe.outer.optimiser!r}")
    rows = list(directions(run))
    table = pd.DataFrame(rows).to_string(index=False, float_format="%.4g")
    print(json.dumps(rows, indent=2) if options.json else table)


if __name__ == "__main__":
    main()
