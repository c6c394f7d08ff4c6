# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of a spec file point to the line; new kinds of sources are checked."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from sarnn_ros.errors import ConfigError, SpecError
from sarnn_ros.spec import load_spec
from sarnn_ros.training.config import load_config

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
        ("width: 64", "widht: 64", 5, "widht: no such key; did you mean 'width'?"),
        ("width: 64", "crop: {x: 0, y: 0, widht: 5, height: 5}", 5, "did you mean 'width'?"),
        ("names: [a, b]", "nmes: [a, b]", 8, "nmes: no such key; did you mean 'names'?"),
        ("joints:\n", "jonts:\n", 6, "jonts: no such key; did you mean 'joints'?"),
        ("rate: 10", "rate: 10\nmax_age: 3", 2, "max_age: no such key"),
        ("topic: gripper", "topic: joint_states", 10, "'joint_states' is a sensor_msgs/msg/Joint"),
        ("width: 64", "width: 5", 5, "width: must be at least 8 (found 5)"),
        ("rate: 10", "rate: fast", 1, "rate: must be a number (found 'fast')"),
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
    assert problem.count("line ") == 1, "one mistake, one error"


def test_several_at_once(tmp_path):
    text = GOOD.replace("width: 64", "widht: 64").replace("rate: 10", "rate: -1")
    problem = lines(tmp_path, text)
    assert "line 1:" in problem and "line 5:" in problem


def test_a_type_without_stamps_needs_the_other_clock(tmp_path):
    assert "has no stamp" in lines(tmp_path, GOOD.replace("    clock: receive\n", ""))


@pytest.mark.parametrize(
    "episodes",
    ["{gap: 1, times: [[0, 1]]}", "{times: [[2, 1]]}", "{times: [[-1, 1]]}", "{gap: 0}"],
)
def test_contradictory_splitting(episodes: str, tmp_path):
    assert "line 13:" in lines(tmp_path, GOOD + f"episodes: {episodes}\n")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "\x00", "just words"])
def test_what_is_no_mapping(text: str, tmp_path):
    lines(tmp_path, text)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, r"line 2: the alias \*a"),
        ("a: " + "[" * 100_000, "line 1: nested more than 20 deep"),
        ("a:\n" + "".join(" " * depth + "- \n" for depth in range(500)), "nested"),
        ("a: " + "x" * 300_000, "more than 262144 bytes"),
        ("? {a: b}\n: c", "not valid YAML"),
        ("a: 2026-13-45", "not valid YAML"),
    ],
)
def test_a_file_that_would_not_end_or_fit(text: str, says: str, tmp_path):
    started = time.thread_time()
    problem = lines(tmp_path, text)
    assert re.search(says, problem) and len(problem) < 1000
    assert time.thread_time() - started < 1


def test_a_file_that_is_none(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(SpecError, match="cannot be read"):
            load_spec(path)


def test_training_settings_are_read_with_the_same_bounds(tmp_path):
    (tmp_path / "train.yaml").write_text(BOMB)
    with pytest.raises(ConfigError, match="line 2: the alias"):
        load_config(tmp_path / "train.yaml")
