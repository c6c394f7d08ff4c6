# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes what people look at: attention points, pictures, health. Its own thread, which shows
the newest tick and skips pictures that it had no time for. Without an observation it shows the
camera's image all the same, and what the node does; an image that is old, and the last one of
all, is dimmed: a picture must not stay green."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64MultiArray, Header
from visualization_msgs.msg import ImageMarker

from sarnn_ros.control.camera_watch import Ghost
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import Status
from sarnn_ros.control.tick import Tick
from sarnn_ros.geometry import crop_corners, points_to_model_pixels, points_to_source_pixels
from sarnn_ros.policy.directory import PolicyConfig, health_terms
from sarnn_ros.policy.health import PLACES, HealthReading, follows
from sarnn_ros.ros import messages
from sarnn_ros.spec import CameraSpec
from sarnn_ros.viz.overlay import (
    TRAIL,
    beside,
    draw_marks,
    draw_overlay,
    with_ghost,
    with_lines,
    with_status,
)

if TYPE_CHECKING:
    from sarnn_ros.streams.observe import ObservationBuffer

#: How long the thread may take to end, s.
JOIN_SECONDS = 5.0
#: Without a tick for so long, and for two periods, the overlay is drawn all the same; an image of
#: before is old; s.
SILENCE_SECONDS = 1.0
JPEG_QUALITY = 85
#: Of so many ticks the health is told later, while a picture is drawn.
HEALTH_QUEUE = 100
#: Of a picture only the newest counts; its reliability is the default, as that of RViz.
PICTURE_QUEUE = 1


@dataclass(frozen=True)
class Shown:
    """What there is to see of a tick.

    :param before: the tick before, whatever came of it.
    """

    tick: Tick
    before: Tick | None
    health: HealthReading
    status: Status
    settings: Settings


class _CameraTopics:
    """The topics of one camera; with several cameras its name is part of theirs."""

    def __init__(self, node: LifecycleNode, camera: CameraSpec, alone: bool) -> None:
        prefix = "~/" if alone else f"~/{camera.name}/"
        self.camera = camera
        self.trail: deque[NDArray[np.float64]] = deque(maxlen=TRAIL)
        # Of the last image; black if there was none.
        self.source: NDArray[np.uint8] = np.zeros((240, 320, 3), np.uint8)
        self.header = Header()
        self.stamp: int | None = None
        self.seen_s = 0.0
        self.publishers: tuple[Any, ...] = tuple(
            node.create_publisher(kind, f"{prefix}{name}", queue)
            for kind, name, queue in (
                (ImageMarker, "attention_points", 10),
                (Image, "attention_overlay", PICTURE_QUEUE),
                (CompressedImage, "attention_overlay/compressed", PICTURE_QUEUE),
                (Image, "predicted_image", PICTURE_QUEUE),
                (Image, "predicted_beside", PICTURE_QUEUE),
            )
        )
        self.points, self.overlay, self.compressed, self.predicted, self.beside = self.publishers


class Viewer:
    """See the module. `show` and `wants_image` are for the control thread and return at once.

    :param name: of the policy.
    :param status: what the node does now.
    :param ghost: of a camera's name, what is drawn over its image while it is not in its place.
    :param buffer: that images come to.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: PolicyConfig,
        name: str,
        status: Callable[[], Status],
        ghost: Callable[[str], Ghost | None],
        buffer: Callable[[], ObservationBuffer],
    ) -> None:
        self._ghost = ghost
        self._buffer = buffer
        self._silence_s = max(SILENCE_SECONDS, 2e-9 * config.spec.period_ns)
        self._name = name
        self._status = status
        self._node = node
        self._config = config
        cameras = config.spec.cameras
        self._topics = [_CameraTopics(node, camera, len(cameras) == 1) for camera in cameras]
        self._wake = threading.Condition()
        self._health = node.create_publisher(Float64MultiArray, "~/health", 10)
        self._health_terms = (*health_terms(config.model, config.spec), PLACES)
        self._last: Tick | None = None
        self._newest: Shown | None = None
        self._unsaid: deque[HealthReading] = deque(maxlen=HEALTH_QUEUE)
        self._stopping = False
        self._thread: threading.Thread | None = None

    def wants_image(self) -> bool:
        """Whether anyone looks at the predicted image."""
        return any(
            publisher.get_subscription_count()
            for topics in self._topics
            for publisher in (topics.predicted, topics.beside)
        )

    def show(self, tick: Tick, health: HealthReading, status: Status, settings: Settings) -> None:
        before, self._last = self._last, tick
        with self._wake:
            self._newest = Shown(tick, before, health, status, settings)
            self._unsaid.append(health)
            self._wake.notify()

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._wake:
            self._stopping = True
            self._wake.notify()
        thread.join(JOIN_SECONDS)
        if not thread.is_alive():
            with contextlib.suppress(Exception):  # nothing can be published after a shutdown
                for topics in self._topics:
                    self._publish_silence(topics, last=True)

    def destroy(self) -> None:
        for topics in self._topics:
            for publisher in topics.publishers:
                self._node.destroy_publisher(publisher)
        self._node.destroy_publisher(self._health)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._newest is not None or self._stopping, self._silence_s
                )
                newest, self._newest = self._newest, None
                readings = [*self._unsaid]
                self._unsaid.clear()
                if self._stopping:
                    return
            try:
                for reading in readings:
                    self._publish_health(reading)
                for topics in self._topics:
                    if newest is None or newest.tick.observation is None:
                        self._publish_silence(topics)
                    else:
                        self._publish(topics, newest)
            except Exception as error:  # a picture must not end the thread that draws the next
                self._node.get_logger().error(
                    f"nothing is shown: {error!r}", throttle_duration_sec=5.0
                )

    def _publish_health(self, health: HealthReading) -> None:
        score = math.nan if health.score is None else health.score
        ratios = [health.ratios.get(term, math.nan) for term in self._health_terms]
        self._health.publish(messages.labelled(("score", *self._health_terms), [score, *ratios]))

    def _publish(self, topics: _CameraTopics, shown: Shown) -> None:
        observation, prediction = shown.tick.observation, shown.tick.prediction
        if shown.tick.reset is not None:
            topics.trail.clear()
        if observation is None or prediction is None:
            return
        camera = topics.camera
        source = observation.sources[camera.name]
        height, width = source.shape[:2]
        topics.source, topics.header = source, observation.headers[camera.name]
        topics.stamp, topics.seen_s = observation.stamps.get(camera.name), time.monotonic()
        topics.trail.append(prediction.used_points[camera.name])

        moved = observation.moved.get(camera.name)

        def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
            stride = self._config.model.stride
            return points_to_source_pixels(points, camera, width, height, stride, moved)

        trail = place(np.stack(topics.trail))
        encoder, decoder = trail[-1], place(prediction.decoder_points[camera.name])
        for namespace, points in (("encoder", encoder), ("decoder", decoder)):
            scale = max(3.0, min(width, height) / 40)
            marker = messages.attention_marker(points, topics.header, namespace, scale)
            topics.points.publish(marker)
        score, warn_above = shown.health.score, shown.settings.health.warn_above

        def draw() -> NDArray[np.uint8]:
            ghost = self._ghost(camera.name)
            below = source if ghost is None else with_ghost(source, ghost.image)
            if shown.settings.overlay == "points":
                drawn = draw_overlay(below, encoder, decoder, trails=trail)
            else:
                whole = camera.crop is None
                frame = None if whole else crop_corners(camera, width, height, moved)
                drawn = draw_marks(below, trail, score, warn_above, frame=frame)
            if ghost is not None:
                drawn = with_lines(drawn, ghost.lines)
            status = shown.status
            return with_status(drawn, status.brief, status.level, score, warn_above, self._name)

        self._publish_overlay(topics, draw)
        if prediction.images is not None and topics.predicted.get_subscription_count():
            pixels = prediction.images[camera.name]
            topics.predicted.publish(messages.image(pixels, "rgb8", topics.header))
        if topics.beside.get_subscription_count():
            picture = self._beside(camera, shown.tick, shown.before)
            if picture is not None:
                topics.beside.publish(messages.image(picture, "rgb8", topics.header))

    def _publish_silence(self, topics: _CameraTopics, *, last: bool = False) -> None:
        """The camera's newest image, without what the policy sees in it: dimmed if it is old, or
        the last that is shown at all."""
        status, camera, now_s = self._status(), topics.camera, time.monotonic()
        stamp = self._buffer().newest_stamp(camera)
        if stamp is not None and stamp != topics.stamp:
            topics.stamp, topics.seen_s = stamp, now_s
        text, age_s = status.brief, now_s - topics.seen_s
        if topics.stamp is None:
            text = f"no image yet: {text}"
        elif age_s > self._silence_s:
            text = f"image {age_s:.0f} s old: {text}"
        old = last or topics.stamp is None or age_s > self._silence_s
        level = "waiting" if status.level == "fine" else status.level

        def draw() -> NDArray[np.uint8]:
            found = self._buffer().newest_source(camera)
            if found is not None and found[0] == topics.stamp:
                _, topics.source, topics.header = found
            image = topics.source // np.uint8(3) if old else topics.source
            drawn = draw_marks(image, np.zeros((1, 0, 2)), None, 0.0)
            return with_status(drawn, text, level, None, 0.0, self._name)

        self._publish_overlay(topics, draw)

    def _publish_overlay(
        self, topics: _CameraTopics, draw: Callable[[], NDArray[np.uint8]]
    ) -> None:
        raw = topics.overlay.get_subscription_count()
        compressed = topics.compressed.get_subscription_count()
        if not raw and not compressed:
            return
        drawn = draw()[:, :, ::-1]
        if raw:
            topics.overlay.publish(messages.image(drawn, "bgr8", topics.header))
        if compressed:
            topics.compressed.publish(messages.jpeg(drawn, topics.header, JPEG_QUALITY))

    def _beside(
        self, camera: CameraSpec, tick: Tick, before: Tick | None
    ) -> NDArray[np.uint8] | None:
        """What was expected for this tick, beside what came; None if nothing was."""
        assert tick.observation is not None and tick.prediction is not None
        expected = None if before is None else before.prediction
        if before is None or expected is None or expected.images is None:
            return None
        if not follows(before.label_ns, tick.label_ns, self._config.spec.period_ns):
            return None

        def draw(image: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
            size = camera.width, camera.height
            return draw_overlay(
                image, points_to_model_pixels(points, *size, self._config.model.stride)
            )

        name, prediction = camera.name, tick.prediction
        return beside(
            draw(tick.observation.images[name], prediction.encoder_points[name]),
            draw(expected.images[name], expected.decoder_points[name]),
            ("seen", "expected"),
        )
