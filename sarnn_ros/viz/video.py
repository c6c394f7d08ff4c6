# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Films of trials: camera with attention points, beside joints and lift over time.

Arrays in, files out. MP4 (H.264), which every browser plays. Needs av and matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.files import atomic_file
from sarnn_ros.viz.overlay import TRAIL, draw_overlay

#: Height of a frame, and widths of its camera and of its plots, pixels. Even, as H.264 wants.
HEIGHT, CAMERA_WIDTH, PLOT_WIDTH = 512, 512, 640
#: The camera's, frames per second.
FILM_RATE = 30
DPI = 100

GREEN, RED, INK = "#2e7d32", "#c62828", "#222222"


@dataclass(frozen=True)
class Clip:
    """One trial. All times in s on one clock, each series in rising order.

    :param images: (N, H, W, 3) uint8 RGB at `image_times` (N,).
    :param encoder: (M, k, 2) attention points, pixels of the image, at `point_times` (M,).
    :param decoder: (M, k, 2) where they were predicted to be next.
    :param joints: (J, 6) measured, rad and m, at `joint_times`; the last one is the gripper.
    :param commands: (C, 6) commanded at `command_times`.
    :param lifts: (L,) cube above the table, m, at `lift_times`.
    """

    title: str
    success: bool
    joint_names: tuple[str, ...]
    image_times: NDArray[np.float64]
    images: NDArray[np.uint8]
    point_times: NDArray[np.float64]
    encoder: NDArray[np.float64]
    decoder: NDArray[np.float64]
    joint_times: NDArray[np.float64]
    joints: NDArray[np.float64]
    command_times: NDArray[np.float64]
    commands: NDArray[np.float64]
    lift_times: NDArray[np.float64]
    lifts: NDArray[np.float64]


def write_video(clips: Sequence[Clip], path: Path) -> None:
    """All clips one after the other, at the camera's rate.

    :raises OSError: the file cannot be written.
    """
    import av

    options = {"movflags": "faststart"}
    with atomic_file(path) as partial, av.open(str(partial), "w", options=options) as film:
        quality = {"crf": "22", "preset": "veryfast"}
        stream = film.add_stream("libx264", rate=FILM_RATE, options=quality)
        stream.width, stream.height = CAMERA_WIDTH + PLOT_WIDTH, HEIGHT
        stream.pix_fmt = "yuv420p"
        for clip in clips:
            for frame in frames(clip):
                film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())


def frames(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip, (HEIGHT, CAMERA_WIDTH + PLOT_WIDTH, 3) uint8 RGB, one per image."""
    plots = _Plots(clip)
    for time, image in zip(clip.image_times, clip.images):
        yield np.hstack([_camera(clip, float(time), image), plots.at(float(time))])


def contact_sheet(clips: Sequence[Clip], path: Path, columns: int = 6) -> None:
    """One row of moments per clip, as a PNG: what a README or a bug report can show.

    :raises OSError: the file cannot be written.
    """
    rows = []
    for clip in clips:
        chosen = np.linspace(0, len(clip.images) - 1, columns).round().astype(int)
        tiles = [_camera(clip, float(clip.image_times[i]), clip.images[i]) for i in chosen]
        color = (46, 125, 50) if clip.success else (198, 40, 40)
        label = np.full((26, 256 * columns, 3), 255, np.uint8)
        text = f"{clip.title}: {'lifted' if clip.success else 'not lifted'}"
        cv2.putText(label, text, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 1, cv2.LINE_AA)
        small = [cv2.resize(tile, (256, 256), interpolation=cv2.INTER_AREA) for tile in tiles]
        rows += [label, np.hstack(small)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: the picture cannot be written")


def _camera(clip: Clip, time: float, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    newest = int(np.searchsorted(clip.point_times, time, side="right")) - 1
    if newest < 0:
        return _resize(image, cv2.INTER_NEAREST)
    drawn = draw_overlay(
        image,
        clip.encoder[newest],
        clip.decoder[newest],
        trails=clip.encoder[max(0, newest - TRAIL) : newest + 1],
        min_side=HEIGHT,
    )
    return _resize(drawn, cv2.INTER_AREA)


def _resize(image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(
        cv2.resize(image, (CAMERA_WIDTH, HEIGHT), interpolation=interpolation), np.uint8
    )


class _Plots:
    """The finished plots of a clip, of which each frame shows the part up to its time."""

    def __init__(self, clip: Clip) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._start = float(clip.image_times[0])
        figure = Figure(figsize=(PLOT_WIDTH / DPI, HEIGHT / DPI), dpi=DPI, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)  # matplotlib's types stop here
        arm, gripper, lift = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
        verdict, color = ("lifted", GREEN) if clip.success else ("not lifted", RED)
        figure.suptitle(f"{clip.title}: {verdict}", color=color, fontsize=11)
        self._draw_joints(arm, clip, range(len(clip.joint_names) - 1), 1.0)
        arm.set_ylabel("arm (rad)")
        arm.legend(fontsize=7, loc="upper left", ncols=3, framealpha=0.6)
        self._draw_joints(gripper, clip, (len(clip.joint_names) - 1,), 1000.0)
        gripper.set_ylabel("grip (mm)")
        lift.plot(clip.lift_times - self._start, clip.lifts * 100, color=INK)
        lift.axhline(5.0, color=GREEN, linewidth=0.8, linestyle=":")
        lift.set_ylabel("lift (cm)")
        lift.set_xlabel("time (s)   solid: measured, dashed: commanded")
        lift.set_xlim(0.0, float(clip.image_times[-1]) - self._start)
        for axes in (arm, gripper, lift):
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=7)
        canvas.draw()
        self._image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        self._boxes = [axes.get_window_extent() for axes in (arm, gripper, lift)]
        to_pixels: Any = lift.transData
        self._column = lambda time: to_pixels.transform((time - self._start, 0.0))[0]

    def _draw_joints(self, axes: Any, clip: Clip, indices: Sequence[int], scale: float) -> None:
        for index in indices:
            (line,) = axes.plot(
                clip.joint_times - self._start,
                clip.joints[:, index] * scale,
                linewidth=1.2,
                label=clip.joint_names[index],
            )
            axes.step(
                clip.command_times - self._start,
                clip.commands[:, index] * scale,
                where="post",
                color=line.get_color(),
                linewidth=0.9,
                linestyle="--",
            )

    def at(self, time: float) -> NDArray[np.uint8]:
        """The plots, with what comes after `time` faded."""
        image = self._image.copy()
        now = round(self._column(time))
        for box in self._boxes:
            top, bottom = round(HEIGHT - box.y1), round(HEIGHT - box.y0)
            left, right = max(now, round(box.x0)), round(box.x1)
            future = image[top:bottom, left:right]
            future[:] = 255 - (255 - future) // 6
            image[top:bottom, left : left + 1] = 120
        return image
