# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small sound recordings of each format, to be damaged."""

from __future__ import annotations

import json
from pathlib import Path

import bag_making as make
import cv2
import h5py
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sarnn_ros.interop.lerobot_writer import DATA_PATH, VIDEO_PATH
from sarnn_ros.interop.video import FilmWriter

COUNT = 12
SPEC = make.spec()
_IMAGES = np.stack([make.colour(row * 7) for row in range(COUNT)])
_STATE = np.stack([np.arange(COUNT) / 10, -np.arange(COUNT) / 20], axis=1)


def npz(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".npz")
    state = 0.9 * _STATE  # another episode than those of the other formats
    np.savez_compressed(file, images=_IMAGES, joints=state, action=state + 0.01)
    return file


def act(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file.create_dataset("observations/images/top", data=_IMAGES, compression="gzip")
        file["observations/qpos"], file["action"] = _STATE, _STATE + 0.01
    return path.with_suffix(".hdf5")


def lerobot_set(folder: Path, *, films: bool = True, rows: int = COUNT) -> Path:
    """One episode, of which the images are a film or in the table."""
    camera = "observation.images.top"
    vector = {"dtype": "float32", "shape": [2], "names": list(make.NAMES)}
    state = [[row / 10, -row / 20] for row in range(rows)]
    table = {"observation.state": state, "action": state, "episode_index": [0] * rows}
    about = {"episode_index": 0, "length": rows, "data/chunk_index": 0, "data/file_index": 0}
    for name in ("data/chunk-000", "meta/episodes/chunk-000"):
        (folder / name).mkdir(parents=True)
    if films:
        about |= {f"videos/{camera}/{one}": 0 for one in ("chunk_index", "file_index")}
        about[f"videos/{camera}/from_timestamp"] = 0.0
        path = folder / VIDEO_PATH.format(video_key=camera, chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        film = FilmWriter(path, (16, 12), 10.0)
        for image in _IMAGES:
            film.add(image)
        film.close()
    else:
        raw = cv2.imencode(".png", _IMAGES[0])[1].tobytes()
        table[camera] = [{"bytes": raw, "path": None}] * rows
    info = {
        "codebase_version": "v3.0", "fps": 10, "total_episodes": 1, "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if films else None,
        "features": {
            camera: {"dtype": "video" if films else "image", "shape": [12, 16, 3]},
            "observation.state": vector, "action": vector,
        },
    }  # fmt: skip
    data = folder / DATA_PATH.format(chunk_index=0, file_index=0)
    parquet.write_table(pa.table(table), data)
    episodes = folder / "meta/episodes/chunk-000/file-000.parquet"
    parquet.write_table(pa.Table.from_pylist([about]), episodes)
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder
