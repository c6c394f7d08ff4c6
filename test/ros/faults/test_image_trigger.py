# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A real node whose ticks are the camera's images: the catalogue's faults of images and stamps
lead to the same as on the grid, and the camera gives the beat."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from arms import EFFECTS
from ros_testing import SECOND, small_spec
from stream_faults import FAULTS as CATALOGUE
from stream_faults import stamped

#: Those in which the ticks themselves are at stake; the others take the same path as on the grid.
NAMES = (
    "images stop",
    "the image is resized",
    "the image is truncated",
    "image stamps of zero",
    "image stamps from the past",
    "image stamps from the future",
    "image stamps 0.5 s ahead",
    "image stamps stand still",
    "images late by 0.4 s",
    "images in bursts of 0.5 s",
    "every image twice",
    "images out of order",
    "joint stamps from the future",
    "all sensors stop at once",
)
FAULTS = [fault for fault in CATALOGUE if fault.name in NAMES]


@pytest.fixture(scope="module")
def arm(make_policy, make_arms):
    return make_arms(make_policy(spec=small_spec(tick="image")), ["joint_state"])["joint_state"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_the_catalogue_holds_where_images_are_ticks(fault, arm, wait):
    arm.swing(wait)
    fault.begin(arm)
    EFFECTS[fault.effect](arm, fault, wait)
    arm.promises.check(arm.robot)


class OneOf:
    """Publishes every n-th image."""

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, 0

    def __call__(self, message: Any) -> Sequence[Any]:
        self._seen += 1
        return () if self._seen % self._count else (message,)


def doubled(message: Any) -> Sequence[Any]:
    return (stamped(message, -0.015), message)


def twins(message: Any) -> Sequence[Any]:
    """Two images of one stamp."""
    other = copy.copy(message)
    other.data = message.data[::-1]
    return (message, other)


@pytest.mark.parametrize(
    ("camera", "period"),
    [(doubled, 0.105), (twins, 0.09), (OneOf(2), 0.12), (OneOf(6), 0.18)],
    ids=["double_rate", "two_at_one_stamp", "half_rate", "slower_than_the_policy"],
)
def test_the_camera_gives_the_beat(camera, period, arm, wait):
    """The robot's camera gives an image every 30 ms, the policy asks for one every 100 ms."""
    arm.swing(wait)
    with arm.robot.record:
        arm.robot.mutate_image = camera
        arm.robot.harmless = True
    seen = len(arm.robot.commands)

    def beat() -> float:
        """Median of the last 15 periods, s."""
        times = [command.at_ns for command in arm.robot.commands[seen:]][-16:]
        return float(np.median(np.diff(times))) / SECOND if len(times) == 16 else 0.0

    # On a busy machine not the first 15: it must come to it, whoever else needs the processor.
    wait(
        lambda: beat() == pytest.approx(period, abs=0.02) and not arm.active_faults,
        lambda: f"{beat():.3f} s, {arm.active_faults}\n{arm.process.output}",
    )
    arm.promises.check(arm.robot)
