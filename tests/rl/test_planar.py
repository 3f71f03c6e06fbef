"""The centre of mass from joints alone, against MuJoCo's own."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs the extra: pip install 'maml-bench[rl]'")

from maml_bench.rl import physics
from maml_bench.rl.physics import Physics
from maml_bench.rl.planar import Planar, is_planar


def anywhere(model: str) -> Physics:
    """Copies with limbs at any angle, far from the origin, in motion."""
    world = Physics(model, 50)
    numbers = np.random.default_rng(0)
    places, speeds = (3 * numbers.normal(size=(50, n)) for n in (world.model.nq, world.model.nv))
    world.place(np.ones(50, dtype=bool), places, speeds)
    return world


def test_centre_and_velocity_are_those_that_mujoco_senses():
    world = anywhere("half_cheetah.xml")
    found, sensed = Planar(world.model)(world.positions, world.velocities), world.simulated()
    np.testing.assert_allclose(found[0], sensed.centre, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1], sensed.velocity, rtol=0, atol=1e-12)


def test_the_half_cheetah_is_planar_and_is_sensed_without_a_step(monkeypatch):
    world = anywhere("half_cheetah.xml")
    monkeypatch.setattr(world, "_pool", None)
    assert world.sense().centre.shape == (50, 3)


@pytest.mark.parametrize("model", ["ant.xml", "swimmer.xml", "walker2d_v5.xml"])
def test_what_is_not_planar_or_turns_about_other_points_is_left_to_mujoco(model):
    assert not is_planar(physics._models(model, None, False, None)[0])
