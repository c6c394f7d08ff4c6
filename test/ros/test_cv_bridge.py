# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where ROS is installed, cv_bridge converts colours, and gives the pixels that OpenCV gives."""

from __future__ import annotations

import numpy as np
import pytest
from encodings_table import CASES, Case, message_of

from sarnn_ros.streams import decode
from sarnn_ros.streams.decode import decode_image

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.encoding)
@pytest.mark.parametrize("layout", ["tight", "padded", "big-endian"])
def test_both_routes_give_the_same_bytes(case: Case, layout: str, monkeypatch):
    message, _ = message_of(case, layout, RNG)
    installed = decode_image(message, value_range=case.value_range)
    monkeypatch.setattr(decode, "_bridge", lambda encoding: None)
    assert np.array_equal(installed, decode_image(message, value_range=case.value_range))


def test_cv_bridge_is_really_used_where_it_is_right():
    """Else the comparison above compares OpenCV with itself."""
    assert decode._cv_bridge() is not None
    used = {name for name in decode.ENCODINGS if decode._bridge(name) is not None}
    assert {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8"} <= used
    assert "16UC1" not in used
