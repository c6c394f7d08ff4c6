# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The limits that training leads to refuse nothing that was demonstrated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimiter
from sarnn_ros.control.resolve import guard_limits
from sarnn_ros.control.settings import build_settings
from sarnn_ros.data.dataset import Dataset, Episode, make_dataset
from sarnn_ros.policy.envelope import envelope_from_dataset
from sarnn_ros.spec import parse_spec

SPEC = parse_spec(
    {
        "rate": 10,
        "target": "command",
        "cameras": [{"name": "front", "width": 12, "height": 8}],
        "joints": [{"names": ["shoulder", "wrist"]}],
        "command": {"topic": "command"},
    }
)


def follow(commands: NDArray[np.float64], sag: float, stiffness: float) -> NDArray[np.float64]:
    """States of an arm that is where its command is but for its weight, and gets there late."""
    goal = commands - [sag, 0.0]
    states = [goal[0]]
    for one in goal[:-1]:
        states.append(states[-1] + stiffness * (one - states[-1]))
    return np.array(states)


def demonstrations(sag: float, stiffness: float, still: float) -> Dataset:
    """A shoulder that reaches out, and a wrist that hardly moves; it waits at first.

    :param still: how far the wrist goes, rad.
    """
    random = np.random.default_rng(0)
    episodes = []
    for number in range(12):
        way = np.concatenate(
            [np.zeros(random.integers(2, 6)), 0.5 - 0.5 * np.cos(np.arange(31) * np.pi / 30)]
        )
        commands = np.stack(
            [random.uniform(0.6, 1.0) * way, still * random.uniform(-1, 1) * way], 1
        )
        commands += [0.1, 0.0]
        images = np.zeros((len(way), 8, 12, 3), np.uint8)
        images[..., 0] = number
        episodes.append(
            Episode(
                name=f"e{number}",
                ticks=np.arange(len(way), dtype=np.int64),
                images={"front": images},
                joints=follow(commands, sag, stiffness),
                targets=commands,
                source_sizes={"front": (640, 480)},
            )
        )
    return make_dataset(SPEC, episodes)


@pytest.mark.parametrize("sag", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("stiffness", [1.0, 0.5])
@pytest.mark.parametrize("still", [0.0, 0.005])
def test_what_was_demonstrated_is_let_through(sag: float, stiffness: float, still: float) -> None:
    dataset = demonstrations(sag, stiffness, still)
    limits = guard_limits(build_settings({}), SPEC, envelope_from_dataset(dataset))
    limiter = JointLimiter(limits, SPEC.command_names)
    for episode in dataset.episodes:
        previous = before = None
        for tick, (state, command) in enumerate(zip(episode.joints, episode.targets, strict=True)):
            result = limiter.check(command, state, 0.1, previous, before, ramp=tick < 2)
            assert result.ok, (episode.name, tick, result.reason)
            before, previous = (state if previous is None else previous), command


def test_a_contact_may_move_a_wrist_that_hardly_moves() -> None:
    """By a degree off its command, in whichever direction."""
    dataset = demonstrations(0.05, 0.5, 0.005)
    limits = guard_limits(build_settings({}), SPEC, envelope_from_dataset(dataset))
    limiter = JointLimiter(limits, SPEC.command_names)
    episode = dataset.episodes[0]
    state, previous = episode.joints[9].copy(), episode.targets[8]
    for off in (-0.018, 0.018):
        state[1] = episode.targets[9, 1] + off
        result = limiter.check(episode.targets[9], state, 0.1, previous, episode.targets[7])
        assert result.ok, result.reason
