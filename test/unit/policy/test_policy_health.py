# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prediction errors against hand-made ones; the score, its window, and its reference."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sarnn_ros.data.dataset import Episode, make_dataset
from sarnn_ros.policy.directory import Health, Quantiles, health_terms, load_config
from sarnn_ros.policy.health import HealthMonitor, prediction_errors, reference
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.streams.observe import Observation

pytestmark = pytest.mark.usefixtures("quick_export")

PERIOD = 100_000_000
SPAN = np.array([3.0, 2.0, 0.045])


def quantiles(p99: float, count: int) -> Quantiles:
    return Quantiles(
        **{
            name: (p99 * share,) * count
            for name, share in (("p50", 0.25), ("p95", 0.5), ("p99", 1.0), ("max", 2.0))
        }
    )


@pytest.fixture(scope="module")
def config(make_parts, tmp_path_factory):
    """Two cameras, not square, p99 of 0.1 in all terms."""
    parts = make_parts((24, 32), (20, 30))
    config = load_config(parts.export(tmp_path_factory.mktemp("health") / "policy"))
    wanted = health_terms(config.model, config.spec)
    errors = {term: quantiles(0.1, count) for term, count in wanted.items()}
    health = Health(source="validation", episodes=1, ticks=9, errors=errors)
    return config.model_copy(update={"health": health})


def moment(config: Any, tick: int, *, joints=0.0, points=0.0, image: int | None = None):
    """Observation and prediction at a tick: everything still, but for the joints (as a share of
    their range), the encoder points and the pixels given."""
    cameras = config.spec.cameras
    here = {camera.name: np.full((config.model.k_dim, 2), 0.5) for camera in cameras}
    seen = {name: value + points * np.array([1.0, 0.0]) for name, value in here.items()}
    shapes = {camera.name: (camera.height, camera.width, 3) for camera in cameras}
    black = {name: np.zeros(shape, np.uint8) for name, shape in shapes.items()}
    pixels = {name: value + np.uint8(image or 0) for name, value in black.items()}
    observation = Observation(tick * PERIOD, pixels, joints * SPAN, {}, {})
    return observation, Prediction(np.zeros(3), seen, here, seen, None if image is None else black)


def test_first_images_that_are_unlike_the_demonstrations_count_until_a_reset(config):
    monitor = HealthMonitor(config, window=3, count_images=False)

    def see(tick: int, unlikely: float | None = None) -> tuple[float | None, str | None]:
        observation, prediction = moment(config, tick)
        found = monitor.see(observation, dataclasses.replace(prediction, unlikely=unlikely))
        return found.score, found.worst

    assert see(0, 1.5) == (1.5, "places")
    assert [see(tick) for tick in (1, 2, 3, 4)] == [(1.5, "places")] * 4
    monitor.reset()
    assert see(5) == (None, None), "no first images"
    monitor.reset()
    assert see(6, -0.2) == (0.0, "places")


def test_the_terms_and_their_units(config):
    before = moment(config, 0, image=0)
    after = moment(config, 1, joints=np.array([0.1, -0.2, 0.05]), points=0.3, image=51)
    errors = prediction_errors(config, before[1], *after)
    assert {term: len(error) for term, error in errors.items()} == {
        "joints": 3, "points:camera0": 4, "points:camera1": 4, "image:camera0": 1,
        "image:camera1": 1,
    } == health_terms(config.model, config.spec)  # fmt: skip
    np.testing.assert_allclose(errors["joints"], (0.1, 0.2, 0.05))
    np.testing.assert_allclose(errors["points:camera1"], (0.3,) * 4)
    np.testing.assert_allclose(errors["image:camera1"], 0.2)
    blind = dataclasses.replace(before[1], images=None)
    assert not [term for term in prediction_errors(config, blind, *after) if "image" in term]
    broken = dataclasses.replace(before[1], action=np.array([0.0, np.nan, 0.0]))
    assert "joints" not in prediction_errors(config, broken, *after)


def test_the_worst_joint_counts_and_the_mean_of_the_points(config):
    monitor = HealthMonitor(config, window=1, count_images=False)
    monitor.see(*moment(config, 0))
    offsets = np.zeros((4, 1))
    offsets[1] = 0.8
    seen = moment(config, 1, joints=np.array([0.0, 0.15, 0.0]), points=offsets)
    reading = monitor.see(*seen)
    assert reading.ratios["joints"] == pytest.approx(1.5)
    assert reading.ratios["points:camera0"] == pytest.approx(2.0)


def readings(monitor: HealthMonitor, config: Any, values: list[float], term="points", **more):
    return [
        monitor.see(*moment(config, tick, **{term: value}), **more)
        for tick, value in enumerate(values)
    ]


def test_the_score_is_the_median_of_the_window_over_p99(config):
    monitor = HealthMonitor(config, window=5, count_images=False)
    found = readings(monitor, config, [0.05] * 4 + [9.0] + [0.05] * 2 + [0.3] * 3)
    scores = [reading.score for reading in found]
    # Known from half a window of comparisons on; a spike does not move it, three of five do.
    assert scores[:3] == [None] * 3
    assert scores[3:7] == pytest.approx([0.5] * 4)
    assert scores[-1] == pytest.approx(3.0)
    assert found[-1].worst in ("points:camera0", "points:camera1")
    monitor.reset()
    assert readings(monitor, config, [0.05])[0].score is None


def joints_known(config: Any, p95: tuple[float, ...], p99: tuple[float, ...]) -> Any:
    known = Quantiles(p50=p95, p95=p95, p99=p99, max=p99)
    health = config.health.model_copy(update={"errors": config.health.errors | {"joints": known}})
    return config.model_copy(update={"health": health})


@pytest.mark.parametrize(
    ("error", "ratio"),
    [
        ((0.0, 0.0, 0.45), 0.45 / 0.88),  # closed on a thing: at every tick
        ((0.0, 0.0, 0.9), 0.9 / 0.88),  # and on nothing
        ((0.0, 0.02, 0.0), 0.5),  # what is usual for the others is no alarm
        ((0.0, 0.08, 0.0), 2.0),
        ((0.08, 0.0, 0.0), 2.0),
    ],
)
def test_what_is_usual_of_joints(config, error, ratio):
    """A gripper, one whose errors were small by chance, and another one."""
    known = joints_known(config, p95=(0.02, 0.005, 0.44), p99=(0.04, 0.005, 0.45))
    monitor = HealthMonitor(known, window=1, count_images=False)
    monitor.see(*moment(known, 0))
    reading = monitor.see(*moment(known, 1, joints=np.array(error)))
    assert reading.ratios["joints"] == pytest.approx(ratio)


def test_a_degree_of_a_joint_that_hardly_moved_is_no_alarm(config):
    """Errors are shares of the joints' ranges, and one range is a hundredth of the others."""
    low = np.array(config.normalisation.minimum)
    for spans, ratio in (((1.0, 0.01, 1.0), 0.5 / 1.7), ((1.0, 0.5, 1.0), 0.5 / 0.034)):
        scale = config.normalisation.model_copy(
            update={"minimum": tuple(low), "maximum": tuple(low + spans)}
        )
        known = joints_known(config, p95=(0.01, 0.01, 0.01), p99=(0.02, 0.02, 0.02))
        known = known.model_copy(update={"normalisation": scale})
        monitor = HealthMonitor(known, window=1, count_images=False)
        monitor.see(*moment(known, 0))
        half = np.array((0.0, 0.5 * spans[1], 0.0))
        reading = monitor.see(*moment(known, 1, joints=half / SPAN))
        assert reading.ratios["joints"] == pytest.approx(ratio)


def test_nothing_is_compared_across_a_gap(config):
    monitor = HealthMonitor(config, window=1, count_images=False)
    monitor.see(*moment(config, 0))
    assert monitor.see(*moment(config, 2, points=5.0)).score is None
    assert monitor.see(*moment(config, 3, points=0.2)).score == pytest.approx(2.0)
    assert monitor.see(*moment(config, 1, points=5.0)).score is None, "time went back"


def test_joints_that_were_not_commanded_are_not_expected_anywhere(config):
    held = HealthMonitor(config, window=2, count_images=False)
    found = readings(held, config, [9.0] * 4, term="joints", joints="ignore")
    assert "joints" not in found[-1].ratios and found[-1].score == 0.0
    moved = readings(HealthMonitor(config, window=2, count_images=False), config, [0.2] * 4,
                     term="joints")  # fmt: skip
    assert moved[-1].worst == "joints" and moved[-1].score == pytest.approx(2.0)


def test_where_somebody_else_moves_the_arm_only_the_predicted_motion_says_something(config):
    """Of a robot that stands still, or is led elsewhere, nothing can be said."""

    def found(joint: float) -> Any:
        monitor = HealthMonitor(config, window=2, count_images=False)
        for tick in range(4):
            seen = moment(config, tick, joints=joint, points=0.3)
            reading = monitor.see(*seen, joints="require")
        return reading

    assert found(0.2).score is None
    assert found(0.05).score == pytest.approx(3.0) and "joints" not in found(0.05).ratios


@pytest.mark.parametrize("count", [False, True])
def test_images_count_only_where_told_to(config, count):
    monitor = HealthMonitor(config, window=2, count_images=count)
    found = readings(monitor, config, [51] * 4, term="image")[-1]
    assert found.ratios["image:camera1"] == pytest.approx(2.0)
    assert found.score == pytest.approx(2.0 if count else 0.0)


def test_a_policy_without_reference_has_unknown_health(config):
    monitor = HealthMonitor(
        config.model_copy(update={"health": None}), window=1, count_images=False
    )
    found = readings(monitor, config, [0.0, 9.0])[-1]
    assert found.score is None and not found.ratios


def dataset_of(parts: Any, *, validation: float):
    """Five episodes of noise, which the policy of `parts` can run on."""
    rng = np.random.default_rng(0)

    def episode(number: int) -> Episode:
        length = 6
        sizes = {camera.name: (camera.height, camera.width) for camera in parts.spec.cameras}
        joints = rng.uniform(parts.normaliser.minimum, parts.normaliser.maximum, (length, 3))
        return Episode(
            name=f"e{number}",
            ticks=np.arange(length, dtype=np.int64) * PERIOD,
            images={
                name: rng.integers(0, 256, (length, *size, 3), np.uint8)
                for name, size in sizes.items()
            },
            joints=joints,
            targets=joints,
            source_sizes=dict.fromkeys(sizes, (32, 24)),
            digest=str(number),
        )

    episodes = [episode(number) for number in range(5)]
    return make_dataset(parts.spec, episodes, [], validation=validation, seed=0)


@pytest.mark.parametrize(("validation", "source"), [(0.4, "validation"), (0.0, "training")])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_reference_is_of_the_right_episodes(make_parts, tmp_path, validation, source, stride):
    parts = make_parts((25, 33), stride=stride)
    dataset = dataset_of(parts, validation=validation)
    out = parts.export(tmp_path / "policy", health=lambda policy: reference(policy, dataset))
    health = load_config(out).health
    indices = dataset.validation or dataset.training
    assert (health.source, health.episodes, health.ticks) == (
        source,
        len(indices),
        5 * len(indices),
    )

    # By hand, from what the policy says of the same episodes.
    policy = Policy.load(out)
    distances: list[Any] = []
    for index in indices:
        episode = dataset.episodes[index]
        policy.reset()
        runs = []
        for row in range(6):
            images = {name: images[row] for name, images in episode.images.items()}
            seen = Observation(0, images, episode.joints[row], {}, {})
            runs.append(policy.step(seen))
        for before, after in pairwise(runs):
            away = after.encoder_points["camera0"] - before.decoder_points["camera0"]
            distances.append(np.hypot(away[:, 0], away[:, 1]))
    measured = health.errors["points:camera0"]
    expected = np.quantile(distances, (0.5, 0.95, 0.99, 1.0), axis=0)
    np.testing.assert_allclose(
        (measured.p50, measured.p95, measured.p99, measured.max), expected, atol=1e-6
    )
    assert 0 < health.errors["image:camera0"].p50[0] < 1


@pytest.mark.parametrize(("led", "source"), [("validation", "training"), ("all", None)])
def test_episodes_that_a_person_led_in_parts_are_no_reference(make_parts, tmp_path, led, source):
    parts = make_parts((25, 33))
    dataset = dataset_of(parts, validation=0.4)
    episodes = tuple(
        dataclasses.replace(episode, led=np.arange(len(episode.joints)) > 2)
        if led == "all" or index in dataset.validation
        else episode
        for index, episode in enumerate(dataset.episodes)
    )
    found = reference(
        Policy.load(parts.export(tmp_path / "policy")),
        dataclasses.replace(dataset, episodes=episodes),
    )
    assert (found and found.source) == source
