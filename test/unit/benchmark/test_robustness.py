# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the cells of `benchmark.robustness` look like."""

import numpy as np
import pytest

from benchmark.robustness import DISTURBANCES, Disturbance, Disturbed, hiding
from benchmark.tasks.clutter import Cluttered
from benchmark.tasks.jobs import make_task
from benchmark.tasks.lift import Lift
from benchmark.tasks.surfaces import AWAY, Eye, Surfaces
from benchmark.tasks.task import Image


def images(by: Disturbance, seed: int = 3, tick: int = 10) -> Image:
    disturbed = Disturbed(Lift(), by, np.zeros(6))
    disturbed.reset(seed)
    disturbed._tick = tick
    return disturbed.images()["camera"]


@pytest.mark.parametrize("by", DISTURBANCES, ids=lambda by: by.name)
def test_a_cell_shows_what_it_says_and_the_same_again(by: Disturbance) -> None:
    shown = images(by)
    other = (shown != images(DISTURBANCES[0])).any(2).mean()
    if by.paint or by.view or by.hides or by.people or by.hidden or by.axis.startswith("another"):
        assert other > 0.0005
    else:
        assert other == 0
    assert np.array_equal(shown, images(by))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_ball_hides_the_share_of_the_object_that_is_asked_for(share: float, seed: int) -> None:
    """The cube is turned in any way, so the share is about that."""
    task, cube = Lift(), Lift()
    cube.reset(seed)
    whole = cube.images()["camera"]
    cube.hide()
    where = (whole != cube.images()["camera"]).any(2)
    task.reset(seed)
    task.beside = hiding(task.target(), share, np.random.default_rng(seed))
    hidden = (task.images()["camera"] != whole).any(2)[where].mean()
    assert hidden == pytest.approx(share, abs=0.2)
    task.beside = None
    assert np.array_equal(task.images()["camera"], whole)


def test_a_picture_lies_on_the_table_wherever_the_camera_is() -> None:
    """What a pixel shows is the picture's colour at the place in the world that it looks at."""
    y, x = np.mgrid[:300, :300]
    picture = np.stack([x * 0.8, y * 0.8, np.full(x.shape, 9)], 2).astype(np.uint8)
    task = Lift()
    task.reset(0)
    task.surfaces = Surfaces(table=picture)
    for view in ((0.0, 0.0, 0.0), (6.0, -6.0, 0.04)):
        task.move_cameras(*view)
        image = task.images()["camera"]
        camera = task._scene.camera
        number = task._scene.model.geom("table").id
        table = camera.seen.reshape(image.shape[:2]) == number
        assert 0.2 < table.mean() < 0.8
        rays = camera.rays.reshape(image.shape)
        place = camera.origin - rays * (camera.origin[2] / rays[..., 2])[..., None]
        right = table & (place[..., 0] > 0.05) & (place[..., 1] < -0.05)
        shown = image[right] / 0.8 / 300
        assert np.abs(shown[:, 0] - place[right][:, 0]).max() < 0.03  # shaded, and rounded
        assert np.abs(shown[:, 1] + place[right][:, 1]).max() < 0.03


def test_a_wall_stands_behind_the_table_and_nothing_before_it_changes() -> None:
    eye = Eye(np.zeros(3), np.array([[[0.0, 1.0, 0.1], [0.1, 1.0, 0.1]]]))
    image = np.full((1, 2, 3), 7, np.uint8)
    wall = np.arange(1000 * 1000 * 3, dtype=np.uint64).reshape(1000, 1000, 3).astype(np.uint8)
    behind = np.array([[False, True]])
    shown = Surfaces(wall=wall).put(image, ~behind, behind, 0.0, eye)
    x, z = 0.1 * AWAY, 0.1 * AWAY
    assert shown[0, 0].tolist() == [7, 7, 7]
    column, row = 150 * x, -150 * z
    mirrored = -1 - row
    around = wall[int(mirrored) : int(mirrored) + 2, int(column) : int(column) + 2].astype(int)
    assert (around.min((0, 1)) <= shown[0, 1]).all() and (shown[0, 1] <= around.max((0, 1))).all()


def test_what_lies_about_is_there_beside_what_hides_the_object() -> None:
    task = make_task("benchmark.tasks.clutter:Lift")
    assert isinstance(task, Cluttered)
    task.reset(0)
    eye = np.array([1.0, 0.0, 1.0])
    count = len(task.things(eye))
    task.beside = hiding(task.target(), 0.5, np.random.default_rng(0))
    assert len(task.things(eye)) == count + 1


def test_another_wall_leaves_a_table_with_a_picture_as_it_is() -> None:
    own, other = (np.full((2, 2, 3), value, np.uint8) for value in (1, 2))
    assert Surfaces(own, own).but(Surfaces(wall=other)) == (own, other)
    assert Surfaces(own, own).but(Surfaces(table=other)) == (other, own)
