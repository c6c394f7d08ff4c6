# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Brightness and colour against what training saw."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.policy.directory import CameraEnvelope
from sarnn_ros.policy.drift import SAMPLED_PIXELS, DriftMonitor, mean_color

TRAINED = CameraEnvelope(
    width=64, height=48, brightness_mean=60.0, brightness_std=4.0, color_mean=(90, 60, 30)
)


def picture(red: float, green: float, blue: float) -> np.ndarray:
    return np.full((48, 64, 3), (red, green, blue), np.uint8)


def drift_of(image: np.ndarray, trained: CameraEnvelope = TRAINED):
    return DriftMonitor({"front": trained}, window=1).see({"front": image})["front"]


@pytest.mark.parametrize("shape", [(24, 32), (480, 640), (100, 1000)])
def test_some_pixels_stand_for_all(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    image[:, : shape[1] // 2, 0] //= 4
    exact = image.mean(axis=(0, 1))
    # The deviation of a mean of so many of them.
    assert np.abs(mean_color(image) - exact).max() < 4 * 90 / np.sqrt(min(SAMPLED_PIXELS, 768))


def test_light_alone_is_no_colour():
    drift = drift_of(picture(45, 30, 15))
    assert drift.brightness_change == pytest.approx(-0.5)
    assert drift.color_change == pytest.approx(0.0)
    assert not drift.usual


def test_another_white_balance():
    # 0.5, 0.333, 0.167 of the light become 0.4, 0.333, 0.267: blue by 60 %.
    drift = drift_of(picture(72, 60, 48))
    assert drift.brightness_change == pytest.approx(0.0)
    assert drift.color_change == pytest.approx(0.6)
    assert drift.usual


def test_what_training_saw_itself_is_usual():
    varied = TRAINED.model_copy(update={"brightness_std": 11.0})
    assert drift_of(picture(45, 30, 15), varied).usual


def test_black_is_told_without_dividing_by_it():
    drift = drift_of(picture(0, 0, 0))
    assert (drift.brightness_change, drift.color_change) == (-1.0, 1.0)
    dark = TRAINED.model_copy(update={"brightness_mean": 0.0, "color_mean": (0.0, 0.0, 0.0)})
    assert np.isfinite(drift_of(picture(9, 9, 9), dark).brightness_change)


def test_the_mean_is_over_the_window_and_each_camera_has_its_own():
    monitor = DriftMonitor({"a": TRAINED, "b": TRAINED}, window=4)
    for tick in range(4):
        found = monitor.see({"a": picture(0, 0, 0), "b": picture(90, 60, 30)})
        assert bool(found) == (tick == 3), "nothing is told before the window is full"
    assert (found["a"].brightness_change, found["b"].brightness_change) == (-1.0, 0.0)
    found = monitor.see({"a": picture(180, 120, 60), "b": picture(90, 60, 30)})
    assert found["a"].brightness_change == pytest.approx(-0.5)
    monitor.reset()
    assert not monitor.see({"a": picture(0, 0, 0), "b": picture(0, 0, 0)})
