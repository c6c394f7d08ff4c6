# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which observations are not to be trusted: joints that jump, a camera that froze."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.settings import WatchSettings
from sarnn_ros.control.watchdogs import EffortWatch, FormatWatch, ObservationWatch
from sarnn_ros.streams.observe import Observation

PERIOD = 100_000_000


class Watch:
    """Two joints and a camera that always shows the same."""

    def __init__(self, *max_step: float) -> None:
        self.label = 0
        self.last = None
        self.watch = ObservationWatch(
            WatchSettings(), {"front": (4, 4)}, [0, 1], ("a", "b"),
            lambda: np.array(max_step),
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


class Efforts:
    """A watch of three joints, of which the second is not known from training."""

    def __init__(self, spans=((-2.0, 2.0), None, (0.0, 1.0)), **settings) -> None:
        self.settings = WatchSettings(**({"effort": 1.0} | settings))
        self.said: list[str] = []
        self.watch = EffortWatch(spans, ("a", "b", "c"), lambda: self.settings, self.said.append)

    def see(self, *effort: float) -> str:
        """The fault's text, or nothing."""
        now = np.array(effort) if effort else None
        self.watch.look_for(now)
        found = self.watch.check(now)
        assert set(found) <= {"effort"}
        return found.get("effort", "")


def test_an_effort_beyond_training_latches_after_so_many_ticks():
    """By half of the trained range to each side."""
    for beyond, fine in ((4.1, 3.9), (-4.1, -3.9)):
        efforts = Efforts(effort=0.5)
        for effort in (fine, beyond, fine, beyond):
            assert not efforts.see(effort, 99.0, 0.5)
        assert efforts.see(beyond, 99.0, 0.5) == (
            f"a has an effort of {beyond:g}, for 2 ticks beyond what was trained (-2 to 2, in its "
            "driver's unit; watch.effort allows 2 more): has the arm touched something?"
        )
        efforts.watch.reset()
        assert not efforts.see(beyond, 99.0, 0.5)
    assert not efforts.said


def test_an_effort_that_is_not_told_neither_counts_nor_ends_a_count():
    efforts = Efforts()
    assert not efforts.see(0.0, 0.0, 9.0)
    for unknown in ((), (0.0, 0.0, np.nan)):
        for _ in range(5):
            assert not efforts.see(*unknown)
    assert efforts.see(0.0, 0.0, 9.0).startswith("c has an effort of 9,")


def test_the_margin_can_be_chosen():
    for margin, effort, found in (
        (0.1, 2.3, False), (0.1, 2.5, True), (1.0, 5.9, False), (1.0, 6.1, True)
    ):  # fmt: skip
        efforts = Efforts(effort=margin)
        assert not efforts.see(effort, 0.0, 0.0)
        assert bool(efforts.see(effort, 0.0, 0.0)) == found
    efforts.settings = WatchSettings(effort=0.0)  # live
    assert not efforts.see(99.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("first", "missing"),
    [((), "a, c"), ((0.0, 0.0, np.nan), "c"), ((0.0, np.nan, 0.0), None)],
)
def test_joints_whose_driver_tells_no_effort_are_said_once(first, missing):
    efforts = Efforts()
    for _ in range(2):
        efforts.see(*first)
        efforts.see()
    assert len(efforts.said) == (missing is not None)
    if missing is not None:
        assert efforts.said[0].startswith(f"the joint states tell no effort of {missing}, in the")
        assert "watch.effort:=0.0" in efforts.said[0]


def test_a_policy_without_efforts_is_told_only_to_those_who_asked():
    assert not WatchSettings().effort
    efforts = Efforts(spans=None, effort=0.0)
    assert not efforts.see(1e9, 1e9, 1e9) and not efforts.see() and not efforts.said
    efforts = Efforts(spans=None, effort=0.2)
    assert not efforts.see(1e9, 1e9, 1e9)
    (said,) = efforts.said
    assert "the policy knows no efforts" in said and "train again" in said


def test_a_joint_that_may_not_move_may_tremble():
    watch = Watch(0.0, 0.2)
    for noise in (0.0, 1e-4, -1e-4) * 10:
        found = watch.see(noise, 0.0)
        assert not found.hard and not found.soft, "noise adds up to no movement"
    watch = Watch(0.01, 0.2)
    random = np.random.default_rng(0)
    for _ in range(1000):
        assert not watch.see(5e-4 * random.standard_normal(), 0.0).soft, "nor does a driver's"
    watch = Watch(0.0, 0.2)
    for _ in range(20):
        assert not watch.see(0.0, 0.0).soft, "nothing moved"


def test_a_frozen_camera_beside_a_joint_that_may_not_move():
    watch = Watch(0.0, 0.2)
    found = [watch.see(0.0, 0.025 * index) for index in range(15)]
    assert [sorted(one.soft) for one in found[:10]] == [[]] * 10
    assert all(list(one.soft) == ["frozen:front"] for one in found[10:]), "after a step's way"
    watch = Watch(0.0, 0.2)
    assert not any(watch.see(0.0, 0.01 * index).soft for index in range(20))


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
    watch = ObservationWatch(
        WatchSettings(), {"front": (64, 48)}, [0], ("a",), lambda: np.array([0.2])
    )
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


def test_images_of_an_unknown_size_are_taken():
    watch = ObservationWatch(WatchSettings(), {}, [0], ("a",), lambda: np.array([0.2]))
    pixels = {"front": np.zeros((480, 640, 3), np.uint8)}
    seen = Observation(PERIOD, {}, np.zeros(1), {"front": PERIOD}, pixels)
    assert not watch.check(seen).soft
