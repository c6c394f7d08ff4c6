# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Limits by a robot description that comes late, twice, or changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sarnn_ros.control.description import CODE, DescriptionWatch
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.resolve import guard_limits
from sarnn_ros.control.settings import build_settings
from sarnn_ros.control.urdf import joint_limits
from sarnn_ros.errors import ConfigError
from sarnn_ros.spec import parse_spec

SPEC = parse_spec(
    {"cameras": [{"name": "front", "width": 8, "height": 8}], "joints": [{"names": ["a", "b"]}]}
)
ENVELOPE = SimpleNamespace(
    position_min=(-1.0, -1.0),
    position_max=(1.0, 1.0),
    max_step=(0.1, 0.1),
    max_change=(0.3, 0.3),
    first_lead=None,
    second_difference=(0.1, 0.1),
)


def urdf(upper: float, name: str = "a") -> str:
    limit = f'<limit lower="-0.5" upper="{upper}" velocity="2" effort="1"/>'
    return f'<robot name="r"><joint name="{name}" type="revolute">{limit}</joint></robot>'


def of_urdf(text: str) -> dict[str, Any]:
    return joint_limits(text, SPEC.command_names, where="")


class Node:
    """A guard whose limits wait for a description."""

    def __init__(self) -> None:
        self.own: dict[str, Any] = {}
        self.guard = JointLimiter(self.limits(None), SPEC.command_names)
        self.watch = DescriptionWatch("/robot_description", self.limits, of_urdf, self.guard)

    def limits(self, text: str | None) -> JointLimits:
        settings = build_settings({"robot_description_topic": "robot_description", **self.own})
        return guard_limits(settings, SPEC, ENVELOPE, text)

    def set(self, **own: list[float]) -> None:
        """As the user does, by parameters `guard.*`."""
        self.own = {f"guard.{name}": value for name, value in own.items()}
        self.guard.limits = self.limits(self.watch.text)

    @property
    def highest(self) -> list[float]:
        return list(self.guard.limits.position_max)

    @property
    def faults(self) -> tuple[str, str]:
        """(soft, hard)"""
        found = self.watch.faults()
        return found.soft.get(CODE, ""), found.hard.get(CODE, "")


@pytest.fixture
def node() -> Node:
    return Node()


def test_nothing_is_commanded_until_one_has_come(node):
    soft, hard = node.faults
    assert "has arrived on '/robot_description'" in soft and not hard
    node.watch.accept()
    assert node.faults[0] == soft, "a reset does not replace it"
    node.watch.take(urdf(0.5))
    assert node.faults == ("", "")
    # Narrower than training, with its margin, for the joint it describes.
    np.testing.assert_allclose(node.highest, (0.5, 1.2))
    np.testing.assert_allclose(node.guard.limits.max_velocity, (2.0, 6.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a URDF"),
        ("no xml", "not a URDF"),
        (urdf(0.5, name="elbow"), "describes none of the commanded joints a, b"),
        (urdf(-9.0), "no position is left"),
    ],
)
def test_one_that_cannot_be_used_is_as_good_as_none(node, text, words):
    node.watch.take(text)
    assert words in node.faults[0] and "robot_description" in node.faults[0]
    node.watch.take(urdf(0.5))
    assert node.faults == ("", "")


def test_the_same_limits_again_are_no_news(node):
    node.watch.take(urdf(0.5))
    node.watch.take(urdf(0.5).replace("<robot", "<!-- edited --><robot"))
    assert node.faults == ("", "")


def test_other_limits_latch_and_count_after_a_reset(node):
    node.watch.take(urdf(0.5))
    for upper in (0.7, 0.8):
        node.watch.take(urdf(upper))
        assert not node.faults[0] and "changed the limits" in node.faults[1]
        assert node.highest[0] == 0.5
    node.watch.accept()
    assert node.faults == ("", "")
    assert node.highest[0] == 0.8


def test_other_limits_latch_where_narrower_ones_hide_the_difference(node):
    node.watch.take(urdf(1.5))
    node.set(position_max=[0.4, 1.0])
    node.watch.take(urdf(0.8))
    assert "changed the limits" in node.faults[1]
    node.watch.accept()
    node.set(position_max=[9.0, 1.0])
    assert node.highest[0] == 0.8, "the one that was accepted counts"


def test_a_broken_one_later_latches_and_changes_nothing(node):
    node.watch.take(urdf(0.5))
    node.watch.take("no xml")
    assert "not a URDF" in node.faults[1] and "as they were before" in node.faults[1]
    node.watch.accept()
    assert node.faults == ("", "")
    assert node.highest[0] == 0.5


@pytest.mark.parametrize("last", [urdf(0.5), "no xml"])
def test_a_reset_takes_no_limits_that_are_published_no_longer(node, last):
    node.watch.take(urdf(0.5))
    node.watch.take(urdf(0.9))
    node.watch.take(last)
    assert "~/reset goes on with the limits as they were before" in node.faults[1]
    node.watch.accept()
    assert node.faults == ("", "")
    assert node.highest[0] == 0.5


@pytest.mark.parametrize(
    ("description", "words"),
    [(None, None), (urdf(0.5), "topic '/description': no limits for b:")],
)
def test_joints_that_the_description_does_not_limit_are_told(description, words):
    settings = build_settings({"robot_description_topic": "/description"})
    told: list[str] = []
    guard_limits(settings, SPEC, ENVELOPE, description, warn=told.append)
    assert len(told) == (words is not None)
    assert not told or words in told[0]


def test_what_the_user_sets_between_a_change_and_its_reset_holds(node):
    node.watch.take(urdf(0.4))
    node.watch.take(urdf(0.3))
    node.set(position_max=[0.2, 1.0], max_velocity=[0.1])
    node.watch.accept()
    assert node.faults == ("", "") and node.watch.text == urdf(0.3)
    assert node.highest == [0.2, 1.0] and node.guard.limits.max_velocity.tolist() == [0.1, 0.1]
    node.set()
    assert node.highest[0] == 0.3, "of the description that was accepted"


def test_a_change_that_leaves_no_room_by_what_the_user_set_stays_a_fault(node):
    node.watch.take(urdf(0.4))
    node.watch.take(urdf(-0.1))
    node.set(position_min=[0.0, -1.0])
    node.watch.accept()
    assert "no position is left" in node.faults[1] and node.highest[0] == 0.4
    node.set()
    node.watch.accept()
    assert node.faults == ("", "") and node.highest[0] == -0.1


@pytest.mark.parametrize(
    "values", [{"guard.latch_window": 4}, {"guard.latch_after": 26}, {"guard.latch_after": 25}]
)
def test_refusals_that_could_never_latch_are_an_error(values):
    settings = build_settings(values)
    if settings.guard.latch_after == settings.guard.latch_window:
        guard_limits(settings, SPEC, ENVELOPE)
    else:
        with pytest.raises(ConfigError, match="nothing would ever latch"):
            guard_limits(settings, SPEC, ENVELOPE)
