# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn train` on what must not break it: what it says, what it writes, how it ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bag_making as make
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from sarnn_ros.cli.main import app
from sarnn_ros.policy.health import replay
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import dump_spec

pytestmark = pytest.mark.usefixtures("quick_export")

Change = Callable[[str, int, Any], Any]


def unchanged(topic: str, index: int, message: Any) -> Any:
    return message


def position(index_of_joint: int | slice, value: float, *, since: int = 0) -> Change:
    """Joint positions set to `value`, from that message on."""

    def change(topic: str, index: int, message: Any) -> Any:
        if topic == "/joint_states" and index >= since:
            message.position[index_of_joint] = value
        return message

    return change


def other_size(topic: str, index: int, message: Any) -> Any:
    if topic != "/image_raw":
        return message
    stamp = message.header.stamp.sec * make.SECOND + message.header.stamp.nanosec
    return make.image(stamp, make.colour(index, 32, 24))


def half_other_size(topic: str, index: int, message: Any) -> Any:
    return other_size(topic, index, message) if index > 30 else message


class Case:
    """Bags, a spec, and where the policy goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "policy"
        self.spec = make.spec()

    def record(self, *changes: Change, seconds: float = 2.0) -> None:
        for change in changes:
            number = len(list(self.folder.glob("bags/*")))
            made = make.recording(seconds, change=change)
            made.write(self.folder / "bags" / f"take{number}")

    def train(self, **settings: Any) -> Result:
        file = self.folder / "spec.yaml"
        file.write_text(dump_spec(self.spec), encoding="utf-8")
        small = {"epochs": 2, "k_dim": 2, "rec_dim": 6, "inner_steps": 1, "device": "cpu"}
        chosen = {**small, "threads": 1, **settings}
        options = [one for key, value in chosen.items() for one in ("--set", f"{key}={value}")]
        return CliRunner().invoke(
            app,
            ["train", str(self.folder / "bags"), "--spec", str(file), "--out", str(self.out),
             "--no-cache", *options],
            env={"COLUMNS": "200"},
        )  # fmt: skip

    def trained(self, **settings: Any) -> str:
        """What a training that succeeds says; its policy predicts finite joints."""
        result = self.train(**settings)
        assert result.exit_code == 0, result.output
        policy = Policy.load(self.out)
        dataset = make_dataset_of(self)
        _, prediction = next(replay(policy, dataset.episodes[0]))
        assert np.isfinite(prediction.action).all()
        return text_of(result)

    def refused(self, **settings: Any) -> str:
        """What a training that ends without a policy says; never a traceback."""
        result = self.train(**settings)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit), result.exception
        assert not (self.out / "config.json").exists()
        return text_of(result)


def make_dataset_of(case: Case) -> Any:
    from sarnn_ros.interop.loading import load_dataset

    return load_dataset([case.folder / "bags"], case.spec)


def text_of(result: Result) -> str:
    return re.sub(r"\s+", " ", result.output)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_joint_that_never_moves(case: Case) -> None:
    case.record(*[position(1, 0.5)] * 2)
    said = case.trained()
    assert "note: elbow: does not move (0.5 … 0.5)" in said
    assert "all joints" not in said
    bounds = Policy.load(case.out).config.normalisation
    assert np.subtract(bounds.maximum, bounds.minimum)[1] == pytest.approx(1e-3)


def test_no_joint_that_moves(case: Case) -> None:
    case.record(*[position(slice(None), 0.5)] * 2)
    assert "warning: all joints: none of them moves effect: there is nothing" in case.trained()


def test_one_episode(case: Case) -> None:
    case.record(unchanged)
    said = case.trained()
    assert "there is only one episode effect: nothing is left for validation" in said
    health = Policy.load(case.out).config.health
    assert health is not None
    assert health.source == "training"


def test_episodes_of_one_and_of_two_ticks(case: Case) -> None:
    case.record(unchanged, unchanged)
    case.record(unchanged, seconds=0.15)
    case.record(unchanged, seconds=0.25)
    said = case.trained()
    assert "take2: at 10 Hz, 1 of its ticks have every source; an episode needs 3" in said
    assert "take3: at 10 Hz, 2 of its ticks have every source; an episode needs 3" in said


def test_nothing_but_short_episodes(case: Case) -> None:
    case.record(*[unchanged] * 3, seconds=0.25)
    said = case.refused()
    assert "none of 3 bags gives an episode: - take0 and 2 more: at 10 Hz, 2 of its" in said
    assert "remedy: record longer" in said


def test_a_nan_now_and_then_is_a_message_that_was_not_sent(case: Case) -> None:
    def change(topic: str, index: int, message: Any) -> Any:
        return position(1, np.nan)(topic, index, message) if index % 40 == 7 else message

    case.record(change, change)
    said = case.trained()
    assert "5 of 200 messages cannot be used, the first because: not finite: elbow = nan" in said
    assert np.isfinite(make_dataset_of(case).episodes[0].joints).all()


def test_nan_for_ever(case: Case) -> None:
    case.record(unchanged, position(1, np.nan, since=100))
    said = case.trained()
    assert "100 of 200 messages cannot be used" in said
    assert re.search(r"0 ticks before and \d ticks after the episodes lack a source", said)
    case.folder.joinpath("bags").rename(case.folder / "elsewhere")
    case.record(*[position(1, np.nan)] * 2)
    case.out = case.folder / "none"
    said = case.refused()
    assert re.search(
        r"take0: /joint_states and 1 more: none of 200 messages can be used, the first because: "
        r"not finite: elbow = nan \(position\)",
        said,
    )


def test_images_of_mixed_size(case: Case) -> None:
    case.record(unchanged, other_size, half_other_size)
    said = case.trained()
    assert "error: take2: front: the image size changes: 16 x 12, 32 x 24 effect: it is" in said
    assert "warning: camera 'front': episodes differ in image size: 16 x 12, 32 x 24" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"topic": "cam"},
            "topic '/cam' is not in the bag; of type .*Image there are: /image_raw",
        ),
        ({"joints": [{"names": ["wrist"]}]}, "joint 'wrist' is missing; found shoulder, elbow"),
        ({"type": make.COMPRESSED}, "'/image_raw' is a .*Image, the spec says .*CompressedImage"),
        ({"crop": {"x": 0, "y": 0, "width": 90, "height": 9}}, "exceeds the image of 16 x 12 pix"),
        ({"target": "command"}, "topic '/joint_command' is not in the bag"),
        ({"rate": 0.5}, r"at 0\.5 Hz, 0 of its ticks have every source"),
    ],
    ids=["topic", "joint", "type", "crop", "command", "rate"],
)
def test_a_spec_that_does_not_match(case: Case, changes: dict[str, Any], says: str) -> None:
    case.record(*[unchanged] * 2)
    case.spec = make.spec(**changes)
    said = case.refused()
    assert re.search(says, said)
    assert "remedy: " in said


def test_more_threads_than_cores(case: Case) -> None:
    case.record(*[unchanged] * 2)
    case.trained(threads=1000)
    assert torch.get_num_threads() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("obstacle", ["file", "below a file", "run is a file"])
def test_an_output_that_cannot_be_written_is_known_before_training(
    case: Case, obstacle: str
) -> None:
    case.record(unchanged)
    case.out.write_text("precious")
    if obstacle == "below a file":
        case.out /= "policy"
    elif obstacle == "run is a file":
        case.out.rename(case.folder / "policy.run")
    said = case.refused()
    assert re.search(r"policy: cannot be written \(.*\) remedy: give another --out", said)
    assert "Bags" not in said  # not even they were read
    assert "epoch" not in said


def test_paths_are_shown_as_they_are(tmp_path: Path) -> None:
    """Also where rich would see markup: a style, the end of one, an emoji."""
    case = Case(tmp_path / "[lab]" / "[" / "red]" / ":dog:")
    case.record(*[unchanged] * 2)
    case.trained()
    (case.out / "config.json").unlink()
    said = case.trained().replace(" ", "")
    assert f"theearliercheckpointis{case.out}.run/checkpoint.pt.before" in said
    assert f"{case.out}:trained2epochs" in said


def test_the_current_folder_may_be_the_output(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.record(*[unchanged] * 2)
    home = case.folder / "here"
    home.mkdir()
    monkeypatch.chdir(home)
    case.out = Path()
    case.trained()
    assert (case.folder / "here.run" / "checkpoint.pt").exists()


def test_a_learnt_temperature_is_trained_and_exported(case: Case) -> None:
    case.record(*[unchanged] * 2)
    case.trained(temperature="null", learning_rate=0.01)
    policy = Policy.load(case.out)
    assert policy.config.model.temperature is None
    weights = load_file(case.out / "model.safetensors")
    learnt = [value for name, value in weights.items() if name.endswith("temperature")]
    assert learnt
    assert all(float(value) not in (1.0, 1e-4) for value in learnt)
