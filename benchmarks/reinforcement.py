"""Steps in the world per second, and seconds of an iteration: maml-bench against gymnasium's vector environments.

  python benchmarks/reinforcement.py                      all benches, some minutes; rows go below ./runs
  python benchmarks/reinforcement.py --bench iteration-cheetah-dir --rounds 3

All benches that roll out have the same policy (100-100, drawn actions), the same rules and the same number of steps:
gymnasium's SyncVectorEnv in one process, its AsyncVectorEnv in one per core, and our batch. An iteration is that of a
recipe, with all its costs, beside the same iteration by torch and gymnasium alone (torch_port.py) and, where the whole
curvature is taken, by our own plain path (schedule loop). It has 10 tasks, which rows say; all of a bench have the same
rollouts per task and the same share of the curvature. Rounds are interleaved; a ratio above 1 means that maml-bench is
faster. The bench ``training-cheetah`` sets a training iteration's steps per
second, all costs counted, against the vector environments' rollouts alone.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.peers.checks import LIMIT, relative_error
from benchmarks.peers.rows import ratios, save, target
from benchmarks.torch_port import Cheetah, Plane, Port
from maml_bench.harness import machine, memory
from maml_bench.harness.build import build
from maml_bench.harness.clock import now_utc
from maml_bench.harness.recipe import resolve
from maml_bench.harness.run_state import RunState
from maml_bench.report.speed.rows import LOOP, OURS, Race, flat

COPIES = 16
"""Environments of a vector, a usual number; what is fastest has not been searched."""
PEER_STEPS = {"SyncVectorEnv": 16_000, "AsyncVectorEnv": 1_600}
"""Timed at once: over a tenth of a second the former varies twofold."""
TASKS, ROLLOUTS = 40, 20


class Point(gymnasium.Env):
    """2D navigation as gymnasium's users would write it (point_env_randgoal.py of cbfinn/maml_rl has these rules)."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at, self.steps = np.zeros(2, dtype=np.float32), 0
        self.goal = self.np_random.uniform(-0.5, 0.5, 2)
        return self.at, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at, self.steps = (self.at + 0.1 * np.clip(action, -1, 1)).astype(np.float32), self.steps + 1
        off = self.at - self.goal
        return self.at, -float(np.sqrt((off**2).sum())), bool((abs(off) < 0.01).all()), self.steps >= 100, {}


@dataclass(frozen=True)
class World:
    """What both sides roll out: a recipe of ours, and gymnasium's environment of the same rules."""

    recipe: str
    make: Callable[[], gymnasium.Env]
    settings: tuple[str, ...] = ()


WORLDS = {
    "rollouts-navigation": World("navigation", Point),
    "rollouts-cheetah": World("cheetah-dir", partial(gymnasium.make, "HalfCheetah-v5", frame_skip=1)),
    "rollouts-cheetah-gymnasium": World("cheetah-dir-gymnasium", partial(gymnasium.make, "HalfCheetah-v5")),
}


@dataclass(frozen=True)
class Iteration:
    """A training iteration of a recipe with a share of the curvature, and gymnasium's environment of the same rules."""

    recipe: str
    make: Callable[[], gymnasium.Env]
    share: float = 1.0
    settings: tuple[str, ...] = ()

    def changed(self) -> tuple[str, ...]:
        """All settings that differ from the recipe, for the row too."""
        return (f"outer.trust.share={self.share:g}", f"outer.meta_batch={ITERATION_TASKS}", *self.settings)


ITERATION_TASKS = 10
_FULL_LENGTH = ("tasks.stop=false", "tasks.fill=false")
ITERATIONS = {
    "iteration-cheetah-dir": Iteration("cheetah-dir", Cheetah),
    "iteration-cheetah-dir-share": Iteration("cheetah-dir", Cheetah, 0.2),
    "iteration-navigation": Iteration("navigation", Plane, settings=_FULL_LENGTH),
}
PORT = "torch and gymnasium"
BENCHES = (*WORLDS, "training-cheetah", *ITERATIONS)


@contextmanager
def stepping(world: World, vector: type) -> Iterator[Callable[[], float]]:
    """Seconds of so many steps of a vector of environments, for a step of 800 copies, policy included."""
    steps = PEER_STEPS[vector.__name__]
    environments = vector([world.make] * COPIES)
    run = build(resolve(world.recipe, preset="paper"), 0, "cpu", "vmap")
    layers = run.learner.model
    seen, _ = environments.reset(seed=0)
    inputs = layers.body[0].in_features

    def seconds() -> float:
        nonlocal seen
        start = time.perf_counter()
        for _ in range(steps // COPIES):
            x = torch.from_numpy(np.asarray(seen, dtype=np.float32))
            with (
                torch.no_grad()
            ):  # the paper's observations have the centre of mass besides: as many inputs, as much work
                outputs = layers(torch.nn.functional.pad(x, (0, inputs - x.shape[1])))
            mean, log_std = outputs.chunk(2, -1)
            seen, *_ = environments.step(torch.normal(mean, log_std.exp()).clamp(-1, 1).numpy())
        return (time.perf_counter() - start) / steps * TASKS * ROLLOUTS

    try:
        seconds()
        yield seconds
    finally:
        environments.close()


def ours_rolling(world: World) -> Callable[[], float]:
    """Seconds of one step of 800 copies in our rollouts, policy, baseline and advantages included."""
    run = build(resolve(world.recipe, preset="paper"), 0, "cpu", "traced")
    horizon, actor = run.tasks.horizon, run.episodes.actor(run.meta)

    def seconds() -> float:
        start = time.perf_counter()
        run.tasks.path("train", 0, TASKS, key=0, rollouts=[ROLLOUTS], actor=actor)
        return (time.perf_counter() - start) / horizon

    seconds()
    return seconds


def iteration(recipe: str, schedule: str, settings: tuple[str, ...] = ()) -> Callable[[], float]:
    """Seconds of a whole iteration: rollouts before and after the inner step, and the outer step."""
    run: RunState = build(resolve(recipe, preset="paper", settings=settings), 0, "cpu", schedule)
    shape, tasks = run.recipe.train.shape, run.recipe.outer.meta_batch

    def seconds() -> float:
        start = time.perf_counter()
        episodes = run.episodes.draw(run.meta, "train", 0, tasks, key=0, shape=shape)
        run.meta_step(run.meta, run.optimiser, episodes, 0, 0.0)
        return time.perf_counter() - start

    if schedule != "loop":
        seconds()
    return seconds


def ported(asked: Iteration) -> Callable[[], float]:
    """Seconds of a whole iteration by torch and gymnasium."""
    run = build(resolve(asked.recipe, preset="paper", settings=asked.changed()), 0, "cpu", "loop")
    port = Port(run, asked.make)

    def seconds() -> float:
        start = time.perf_counter()
        port.iteration(ITERATION_TASKS)
        return time.perf_counter() - start

    return seconds


def gradient_error(asked: Iteration) -> float:
    """How far the meta-gradient of the port is from that of our plain path, on the same rollouts of three tasks.

    Raises:
        ValueError: too far for a race.
    """
    run = build(resolve(asked.recipe, preset="paper", settings=asked.changed()), 0, "cpu", "loop")
    port = Port(run, asked.make)
    episodes = run.episodes.draw(run.meta, "train", 0, 3, key=0, shape=run.recipe.train.shape)
    ours, _ = run.meta_step.gradient(run.meta, episodes)
    found = [{name: g.numpy() for name, g in each.items()} for each in (port.gradient(run.meta, episodes), ours)]
    error = relative_error(*found)
    if not error <= LIMIT:
        raise ValueError(f"the meta-gradient of the port differs from ours by {error:.1e} of the largest entry")
    return error


def entries(bench: str) -> Iterator[tuple[str, str | None, Callable[[], Any]]]:
    """(library, schedule, context manager of what measures seconds) of a bench; ours first."""
    if bench in ITERATIONS:
        asked = ITERATIONS[bench]
        recipe, settings = asked.recipe, asked.changed()
        told = ", ".join(settings)
        yield OURS, f"traced, {told}", lambda: nullcontext(iteration(recipe, "traced", settings))
        if asked.share == 1:  # the plain path has no other
            yield LOOP, f"loop, {told}", lambda: nullcontext(iteration(recipe, "loop", settings))
        yield PORT, f"SyncVectorEnv, {told}", lambda: nullcontext(ported(asked))
        return
    world = WORLDS["rollouts-cheetah" if bench == "training-cheetah" else bench]
    if bench == "training-cheetah":
        share, steps = "outer.trust.share=0.1", 2 * 200
        once = iteration("cheetah-dir", "traced", (share,))
        yield OURS, f"training, {share}", lambda: nullcontext(lambda: once() / steps)
    else:
        yield OURS, "traced", lambda: nullcontext(ours_rolling(world))
    for name in ("SyncVectorEnv", "AsyncVectorEnv"):
        yield f"gymnasium {name}", None, partial(stepping, world, getattr(gymnasium.vector, name))


def race(bench: str, rounds: int, threads: int) -> list[dict[str, Any]]:
    """The rows of one bench."""
    found: dict[str, list[float]] = {}
    schedules, gflops = {}, []
    errors = {PORT: gradient_error(ITERATIONS[bench])} if bench in ITERATIONS else {}
    for count in range(rounds):
        gflops.append(machine.convolution_gflops())
        for library, schedule, measuring in entries(bench):
            with measuring() as seconds:
                found.setdefault(library, []).append(seconds())
            schedules[library] = schedule
            print(f"{bench}: round {count + 1}, {library}: {1000 * found[library][-1]:.4g} ms", flush=True)
    commit, dirty = machine.commit()
    rows = []
    for library, medians in found.items():
        middle, low, high = ratios(medians, found[OURS]) or (None, None, None)
        peer = "gymnasium" in library
        row = Race(
            kind="speed", bench=bench, library=library, schedule=schedules[library], memory=memory.mode(), status="ok",
            library_version=metadata.version("gymnasium" if peer else "maml-bench"), torch=str(torch.__version__),
            reason=None, rounds=rounds, round_medians_s=tuple(medians), median_s=statistics.median(medians),
            ratio_to_ours=middle, ratio_low=low, ratio_high=high, grad_rel_error=errors.get(library), compile_s=None,
            peak_memory_bytes=None, threads=threads, machine=machine.identity(), model_gflop=None, machine_share=None,
            machine_gflops=statistics.median(gflops), python=".".join(map(str, sys.version_info[:3])), commit=commit,
            dirty=dirty, started_at=now_utc(), more=more(bench, medians),
        )  # fmt: skip
        rows.append(flat(row))
    return rows


def more(bench: str, medians: list[float]) -> dict[str, float]:
    """Steps in the world per second, where seconds are those of a step of all copies."""
    return {} if bench in ITERATIONS else {"env_steps_per_s": TASKS * ROLLOUTS / statistics.median(medians)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bench", action="append", choices=BENCHES, metavar="NAME", help=f"known: {', '.join(BENCHES)}"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=Path("runs"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for bench in options.bench or BENCHES:
        rows = race(bench, options.rounds, options.threads)
        save(target(options.results, bench, machine.identity()), rows)
        for row in rows:
            words = f"{row['library']:>28} {1000 * row['median_s']:9.4g} ms, ratio {row['ratio_to_ours']:.2f}"
            print(f"{words} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})")


if __name__ == "__main__":
    memory.retain()  # as `maml-bench run` does
    main()
