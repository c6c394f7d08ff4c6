# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The schedules against the reference implementation's own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.training.schedule import CURVES, Curve, cosine, loss_weight


def table_values(curve: str, decay_end: int) -> np.ndarray:
    """The reference's table: an interpolation from 0 to decay_end, over its number of points."""
    t = np.linspace(0, 1, decay_end)
    shape = {
        "linear": t,
        "s": t - np.sin(2 * np.pi * t) / (2 * np.pi),
        "inverse_s": t + np.sin(2 * np.pi * t) / (2 * np.pi),
        "deceleration": 1 - np.cos(np.pi * t / 2),
        "acceleration": np.sin(np.pi * t / 2),
    }[curve]
    return decay_end * shape / decay_end


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("decay_end", [1, 2, 100, 1000])
def test_curves_are_those_of_the_reference(curve: Curve, decay_end: int) -> None:
    ours = [loss_weight(epoch, 0.1, decay_end, curve) for epoch in range(decay_end)]
    np.testing.assert_allclose(ours, 0.1 * table_values(curve, decay_end), atol=1e-12)


@pytest.mark.parametrize("curve", CURVES)
def test_weight_is_whole_from_decay_end_on(curve: Curve) -> None:
    assert [loss_weight(epoch, 0.3, 50, curve) for epoch in (50, 51, 10**6)] == [0.3] * 3
    assert loss_weight(0, 0.3, 0, curve) == 0.3


def test_weight_depends_on_the_epoch_alone() -> None:
    first = [loss_weight(epoch, 1.0, 10) for epoch in range(10)]
    assert [loss_weight(epoch, 1.0, 10) for epoch in reversed(range(10))] == first[::-1]


def test_cosine_goes_from_one_to_the_floor() -> None:
    assert [cosine(p, 0.2) for p in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1, 0.6, 0.2, 0.2])
