# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is drawn lies where it belongs; looked at by colour and place."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.viz.overlay import (
    SAME_THING_DISTANCE,
    SAME_TICKS,
    beside,
    draw_marks,
    draw_overlay,
    point_colors,
    same_things,
    with_lines,
    with_status,
)

GREEN, AMBER, RED, WHITE = (90, 200, 90), (255, 180, 40), (255, 80, 70), (235, 235, 235)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def count(image: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((image == np.array(color)).all(axis=-1).sum())


@pytest.mark.parametrize(("height", "width"), [(480, 640), (96, 128), (300, 90)])
def test_points_of_an_image_that_is_not_square(height, width):
    points = np.array([[0.2 * width, 0.7 * height], [0.8 * width, 0.1 * height]])
    drawn = draw_overlay(grey(height, width), points, points[:, ::-1] * 0)
    factor = drawn.shape[0] // height
    assert drawn.shape == (factor * height, factor * width, 3)
    for (x, y), color in zip(points, point_colors(2), strict=True):
        center = drawn[round((y + 0.5) * factor - 0.5), round((x + 0.5) * factor - 0.5)]
        assert tuple(center) == color


def test_a_trail_leads_to_the_point():
    trail = np.array([[[10.0, 128.0]], [[100.0, 128.0]], [[200.0, 128.0]]])
    drawn = draw_overlay(grey(256, 256), trail[-1], trails=trail)
    changed = (drawn[128, :, :] != 128).any(axis=-1)
    assert changed[12:200].all() and not changed[:8].any()


def tracks(*last: tuple[float, float], ticks: int = SAME_TICKS) -> np.ndarray:
    """Points that have been where they are."""
    return np.tile(np.array(last, float), (ticks, 1, 1))


def test_points_that_follow_the_same_thing_are_one_mark():
    near = SAME_THING_DISTANCE * 256
    three = [(60.0, 60.0), (60.0 + 0.9 * near, 60.0), (60.0 + 1.8 * near, 60.0)]
    groups = same_things(tracks(*three, (200.0, 60.0)), near)
    assert [group.tolist() for group in groups] == [[0, 1, 2], [3]], "through the one between"
    # Who is there now, and was elsewhere a moment ago, follows something else.
    moved = tracks(*three)
    moved[0, 2] = (200.0, 200.0)
    assert [group.tolist() for group in same_things(moved, near)] == [[0, 1], [2]]
    # A thing that moves is one thing.
    moving = tracks(*three) + 40.0 * np.arange(SAME_TICKS)[:, None, None]
    assert len(same_things(moving, near)) == 1
    assert same_things(np.zeros((1, 0, 2)), near) == []


def test_a_mark_is_hollow_and_thicker_for_more_points():
    image = grey(256, 256)
    many = draw_marks(image, tracks(*[(100.0, 100.0)] * 12), 0.5, 1.0)
    one = draw_marks(image, tracks((100.0, 100.0)), 0.5, 1.0)
    for drawn in (many, one):
        assert (drawn[99:102, 99:102] == 128).all(), "one sees what is below"
    assert count(many, GREEN) > 2 * count(one, GREEN) > 0
    # A point that left long ago leaves no trace.
    path = np.concatenate([tracks((30.0, 200.0)), tracks((100.0, 100.0))])
    np.testing.assert_array_equal(draw_marks(image, path, 0.5, 1.0), one)


@pytest.mark.parametrize(
    ("health", "warn_above", "color"),
    [(0.9, 1.0, GREEN), (1.1, 1.0, AMBER), (9.0, 0.0, GREEN), (None, 1.0, WHITE)],
)
def test_a_mark_has_the_colour_of_the_health(health, warn_above, color):
    drawn = draw_marks(grey(256, 256), tracks(*[(100.0, 100.0)] * 12), health, warn_above)
    found = [one for one in (GREEN, AMBER, RED, WHITE) if count(drawn, one) > 10]
    assert found == [color]


@pytest.mark.parametrize(("height", "width"), [(480, 640), (96, 128), (300, 90)])
def test_marks_and_the_crop_of_an_image_that_is_not_square(height, width):
    place = (0.3 * width, 0.7 * height)
    right, bottom = width - 30, height - 20
    frame = np.array([(10, 20), (right, 20), (right, bottom), (10, bottom)]) - 0.5
    drawn = draw_marks(grey(height, width), tracks(place), 0.5, 1.0, frame=frame)
    factor = drawn.shape[0] // height
    rows, columns = np.nonzero((drawn == GREEN).all(axis=-1))
    middle = (place[0] + 0.5) * factor - 0.5, (place[1] + 0.5) * factor - 0.5
    assert (columns.mean(), rows.mean()) == pytest.approx(middle, abs=1.0)
    edge = np.nonzero((drawn == WHITE).all(axis=-1))
    assert min(edge[1]) == pytest.approx(10 * factor, abs=factor)
    assert max(edge[1]) == pytest.approx((width - 30) * factor, abs=factor + 1)
    assert min(edge[0]) == pytest.approx(20 * factor, abs=factor)
    assert max(edge[0]) == pytest.approx((height - 20) * factor, abs=factor + 1)


@pytest.mark.parametrize("size", [(480, 640), (256, 256), (256, 900)])
def test_the_strip_leaves_the_image_alone(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    drawn = with_status(image, "commanding", "fine", 0.5, 1.0)
    assert drawn.shape[1] == size[1] and drawn.shape[0] > size[0]
    np.testing.assert_array_equal(drawn[: size[0]], image)


def bar(health: float | None, warn_above: float = 1.0) -> tuple[np.ndarray, int]:
    drawn = with_status(grey(480, 640), "", "fine", health, warn_above)[480:]
    return drawn, count(drawn, GREEN) + count(drawn, AMBER)


def test_the_bar_is_as_long_as_the_score_and_turns_amber():
    lengths = [bar(score)[1] for score in (0.25, 0.5, 0.9)]
    assert lengths[1] == pytest.approx(2 * lengths[0], rel=0.05)
    assert lengths[2] > lengths[1]
    assert not count(bar(0.9)[0], AMBER) and not count(bar(1.1)[0], GREEN)
    assert bar(2.0)[1] == bar(99.0)[1] > bar(1.5)[1]
    assert bar(None)[1] == 0, "unknown"
    # The threshold is in the middle, wherever it is; without one nothing turns amber.
    assert bar(2.0, 4.0)[1] == pytest.approx(bar(0.5, 1.0)[1], rel=0.05)
    assert count(bar(1.9, 0.0)[0], GREEN)


@pytest.mark.parametrize(
    ("level", "color"), [("fine", GREEN), ("waiting", AMBER), ("faulted", RED)]
)
def test_the_state_is_written_in_its_colour(level, color):
    silent = with_status(grey(480, 640), "", level, None, 1.0)
    written = with_status(grey(480, 640), "holding: late", level, None, 1.0)
    assert not count(silent, color) and count(written, color) > 50
    long = with_status(
        grey(256, 256), "holding: no_observation:joint_states" * 9, level, None, 1.0
    )
    assert long.shape[1] == 256


def test_the_state_is_amber_where_the_health_is_not_fine():
    for level, health, color in (
        ("fine", 0.5, GREEN), ("fine", 1.5, AMBER), ("faulted", 0.5, RED), ("fine", None, GREEN),
    ):  # fmt: skip
        text = with_status(grey(480, 640), "commanding", level, health, 1.0)[480:520]
        assert count(text, color) > 50, (level, health)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (640, 480)])
def test_a_long_line_is_written_so_that_it_ends_in_the_picture(width, height):
    text = "image 12 s old: holding (dry run): no_observation:joint_states"
    strip = with_status(grey(height, width), text, "waiting", None, 1.0)[height:]
    amber = strip[..., 0].astype(int) - strip[..., 2] > 40  # on a grey ground
    columns = np.flatnonzero(amber.any(axis=0))
    assert width / 2 < columns.max() < width - 4
    other = with_status(grey(height, width), text + "!", "waiting", None, 1.0)[height:]
    assert (strip != other).any(), "its end is there"


def test_lines_over_a_picture_end_in_it_and_other_letters_are_one_mark_each():
    long = "roll it counter-clockwise by 3.2 deg"
    drawn = with_lines(grey(256, 256), (long, "kürzer"))
    columns = np.flatnonzero((drawn[..., 0].astype(int) - drawn[..., 2] > 40).any(axis=0))
    assert 128 < columns.max() < 252
    np.testing.assert_array_equal(drawn, with_lines(grey(256, 256), (long, "k?rzer")))


@pytest.mark.parametrize("width", [256, 384, 640, 1280])
def test_what_is_written_of_the_health_stands_beside_its_bar(width):
    for health in (0.25, 1.5, 12.0, 1e9):
        drawn = with_status(grey(48, width), "", "fine", health, 1.0)[48:]
        empty = with_status(grey(48, width), "", "fine", None, 1.0)[48:]
        frame = (empty == (110, 110, 110)).all(axis=-1)
        left = np.flatnonzero(frame[frame.sum(axis=1).argmax()]).min()
        written = drawn[:, left - 2 : left].max(axis=-1)
        assert (written <= 110).all(), "a gap"


def test_two_pictures_side_by_side():
    left, right = grey(256, 300), grey(256, 300) + np.uint8(50)
    joined = beside(left, right, ("seen", "expected"))
    assert joined.shape[1] == 604 and joined.shape[0] > 256
    assert (joined[:256, :300] == 128).all() and (joined[:256, 304:] == 178).all()
    captions = joined[256:]
    assert captions[:, :300].max() > 200 and captions[:, 304:].max() > 200


def test_the_policy_is_named_where_there_is_room():
    plain, named = (with_status(grey(48, 640), "commanding", "fine", None, 1.0, name)
                    for name in ("", "grasp"))  # fmt: skip
    changed = (plain != named).any(axis=2)
    assert changed.any() and not changed[:, :320].any(), "at the right"
    long = "holding: no_observation:front, and so on"
    plain, named = (with_status(grey(48, 256), long, "fine", None, 1.0, name)
                    for name in ("", "grasp"))  # fmt: skip
    np.testing.assert_array_equal(plain, named)
