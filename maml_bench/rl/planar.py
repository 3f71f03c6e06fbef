"""The centre of mass of a body that moves in a plane, from its joints. MuJoCo would need another step to sense it."""

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


class Planar:
    """Centre of mass, and its velocity, of the tree of bodies below the world's first one.

    A body's angle is the sum of the angles of the hinges above it. So the centre of mass is the position of the root
    plus, for each body, a fixed arm that is turned by the angle of the body.
    """

    def __init__(self, model: Any) -> None:
        bodies = range(1, model.nbody)
        hinges = np.zeros((model.nv, model.nbody))
        for body in bodies:
            hinges[:, body] = hinges[:, model.body_parentid[body]]
            for joint in np.flatnonzero(model.jnt_bodyid == body):
                if model.jnt_type[joint] == _HINGE:
                    hinges[joint, body] += model.jnt_axis[joint, 1]
        arms = model.body_mass[:, None] * model.body_ipos
        for body in bodies:
            arms[model.body_parentid[body]] += model.body_subtreemass[body] * model.body_pos[body]
        self._hinges = hinges[:, 1:]
        self._along, _, self._up = (arms[1:] / model.body_subtreemass[1]).T
        self._root = model.body_pos[1].copy()

    def __call__(self, positions: Numbers, velocities: Numbers) -> tuple[Numbers, Numbers]:
        """Centre and velocity, both ``[n, 3]``, at ``positions [n, nq]`` and ``velocities [n, nv]``."""
        angle, turning = positions @ self._hinges, velocities @ self._hinges
        cos, sin = np.cos(angle), np.sin(angle)
        right = cos * self._along + sin * self._up
        rise = cos * self._up - sin * self._along
        centre, velocity = np.tile(self._root, (len(positions), 1)), np.zeros((len(positions), 3))
        centre[:, 0] += positions[:, 0] + right.sum(1)
        centre[:, 2] += positions[:, 1] + rise.sum(1)
        velocity[:, 0] = velocities[:, 0] + (turning * rise).sum(1)
        velocity[:, 2] = velocities[:, 1] - (turning * right).sum(1)
        return centre, velocity


_SLIDE, _HINGE = 2, 3
"""MuJoCo's numbers for these types of joints."""


def is_planar(model: Any) -> bool:
    """Whether the root has two slides along x and z, all other joints are hinges about y, and no body is turned."""
    slides = np.array([[1, 0, 0], [0, 0, 1]])
    return bool(
        model.njnt > 2
        and (model.jnt_type[:2] == _SLIDE).all()
        and (model.jnt_type[2:] == _HINGE).all()
        and (model.jnt_axis[:2] == slides).all()
        and (abs(model.jnt_axis[2:]) == [0, 1, 0]).all()
        and (model.jnt_bodyid[:2] == 1).all()
        and not model.jnt_pos.any()
        and (model.body_quat == [1, 0, 0, 0]).all()
        and (model.body_parentid[2:] > 0).all()
    )
