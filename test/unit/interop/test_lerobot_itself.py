# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot reads what we write, merges and splits it; and we read what it writes.

`make test-lerobot` runs this with LeRobot in an environment of its own, SARNN_LEROBOT_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import bag_making as make
import numpy as np
import pytest

from sarnn_ros.interop.lerobot_writer import export_lerobot
from sarnn_ros.interop.loading import find_recordings, load_dataset, propose
from sarnn_ros.spec import Spec

pytestmark = pytest.mark.lerobot

READ = """
import json, sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, fps = sys.argv[1], float(sys.argv[2])
data = LeRobotDataset("local/set", root=root, video_backend="pyav")
rows = [data[i] for i in range(len(data))]
past = LeRobotDataset("local/set", root=root, video_backend="pyav", delta_timestamps={
    "observation.images.front": [-1 / fps, 0], "action": [0, 1 / fps]})
print(json.dumps({
    "episodes": data.num_episodes, "fps": data.fps, "task": rows[0]["task"],
    "names": data.meta.names["observation.state"],
    "state": [row["observation.state"].tolist() for row in rows],
    "action": [row["action"].tolist() for row in rows],
    "stamp": [int(row["stamp_ns"]) for row in rows],
    "episode": [int(row["episode_index"]) for row in rows],
    "image": [(row["observation.images.front"] * 255).round().int().tolist() for row in rows],
    "std": np.ravel(data.meta.stats["action"]["std"]).tolist(),
    "windows": [list(past[5]["observation.images.front"].shape), list(past[5]["action"].shape)],
}))
"""

EDIT = """
import sys
from pathlib import Path
from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, out = sys.argv[1], Path(sys.argv[2])
data = LeRobotDataset("local/set", root=root, video_backend="pyav")
twice = merge_datasets([data, data], output_repo_id="local/twice", output_dir=out / "twice")
assert twice.num_episodes == 2 * data.num_episodes and len(twice) == 2 * len(data)
fewer = delete_episodes(data, [0], output_dir=out / "fewer", repo_id="local/fewer")
assert fewer.num_episodes == data.num_episodes - 1
print("done")
"""

WRITE = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

kind = sys.argv[2]
names = ["shoulder.pos", "elbow.pos"]
joints = {"dtype": "float32", "shape": (2,), "names": names}
image = {"dtype": kind, "shape": (96, 128, 3), "names": ["height", "width", "channels"]}
features = {"observation.images.top": image, "observation.state": joints, "action": joints}
data = LeRobotDataset.create(
    "local/w", fps=30, features=features, root=sys.argv[1], use_videos=kind == "video")
for episode in range(2):
    for row in range(31 + 15 * episode):
        pixels = np.zeros((96, 128, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = 5 * row, 100 * episode
        pixels[:, :, 2] = np.arange(128)
        state = np.array([row / 10, episode], np.float32)
        data.add_frame({"observation.images.top": pixels, "observation.state": state,
                        "action": state + np.float32(0.5), "task": "x"})
    data.save_episode()
data.finalize()
print("done")
"""


def lerobot(code: str, *arguments: str | Path) -> str:
    python = os.environ.get("SARNN_LEROBOT_PYTHON")
    assert python, "set SARNN_LEROBOT_PYTHON, or run 'make test-lerobot'"
    # What the ROS wheels and our own tests set is not for another environment's Python.
    drop = ("PYTHONPATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def export(source: Path, out: Path, spec: Spec) -> None:
    export_lerobot(find_recordings([source]), spec, out, task="push")


@pytest.mark.parametrize("rate", [10.0, 12.5])
def test_lerobot_reads_what_we_write(rate: float, tmp_path: Path) -> None:
    for number, seconds in enumerate((1.5, 2.0)):
        made = make.recording(seconds, start=make.START + 10 * number * make.SECOND)
        made.write(tmp_path / "bags" / f"take{number}")
    spec = make.spec(rate=rate)
    export(tmp_path / "bags", tmp_path / "set", spec)
    straight = load_dataset([tmp_path / "bags"], spec)
    got: dict[str, Any] = json.loads(lerobot(READ, tmp_path / "set", str(rate)))
    joints = np.concatenate([one.joints for one in straight.episodes])
    targets = np.concatenate([one.targets for one in straight.episodes])
    images = np.concatenate([one.images["front"] for one in straight.episodes]).astype(int)
    assert got["episodes"] == 2 and got["fps"] == rate and got["task"] == "push"
    assert got["names"] == list(make.NAMES)
    assert np.array_equal(np.float32(got["state"]), joints.astype(np.float32))
    assert np.array_equal(np.float32(got["action"]), targets.astype(np.float32))
    assert got["stamp"] == np.concatenate([one.ticks for one in straight.episodes]).tolist()
    assert np.abs(np.moveaxis(np.array(got["image"]), 1, 3) - images).mean() < 3
    assert got["std"] == pytest.approx(targets.std(axis=0), abs=1e-6)
    assert got["windows"] == [[2, 3, 12, 16], [2, 2]]


def test_lerobots_tools_edit_it(tmp_path: Path) -> None:
    for number in range(2):
        made = make.recording(1.5, start=make.START + 10 * number * make.SECOND)
        made.write(tmp_path / "bags" / f"take{number}")
    export(tmp_path / "bags", tmp_path / "set", make.spec())
    assert lerobot(EDIT, tmp_path / "set", tmp_path) == "done"
    twice = load_dataset([tmp_path / "twice"], make.spec())
    assert [one.verdict for one in twice.bags] == ["sound", "sound", "left out", "left out"]
    assert all("same content" in problem.found for problem in twice.problems)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_we_read_what_lerobot_writes(kind: str, tmp_path: Path) -> None:
    assert lerobot(WRITE, tmp_path / "set", kind) == "done"
    proposed = propose([tmp_path / "set"]).spec
    spec = proposed.model_copy(update={"target": "command"})
    first, second = load_dataset([tmp_path / "set"], spec, validation=0).episodes
    assert spec.joint_labels == ("shoulder.pos", "elbow.pos") and spec.rate == 10.0
    assert first.joints[:, 0] == pytest.approx(np.arange(11) * 0.3)
    assert first.targets[:-1, 0] == pytest.approx(np.arange(10) * 0.3 + 0.7)
    assert len(second.ticks) == 16 and (second.joints[:, 1] == 1).all()
    for number, episode in enumerate((first, second)):
        means = episode.images["top"].mean(axis=(1, 2))
        assert means[:, 0] == pytest.approx(np.arange(len(means)) * 15 % 256, abs=5)
        assert means[:, 1] == pytest.approx(100 * number, abs=5)
