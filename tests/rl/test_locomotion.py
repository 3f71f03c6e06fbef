"""Half-cheetah and ant against MuJoCo itself, and against gymnasium's environments where they must agree."""

from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch

from maml_bench import registry
from maml_bench.errors import MamlBenchError, Unstable
from maml_bench.rl import physics
from maml_bench.rl.locomotion import Locomotion, _rotations

mujoco = pytest.importorskip("mujoco", reason="needs the extra: pip install 'maml-bench[rl]'")
gymnasium = pytest.importorskip("gymnasium", reason="needs the extra: pip install 'maml-bench[rl]'")

BODIES = ["cheetah_dir", "cheetah_vel", "ant_dir", "ant_vel"]
COPIES = 3


def tasks(name: str, **options: object) -> Locomotion:
    return registry.build_tasks({"name": name, **options}, "test")  # type: ignore[return-value]


def words(purpose: str, draws: int) -> torch.Tensor:
    return torch.randint(0, 2**32, (2, draws), generator=torch.Generator().manual_seed(len(purpose)))


def actions(number: int, size: int) -> torch.Tensor:
    return 1.4 * torch.rand(2, COPIES, size, generator=torch.Generator().manual_seed(number)) - 0.7


def reference(rules: Locomotion, model, data) -> tuple[np.ndarray, float]:
    """Observation and velocity of one copy from MuJoCo's own functions, after everything is computed anew."""
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    parts = [data.qpos[rules.body.dropped :], data.qvel]
    if rules.body.contacts:
        parts += [data.cfrc_ext.ravel().clip(-1, 1), data.xmat[1]]
    return np.concatenate([*parts, data.subtree_com[1]]), float(data.subtree_linvel[1][0])


@pytest.mark.parametrize(("variant", "solimp"), [("rllab", (0.8, 0.8, 0.01)), ("gymnasium", (0.9, 0.95, 0.001))])
def test_contacts_of_the_ant_are_as_soft_as_in_its_model_file(variant: str, solimp: tuple[float, ...]) -> None:
    """ant.xml of vendor/mujoco_models in cbfinn/maml_rl, and gymnasium's, which has MuJoCo's default."""
    rules = tasks("ant_dir", variant=variant)
    model = rules.start(rules.draw("train", 0, 2, 0), COPIES, words)._physics.model
    assert np.allclose(model.geom_solimp[:, :3], solimp)


@pytest.mark.parametrize("name", BODIES)
def test_rllab_worlds_are_mujoco_step_by_step(name: str) -> None:
    """Observations, rewards and ends of every copy, each held against a single simulation from where it was."""
    rules = tasks(name)
    goals = rules.draw("train", 0, 2, 0)
    world = rules.start(goals, COPIES, words)
    model = world._physics.model
    costs = {"half_cheetah.xml": (0.05, 0.0, 0.0), "ant.xml": (0.005, 5e-4, 0.05)}[rules.body.file]
    for step in range(12):
        before = world._physics.positions.copy(), world._physics.velocities.copy()
        chosen = actions(step, model.nu)
        reward, ended = world.act(chosen)
        seen = world.observe().flatten(0, 1).numpy()
        for copy in range(2 * COPIES):
            data = mujoco.MjData(model)
            data.qpos[:], data.qvel[:] = before[0][copy], before[1][copy]
            action = chosen.flatten(0, 1)[copy].double().numpy()
            data.ctrl[:] = action * model.actuator_ctrlrange[:, 1]
            mujoco.mj_step(model, data)
            observed, velocity = reference(rules, model, data)
            assert seen[copy] == pytest.approx(observed, abs=2e-4)
            task = float(goals[copy // COPIES])
            ran = task * velocity if "dir" in name else (1.0 if "ant" in name else 0.0) - abs(velocity - task)
            touched = (data.cfrc_ext.ravel().clip(-1, 1) ** 2).sum()
            expected = ran - costs[0] * (action**2).sum() - costs[1] * touched + costs[2]
            assert float(reward.flatten()[copy]) == pytest.approx(expected, abs=1e-3)
            fell = "ant" in name and not 0.2 <= data.qpos[2] <= 1.0
            assert bool(ended.flatten()[copy]) == fell


@pytest.mark.parametrize(("name", "env"), [("cheetah_dir", "HalfCheetah-v5"), ("ant_dir", "Ant-v5")])
def test_gymnasium_worlds_are_gymnasiums_environments(name: str, env: str) -> None:
    """From the same state under the same action.

    The ant's contact forces and its velocity are gymnasium's from inside the last integration step, ours from its end:
    those entries are left out, and the reward may differ by as much.
    """
    rules = tasks(name, variant="gymnasium")
    world = rules.start(torch.ones(2, 1), COPIES, words)
    peer = gymnasium.make(env).unwrapped
    peer.reset(seed=0)
    compared = peer.model.nq + peer.model.nv - rules.body.dropped
    for step in range(8):
        before = world._physics.positions.copy(), world._physics.velocities.copy()
        chosen = actions(step, peer.model.nu)
        reward, ended = world.act(chosen)
        seen = world.observe().flatten(0, 1).numpy()
        for copy in range(2 * COPIES):
            mujoco.mj_resetData(peer.model, peer.data)
            peer.set_state(before[0][copy], before[1][copy])
            observed, earned, done, _, info = peer.step(chosen.flatten(0, 1)[copy].double().numpy())
            assert seen.shape[1] == observed.shape[0]
            assert seen[copy][:compared] == pytest.approx(observed[:compared], abs=2e-4)
            if rules.body.contacts:
                rest = float(reward.flatten()[copy]) - info["reward_survive"] - info["reward_ctrl"]
                assert rest == pytest.approx(info["reward_forward"] + info["reward_contact"], abs=0.05)
            else:
                assert float(reward.flatten()[copy]) == pytest.approx(earned, abs=1e-3)
            assert bool(ended.flatten()[copy]) == done


def test_tasks_are_drawn_as_the_released_code_draws_them() -> None:
    numbers = np.random.RandomState(1).uniform(0, 2, size=40)
    assert tasks("cheetah_vel").draw("test", 0, 40, 0).ravel().numpy() == pytest.approx(numbers)
    assert tasks("cheetah_dir").draw("test", 0, 40, 0).ravel().tolist() == np.where(numbers < 1, -1, 1).tolist()
    ants = np.random.RandomState(2).uniform(0, 3, size=40)
    assert tasks("ant_dir").draw("test", 0, 40, 0).ravel().tolist() == np.where(ants < 1.5, -1, 1).tolist()


def test_the_start_is_the_variants_own() -> None:
    ant = tasks("ant_dir").start(torch.ones(2, 1), 200, words)._physics
    assert ant.positions.mean(0)[2] == pytest.approx(0.55, abs=0.01)
    assert ant.positions.std(0).mean() == pytest.approx(0.01, rel=0.1)
    assert ant.velocities.std(0).mean() == pytest.approx(0.1, rel=0.1)
    other = tasks("ant_dir", variant="gymnasium").start(torch.ones(2, 1), 200, words)._physics
    assert other.positions.mean(0)[2] == pytest.approx(0.75, abs=0.02)
    assert np.abs(other.positions[:, 7:]).max() <= 0.1


def test_actions_are_cut_to_the_bounds() -> None:
    rules = tasks("cheetah_vel")
    worlds = [rules.start(torch.ones(2, 1), COPIES, words) for _ in range(2)]
    (first, _), (second, _) = worlds[0].act(torch.full((2, COPIES, 6), 7.0)), worlds[1].act(torch.ones(2, COPIES, 6))
    assert torch.equal(first, second)


def test_rotations_are_those_of_mujoco() -> None:
    q = np.random.default_rng(0).normal(size=(5, 4))
    for row, found in zip(q / np.linalg.norm(q, axis=1, keepdims=True), _rotations(q), strict=True):
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, row)
        assert found == pytest.approx(matrix, abs=1e-12)


def test_the_record_says_what_moves_the_bodies() -> None:
    found = tasks("ant_vel").fingerprint()
    assert found == {"name": "ant_vel", "variant": "rllab", **physics.versions()}
    assert found["mujoco"] == mujoco.__version__


@pytest.mark.parametrize("velocity", [np.nan, 1e12])
def test_physics_that_explodes_is_told_and_nothing_is_written(
    velocity: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = physics.Physics("half_cheetah.xml", 4)
    velocities, every = np.zeros((4, world.model.nv)), np.ones(4, dtype=bool)
    world.place(every, np.tile(world.model.qpos0, (4, 1)), velocities)
    world.step(np.zeros((4, 6)))
    velocities[2] = velocity
    world.place(every, world.positions, velocities)
    with pytest.raises(Unstable, match="the physics exploded"):
        world.step(np.zeros((4, 6)))
    assert not list(tmp_path.iterdir())


def test_without_the_extra_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = util.find_spec
    monkeypatch.setattr(physics.util, "find_spec", lambda name: None if name == "mujoco" else found(name))
    with pytest.raises(MamlBenchError, match=r"locomotion needs mujoco.*pip install 'maml-bench\[rl\]'"):
        physics.Physics("ant.xml", 1)


@pytest.mark.parametrize(
    ("name", "variant"), [("ant_dir", "rllab"), ("ant_vel", "gymnasium"), ("cheetah_vel", "rllab")]
)
def test_copies_at_rest_stay_and_the_others_do_as_they_would(name: str, variant: str) -> None:
    rules = tasks(name, variant=variant)
    goals = rules.draw("train", 0, 2, 0)
    some, all_of_them = (rules.start(goals, COPIES, words) for _ in range(2))
    resting = torch.tensor([[False, True, False], [True, False, False]])
    again = torch.tensor([[True, False, False], [False, False, True]])
    for step in range(6):
        if step == 2:
            some.rest(resting)
            stopped = some.observe()[resting]
        if step == 4:
            for world in (some, all_of_them):
                world.restart(again, goals)
        chosen = actions(step, some._physics.model.nu)
        reward, ended = some.act(chosen)
        wanted, ends = all_of_them.act(chosen)
        assert torch.equal(reward[~resting], wanted[~resting])
        assert torch.equal(ended[~resting], ends[~resting])
        assert torch.equal(some.observe()[~resting], all_of_them.observe()[~resting])
    assert torch.equal(some.observe()[resting], stopped)
    assert not torch.equal(all_of_them.observe()[resting], stopped)


@pytest.mark.parametrize("name", ["ant_vel", "ant_dir"])
def test_after_a_restart_the_copies_are_paid_for_the_tasks_that_it_names(name: str) -> None:
    rules = tasks(name)
    before, after = torch.tensor([[1.0], [-1.0]]), torch.tensor([[-1.0], [1.0]])
    old, new = (rules.start(goals, COPIES, words) for goals in (before, after))
    again = torch.ones(2, COPIES, dtype=torch.bool)
    old.restart(again, after)
    new.restart(again, after)
    chosen = actions(0, old._physics.model.nu)
    reward, wanted = old.act(chosen)[0], new.act(chosen)[0]
    assert torch.equal(reward, wanted)
    unlike = rules.start(before, COPIES, words)
    unlike.restart(again, before)
    assert not torch.equal(unlike.act(chosen)[0], wanted)
