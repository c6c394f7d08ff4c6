# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which image a command came from, and which ticks were missed: on a made-up node, whose answers
are known."""

from __future__ import annotations

import numpy as np
import pytest

PERIOD = 33_333_333
CAMERA = 33_444_816  # 29.9 Hz
MS = 1_000_000


class Node:
    """Ten seconds at 30 Hz on the grid. Images take up to 12 ms to arrive, so that many a one
    stamped before a tick is not there at it.

    :param viewer: the points follow the command by at most so long, ns; of a tick that the viewer
        had no time for there are none.
    :param silent: share of the ticks that command nothing, but have points.
    """

    def __init__(self, seed: int, *, viewer: int, silent: float = 0.0) -> None:
        random = np.random.default_rng(seed)
        self.images = np.arange(300) * CAMERA + int(random.integers(0, PERIOD))
        arrivals = self.images + random.integers(1 * MS, 12 * MS, len(self.images))
        ticks = np.arange(5, 295) * PERIOD
        self.sent: list[int] = []
        self.truth: list[int] = []
        self.points: list[tuple[int, int]] = []
        busy = 0
        for tick in ticks.tolist():
            image = int(self.images[arrivals <= tick].max())
            done = tick + int(random.integers(2 * MS, 8 * MS))
            if not self.sent or random.random() >= silent:
                self.sent.append(done)
                self.truth.append(image)
            if done < busy:
                continue
            busy = done + int(random.integers(MS // 2, viewer))
            self.points += [(busy, image), (busy + MS // 10, image)]


@pytest.mark.parametrize("seed", range(5))
def test_the_image_of_a_command_is_the_one_that_was_there(script, seed):
    node = Node(seed, viewer=5 * MS)
    found, late = script("end_to_end").image_of_each(node.sent, node.points, PERIOD)
    assert found.tolist() == node.truth
    assert not late.any()
    # Not the newest by the stamps, which may have arrived after the tick.
    ticks = np.array(node.sent) // PERIOD * PERIOD
    by_stamp = node.images[np.searchsorted(node.images, ticks, side="right") - 1]
    assert (by_stamp > node.truth).any()


@pytest.mark.parametrize("seed", range(5))
def test_points_that_come_late_make_no_command_look_faster(script, seed):
    node = Node(seed, viewer=60 * MS)
    begun = np.array(node.sent) > node.points[0][0]  # before it no image is known
    sent, truth = np.array(node.sent)[begun], np.array(node.truth)[begun]
    found, late = script("end_to_end").image_of_each(sent, node.points, PERIOD)
    assert (found <= truth).all()
    assert late.any()
    node = Node(seed, viewer=5 * MS, silent=0.1)
    found, _ = script("end_to_end").image_of_each(node.sent, node.points, PERIOD)
    assert (found == node.truth).mean() > 0.98


def test_a_command_without_any_image_is_refused(script):
    with pytest.raises(ValueError, match="image is not known"):
        script("end_to_end").image_of_each([10, 20], [(25, 5)], 10)


@pytest.mark.parametrize("trigger", ["grid", "image", None])
def test_ticks_are_due_until_the_end_whatever_the_node_did(script, trigger):
    published = list(range(0, 20 * 10**9, CAMERA))
    first, begin, end = 3 * CAMERA, 2 * 10**9, 12 * 10**9
    due = script("end_to_end").ticks_due
    assert abs(due(trigger, 30.0, first, published, begin, end) - 299) <= 1
    assert abs(due(trigger, 10.0, first, published, begin, end) - 100) <= 1


def test_ticks_on_the_grid_are_counted_exactly(script):
    due = script("end_to_end").ticks_due
    period = 10**8
    for begin, end in ((0, period), (1, period), (1, period + 1), (period, 7 * period)):
        ticks = [tick for tick in range(0, 9 * period, period) if begin <= tick < end]
        assert due("grid", 10.0, 0, [], begin, end) == len(ticks)
