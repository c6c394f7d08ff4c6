# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The envelope holds what the data did, no more and no less."""

import dataclasses

import numpy as np
import pytest

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.policy.envelope import envelope_from_dataset
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.preprocess import JointNormaliser


def dataset(*episodes: tuple[list[list[float]], list[list[float]], int]) -> Dataset:
    """Episodes of (joints, targets, grey level of every image)."""
    spec = parse_spec(
        {"cameras": [{"name": "front", "width": 12, "height": 8}], "joints": {"names": ["a", "b"]}}
    )
    made = []
    for number, (joints, targets, grey) in enumerate(episodes):
        images = np.full((len(joints), 8, 12, 3), grey, np.uint8)
        images[..., 0] += 10
        made.append(
            Episode(
                name=str(number),
                ticks=np.arange(len(joints), dtype=np.int64),
                images={"front": images},
                joints=np.array(joints),
                targets=np.array(targets),
                source_sizes={"front": (640, 480)},
            )
        )
    return Dataset(
        spec=spec,
        episodes=tuple(made),
        training=(0,),
        validation=tuple(range(1, len(made))),
        normaliser=JointNormaliser([0.0, 0.0], [1.0, 1.0], spec.joint_range),
        fingerprint="",
    )


def test_how_far_the_first_command_was_off_the_arm():
    envelope = envelope_from_dataset(
        dataset(
            ([[0.0, 1.0], [0.0, 1.1]], [[0.05, 1.1], [0.3, 1.1]], 100),
            ([[0.1, 1.0], [0.1, 1.0]], [[0.08, 1.0], [0.1, 1.0]], 50),
        )
    )
    assert envelope.first_lead == pytest.approx((0.05, 0.1))


def test_a_correction_does_not_tell_how_a_run_begins():
    """It begins in mid-motion, where commands are ahead of the arm."""
    demonstration = [[row / 10, 1.0] for row in range(6)]
    ahead = [[0.09, 1.0], *demonstration[1:]]
    shown = dataset((demonstration, demonstration, 100), (demonstration, ahead, 100))
    led = np.array([True, True, True, True, False, False])
    corrected = dataclasses.replace(shown.episodes[1], led=led)
    both = dataclasses.replace(shown, episodes=(shown.episodes[0], corrected))
    assert envelope_from_dataset(shown).first_lead == pytest.approx((0.09, 0.0))
    assert envelope_from_dataset(both).first_lead == (0.0, 0.0)


def test_it_spans_states_and_targets_of_all_episodes():
    envelope = envelope_from_dataset(
        dataset(
            ([[0.0, 1.0], [0.2, 1.0]], [[0.2, 1.0], [0.2, 1.5]], 100),
            ([[-0.4, 1.0], [-0.5, 1.0]], [[-0.5, 1.0], [-0.5, 1.0]], 50),
        )
    )
    assert envelope.position_min == (-0.5, 1.0)
    assert envelope.position_max == (0.2, 1.5)
    assert envelope.start_pose == pytest.approx((-0.2, 1.0))
    assert envelope.start_pose_spread == pytest.approx((0.2, 0.0))
    camera = envelope.cameras["front"]
    assert (camera.width, camera.height) == (640, 480)
    assert camera.color_mean == pytest.approx((85.0, 75.0, 75.0))
    assert camera.brightness_mean == pytest.approx(235 / 3)
    assert camera.brightness_std == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("joints", "targets", "largest"),
    [
        ([[0.0, 0], [0.3, 0]], [[0.0, 0], [0.3, 0]], 0.3),  # of the state
        ([[0.0, 0], [0.0, 0]], [[-0.2, 0], [0.2, 0]], 0.4),  # of the target
        ([[0.0, 0], [0.1, 0]], [[0.5, 0], [0.5, 0]], 0.5),  # from state to target
    ],
)
def test_the_largest_step_is_found_wherever_it_is(joints, targets, largest):
    assert envelope_from_dataset(dataset((joints, targets, 9))).max_step == (largest, 0.0)


@pytest.mark.parametrize(
    ("lead", "largest"),
    [
        ((), 0.1),
        ((0.05, 0.0), 0.1),
        ((0.16, 0.0), 0.16),  # an arm that lags
        ((0.3, 0.0), 0.3),
        ((0.31, 0.0), 0.1),  # more than 0.2 s behind at 0.1 rad a tick of 0.1 s: a planner's goal
    ],
)
def test_commands_that_led_a_lagging_arm_widen_the_step(lead, largest):
    made = dataset(([[0.0, 0], [0.1, 0]], [[0.1, 0], [0.1, 0]], 9))
    episodes = (dataclasses.replace(made.episodes[0], lead=lead), made.episodes[0])
    made = dataclasses.replace(made, episodes=episodes)
    assert envelope_from_dataset(made).max_step == pytest.approx((largest, 0.0))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_how_late_the_arm_followed_its_commands(late):
    """By 0.2 s at most; the second joint stands."""
    shown = []
    for phase in (0.0, 1.0):
        path = np.sin(0.3 * np.arange(40) + phase)
        commands = np.stack([path[3:], np.full(37, 0.5)], axis=1)
        joints = np.stack([path[2 - late : 39 - late], np.full(37, 0.5)], axis=1)
        shown.append((joints, commands, 9))
    short = ([[0.0, 0.5]] * 3, [[0.3, 0.5]] * 3, 9)
    assert envelope_from_dataset(dataset(*shown, short)).lag == (late, 0)


def test_the_largest_change_is_from_target_to_target():
    """The last target repeats the state, and is none."""
    targets = [[0.0, 1.0], [0.2, 1.0], [0.1, 0.9], [5.0, 5.0]]
    made = dataset(([[7.0, 7.0]] * 4, targets, 9), ([[0.0, 0.0]], [[0.0, 0.0]], 9))
    assert envelope_from_dataset(made).max_change == pytest.approx((0.2, 0.1))


def test_the_largest_second_difference_is_of_the_targets_too():
    targets = [[0.0, 1.0], [0.2, 1.0], [0.1, 0.9], [0.1, 0.9], [5.0, 5.0]]
    made = dataset(([[7.0, 7.0]] * 5, targets, 9))
    assert envelope_from_dataset(made).second_difference == pytest.approx((0.3, 0.1))


def test_a_recorded_hiccup_is_no_second_difference():
    """One episode in twenty has a tick twice."""
    smooth = [[value, 0.0] for value in np.cumsum([0.0, 0.1, 0.2, 0.2, 0.1, 0.0, 0.0])]
    broken = [*smooth[:3], smooth[2], *smooth[4:]]
    made = dataset((broken, broken, 9), *[(smooth, smooth, 9)] * 19)
    assert envelope_from_dataset(made).second_difference == pytest.approx((0.1, 0.0))


def grip(*seconds: float, start: float = 0.0, ticks: int = 60) -> list[list[float]]:
    """A joint that is at 0 or 1 (0 at first), and changes at these times; and one at rest."""
    path = start + np.searchsorted(seconds, np.arange(ticks) / 10.0, side="right") % 2
    return [[abs(value % 2), 0.5] for value in path]


@pytest.mark.parametrize(
    ("episodes", "shortest"),
    [
        ([grip(2.0, 5.0)], 3.0),
        ([grip(2.0, 5.0), grip(1.0, 3.5, 4.5)], 1.0),
        ([grip(2.0), grip(5.9)], None),  # one change: nobody knows how long it stayed
        ([grip()], None),
    ],
)
def test_the_shortest_time_between_two_changes(episodes, shortest):
    made = envelope_from_dataset(dataset(*((path, path, 9) for path in episodes)))
    assert made.min_dwell == (pytest.approx(shortest), None)


def test_noise_in_the_middle_of_the_range_is_no_change():
    """From 0 to 1 in steps, up and down around the middle, and back at once."""
    rising = [0.0, 0.2, 0.55, 0.45, 0.58, 0.42, 0.9, 1.0, 1.0, 0.3, 0.0, 0.0]
    path = [[value, 0.0] for value in rising]
    assert envelope_from_dataset(dataset((path, path, 9))).min_dwell == (pytest.approx(0.3), None)


def test_what_it_holds_can_be_loaded():
    """Nothing that a recording leads to is refused: a joint at rest, one that stood elsewhere in
    each episode, one that leaps, one that lagged behind its commands."""
    rng = np.random.default_rng(0)
    for number in range(30):
        episodes = []
        for _ in range(3):
            path = rng.normal(size=(8, 2)) * rng.choice([0.0, 1e-9, 1.0, 300.0], 2)
            path = path * (np.arange(8) > 3)[:, None] * (number % 2) + rng.normal(size=2)
            target = path + rng.normal(size=path.shape) * rng.choice([0.0, 1.0])
            target[-1] = path[-1]
            episodes.append((path.tolist(), target.tolist(), 9))
        made = dataset(*episodes)
        led = [dataclasses.replace(made.episodes[0], lead=(0.3, 9.0)), *made.episodes[1:]]
        made = dataclasses.replace(made, episodes=tuple(led))
        assert not envelope_from_dataset(made).problems(made.spec)


def test_a_step_is_never_taken_from_one_episode_to_the_next():
    one = ([[0.0, 0.0]] * 2, [[0.0, 0.0]] * 2, 9)
    other = ([[9.0, 0.0]] * 2, [[9.0, 0.0]] * 2, 9)
    assert envelope_from_dataset(dataset(one, other)).max_step == (0.0, 0.0)


def test_efforts_are_known_where_most_ticks_tell_them():
    made = dataset(*([([[0.0, 0]] * 4, [[0.0, 0]] * 4, 9)] * 2))
    nan = np.nan

    def known(*efforts):
        arrays = [None if one is None else np.array(one) for one in efforts]
        episodes = [
            dataclasses.replace(episode, efforts=array)
            for episode, array in zip(made.episodes, arrays, strict=True)
        ]
        return envelope_from_dataset(dataclasses.replace(made, episodes=tuple(episodes))).effort

    assert known(None, None) is None
    assert known([[1, nan], [2, nan], [nan, 3], [nan, 4]], [[-1, 0]] * 4) == ((-1, 2), (0, 4))
    assert known([[1, 5], [2, 5], [3, 5], [4, 5]], None) == ((1, 4), None), "5 is no measurement"
    assert known([[1, 5], [2, 5], [3, 5], [nan, 5]], None) is None, "3 of 8 ticks"


def test_an_episode_of_one_tick_will_do():
    envelope = envelope_from_dataset(dataset(([[1.0, 2.0]], [[1.0, 2.0]], 9)))
    assert envelope.max_step == (0.0, 0.0)
    assert envelope.start_pose == (1.0, 2.0)


@pytest.mark.parametrize("kind", ["noise", "a planner says the end once", "slow"])
def test_no_lag_is_made_of_what_shows_none(kind):
    shown = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        if kind == "noise":
            joints, targets = 1e-4 * random.normal(size=(2, 60, 2))
        elif kind == "slow":
            targets = np.sin(0.4 * np.arange(60)[:, None] + [seed, seed + 1])
            joints = np.zeros((60, 2))
            for row in range(59):
                joints[row + 1] = joints[row] + 0.6 * (targets[row] - joints[row])
        else:
            joints = np.cumsum(np.full((60, 2), 0.02), axis=0)
            targets = np.broadcast_to(joints[-1], joints.shape)
        shown.append((joints, targets, 9))
    assert envelope_from_dataset(dataset(*shown)).lag == (0, 0)
