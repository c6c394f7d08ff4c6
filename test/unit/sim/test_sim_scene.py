# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated arm: kinematics, set-points, grasp, camera."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sarnn_ros.sim.camera import RayCamera
from sarnn_ros.sim.kinematics import solve_top_down
from sarnn_ros.sim.scene import (
    COMMAND_PERIOD,
    CUBE_HALF,
    GRIPPER_CLOSED,
    GRIPPER_OPEN,
    JOINT_NAMES,
    LiftScene,
    home_joints,
)


@pytest.fixture(scope="module")
def shared_scene() -> LiftScene:
    return LiftScene()


@pytest.fixture
def scene(shared_scene: LiftScene) -> LiftScene:
    shared_scene.reset()
    return shared_scene


def _hand(scene: LiftScene) -> tuple[np.ndarray, np.ndarray]:
    mujoco.mj_kinematics(scene.model, scene.data)
    site = scene.data.site("tcp")
    return site.xpos.copy(), site.xmat.reshape(3, 3).copy()


@pytest.mark.parametrize(
    "position", [(0.30, 0.0, 0.25), (0.42, 0.2, 0.025), (0.42, -0.2, 0.18), (0.25, 0.1, 0.05)]
)
def test_inverse_kinematics_agrees_with_the_model(scene, position):
    scene.data.qpos[:5] = solve_top_down(position)
    tcp, axes = _hand(scene)
    np.testing.assert_allclose(tcp, position, atol=1e-9)
    np.testing.assert_allclose(axes[:, 2], [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(axes[:, 1], [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize("position", [(0.7, 0.0, 0.1), (0.0, 0.0, 0.07), (0.3, 0.0, 0.9)])
def test_out_of_reach_is_an_error(position):
    with pytest.raises(ValueError, match="out of reach"):
        solve_top_down(position)


def test_set_points_move_linearly_and_stop_at_the_command(scene):
    start = scene.references
    goal = start + [0.2, -0.1, 0.1, 0.0, -0.2, -0.02]
    scene.command(goal)
    for share in (0.25, 0.5, 0.75, 1.0, 1.5):
        scene.advance_to(share * COMMAND_PERIOD)
        expected = start + (goal - start) * min(share, 1.0)
        np.testing.assert_allclose(scene.references, expected, atol=1e-12)


def test_a_new_command_starts_from_the_present_set_point(scene):
    start = scene.references
    scene.command(start + 0.1 * np.eye(6)[0])
    scene.advance_to(0.05)
    scene.command(start)
    scene.advance_to(0.10)
    np.testing.assert_allclose(scene.references[0] - start[0], 0.025, atol=1e-12)
    scene.advance_to(0.15)
    np.testing.assert_allclose(scene.references, start, atol=1e-12)


def test_a_path_goes_through_its_points(scene):
    start = scene.references
    first, second = start + 0.1 * np.eye(6)[1], start + 0.3 * np.eye(6)[1]
    scene.follow([(0.1, first), (0.2, second)])
    for time, expected in [(0.05, 0.05), (0.1, 0.1), (0.15, 0.2), (0.2, 0.3), (0.3, 0.3)]:
        scene.advance_to(time)
        np.testing.assert_allclose(scene.references[1] - start[1], expected, atol=1e-12)


def test_commands_are_clipped_to_the_joint_limits(scene):
    scene.command([9.0, 9.0, 9.0, 9.0, 9.0, 9.0])
    scene.advance_to(COMMAND_PERIOD)
    np.testing.assert_array_equal(scene.references, scene.limits[:, 1])


@pytest.mark.parametrize("command", [[0.0] * 5, [0.0] * 7, [np.nan] * 6, [0, 0, 0, 0, 0, np.inf]])
def test_a_senseless_command_changes_nothing(scene, command):
    scene.command(home_joints() + 0.01)
    with pytest.raises(ValueError, match="6 finite joint positions"):
        scene.command(command)
    scene.advance_to(COMMAND_PERIOD)
    expected = np.clip(home_joints() + 0.01, scene.limits[:, 0], scene.limits[:, 1])
    np.testing.assert_allclose(scene.references, expected, atol=1e-12)


def test_the_arm_stands_still_without_commands(scene):
    scene.advance_to(2.0)
    np.testing.assert_allclose(scene.positions, home_joints(), atol=2e-3)
    assert abs(scene.cube_lift) < 1e-3


def test_the_finger_stops_at_the_cube_and_holds_it(scene):
    x, y = 0.42, 0.05
    scene.reset(x, y)
    waypoints = [(0.14, GRIPPER_OPEN, 2.0), (-0.002, GRIPPER_OPEN, 1.5)]
    waypoints += [(-0.002, GRIPPER_CLOSED, 1.0), (0.15, GRIPPER_CLOSED, 2.0)]
    end = 0.0
    for height, grip, duration in waypoints:
        scene.command(
            np.append(solve_top_down((x, y, CUBE_HALF + height)), grip), duration=duration
        )
        end += duration + 0.3
        scene.advance_to(end)
    assert scene.positions[5] == pytest.approx(CUBE_HALF, abs=0.003)
    assert scene.references[5] == GRIPPER_CLOSED
    assert scene.cube_lift > 0.12


def test_reset_repeats_exactly(scene):
    def run() -> np.ndarray:
        scene.reset(0.41, -0.1, 0.2)
        scene.command(home_joints() + [0.3, 0.2, 0, 0, 0, -0.02])
        scene.advance_to(0.3)
        return np.concatenate([scene.positions, scene.velocities, scene.cube_pose])

    np.testing.assert_array_equal(run(), run())


def test_vectors_follow_the_joint_names(scene):
    assert JOINT_NAMES == ("joint1", "joint2", "joint3", "joint4", "joint5", "gripper")
    for index, name in enumerate(JOINT_NAMES):
        value = scene.positions
        scene.data.joint(name).qpos[0] += 0.01
        changed = np.flatnonzero(scene.positions != value)
        assert changed.tolist() == [index]
        assert scene.model.actuator(index).name == name


def _is_red(image: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return (red > 120) & (green < 60) & (blue < 60)


@pytest.mark.parametrize("y", [-0.2, -0.05, 0.0, 0.15])
def test_the_cube_is_drawn_where_a_pinhole_projects_it(scene, y):
    """Against the projection written out by hand, from the numbers in lift.xml."""
    scene.reset(0.42, y)
    rows, columns = np.nonzero(_is_red(scene.render()))
    forward = np.array([0.385, 0.0, 0.125]) - [1.02, 0.0, 0.60]
    forward /= np.linalg.norm(forward)
    right = np.array([0.0, 1.0, 0.0])
    down = np.cross(forward, right)
    seen = np.array([0.42, y, CUBE_HALF]) - [1.02, 0.0, 0.60]
    focal = 64 / np.tan(np.deg2rad(20))
    column = 64 + focal * (seen @ right) / (seen @ forward)
    row = 64 + focal * (seen @ down) / (seen @ forward)
    assert columns.mean() + 0.5 == pytest.approx(column, abs=1.5)
    assert rows.mean() + 0.5 == pytest.approx(row, abs=1.5)


def test_a_hidden_cube_leaves_no_trace_and_changes_nothing_else(scene):
    shown, hidden = scene.render(), scene.render(hide_cube=True)
    assert _is_red(shown).sum() > 80
    assert not _is_red(hidden).any()
    different = (shown != hidden).any(axis=-1)
    assert different.sum() < 250
    np.testing.assert_array_equal(hidden, scene.render(hide_cube=True))


def test_rendering_uses_its_own_state(scene):
    earlier = scene.data.qpos.copy()
    before = scene.render()
    scene.command(home_joints() + [0.5, 0, 0, 0, 0, 0], duration=0.3)
    scene.advance_to(0.5)
    assert (scene.render() != before).any()
    np.testing.assert_array_equal(scene.render(qpos=earlier), before)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48), (50, 70)])
def test_image_size(scene, width, height):
    image = RayCamera(scene.model, "front", width, height).render(scene.data.qpos)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.std() > 10


def test_an_unknown_camera_is_named(scene):
    with pytest.raises(KeyError, match="rear"):
        RayCamera(scene.model, "rear")
