# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera that was moved between two sessions: found, told, and undone; all else left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pytest
from moved_camera import HEIGHT, STILL, WIDTH, move, scene, shot, with_things
from typer.testing import CliRunner

from sarnn_ros.cli.main import app
from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.data.displacements import (
    Displacement,
    find_displacements,
    read_aligned,
    rounded,
)
from sarnn_ros.data.report import examine
from sarnn_ros.data.write_bag import Images, JointStates, write_bag
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.streams.preprocess import crop_resize
from sarnn_ros.streams.registration import apart

PICTURE = scene()
KICKED = move(0.05, 0.01, 2, 1)
Image = np.ndarray
Shots = Callable[[np.random.Generator], list[Image]]


def shots(random: np.random.Generator, place: np.ndarray = STILL, **more: Any) -> list[Image]:
    """First, middle and last image: two things that lie elsewhere each time, and an arm."""
    return [
        shot(with_arm(with_things(PICTURE, random, 2), moment, **more), place)
        for moment in range(3)
    ]


def with_arm(picture: Image, moment: int, home: tuple[int, int] = (150, 90)) -> Image:
    tips = (home, (190, 150), (120, 140))
    return cv2.line(picture.copy(), (160, 20), tips[moment], (225, 225, 230), 14)


def episodes_of(sessions: Sequence[tuple[int, Shots]]) -> list[Episode]:
    random = np.random.default_rng(3)
    made = [shoot(random) for count, shoot in sessions for _ in range(count)]
    nothing, numbers = np.zeros(0, np.int64), np.zeros((0, 2))
    sizes = {"front": (WIDTH, HEIGHT)}
    return [
        Episode(f"demo_{row}", nothing, {}, numbers, numbers, sizes, previews={"front": images})
        for row, images in enumerate(made)
    ]


def find(sessions: Sequence[tuple[int, Shots]]) -> list[Displacement]:
    return find_displacements("front", episodes_of(sessions))


@pytest.mark.parametrize("place", [KICKED, move(-0.08, 0.06, -4, 0.96), move(0.02, 0, 0, 1)])
def test_a_session_in_which_the_camera_was_moved_is_found(place: np.ndarray):
    (found,) = find([(8, shots), (5, partial(shots, place=place)), (3, shots)])
    assert found.text == "demo_8 to demo_12" and found.others == 11
    assert found.episodes == tuple(f"demo_{row}" for row in range(8, 13))
    assert apart(found.found.matrix, place, (WIDTH, HEIGHT)) < 0.003


def test_rounding_moves_no_pixel_of_a_large_image():
    found = np.array([[1.02, 0.01, -7.0], [-0.02, 0.97, 4.0], [1.2345e-5, -2.3456e-5, 1.0]])
    assert apart(rounded(found), found, (3840, 2160)) < 1e-5


@pytest.mark.parametrize(
    ("counts", "text"),
    [((6, 6), "demo_6 to demo_11"), ((4, 5), "demo_0 to demo_3"), ((5, 2), "demo_5 to demo_6")],
)
def test_the_largest_group_is_in_its_place(counts: tuple[int, int], text: str):
    (found,) = find([(counts[0], shots), (counts[1], partial(shots, place=KICKED))])
    assert found.text == text


def test_no_place_needs_more_than_half_of_the_episodes():
    places = (STILL, KICKED, move(-0.06, 0, 0, 1))
    counts = (6, 4, 4)
    sessions = [
        (count, partial(shots, place=place)) for count, place in zip(counts, places, strict=True)
    ]
    found = {one.text: one for one in find(sessions)}
    assert set(found) == {"demo_6 to demo_9", "demo_10 to demo_13"}
    for text, place in zip(found, places[1:] if "demo_6" in next(iter(found)) else places[:0:-1]):
        assert apart(found[text].found.matrix, place, (WIDTH, HEIGHT)) < 0.005


def lit(random: np.random.Generator) -> list[Image]:
    return [(image * (0.7, 0.8, 0.6)).astype(np.uint8) for image in shots(random)]


def another_object(random: np.random.Generator) -> list[Image]:
    images = shots(random)
    for image in images:
        cv2.circle(image, (60, 80), 16, (250, 240, 20), -1)
    return images


def moves_with_the_arm(random: np.random.Generator) -> list[Image]:
    """Stood elsewhere when the episode began, and where it always stands in its middle."""
    return [shots(random, KICKED)[0], *shots(random)[1:]]


@pytest.mark.parametrize(
    "session",
    [shots, lit, another_object, partial(shots, home=(210, 130)), moves_with_the_arm],
    ids=["the same", "light", "object", "arm", "moves with the arm"],
)
def test_whatever_else_differs_is_no_moved_camera(session: Shots):
    assert find([(8, shots), (5, session)]) == []


def test_one_episode_alone_is_left_as_it_is():
    assert find([(6, shots), (1, partial(shots, place=KICKED)), (5, shots)]) == []


# -- from bags on --------------------------------------------------------------------------------

TICKS = 6
SPEC = make.spec(width=32, height=24, crop={"x": 10, "y": 8, "width": 120, "height": 90})


def record(folder: Path, displaced: range, place: np.ndarray = KICKED, count: int = 9) -> Path:
    random = np.random.default_rng(5)
    for row in range(count):
        first, middle, last = shots(random, place if row in displaced else STILL)
        frames = np.stack([first, first, middle, middle, last, last])
        states = np.linspace([0.0, 0.5], random.uniform(size=2), TICKS)
        topics = {
            "/image_raw": Images(frames, rate=10.0),
            "/joint_states": JointStates(make.NAMES, states, rate=10.0),
        }
        write_bag(folder / f"demo_{row}", topics)
    return folder


class Loading:
    """`load_dataset`, which notes how often it is called."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self._load = partial(load_dataset, [folder], cache=cache)
        self.given: list[dict[str, Any]] = []

    def __call__(self, spec: Any, **given: Any) -> Dataset:
        self.given.append(given)
        return self._load(spec, **given)


@pytest.mark.parametrize("cached", [False, True])
def test_it_is_undone_before_crop_and_resize(cached: bool, tmp_path: Path):
    folder = record(tmp_path / "bags", range(5, 8))
    cache = tmp_path / "cache" if cached else None
    plain = load_dataset([folder], SPEC, cache=cache)
    aligned = read_aligned(Loading(folder, cache), SPEC)
    (found,) = aligned.displacements
    assert found.undone and found.text == "demo_5 to demo_7"
    for before, after in zip(plain.episodes, aligned.episodes, strict=True):
        if before.name not in found.episodes:
            assert before.digest == after.digest
            continue
        source = before.previews["front"][0]  # which is not shrunk
        wanted = crop_resize(source, SPEC.cameras[0], found.found.matrix)
        assert np.array_equal(after.images["front"][0], wanted)
        assert not np.array_equal(before.images["front"][0], wanted)
    assert find_displacements("front", aligned.episodes) == [], "nothing is left of it"
    again = read_aligned(Loading(folder, cache), SPEC)
    assert again.fingerprint == aligned.fingerprint != plain.fingerprint


def test_a_clean_set_is_read_once_and_stays_as_it_is(tmp_path: Path):
    load = Loading(record(tmp_path / "bags", range(0)))
    dataset = read_aligned(load, SPEC)
    assert load.given == [{}] and dataset.displacements == ()


def test_one_that_moves_with_the_robot_is_left_alone(tmp_path: Path):
    folder = record(tmp_path / "bags", range(5, 8))
    cameras = tuple(one.model_copy(update={"moves": True}) for one in SPEC.cameras)
    load = Loading(folder)
    assert read_aligned(load, SPEC.model_copy(update={"cameras": cameras})).displacements == ()
    assert load.given == [{}]


def test_not_aligned_it_is_told(tmp_path: Path):
    load = Loading(record(tmp_path / "bags", range(5, 8)))
    dataset = read_aligned(load, SPEC, align=False)
    assert load.given == [{}]
    (problem,) = [one for one in examine(dataset).problems if "was moved" in one.found]
    assert problem.severity == "warning" and "align_cameras: true" in problem.remedy


def test_what_is_too_far_off_is_left_and_warned_of(tmp_path: Path):
    load = Loading(record(tmp_path / "bags", range(6, 9), move(0.24, 0.1, 0, 1)))
    dataset = read_aligned(load, SPEC)
    (found,) = dataset.displacements
    assert load.given == [{}] and found.too_large and not found.undone
    (problem,) = [one for one in examine(dataset).problems if "was moved" in one.found]
    assert problem.severity == "warning" and "more than 25%" in problem.remedy


def test_inspect_tells_it_and_shows_it(tmp_path: Path):
    folder = record(tmp_path / "bags", range(5, 8))
    spec, page = tmp_path / "spec.yaml", tmp_path / "page.html"
    spec.write_text(SPEC.model_dump_json())
    command = ["inspect", str(folder), "--spec", str(spec), "--html", str(page), "--no-cache"]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    told = (
        "warning: camera 'front', demo_5 to demo_7: the picture lies 8 px (5.0% of the width) too"
    )
    assert told in " ".join(said.output.split())
    shown = page.read_text()
    assert "Camera 'front' was moved" in shown and "both at once" in shown
    assert "in demo_5 to demo_7" in shown and "in 6 episodes" in shown


def test_a_recording_with_several_episodes(tmp_path: Path):
    """Each by its own name: the tripod may be kicked in the middle of a bag."""
    (only,) = load_dataset([record(tmp_path / "bags", range(0), count=1)], SPEC).episodes
    times = [[0.0, 0.25], [0.26, 0.55]]
    spec = SPEC.model_copy(update={"episodes": make.spec(episodes={"times": times}).episodes})
    plain = load_dataset([tmp_path / "bags"], spec)
    first, second = plain.episodes
    assert second.name == f"{only.name}#1"
    displaced = replace(
        find([(6, shots), (3, partial(shots, place=KICKED))])[0],
        episodes=(second.name,),
        undone=True,
    )
    aligned = load_dataset([tmp_path / "bags"], spec, displacements=[displaced])
    assert aligned.episodes[0].digest == first.digest
    assert aligned.episodes[1].digest != second.digest
