# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera that was moved: corrected for, or a reason not to start. Real messages and pictures."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import bag_making as make
import numpy as np
import pytest
from control_bench import PERIOD, Bench
from moved_camera import HEIGHT, WIDTH, move, reference, scene, shot

from sarnn_ros.control import camera_watch
from sarnn_ros.control.camera_watch import REGISTER_NS, CameraWatch
from sarnn_ros.control.faults import Faults
from sarnn_ros.control.settings import build_settings
from sarnn_ros.control.state import State
from sarnn_ros.policy.directory import CameraReference
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams import registration
from sarnn_ros.streams.observe import Missing, ObservationBuffer
from sarnn_ros.streams.preprocess import crop_resize
from sarnn_ros.streams.registration import Registration, make_reference

SPEC = parse_spec(
    {
        "rate": 10,
        "cameras": [
            {"name": name, "topic": name, "width": 40, "height": 30, "max_age": 1.0}
            for name in ("left", "right")
        ],
        "joints": [{"names": ["a"]}],
    }
)
SCENES = {"left": scene(0), "right": scene(1)}


class Cell:
    """Two cameras of one policy. `show` puts images into the buffer and looks."""

    def __init__(self, **parameters: Any) -> None:
        self.values = parameters
        self.said: list[tuple[str, str]] = []
        self.stamp = make.START
        self.buffer = ObservationBuffer(SPEC)
        about = CameraReference(displacement=0.001, correlation=0.95, source=(WIDTH, HEIGHT))
        config: Any = SimpleNamespace(spec=SPEC, references=dict.fromkeys(SCENES, about))
        self.watch = CameraWatch(
            config,
            {name: reference(picture) for name, picture in SCENES.items()},
            self.buffer,
            lambda: build_settings(self.values),
            self.log,
        )

    def log(self, level: str, key: str, text: str) -> bool:
        self.said.append((level, text))
        return True

    def show(self, **images: np.ndarray) -> None:
        self.stamp += 30 * REGISTER_NS  # after a search on a busy machine it waits for longer
        for name, picture in SCENES.items():
            pixels = images.get(name, shot(picture))
            self.buffer.push(name, make_image(self.stamp, pixels), self.stamp)
        joints = make.joint_state(self.stamp, [0.0], ["a"])
        self.buffer.push("joint_states", joints, self.stamp)
        self.watch.look()

    @property
    def faults(self) -> dict[str, str]:
        found = self.watch.faults()
        assert not found.hard
        return found.soft

    def seen(self) -> np.ndarray:
        found = self.buffer.observe(self.stamp)
        assert not isinstance(found, Missing)
        return found.images["left"]


def make_image(stamp: int, pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    return make.image(stamp, pixels.reshape(height, -1), "rgb8", width=width, step=3 * width)


def test_cameras_in_their_place_are_left_alone_to_the_bit() -> None:
    cell = Cell()
    assert set(cell.faults) == {"camera:left", "camera:right"}, "not registered yet"
    assert "camera 'left' has not been registered yet" in cell.watch.status()[1]
    cell.show()
    assert not cell.faults
    assert {one.verdict for one in cell.watch.placements.values()} == {"in place"}
    assert (cell.seen() == crop_resize(shot(SCENES["left"]), SPEC.cameras[0])).all()
    assert cell.watch.status()[0]


def test_a_moved_camera_is_corrected_and_told() -> None:
    cell = Cell()
    for _ in range(2):
        cell.show(left=shot(SCENES["left"], move(0.06, -0.04, 4, 1.03)))
    assert not cell.faults
    assert cell.watch.placements["left"].verdict == "corrected"
    expected = crop_resize(shot(SCENES["left"]), SPEC.cameras[0])[4:-4, 4:-4].astype(int)
    assert np.abs(cell.seen()[4:-4, 4:-4] - expected).mean() < 5
    well, text, values = cell.watch.status()
    assert not well
    for part in ("10 px (6.0% of the width) too far right", "too far up", "turned clockwise by 4.",
                 "too large", "roll it clockwise", "undone"):  # fmt: skip
        assert part in text, text
    assert values["place left"] == "corrected" and values["place right"] == "in place"
    assert values["displacement left (share of width)"] > 0.06
    assert [level for level, text in cell.said if "'left'" in text] == ["warning"]
    ghost = cell.watch.ghost("left")
    assert ghost is not None and ghost.image.shape == (HEIGHT, WIDTH, 3)
    assert ghost.lines[:2] == ("camera: moved, but undone", "turn it right: 10 px")
    cell.show()  # somebody put it back
    assert cell.watch.placements["left"].verdict == "in place"
    assert cell.watch.ghost("left") is None
    assert (cell.seen() == crop_resize(shot(SCENES["left"]), SPEC.cameras[0])).all()


@pytest.mark.parametrize(
    ("share", "correlation", "verdict"),
    [(0.004, 0.95, "in place"), (0.006, 0.95, "corrected"), (0.006, 0.7, "in place"),
     (0.009, 0.6, "corrected")],
)  # fmt: skip
def test_where_the_arm_stands_elsewhere_it_is_told_less_exactly(
    share: float, correlation: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*arguments: Any, **options: Any) -> Registration:
        place = move(share, 0, 0, 1)
        return Registration(place, "translation", 0.0005, correlation, 1.0, (WIDTH, HEIGHT))

    monkeypatch.setattr(camera_watch, "register", found)
    cell = Cell()
    cell.show()
    assert cell.watch.placements["left"].verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "right", "verdict"),
    [(128, 146, 0.2, "moved"), (128, 146, -0.2, "corrected"), (128, 146, 0.1, "moved"),
     (70, 120, 0.1, "corrected"), (0, 146, 0.08, "corrected")],
)  # fmt: skip
def test_objects_out_of_view_are_not_corrected_for(
    low: int, high: int, right: float, verdict: str
) -> None:
    """The warp repeats the image's border there, and the policy sees no object."""
    first = []
    for x in np.linspace(low, high, 16).astype(int):
        first.append(shot(SCENES["left"]))
        first[-1][15 + (x * 7) % 80 :][:13, x : x + 13] = 230, 30, 30
    cell = Cell()
    cell.watch._references["left"] = make_reference(first, (WIDTH, HEIGHT))
    cell.show(left=shot(SCENES["left"], move(right, 0.0, 0, 1)))
    placement = cell.watch.placements["left"]
    assert placement.verdict == verdict, placement.text
    if verdict == "moved":
        text = cell.faults["camera:left"]
        assert "of where objects may lie is out of its view" in text and "turn it right" in text
        assert placement.moves
    else:
        assert not cell.faults


def test_behind_an_arm_a_camera_is_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cameras took as long as start.wait at each start."""
    searched: list[object] = []
    candidates = registration._candidates

    def noted(*arguments: Any) -> Any:
        searched.append(arguments)
        return candidates(*arguments)

    monkeypatch.setattr(registration, "_candidates", noted)
    behind, cell = shot(SCENES["left"]), Cell()
    behind[40:, 20:110] = 90
    cell.show(left=behind)
    assert len(searched) == 1 and not cell.faults
    cell.show(left=behind)
    assert len(searched) == 1 and not cell.faults
    cell.show(left=shot(SCENES["left"], move(0.3, 0.1, 0, 1)))
    assert len(searched) == 2 and "camera:left" in cell.faults, "it was moved"


def test_a_picture_that_does_not_tell_where_things_are_prevents_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def uncertain(*arguments: Any, **options: Any) -> Registration:
        return Registration(move(0.03, 0, 0, 1), "affine", 0.012, 0.9, 1.0, (WIDTH, HEIGHT))

    monkeypatch.setattr(camera_watch, "register", uncertain)
    cell = Cell()
    cell.show()
    text = cell.faults["camera:left"]
    assert "does not tell exactly where things are" in text and "ghost" in text
    assert (cell.seen() == crop_resize(shot(SCENES["left"]), SPEC.cameras[0])).all(), "not undone"


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (shot(SCENES["left"], move(0.3, 0.1, 0, 1)), "max_displacement"),
        (shot(SCENES["right"]), "shows what camera 'right' showed: are their topics swapped"),
        (shot(SCENES["left"])[::-1, ::-1], "upside down"),
        (shot(SCENES["left"])[:, ::-1], "mirrored"),
        (shot(scene(7)), "does not show the scene"),
        (np.full((HEIGHT, WIDTH, 3), 20, np.uint8), "does not show the scene"),
        (shot(SCENES["left"]) // 8, "0.12 times as bright as while demonstrating: set its"),
        (shot(SCENES["left"]) // 30, "too dark or too bright to tell its light: set its"),
        (np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8), "pixels, its demonstrations have"),
    ],
    ids=[
        "far",
        "swapped",
        "upside down",
        "mirrored",
        "elsewhere",
        "covered",
        "dark",
        "black",
        "size",
    ],
)
def test_a_camera_that_cannot_be_corrected_prevents_a_run(image: np.ndarray, text: str) -> None:
    cell = Cell()
    cell.show(left=np.ascontiguousarray(image))
    assert list(cell.faults) == ["camera:left"]
    assert text in cell.faults["camera:left"]
    well, told, values = cell.watch.status()
    assert not well and text in told and values["place left"] != values["place right"]
    cell.values = {"registration.max_displacement": 0.0}
    cell.watch.look()
    assert not cell.faults, "the operator does without"
    assert not cell.watch.placements


@pytest.mark.parametrize("which", ["mirrored", "upside down"])
def test_a_scene_that_looks_much_the_same_the_other_way_is_told_from_it(which: str) -> None:
    """Two arms over a table, seen from above."""
    picture = SCENES["left"].astype(np.float32)
    turned = picture[:, ::-1] if which == "mirrored" else picture[::-1, ::-1]
    alike = np.rint(0.3 * picture + 0.7 * (picture + turned) / 2).astype(np.uint8)
    cell = Cell()
    cell.watch._references["left"] = reference(alike)
    image = shot(alike)
    cell.show(left=image)
    assert not cell.faults
    other = image[:, ::-1] if which == "mirrored" else image[::-1, ::-1]
    cell.show(left=np.ascontiguousarray(other))
    assert which in cell.faults["camera:left"]


def test_a_picture_of_another_size_may_be_the_other_cameras_or_turned() -> None:
    cell = Cell()
    cell.show(left=np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    assert "is it turned by 90°?" in cell.faults["camera:left"]
    right = replace(reference(SCENES["right"]), source=(WIDTH // 2, HEIGHT // 2))
    cell.watch._references["right"] = right
    cell.show(left=np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8))
    assert "camera 'right' has so many, are their topics swapped?" in cell.faults["camera:left"]


@pytest.mark.parametrize(("which", "text"), [("grey", "it is grey"), ("bgr", "red and blue are")])
def test_other_colours_prevent_a_run(which: str, text: str) -> None:
    image = shot(SCENES["left"])
    grey = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    cell = Cell()
    cell.show(left=grey if which == "grey" else np.ascontiguousarray(image[..., ::-1]))
    assert text in cell.faults["camera:left"]


def test_what_is_turned_off_just_before_a_run_is_not_undone_in_it() -> None:
    cell = Cell()
    cell.show(left=shot(SCENES["left"], move(0.06, 0.0, 0, 1)))
    version = cell.watch.version
    cell.values = {"registration.max_displacement": 0.0}
    assert "its next image counts" in cell.watch.settle(version)
    assert not cell.watch.placements
    assert cell.watch.settle(cell.watch.version) == ""


def test_a_registration_is_known_only_once_it_is_undone() -> None:
    """The control thread reads the version without the lock, and then observes."""
    cell = Cell()
    undo, known = cell.buffer.undo, []

    def noted(*arguments: Any) -> None:
        known.append((cell.watch.version, len(cell.watch.placements), len(cell.watch._fresh)))
        undo(*arguments)

    cell.buffer.__dict__["undo"] = noted
    cell.show(left=shot(SCENES["left"], move(0.06, 0.0, 0, 1)))
    cell.values = {"registration.max_displacement": 0.0}
    cell.watch.look()
    assert known == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert cell.watch.version == 3 and not cell.watch.placements


def test_a_camera_that_goes_on_moving_is_told_again() -> None:
    cell = Cell()
    for share in (0.03, 0.032, 0.08, -0.08):
        cell.show(left=shot(SCENES["left"], move(share, 0.0, 0, 1)))
    told = [text for _, text in cell.said if "'left'" in text]
    assert len(told) == 3 and "turn it right" in told[0] and "turn it left" in told[2]


def test_another_light_is_undone_and_told() -> None:
    cell = Cell()
    image = shot(SCENES["left"]) // 2
    for _ in range(2):
        cell.show(left=image)
    assert not cell.faults
    light = cell.watch.placements["left"].light
    assert light == pytest.approx(np.full(3, 2.0), abs=0.1)
    assert (cell.seen() == crop_resize(image, SPEC.cameras[0], None, light)).all()
    expected = crop_resize(shot(SCENES["left"]), SPEC.cameras[0]).astype(int)
    assert np.abs(cell.seen() - expected).mean() < 3
    well, text, values = cell.watch.status()
    assert not well and values["light left (times)"] == pytest.approx(0.5, abs=0.03)
    assert "0.5 times as bright as while demonstrating, which is undone" in text
    assert [level for level, text in cell.said if "'left'" in text] == ["warning"]
    cell.watch.fix(True)
    cell.show()
    assert cell.watch.placements["left"].light is light, "a run has moved the robot"
    cell.watch.fix(False)
    cell.show()  # somebody switched the lamp on
    assert cell.watch.status()[0]
    assert (cell.seen() == crop_resize(shot(SCENES["left"]), SPEC.cameras[0])).all()


def test_a_camera_that_was_moved_in_another_light_is_corrected_for_both() -> None:
    cell = Cell()
    cell.show(left=shot(SCENES["left"], move(0.06, -0.04, 4, 1.03)) // 2)
    assert not cell.faults
    expected = crop_resize(shot(SCENES["left"]), SPEC.cameras[0])[4:-4, 4:-4].astype(int)
    assert np.abs(cell.seen()[4:-4, 4:-4] - expected).mean() < 6


def test_what_is_undone_stays_while_a_run_moves_the_robot() -> None:
    cell = Cell()
    cell.show()
    cell.watch.fix(True)
    cell.show(left=shot(SCENES["left"], move(0.06, 0, 0, 1)))
    assert cell.watch.placements["left"].verdict == "in place"
    cell.watch.fix(False)
    cell.show(left=shot(SCENES["left"], move(0.06, 0, 0, 1)))
    assert cell.watch.placements["left"].verdict == "corrected"


def test_each_run_looks_once_more_before_it_moves() -> None:
    cell = Cell()
    cell.show()
    cell.watch.fix(True)
    cell.watch.begin(cell.stamp + 1)
    assert set(cell.faults) == {"camera:left", "camera:right"}
    cell.watch.look()
    assert set(cell.faults) == {"camera:left", "camera:right"}, "that image is of before"
    cell.show(left=shot(SCENES["left"], move(0.3, 0.1, 0, 1)))
    assert list(cell.faults) == ["camera:left"], "it was bumped since"


def test_what_was_found_while_a_run_began_is_not_used() -> None:
    cell = Cell()
    cell.show()
    judge = cell.watch._judge

    def late(*arguments: Any) -> Any:
        cell.watch.begin(cell.stamp + 1)
        return judge(*arguments)

    cell.watch._judge = late
    cell.show(left=shot(SCENES["left"], move(0.06, 0, 0, 1)))
    assert cell.watch.placements["left"].verdict == "in place"
    assert "camera:left" in cell.faults


def test_a_run_begins_once_the_cameras_are_known_and_keeps_what_it_began_with() -> None:
    bench = Bench()
    watch = bench.control.parts.cameras
    moved, fixed, begun = {"camera:front": "moved"}, [], []
    watch.faults = lambda: Faults(soft=dict(moved))
    watch.fix = fixed.append
    watch.begin = begun.append
    bench.control.start()
    assert begun == [bench.now]
    assert bench.run(2).state is State.HOLDING and not bench.sent
    assert bench.control.status().code == "camera:front"
    assert True not in fixed
    moved.clear()
    bench.run()
    assert bench.control.state is State.COMMANDING and fixed[-1]
    bench.missing = {"front": "no image"}
    bench.run()
    assert bench.control.state is State.HOLDING and fixed[-1], "the run goes on"
    bench.control.stop()
    assert not fixed[-1] and len(begun) == 1


@pytest.mark.parametrize("when", ["observe", "predict"])
def test_no_run_begins_with_an_observation_of_before_a_registration(when: str) -> None:
    """Or its first image would be undone otherwise than the next one."""
    bench = Bench()
    cameras, observe = bench.control.parts.cameras, bench.observe
    buffer: Any = bench.control.parts.buffer

    def registered(*_: object) -> Any:
        cameras.version += 1
        return None if when == "predict" else observe(bench.label)

    bench.control.start()
    if when == "predict":
        bench.policy.meanwhile = registered
    else:
        buffer.observe = registered
    for _ in range(2):
        assert bench.run().state is State.HOLDING and not bench.sent
        assert "has just been registered" in bench.control.status().text
        assert not cameras._fixed, "it is looked at again"
    bench.policy.meanwhile = lambda: None
    buffer.observe = observe
    assert bench.run().state is State.COMMANDING and cameras._fixed
    cameras.version += 1
    assert bench.run().state is State.COMMANDING


def test_nor_does_it_warm_up_with_one() -> None:
    bench = Bench(start__warm_up_ticks=2)
    cameras = bench.control.parts.cameras

    def registered() -> None:
        cameras.version += 1

    bench.policy.meanwhile = registered
    bench.control.start()
    for _ in range(3):
        assert bench.run().state is State.HOLDING and bench.policy.steps == 0
    bench.policy.meanwhile = lambda: None
    for steps in (1, 2):
        assert bench.run().state is State.WARMING_UP and bench.policy.steps == steps
    assert bench.run().state is State.COMMANDING


def test_before_a_run_has_moved_the_robot_cameras_are_looked_at_again() -> None:
    bench = Bench()

    def compute() -> None:
        bench.now += 2 * PERIOD  # its command is too late

    bench.policy.meanwhile = compute
    bench.control.start()
    assert bench.run().state is State.HOLDING and not bench.sent
    assert not bench.control.parts.cameras._fixed


def test_after_a_clock_was_set_back_a_camera_is_looked_at() -> None:
    cell = Cell()
    cell.show()
    cell.watch.begin(cell.stamp + 1000 * REGISTER_NS)
    cell.watch.rewind(cell.stamp)
    cell.show()
    assert not cell.faults
