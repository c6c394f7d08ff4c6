# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Films that play, and show the right thing at the right time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sarnn_ros.viz.video import (
    CAMERA_WIDTH,
    HEIGHT,
    PLOT_WIDTH,
    Clip,
    contact_sheet,
    frames,
    write_video,
)

FRAMES = 30


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A grey image that gets brighter; points that move right; lift at half time."""
    times = 100.0 + np.arange(FRAMES) / 30
    ticks = 100.0 + np.arange(10) / 10
    images = np.repeat(np.arange(FRAMES, dtype=np.uint8) * 6, 128 * 128 * 3)
    points = np.stack([np.array([[10.0 + 10 * tick, 64.0]]) for tick in range(10)])
    return Clip(
        title="taught y +10.0 cm",
        success=True,
        joint_names=("joint1", "joint2", "joint3", "joint4", "joint5", "gripper"),
        image_times=times,
        images=images.reshape(FRAMES, 128, 128, 3),
        point_times=ticks,
        encoder=points,
        decoder=points + 10,
        joint_times=times,
        joints=np.linspace(0, 1, FRAMES)[:, None] * np.arange(6),
        command_times=ticks,
        commands=np.linspace(0, 1, 10)[:, None] * np.arange(6),
        lift_times=times,
        lifts=np.where(times > 100.5, 0.1, 0.0),
    )


def test_the_film_plays(clip: Clip, tmp_path: Path):
    path = tmp_path / "film.mp4"
    write_video([clip, replace(clip, title="again", success=False)], path)
    film = cv2.VideoCapture(str(path))
    played = []
    while True:
        more, frame = film.read()
        if not more:
            break
        played.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    assert len(played) == 2 * FRAMES
    assert film.get(cv2.CAP_PROP_FPS) == 30
    for shown, drawn in zip(played, frames(clip), strict=False):
        assert shown.shape == drawn.shape == (HEIGHT, CAMERA_WIDTH + PLOT_WIDTH, 3)
        assert np.abs(shown.astype(int) - drawn).mean() < 4
    assert [item.name for item in tmp_path.iterdir()] == ["film.mp4"]


def test_the_camera_side_shows_image_and_points_of_the_moment(clip: Clip):
    drawn = list(frames(clip))
    for index in (0, 15, 29):
        camera = drawn[index][:, :CAMERA_WIDTH]
        assert abs(int(camera[20, 20, 0]) - 6 * index) <= 1
        rows, columns = np.nonzero((camera != camera[20, 20]).any(axis=-1))
        tick = index // 3
        assert columns.max() > (10 + 10 * tick) * 4
        assert 200 < rows.mean() < 312


def test_the_future_is_faded(clip: Clip):
    first, last = (
        frame[:, CAMERA_WIDTH:].astype(int) for frame in (list(frames(clip))[i] for i in (0, -1))
    )
    assert (first < 100).sum() < 0.7 * (last < 100).sum()


def test_a_clip_without_attention_is_drawn_too(clip: Clip):
    none = np.empty((0, 5, 2))
    bare = replace(clip, point_times=np.empty(0), encoder=none, decoder=none)
    assert next(frames(bare))[20, 20, 0] == 0


def test_the_contact_sheet(clip: Clip, tmp_path: Path):
    contact_sheet([clip, clip], tmp_path / "sheet.png", columns=4)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (256 + 26), 4 * 256, 3)
    assert sheet[40, 10].mean() < sheet[40, 3 * 256 + 10].mean()


def test_a_missing_folder_is_an_error(clip: Clip, tmp_path: Path):
    with pytest.raises(OSError, match="no-such-folder"):
        contact_sheet([clip], tmp_path / "no-such-folder" / "sheet.png")
