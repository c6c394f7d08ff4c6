# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the viewer publishes of which tick, for whom: two cameras, not square, stride 2. DDS is
left out: test/ros/ has it."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Header

from sarnn_ros.control.camera_watch import Ghost
from sarnn_ros.control.settings import Settings, build_settings
from sarnn_ros.control.state import State, Status
from sarnn_ros.control.tick import Tick
from sarnn_ros.policy.health import HealthReading
from sarnn_ros.policy.runtime import Prediction
from sarnn_ros.ros.viewer import Viewer
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.observe import Observation

PERIOD = 100_000_000
HAND_CROP = {"x": 20, "y": 30, "width": 25, "height": 41}
SPEC = parse_spec(
    {
        "cameras": [
            {"name": "front", "topic": "front", "width": 33, "height": 25},
            {"name": "hand", "topic": "hand", "width": 25, "height": 41, "crop": HAND_CROP},
        ],
        "joints": [{"names": ["a"]}],
    }
)
SOURCES = {"front": (100, 132), "hand": (82, 50)}  # height, width


class Publisher:
    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.subscribers = 0
        self.messages: list[Any] = []
        self.published = threading.Condition()

    def get_subscription_count(self) -> int:
        return self.subscribers

    def publish(self, message: Any) -> None:
        with self.published:
            self.messages.append(message)
            self.published.notify()


class Scene:
    """A viewer on a node that keeps what it publishes."""

    def __init__(self) -> None:
        self.topics: dict[str, Publisher] = {}
        self.errors: list[str] = []
        node = SimpleNamespace(
            create_publisher=self._create,
            destroy_publisher=lambda publisher: self.topics.pop(publisher.topic),
            get_logger=lambda: SimpleNamespace(error=lambda text, **_: self.errors.append(text)),
        )
        model = SimpleNamespace(k_dim=1, stride=2)
        self.status = Status(State.COMMANDING)
        config = SimpleNamespace(spec=SPEC, model=model)
        self.ghost: Ghost | None = None
        self.newest: tuple[int, np.ndarray, Header] | None = None  # of the camera in front
        buffer = SimpleNamespace(
            newest_stamp=lambda camera: self.newest and self.newest[0],
            newest_source=lambda camera: self.newest,
        )
        self.viewer = Viewer(
            node,
            config,  # type: ignore[arg-type]
            "skill",
            lambda: self.status,
            lambda camera: self.ghost,
            lambda: buffer,
        )
        self.viewer.start()

    def _create(self, kind: Any, topic: str, qos: Any) -> Publisher:
        assert topic not in self.topics
        return self.topics.setdefault(topic, Publisher(topic))

    def show(
        self, number: int, x: float = 0.5, *, reset: str | None = None, images: bool = True,
        overlay: str = "marks", used: float | None = None,
    ):  # fmt: skip
        """One tick; returns when it was shown."""
        shapes = {camera.name: (camera.height, camera.width, 3) for camera in SPEC.cameras}
        gray = {name: np.full(shape, 100, np.uint8) for name, shape in shapes.items()}
        expected = {name: np.full(shape, 100 + number, np.uint8) for name, shape in shapes.items()}
        sources = {name: np.full((*size, 3), 100, np.uint8) for name, size in SOURCES.items()}
        points = {name: np.array([[x, 0.5]]) for name in shapes}
        tick = Tick(number * PERIOD, reset=reset)
        headers = {name: Header(frame_id=name) for name in shapes}
        tick.observation = Observation(tick.label_ns, gray, np.zeros(1), {}, sources, headers)
        taken = points if used is None else {name: np.array([[used, 0.5]]) for name in shapes}
        tick.prediction = Prediction(
            np.zeros(1), points, points, taken, expected if images else None
        )
        health = self.topics["~/health"]
        seen = len(health.messages)
        reading = HealthReading({"points:hand": 0.5}, 0.5, "points:hand")
        settings = build_settings({"overlay": overlay})
        self.viewer.show(tick, reading, Status(State.COMMANDING), settings)
        with health.published:
            assert health.published.wait_for(lambda: len(health.messages) > seen, timeout=10.0)
        # The pictures come after it: the next tick is not shown before they are done.

    def close(self) -> None:
        self.viewer.stop()
        assert not self.errors

    def wait(self, topic: str, count: int) -> None:
        """Until so many messages came on it."""
        publisher = self.topics[topic]
        with publisher.published:
            assert publisher.published.wait_for(lambda: len(publisher.messages) >= count, 10.0)

    def pixels(self, topic: str) -> np.ndarray:
        message = self.topics[topic].messages[-1]
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


@pytest.fixture
def scene():
    return Scene()


def test_points_are_shown_where_the_policy_takes_them_to_be(scene):
    def seen_after(number: int) -> list[tuple[float, float]]:
        scene.wait("~/front/attention_points", 2 * number)
        markers = scene.topics["~/front/attention_points"].messages
        newest = [marker for marker in markers if marker.ns == "encoder"][-1]
        return [(point.x, point.y) for point in newest.points]

    scene.show(1, 0.25)
    there = seen_after(1)
    scene.show(2, 0.5)
    assert seen_after(2) != there
    scene.show(3, 0.5, used=0.25)
    assert seen_after(3) == there
    scene.close()


def test_nothing_is_drawn_for_nobody(scene):
    scene.show(1)
    scene.close()
    shown = {topic for topic, publisher in scene.topics.items() if publisher.messages}
    assert shown == {"~/health", "~/front/attention_points", "~/hand/attention_points"}
    assert not scene.viewer.wants_image()
    scene.viewer.destroy()
    assert not scene.topics


@pytest.mark.parametrize("name", ["predicted_image", "predicted_beside"])
def test_the_image_is_wanted_by_whoever_looks_at_it(scene, name):
    scene.topics[f"~/hand/{name}"].subscribers = 1
    assert scene.viewer.wants_image()
    scene.close()


def test_a_ghost_of_where_the_camera_stood_shines_through(scene):
    scene.topics["~/hand/attention_overlay"].subscribers = 1
    pictures = []
    height, width = SOURCES["hand"]
    white = np.full((height, width, 3), 255, np.uint8)
    for ghost in (None, Ghost(white, ()), None, Ghost(white, ("turn it left: 8 px",))):
        scene.ghost = ghost
        scene.show(len(pictures) + 1)
        scene.wait("~/hand/attention_overlay", len(pictures) + 1)
        pictures.append(scene.pixels("~/hand/attention_overlay"))
    scene.close()
    assert [one[0, 0].tolist() for one in pictures] == [[100] * 3, [162] * 3, [100] * 3, [162] * 3]
    assert (pictures[3] != pictures[1])[:height].any(), "the text"


def test_points_lie_where_a_moved_camera_shows_what_is_looked_at(scene):
    publish = scene.viewer._publish
    moved = {"hand": np.array([[1.0, 0.0, -7.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]])}
    places = []
    for undone in ({}, moved):

        def shifted(topics, shown, undone=undone):
            seen = replace(shown.tick.observation, moved=undone)
            shown.tick.observation = seen
            publish(topics, shown)

        scene.viewer._publish = shifted
        scene.show(len(places) + 1)
        scene.wait("~/hand/attention_points", 2 * (len(places) + 1))
        marker = scene.topics["~/hand/attention_points"].messages[-2]
        places.append((marker.points[0].x, marker.points[0].y))
    scene.close()
    assert np.allclose(np.subtract(*reversed(places)), (7.0, -4.0))


def test_health_in_the_order_of_its_label(scene):
    scene.show(1)
    scene.close()
    message = scene.topics["~/health"].messages[-1]
    names = message.layout.dim[0].label.split(",")
    assert names == [
        *("score", "joints", "points:front", "points:hand", "image:front", "image:hand", "places"),
    ]
    known = {
        name: value for name, value in zip(names, message.data, strict=True) if value == value
    }
    assert known == {"score": 0.5, "points:hand": 0.5}


def test_the_health_of_each_tick_is_told_though_a_picture_takes_long(scene, monkeypatch):
    drawing, drawn = threading.Event(), threading.Event()

    def draw(*_: Any) -> None:
        drawing.set()
        assert drawn.wait(10.0)

    monkeypatch.setattr(scene.viewer, "_publish", draw)
    scene.show(1)
    assert drawing.wait(10.0)
    for number in (2, 3, 4):
        reading = HealthReading({}, float(number), None)
        scene.viewer.show(Tick(number * PERIOD), reading, scene.status, build_settings({}))
    drawn.set()
    scene.wait("~/health", 4)
    assert [message.data[0] for message in scene.topics["~/health"].messages] == [0.5, 2, 3, 4]
    scene.close()


def test_points_in_the_pixels_of_each_camera(scene):
    scene.show(1, x=0.0)
    scene.close()
    (encoder, _) = scene.topics["~/hand/attention_points"].messages
    # Stride 2: the first cell lies on model pixel 5; a model pixel is one of the crop.
    assert (encoder.points[0].x, encoder.header.frame_id) == (HAND_CROP["x"] + 5.0, "hand")


def test_a_trail_that_a_reset_ends(scene):
    overlay = scene.topics["~/front/attention_overlay"]
    overlay.subscribers = 1
    row = 150  # the middle of the image, enlarged by 3

    def marked() -> int:
        """Columns that are not grey in the row of the points."""
        return int((scene.pixels(overlay.topic)[row] != 100).any(axis=-1).sum())

    for number, x in enumerate((0.0, 0.5, 1.0)):
        scene.show(number, x, overlay="points")
    scene.show(9, 0.5, reset="start", overlay="points")
    scene.close()
    overlay.messages.pop()  # that nothing more comes
    assert len(overlay.messages) == 4
    after = marked()
    overlay.messages.pop()
    assert marked() > 250 > 40 > after


def test_a_mark_without_trail_and_the_frame_of_the_crop(scene):
    overlay = scene.topics["~/hand/attention_overlay"]
    overlay.subscribers = 1
    for number, x in enumerate((0.0, 0.5, 1.0)):
        scene.show(number, x)
    scene.close()
    overlay.messages.pop()  # that nothing more comes
    picture = scene.pixels(overlay.topic)
    factor = picture.shape[1] // 50
    image = picture[: 82 * factor]
    green = np.nonzero((image == (90, 200, 90)).all(axis=-1))  # the same in BGR
    # The last cell lies on model pixel 19; where it was before is not drawn.
    assert green[1].mean() == pytest.approx((HAND_CROP["x"] + 19.5) * factor, abs=factor)
    assert np.ptp(green[1]) < 10 * factor
    rows, columns = np.nonzero((image == 235).all(axis=-1))
    assert columns.min() == pytest.approx(HAND_CROP["x"] * factor, abs=factor)
    assert rows.max() == pytest.approx(71 * factor, abs=factor)


def test_what_was_expected_is_of_the_tick_before(scene):
    beside = scene.topics["~/front/predicted_beside"]
    beside.subscribers = 1
    scene.show(1)  # nothing was expected of it
    scene.show(2)
    scene.show(4)  # what 3 expected is not known
    scene.show(5, images=False)
    scene.show(6)  # 5 did not say
    scene.close()
    assert len(beside.messages) == 2, "of 2 and of 5"
    left, right = scene.pixels(beside.topic)[5, [5, -5]]
    assert (left == 100).all() and (right == 104).all()


def test_a_camera_that_runs_is_shown_while_something_else_is_missing(scene):
    """And dimmed once nothing more is shown."""
    topic = "~/front/attention_overlay"
    overlay = scene.topics[topic]
    overlay.subscribers = 1
    scene.status = Status(State.HOLDING, "joint_states: no message", "no_observation:joint_states")
    pictures = []
    for number in range(1, 4):
        image = np.full((*SOURCES["front"], 3), 100 + number, np.uint8)
        scene.newest = number, image, Header(frame_id=f"image {number}")
        scene.viewer.show(Tick(number * PERIOD), HealthReading(), scene.status, Settings())
        scene.wait(topic, number)
        assert overlay.messages[-1].header.frame_id == f"image {number}"
        pictures.append(scene.pixels(topic))
    assert [one[0, 0].tolist() for one in pictures] == [[101] * 3, [102] * 3, [103] * 3]
    scene.status = Status(State.INACTIVE)
    scene.close()
    assert len(overlay.messages) == 4 and scene.pixels(topic)[0, 0].tolist() == [34] * 3


@pytest.mark.parametrize("ticks", ["without an observation", "none at all"])
def test_a_camera_that_died_does_not_leave_the_overlay_green(scene, ticks):
    topic = "~/front/attention_overlay"
    overlay = scene.topics[topic]
    overlay.subscribers = 1
    scene.show(1)
    with overlay.published:
        assert overlay.published.wait_for(lambda: overlay.messages, timeout=10.0)
    bright, count = scene.pixels(topic), len(overlay.messages)
    header = overlay.messages[-1].header
    scene.status = Status(State.HOLDING, "front: no image for 1.0 s", "no_observation:front")
    if ticks == "without an observation":
        scene.viewer.show(Tick(2 * PERIOD), HealthReading(), scene.status, Settings())
    with overlay.published:
        assert overlay.published.wait_for(lambda: len(overlay.messages) > count, timeout=10.0)
    scene.close()
    dark = scene.pixels(topic)
    assert overlay.messages[-1].header == header, "of the image, which is the last there was"
    assert dark[: dark.shape[0] // 2].mean() < 0.5 * bright[: bright.shape[0] // 2].mean()
    green = (dark[..., 1].astype(int) - dark.max(axis=2) == 0) & (dark[..., 1] > 150)
    green &= (dark[..., 0] < 120) & (dark[..., 2] < 120)
    assert not green.any()
