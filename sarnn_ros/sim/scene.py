# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lift scene: physics, set-points, sensors. No ROS and no wall clock: time is simulated.

`LiftScene` is the robot and its world. The caller commands it: the expert, a policy, the ROS node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from importlib.resources import files

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.sim.camera import RayCamera
from sarnn_ros.sim.kinematics import solve_top_down

#: Order of every joint vector of the simulator: five arm joints, rad, and the finger opening, m.
JOINT_NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "gripper")

GRIPPER_OPEN = 0.045
GRIPPER_CLOSED = 0.0
#: Half the cube's edge, and so the height of its centre on the table, m.
CUBE_HALF = 0.025
#: Tool centre point at the start of every episode, m.
HOME_POSITION = (0.30, 0.0, 0.25)
#: Width and height of the camera's image, pixels.
IMAGE_SIZE = (128, 128)
#: A set-point is approached linearly over this time, s: one tick of a 10 Hz controller.
COMMAND_PERIOD = 0.1


def home_joints() -> NDArray[np.float64]:
    """(6,) joints at the start of every episode: hand up, gripper open."""
    return np.append(solve_top_down(HOME_POSITION), GRIPPER_OPEN)


class LiftScene:
    """Arm, cube, table and camera. Joint vectors are (6,) float64 in `JOINT_NAMES`' order."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(
            files("sarnn_ros.sim").joinpath("lift.xml").read_text(encoding="utf-8")
        )
        self.data = mujoco.MjData(self.model)
        self.camera = RayCamera(self.model, "front", *IMAGE_SIZE)
        self._cube = self.model.body("cube").id
        joints = [self.model.joint(name) for name in JOINT_NAMES]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._mirror = self.model.joint("gripper_mirror").qposadr[0]
        self._cube_qpos = self.model.joint("cube").qposadr[0]
        self._timestep = float(self.model.opt.timestep)
        #: (6, 2) lowest and highest position of each joint; set-points are clipped to it.
        self.limits = np.array([joint.range for joint in joints])
        self.reset()

    @property
    def time(self) -> float:
        """Simulated time since the reset, s."""
        return self._steps * self._timestep

    def reset(self, cube_x: float = 0.42, cube_y: float = 0.0, yaw: float = 0.0) -> None:
        """Arm at home, cube on the table at (cube_x, cube_y) m turned by `yaw` rad, time 0."""
        mujoco.mj_resetData(self.model, self.data)
        home = home_joints()
        self.data.qpos[self._qpos] = home
        self.data.qpos[self._mirror] = home[-1]
        self.data.ctrl[:] = home
        cube = slice(self._cube_qpos, self._cube_qpos + 7)
        turn = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        self.data.qpos[cube] = [cube_x, cube_y, CUBE_HALF, *turn]
        self._steps = 0
        self._path: deque[tuple[int, NDArray[np.float64]]] = deque()
        mujoco.mj_forward(self.model, self.data)

    def command(self, joints: ArrayLike, duration: float = COMMAND_PERIOD) -> None:
        """Move the set-points from where they are to `joints` over `duration` s, linearly, clipped
        to the joint limits. Replaces what was commanded before.

        :raises ValueError: not six finite numbers; nothing is changed then.
        """
        self.follow([(duration, joints)])

    def follow(self, path: Sequence[tuple[float, ArrayLike]]) -> None:
        """Like `command`, through several points in turn.

        :param path: (time from now in s, joints), in rising order of time.
        :raises ValueError: as `command`.
        """
        checked: deque[tuple[int, NDArray[np.float64]]] = deque()
        for after, joints in path:
            goal = np.array(joints, dtype=np.float64)
            if goal.shape != (len(JOINT_NAMES),) or not np.isfinite(goal).all():
                raise ValueError(
                    f"{len(JOINT_NAMES)} finite joint positions expected, found {joints!r}"
                )
            goal = np.clip(goal, self.limits[:, 0], self.limits[:, 1])
            checked.append((self._steps + max(1, round(after / self._timestep)), goal))
        self._path = checked

    def advance_to(self, time: float) -> None:
        """Step the physics until the simulated time is `time` s, to the nearest whole step."""
        for _ in range(round(time / self._timestep) - self._steps):
            while self._path and self._path[0][0] <= self._steps:
                self._path.popleft()
            if self._path:
                due, goal = self._path[0]
                self.data.ctrl[:] += (goal - self.data.ctrl) / (due - self._steps)
            mujoco.mj_step(self.model, self.data)
            self._steps += 1

    @property
    def positions(self) -> NDArray[np.float64]:
        """(6,) measured positions. The gripper's finger stops at what it holds."""
        return self.data.qpos[self._qpos].copy()

    @property
    def velocities(self) -> NDArray[np.float64]:
        """(6,) measured velocities, rad/s and m/s."""
        return self.data.qvel[self._qvel].copy()

    @property
    def efforts(self) -> NDArray[np.float64]:
        """(6,) forces of the joints' actuators, N m and N."""
        return self.data.actuator_force.copy()

    @property
    def references(self) -> NDArray[np.float64]:
        """(6,) set-points the position controllers follow at this moment."""
        return self.data.ctrl.copy()

    @property
    def cube_pose(self) -> NDArray[np.float64]:
        """(7,) the cube's centre x, y, z in m and orientation quaternion w, x, y, z."""
        return self.data.qpos[self._cube_qpos : self._cube_qpos + 7].copy()

    @property
    def cube_lift(self) -> float:
        """Height of the cube above where it rests on the table, m."""
        return float(self.data.qpos[self._cube_qpos + 2] - CUBE_HALF)

    def render(
        self, *, hide_cube: bool = False, qpos: NDArray[np.float64] | None = None
    ) -> NDArray[np.uint8]:
        """The camera's image, (height, width, 3) uint8 RGB.

        :param hide_cube: leave the cube out of the picture; it stays in the physics.
        :param qpos: draw this state, an earlier copy of `data.qpos`, instead of the present one.
        """
        return self.camera.render(
            self.data.qpos if qpos is None else qpos, without_body=self._cube if hide_cube else -1
        )
