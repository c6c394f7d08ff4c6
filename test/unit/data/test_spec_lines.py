# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of a spec file point to the line; new kinds of sources are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from sarnn_ros.errors import SpecError
from sarnn_ros.spec import load_spec

GOOD = """\
rate: 10
cameras:
  - name: front
    topic: image_raw
    width: 64
joints:
  - topic: joint_states
    names: [a, b]
  - topic: gripper
    type: std_msgs/msg/Float64
    names: [c]
    clock: receive
"""


def lines(tmp_path: Path, text: str) -> str:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as error:
        load_spec(file)
    assert str(file) in str(error.value) and error.value.remedy
    return error.value.problem


def test_the_good_one_is_good(tmp_path):
    (tmp_path / "spec.yaml").write_text(GOOD)
    assert load_spec(tmp_path / "spec.yaml").joint_labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("width: 64", "widht: 64", 5, "widht"),
        ("width: 64", "width: 5", 5, "greater than or equal to 8"),
        ("rate: 10", "rate: fast", 1, "rate"),
        ("names: [a, b]", "names: [a, b, a]", 8, "'a' is named more than once"),
        ("names: [c]", "names: [a]", 11, "'a' is named more than once"),
        ("topic: image_raw", "topic: 'image raw'", 4, "topic"),
        ("type: std_msgs/msg/Float64", "type: std_msgs/msg/String", 10, "Float64"),
        ("names: [c]", "names: [c, d]", 9, "one number"),
        ("names: [c]", "names: [c]\n    indices: [0]", 9, "'indices' are for arrays"),
        ("names: [c]", "names: [c]\n    field: effort", 9, "cannot be commanded"),
    ],
)
def test_the_line_is_named(old: str, new: str, line: int, says: str, tmp_path):
    problem = lines(tmp_path, GOOD.replace(old, new))
    assert says in problem and f"line {line}:" in problem


def test_several_at_once(tmp_path):
    text = GOOD.replace("width: 64", "widht: 64").replace("rate: 10", "rate: -1")
    problem = lines(tmp_path, text)
    assert "line 1:" in problem and "line 5:" in problem


def test_a_type_without_stamps_needs_the_other_clock(tmp_path):
    assert "has no stamp" in lines(tmp_path, GOOD.replace("    clock: receive\n", ""))


@pytest.mark.parametrize(
    "episodes", ["{gap: 1, marker: /e}", "{times: [[2, 1]]}", "{times: [[-1, 1]]}", "{gap: 0}"]
)
def test_contradictory_splitting(episodes: str, tmp_path):
    assert "line 13:" in lines(tmp_path, GOOD + f"episodes: {episodes}\n")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "\x00", "just words"])
def test_what_is_no_mapping(text: str, tmp_path):
    lines(tmp_path, text)
