# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is decided before a training: the same for the command line and the Python API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import quick_export
import yaml
from moved_camera import STILL, move, scene, shot
from typer.testing import CliRunner

from sarnn_ros.cli.main import app
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.write_bag import Images, JointStates, write_bag
from sarnn_ros.spec import Spec, parse_spec
from sarnn_ros.training.config import make_config
from sarnn_ros.training.recipe import RECIPE, Plan, decide, prepare
from sarnn_ros.training.run import train

MakeTask = Callable[..., Dataset]
WIDTH, HEIGHT = 64, 48
NAMES = ("shoulder", "elbow")
SPEC = {
    "rate": 10,
    "cameras": [{"name": "front", "width": 32, "height": 24}],
    "joints": [{"names": list(NAMES)}],
}
SETTINGS = {"epochs": 1, "k_dim": 2, "rec_dim": 8, "inner_steps": 2, "image_frames": 4,
            "encoder_frames": 8, "device": "cpu", "threads": 1}  # fmt: skip

#: To crop; one or two are for validation, and the others are enough to search.
MIN_EPISODES = RECIPE.min_episodes_for_search + 2


@pytest.fixture(autouse=True)
def _few_episodes_are_cropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read more takes most of the time here."""
    few = replace(RECIPE, min_episodes_for_crop=MIN_EPISODES)
    monkeypatch.setattr("sarnn_ros.training.recipe.RECIPE", few)


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red square lies elsewhere in each of as many episodes as it takes to crop, in the middle
    of the image."""
    folder = tmp_path_factory.mktemp("bags")
    rng = np.random.default_rng(0)
    for number in range(MIN_EPISODES):
        x, y = rng.uniform(0, 1, 2)
        column, row = int(WIDTH * (0.4 + 0.2 * x)), int(HEIGHT * (0.4 + 0.2 * y))
        frames = np.full((8, HEIGHT, WIDTH, 3), 90, np.uint8)
        frames[:, row : row + 5, column : column + 5] = (220, 20, 20)
        states = np.linspace([0.0, 0.5], [x, y], 8)
        write_bag(
            folder / f"demo_{number}",
            {
                "/image_raw": Images(frames, rate=10.0),
                "/joint_states": JointStates(NAMES, states, rate=10.0),
            },
        )
    return folder


def spec() -> Spec:
    return parse_spec(SPEC)


@pytest.mark.usefixtures("quick_search")
@pytest.mark.parametrize(
    ("recipe", "options", "cropped"),
    [("fast", {}, True), ("fast", {"crop": False}, False)],
)
def test_the_api_trains_what_the_command_does(
    bags: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    options: dict[str, Any],
    cropped: bool,
) -> None:
    """The same crop, split, settings and weights, to the bit."""
    quick_export.install(monkeypatch)
    settings = {**SETTINGS, "recipe": recipe, "seed": 3}
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(SPEC))
    chosen = [one for key, value in settings.items() for one in ("--set", f"{key}={value}")]
    flags = ["--no-crop"] if options else []
    command = ["train", str(bags), "--spec", str(file), "--out", str(tmp_path / "command")]
    done = CliRunner().invoke(app, [*command, "--no-cache", *flags, *chosen])
    assert done.exit_code == 0, done.output
    plan = prepare([bags], spec(), make_config(settings), **options)
    assert plan.cropped is cropped
    train(plan, tmp_path / "api")
    assert (plan.dataset.spec.cameras[0].crop is not None) is cropped
    assert _told(tmp_path / "command") == _told(tmp_path / "api")


def _told(policy: Path) -> tuple[Any, bytes]:
    """A policy's config, without when it was made and how long that took, and its weights."""
    config = json.loads((policy / "config.json").read_text())
    for name in ("created", "sha256"):
        del config[name]
    for name in ("seconds", "cpu_seconds"):
        del config["training"][name]
    return config, (policy / "model.safetensors").read_bytes()


def test_before_the_crop_the_whole_images_are_shown(bags: Path) -> None:
    seen = []
    plan = prepare(
        [bags], spec(), make_config(SETTINGS), before_crop=lambda *both: seen.append(both)
    )
    ((report, dataset),) = seen
    assert report is plan.whole
    assert dataset.spec == spec() != plan.dataset.spec
    prepare([bags], spec(), make_config({"recipe": "eipl"}), before_crop=lambda *_: seen.clear())
    assert seen


@pytest.mark.usefixtures("quick_search")
@pytest.mark.parametrize("align", [True, False])
def test_a_moved_camera_is_aligned_where_asked(
    align: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the cropped cameras, and the policy says so."""
    quick_export.install(monkeypatch)
    folder, random, place = tmp_path / "bags", np.random.default_rng(2), move(0.05, 0, 0, 1)
    for number in range(12):
        x, y = random.integers((140, 100), (180, 130)).tolist()
        picture = cv2.circle(scene(), (x, y), 6, (250, 40, 30), -1)
        frame = shot(picture, STILL if number < 8 else place)
        topics = {
            "/image_raw": Images(np.stack([frame] * 8), rate=10.0),
            "/joint_states": JointStates(
                NAMES, np.linspace([0.0, 0.5], random.uniform(size=2), 8), rate=10.0
            ),
        }
        write_bag(folder / f"demo_{number:02d}", topics)
    settings = {**SETTINGS, "recipe": "fast", "align_cameras": align}
    plan = prepare([folder], spec(), make_config(settings))
    (found,) = plan.dataset.displacements
    assert found.undone is align and found.text == "demo_08 to demo_11"
    assert plan.cropped, "all that differs is where the disc lies"
    if not align:
        return
    train(plan, tmp_path / "policy")
    summary = json.loads((tmp_path / "policy" / "config.json").read_text())["training"]
    told = {"front: demo_08 to demo_11": found.found.matrix.tolist()}
    assert summary["aligned"] == told
    assert "a camera was moved meanwhile" in (tmp_path / "policy" / "README.md").read_text()


def test_few_episodes_are_cropped_on_demand_only(bags: Path) -> None:
    few = sorted(bags.iterdir())[1:]
    assert not prepare(few, spec(), make_config(SETTINGS)).cropped
    assert prepare(few, spec(), make_config(SETTINGS), crop=True).cropped


@pytest.mark.parametrize(
    ("settings", "episodes", "expected"),
    [
        ({}, 5, (False, False, False, 0.3)),
        ({}, 6, (True, False, False, 0.3)),
        ({}, 34, (True, False, False, 0.3)),
        ({}, 35, (True, True, True, 0.5)),
        ({"mixup": 1.0}, 34, (True, False, False, 0.6)),
        ({"motion": True}, 6, (True, True, False, 0.3)),
        ({"recipe": "eipl"}, 35, (False, False, True, 0.0)),
    ],
)
def test_what_the_number_of_episodes_decides(
    make_task: MakeTask, settings: dict[str, Any], episodes: int, expected: tuple[Any, ...]
) -> None:
    """An episode of one tick does not count, nor one for validation."""
    dataset = make_task([3] * episodes + [1], validation=0)
    plan = decide(dataset, make_config(settings))
    assert _decisions(plan) == expected


def _decisions(plan: Plan) -> tuple[bool, bool, bool, float]:
    return plan.search_attention, plan.motion, plan.mix_neighbours, plan.mixup
