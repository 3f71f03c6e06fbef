"""Many copies of one MuJoCo model, stepped together on all cores (mujoco.rollout, a step at a time).

It needs the extra ``rl``: mujoco, and gymnasium for its model files.
"""

import warnings
from functools import cache
from importlib import metadata, resources, util
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from maml_bench.errors import MamlBenchError, Unstable
from maml_bench.rl.planar import Planar, is_planar

BEGUN_S = 1.0
"""The time at which a copy starts. It is not 0, so that a reset by MuJoCo shows; no force depends on it."""
Numbers = npt.NDArray[np.float64]
Rows = slice | npt.NDArray[np.intp]
"""The numbers of some of the copies."""
ALL = slice(None)


class Sensed(NamedTuple):
    """Sensor values of the copies in their present state: centre of mass ``[n, 3]`` of the whole body, its velocity,
    and the clipped contact forces on every body ``[n, 6 * bodies]``, which are empty if they were not asked for."""

    centre: Numbers
    velocity: Numbers
    contacts: Numbers


class Physics:
    """``copies`` copies of one of gymnasium's model files.

    A step is ``frame_skip`` steps of the model, of ``timestep`` seconds if that is given. With ``contacts`` the forces
    that MuJoCo calls cfrc_ext are sensed too: for each body in order, torque about the centre of mass and force, with
    zeros for the world. ``solimp`` replaces the first three numbers of the contact impedance of every body's geometry.

    Raises:
        MamlBenchError: the extra is not installed.
    """

    def __init__(
        self,
        file: str,
        copies: int,
        *,
        timestep: float | None = None,
        frame_skip: int = 1,
        contacts: bool = False,
        solimp: tuple[float, float, float] | None = None,
    ) -> None:
        model, self._seeing = _models(file, timestep, contacts, solimp)
        self._mujoco = _mujoco()
        self.model, self._frame_skip, self._contacts = model, frame_skip, contacts
        threads = torch.get_num_threads()
        self._pool = _pool(threads)
        self._data = [self._mujoco.MjData(model) for _ in range(threads)]
        size = self._mujoco.mj_stateSize(model, self._mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self._planar = Planar(model) if not contacts and is_planar(model) else None
        self._state = np.zeros((copies, size))
        self._controls = np.zeros((copies, 1, model.nu))

    @property
    def positions(self) -> Numbers:
        """``[n, nq]``."""
        return self._state[:, 1 : 1 + self.model.nq]

    @property
    def velocities(self) -> Numbers:
        """``[n, nv]``."""
        return self._state[:, 1 + self.model.nq : 1 + self.model.nq + self.model.nv]

    def place(self, which: npt.NDArray[np.bool_], positions: Numbers, velocities: Numbers) -> None:
        """Place the copies ``which [n]`` at ``positions [m, nq]`` and ``velocities [m, nv]``, with controls of zero."""
        begun = np.full((len(positions), 1), BEGUN_S)
        self._state[which] = np.concatenate([begun, positions, velocities], 1)
        self._controls[which] = 0

    def step(self, controls: Numbers, rows: Rows = ALL) -> None:
        """One step of the copies ``rows`` under constant ``controls [n, nu]``.

        Raises:
            Unstable: the state of a copy is not finite.
        """
        self._controls[rows] = controls[rows, None]
        before = self._state[rows]
        held = np.repeat(self._controls[rows], self._frame_skip, 1)
        states, _ = self._pool.rollout(self.model, self._data, before, held)
        after = states[:, -1]
        # MuJoCo resets a copy whose state is not finite to time zero and goes on.
        if (after[:, 0] <= before[:, 0]).any() or not np.isfinite(after).all():
            raise Unstable("the physics exploded: a body left the finite numbers, the actions are too wild for it")
        self._state[rows] = after

    def sense(self, rows: Rows = ALL) -> Sensed:
        """Read the sensors of the copies ``rows`` in their present state, under their last controls."""
        if self._planar:
            centre, velocity = self._planar(self.positions[rows], self.velocities[rows])
            return Sensed(centre, velocity, np.empty((len(centre), 0)))
        return self.simulated(rows)

    def simulated(self, rows: Rows = ALL) -> Sensed:
        """As `sense`, but always by MuJoCo.

        A rollout reads sensors at the start of a step. So this takes one more step, with a model that stands still, and
        drops its result.
        """
        _, found = self._pool.rollout(self._seeing, self._data, self._state[rows], self._controls[rows])
        found = found[:, 0]
        centre, velocity, contacts = found[:, :3], found[:, 3:6], found[:, 6:].reshape(len(found), -1, 9)
        if not self._contacts:
            return Sensed(centre, velocity, np.empty((len(found), 0)))
        # The sensor gives the force of the body on its surroundings; we need the opposite, about the centre of mass.
        force, torque, at = -contacts[..., :3], -contacts[..., 3:6], contacts[..., 6:]
        wrench = np.concatenate([torque + np.cross(at - centre[:, None], force), force], -1)
        world = np.zeros((len(found), 6))
        return Sensed(centre, velocity, np.concatenate([world, wrench.reshape(len(found), -1)], 1).clip(-1, 1))


def versions() -> dict[str, str]:
    """The versions of the simulator and of the package with the model files, for the record."""
    _mujoco()
    return {name: metadata.version(name) for name in ("mujoco", "gymnasium")}


def _mujoco() -> Any:
    for name in ("mujoco", "gymnasium"):
        if util.find_spec(name) is None:
            raise MamlBenchError(f"locomotion needs {name}, which is not installed: pip install 'maml-bench[rl]'")
    import mujoco

    if mujoco.get_mju_user_warning() is None:  # otherwise MuJoCo writes a file into the working folder
        mujoco.set_mju_user_warning(lambda message: None)
    return mujoco


@cache
def _pool(threads: int) -> Any:
    """A pool of threads that lives as long as the process."""
    from mujoco import rollout

    return rollout.Rollout(nthread=threads)


@cache
def _models(
    file: str, timestep: float | None, contacts: bool, solimp: tuple[float, float, float] | None
) -> tuple[Any, Any]:
    """The model that moves, and a second model for reading sensors, which is the same but stands still.

    If no contact forces are sensed, the second model needs no constraints.
    """
    mujoco = _mujoco()
    spec = mujoco.MjSpec.from_file(str(resources.files("gymnasium") / "envs" / "mujoco" / "assets" / file))
    if timestep is not None:
        spec.option.timestep = timestep
    for geom in spec.geoms if solimp else ():
        geom.solimp[:3] = solimp
    model = _compiled(spec)
    kinds, body = mujoco.mjtSensor, mujoco.mjtObj.mjOBJ_BODY
    root = spec.worldbody.first_body().name
    spec.add_sensor(name="centre", type=kinds.mjSENS_SUBTREECOM, objtype=body, objname=root)
    spec.add_sensor(name="velocity", type=kinds.mjSENS_SUBTREELINVEL, objtype=body, objname=root)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    off = mujoco.mjtDisableBit
    if contacts:
        _sense_contacts(mujoco, spec)
    else:
        spec.option.disableflags |= off.mjDSBL_CONSTRAINT | off.mjDSBL_ACTUATION | off.mjDSBL_SPRING
    return model, _compiled(spec)


def _compiled(spec: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "compiler attribute", UserWarning
        )  # gymnasium's files are older than MuJoCo 4
        return spec.compile()


def _sense_contacts(mujoco: Any, spec: Any) -> None:
    """Add a sensor for the sum of all contacts of each body: force, torque and point of action."""
    wanted = sum(1 << int(getattr(mujoco.mjtConDataField, f"mjCONDATA_{n}")) for n in ("FORCE", "TORQUE", "POS"))
    for number, body in enumerate(spec.bodies[1:]):
        body.name = body.name or f"body_{number + 1}"
        sensor = spec.add_sensor(
            name=f"contacts_{body.name}", type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=mujoco.mjtObj.mjOBJ_BODY,
            objname=body.name,
        )  # fmt: skip
        sensor.intprm[:3] = (wanted, 3, 1)  # which data, reduced to the net force, in one slot
