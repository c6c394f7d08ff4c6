# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes what people look at: attention points, pictures, health. Its own thread, which shows
the newest tick and skips what it had no time for."""

from __future__ import annotations

import math
import threading
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray, Header
from visualization_msgs.msg import ImageMarker

from sarnn_ros.geometry import points_to_source_pixels
from sarnn_ros.nodes import messages
from sarnn_ros.nodes.control import Tick
from sarnn_ros.policy.directory import health_terms
from sarnn_ros.policy.health import HealthReading
from sarnn_ros.spec import CameraSpec
from sarnn_ros.viz.overlay import draw_overlay

#: Smaller than the deadline of anything: it only ends a thread.
JOIN_SECONDS = 5.0


class _CameraTopics:
    """The topics of one camera; with several cameras its name is part of theirs."""

    def __init__(self, node: LifecycleNode, camera: CameraSpec, alone: bool) -> None:
        prefix = "~/" if alone else f"~/{camera.name}/"
        self.camera = camera
        self.points = node.create_publisher(ImageMarker, f"{prefix}attention_points", 10)
        self.overlay = node.create_publisher(
            Image, f"{prefix}attention_overlay", qos_profile_sensor_data
        )
        self.predicted = node.create_publisher(
            Image, f"{prefix}predicted_image", qos_profile_sensor_data
        )

    @property
    def publishers(self) -> tuple[Any, ...]:
        return (self.points, self.overlay, self.predicted)


class Viewer:
    """See the module. `show` and `wants_image` are for the control thread and return at once."""

    def __init__(self, node: LifecycleNode, config: Any) -> None:
        self._node = node
        self._stride = getattr(config.model, "stride", 1)
        cameras = config.spec.cameras
        self._topics = [_CameraTopics(node, camera, len(cameras) == 1) for camera in cameras]
        self._wake = threading.Condition()
        self._health = node.create_publisher(Float64MultiArray, "~/health", 10)
        self._health_terms = tuple(health_terms(config.model, config.spec))
        self._newest: tuple[Tick, HealthReading] | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def wants_image(self) -> bool:
        """Whether anyone looks at the predicted image."""
        return any(topics.predicted.get_subscription_count() for topics in self._topics)

    def show(self, tick: Tick, health: HealthReading) -> None:
        with self._wake:
            self._newest = (tick, health)
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

    def destroy(self) -> None:
        for topics in self._topics:
            for publisher in topics.publishers:
                self._node.destroy_publisher(publisher)
        self._node.destroy_publisher(self._health)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._newest is not None or self._stopping)
                newest, self._newest = self._newest, None
                if self._stopping or newest is None:
                    return
            tick, health = newest
            try:
                self._publish_health(health)
                for topics in self._topics:
                    self._publish(topics, tick)
            except Exception as error:  # a picture must not end the thread that draws the next
                self._node.get_logger().error(
                    f"nothing is shown: {error!r}", throttle_duration_sec=5.0
                )

    def _publish_health(self, health: HealthReading) -> None:
        score = math.nan if health.score is None else health.score
        ratios = [health.ratios.get(term, math.nan) for term in self._health_terms]
        self._health.publish(messages.labelled(("score", *self._health_terms), [score, *ratios]))

    def _publish(self, topics: _CameraTopics, tick: Tick) -> None:
        observation, prediction = tick.observation, tick.prediction
        if observation is None or prediction is None:
            return
        camera = topics.camera
        source = observation.sources[camera.name]
        height, width = source.shape[:2]
        encoder, decoder = (
            points_to_source_pixels(points[camera.name], camera, width, height, self._stride)
            for points in (prediction.encoder_points, prediction.decoder_points)
        )
        header: Header = observation.headers[camera.name]
        scale = max(3.0, min(width, height) / 40)
        for namespace, points, color in (
            ("encoder", encoder, messages.ENCODER_COLOR),
            ("decoder", decoder, messages.DECODER_COLOR),
        ):
            topics.points.publish(
                messages.attention_marker(
                    points, header, namespace=namespace, color=color, scale=scale
                )
            )
        if topics.overlay.get_subscription_count():
            drawn = draw_overlay(source, encoder, decoder)
            topics.overlay.publish(messages.image(drawn[:, :, ::-1], "bgr8", header))
        if prediction.images is not None and topics.predicted.get_subscription_count():
            pixels = prediction.images[camera.name]
            topics.predicted.publish(messages.image(pixels, "rgb8", header))
