"""Records with known numbers for the tests of reports."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_bench.record import Curve, Evaluation, Metric, Point, Record

ACCURACY = Metric("accuracy")
MSE = Metric("mse", "", higher_is_better=False, diverged_above=1000.0)
PAPER = {
    "protocol": "paper",
    "way": 5,
    "shot": 1,
    "inner_steps": 3,
    "value": 0.987,
    "ci95": 0.004,
    "source": "Finn et al.",
}


def evaluation(values: dict[int, Sequence[float]], metric: Metric, way: int = 5, shot: int = 1) -> Evaluation:
    """Scores by inner steps."""
    points = [Point.of(steps, [float(score) for score in scores], metric) for steps, scores in values.items()]
    return Evaluation("paper", "test", way, shot, shot, len(points[0].values), points)


def record(
    values: Sequence[float] = (0.96, 0.98, 1.0, 0.98),
    *,
    setup: str = "maml",
    seed: int = 0,
    step_s: float = 0.1,
    published: Sequence[dict[str, Any]] = (),
    evaluations: list[Evaluation] | None = None,
    metric: Metric = ACCURACY,
    tasks: str = "omniglot",
    recipe: str = "omniglot-5w1s",
    preset: str = "quick",
    ranked: bool = True,
    **fields: Any,
) -> Record:
    """A whole run of 1,500 steps on machine m1, scored after 3 inner steps; any field of the record can be set."""
    if evaluations is None:
        evaluations = [evaluation({3: values}, metric)]
    steps = fields.get("outer_steps", 1500)
    content = {
        "id": recipe,
        "title": "a title",
        "variant": "released code",
        "preset": preset,
        "ranked": ranked,
        "tasks": {"name": tasks, "normalisation": "transductive"},
        "outer": {"meta_batch": 32},
        "setup": {"name": setup},
        "train": {"way": 5, "shot": 1, "query": 1} if tasks == "omniglot" else {"way": 1, "shot": 10, "query": 10},
        "published": list(published),
    }
    plain: dict[str, Any] = {
        "recipe": content,
        "recipe_id": f"{sum(map(ord, recipe + setup + preset)):08x}",
        "seed": seed,
        "status": "ok",
        "reason": None,
        "task_version": 1,
        "metric": metric,
        "data": None,
        "outer_steps": 1500,
        "budget_steps": 1500,
        "env_steps": None,
        "evaluations": evaluations,
        "curve": Curve(),
        "exhibit": None,
        "timing_s": {"outer_step": timing(step_s, steps)} if steps else {},
        "step_blocks_s": blocks(step_s) if steps else [],
        "train_s": step_s * steps,
        "peak_memory_bytes": 512 * 2**20,
        "memory": "retained",
        "device": "cpu",
        "threads": 2,
        "schedule": "vmap",
        "machine": {"cpu": "a processor"},
        "machine_id": "m1",
        "machine_gflops": 400.0,
        "software": {"torch": "2.13.0"},
        "commit": "abc",
        "dirty": False,
        "started_at": f"2026-01-01T00:00:{seed:02d}Z",
    }
    return Record(**{**plain, **fields})


def timing(median: float, count: int = 1500, noise: float = 0.05) -> dict[str, float]:
    """A clock bucket whose 5th and 95th percentile lie ``noise`` below and above the median, relatively."""
    ends = {"p05": median * (1 - noise), "p95": median * (1 + noise)}
    return {"total": median * count, "count": count, "median": median, **ends}


def blocks(step_s: float, noise: float = 0.02, count: int = 40, seed: int = 0) -> list[float]:
    """Step times of blocks that other work made longer, by up to five times ``noise`` and mostly less."""
    disturbed = np.minimum(np.random.default_rng(seed).exponential(noise, count), 5 * noise)
    return [float(f"{step_s * (1 + share):.4g}") for share in disturbed]


# What follows draws plausible results for figures; the numbers mean nothing.

_QUALITY = {
    "maml": 0.9,
    "fomaml": 0.8,
    "reptile": 0.7,
    "anil": 0.75,
    "meta_sgd": 1.0,
    "pretrained": 0.2,
    "scratch": 0.05,
}


def sinusoid(setup: str, seed: int, preset: str = "paper", steps: int = 70_000) -> Record:
    """A sinusoid run with all that figures need: K = 5, 10, 20, steps 0 to 10, a learning curve and an exhibit."""
    random = np.random.default_rng(seed)
    quality = _QUALITY.get(setup, 3.0)
    easy = 0.5 + random.random(100)
    evaluations = []
    for shot in (5, 10, 20):
        inner = [0] if setup == "oracle" else range(11)
        scores = {s: (0.01 if setup == "oracle" else 4 * np.exp(-quality * s**0.5) + 1 / shot) * easy for s in inner}
        evaluations.append(evaluation({s: list(map(float, v)) for s, v in scores.items()}, MSE, 1, shot))
    if setup == "scratch":  # adaptation from here blows up after some steps
        evaluations[0] = evaluation({s: [4.0 * 10**s] * 100 for s in range(11)}, MSE, 1, 5)
    published = [{**PAPER, "way": 1, "shot": 5, "inner_steps": s, "value": v} for s, v in ((1, 0.67), (10, 0.35))]
    untrained = setup == "scratch"
    return record(
        setup=setup,
        seed=seed,
        step_s=0.002 * (1 + quality),
        published=published if setup == "maml" else (),
        evaluations=evaluations,
        metric=MSE,
        tasks="sinusoid",
        recipe="sinusoid-k10",
        preset=preset,
        outer_steps=0 if untrained else steps,
        budget_steps=0 if untrained else 70_000,
        curve=curve(4.2, 0.1 + 1 / (1 + 5 * quality), 1 if untrained else 30, steps, 0.002 * (1 + quality)),
        exhibit=exhibit(quality) if setup in ("maml", "pretrained", "scratch") else None,
    )


def omniglot(setup: str, seed: int = 0, preset: str = "quick", machine: str = "m1") -> Record:
    """An Omniglot run of 1,500 steps with a learning curve."""
    random = np.random.default_rng(seed)
    quality = _QUALITY.get(setup, 1.0)
    chance = {s: random.normal(0.2 + 0.25 * quality * s, 0.1, 200) for s in range(4)}
    scores = {s: (np.round(5 * np.clip(share, 0, 1)) / 5).tolist() for s, share in chance.items()}
    untrained = setup == "scratch"
    return record(
        setup=setup,
        seed=seed,
        step_s=0.1 + 0.1 * quality,
        published=[PAPER] if setup == "maml" else (),
        evaluations=[evaluation(scores, ACCURACY)],
        preset=preset,
        machine_id=machine,
        outer_steps=0 if untrained else 1500,
        budget_steps=0 if untrained else 1500,
        curve=curve(0.2, 0.2 + 0.75 * quality**0.2, 1 if untrained else 15, 1500, 0.1 + 0.1 * quality),
    )


def curve(start: float, end: float, count: int, steps: int, step_s: float) -> Curve:
    """A learning curve that settles from ``start`` to ``end`` over ``count`` validations."""
    at = np.linspace(0, steps, count).round().astype(int).tolist()
    level = [end + (start - end) * float(np.exp(-5 * step / steps)) for step in at]
    return Curve(at, [step * step_s for step in at], [None] * count, list(level), [0.03 * v for v in level], 3, 100)


def exhibit(quality: float) -> dict[str, Any]:
    """The sinusoid exhibit for 5 and 10 shots: predictions that come nearer to the true curve with every step."""
    x = np.linspace(-5, 5, 100)
    curves = []
    for shot in (5, 10):
        true, support = 3 * np.sin(x + 0.5), np.linspace(-4.5, 2, shot)
        near = {0: 0.05, 1: min(1, quality), 10: min(1, 0.3 + quality)}
        curves.append(
            {
                "shot": shot,
                "x": x.tolist(),
                "true": true.tolist(),
                "predictions": {str(s): (share * true + (1 - share) * 0.3 * x).tolist() for s, share in near.items()},
                "support_x": support.tolist(),
                "support_y": (3 * np.sin(support + 0.5)).tolist(),
            }
        )
    return {"kind": "sinusoid", "curves": curves}
