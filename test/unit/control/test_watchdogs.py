# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which observations are not to be trusted: joints that jump, a camera that froze."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.settings import WatchSettings
from sarnn_ros.control.watchdogs import FormatWatch, ObservationWatch
from sarnn_ros.streams.observe import Observation

PERIOD = 100_000_000


class Watch:
    """Two joints and a camera that always shows the same."""

    def __init__(self, *max_step: float) -> None:
        self.label = 0
        self.last = None
        self.watch = ObservationWatch(
            WatchSettings(), {"front": (4, 4)}, [0, 1], ("a", "b"),
            np.array(max_step),
        )  # fmt: skip

    def see(self, *joints: float) -> Faults:
        self.label += PERIOD
        stamps = {"front": self.label, "joint_states": self.label}
        pixels = {"front": np.zeros((4, 4, 3), np.uint8)}
        now = np.array(joints)
        jumps = np.abs(now - (now if self.last is None else self.last))
        self.last = now
        return self.watch.check(Observation(self.label, {}, now, stamps, pixels, jumps=jumps))


@pytest.mark.parametrize("other", [0.0, 0.2])
def test_a_joint_that_may_not_move_hides_no_jump(other):
    for jump in ((0.0, 9.0), (9.0, 0.0)):
        watch = Watch(0.0, other)
        assert not watch.see(0.0, 0.0).hard
        assert not watch.see(0.0, 0.0).hard
        assert list(watch.see(*jump).hard) == ["jump"]


def test_a_joint_that_may_not_move_may_tremble():
    watch = Watch(0.0, 0.2)
    for noise in (0.0, 1e-4, -1e-4) * 10:
        found = watch.see(noise, 0.0)
        assert not found.hard
    watch = Watch(0.0, 0.2)
    for _ in range(20):
        assert not watch.see(0.0, 0.0).soft, "nothing moved"


def test_a_frozen_camera_beside_a_joint_that_may_not_move():
    watch = Watch(0.0, 0.2)
    found = [watch.see(0.0, 0.15 * index) for index in range(15)]
    assert [sorted(one.soft) for one in found[:10]] == [[]] * 10
    assert list(found[-1].soft) == ["frozen:front"]


def test_what_was_on_its_way_at_a_reset_is_not_the_first_image():
    since = 0
    watch = FormatWatch(lambda: since)

    def see(width: int, second: int) -> list[str]:
        stamp = SimpleNamespace(sec=second, nanosec=0)
        header = SimpleNamespace(stamp=stamp)
        watch.see("front", SimpleNamespace(width=width, height=4, encoding="rgb8", header=header))
        return list(watch.changed)

    assert see(4, 1) == []
    assert see(8, 2) == ["image_changed:front"]
    since = 4_000_000_000
    watch.reset()
    assert see(8, 3) == []
    assert see(4, 4) == []
    assert see(8, 5) == ["image_changed:front"]


def test_one_changed_pixel_anywhere_is_no_frozen_camera():
    watch = ObservationWatch(WatchSettings(), {"front": (64, 48)}, [0], ("a",), np.array([0.2]))
    still = np.zeros((48, 64, 3), np.uint8)

    def soft(change: bool) -> list[str]:
        watch.reset()
        found: Faults = Faults()
        for index in range(20):
            pixels = still.copy()
            # None of those that are looked at first.
            pixels[17, 35, 2] = index * change
            stamps = {"front": index * PERIOD}
            joints = np.array([0.15 * index])
            found = watch.check(Observation(index * PERIOD, {}, joints, stamps, {"front": pixels}))
        return list(found.soft)

    assert soft(change=True) == []
    assert soft(change=False) == ["frozen:front"]
