# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3, read. Needs pyarrow and av, not lerobot.

The format: https://huggingface.co/docs/lerobot/lerobot-dataset-v3. Writing is in
`lerobot_writer.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.takes import Frames, Image, Rows, Take, Vector
from sarnn_ros.errors import BagError
from sarnn_ros.interop.video import VideoFrames

INFO = "meta/info.json"
STATE, ACTION = "observation.state", "action"
#: Columns that every data set has beside its own features.
INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
#: Ours: the exact time of a row, int64 ns; and of an episode, its name.
STAMP, NAME = "stamp_ns", "sarnn_ros/name"
#: Ours, in the feature `action`: what its values are, as `Spec.target`.
TARGET = "sarnn_ros.target"


def matches(path: Path) -> bool:
    """Whether it is the folder of such a data set, of any version."""
    return (path / INFO).is_file()


def takes(path: Path, name: str, bgr: bool) -> list[Take]:
    """The episodes.

    :raises BagError: another version, or meta files that are damaged, missing or disagree.
    """
    import pyarrow  # noqa: F401  the user is told what to install before anything is read

    dataset = _Dataset(path, _info(path), bgr)
    episodes = _episodes(path)
    if len(episodes) != dataset.info["total_episodes"]:
        raise BagError(
            f"{len(episodes)} episodes are described, and info.json announces "
            f"{dataset.info['total_episodes']}",
            where=path,
            remedy="it was not finished, or not copied whole: make or copy it again",
        )
    titles = [about.get(NAME) for about in episodes]
    return [
        Take(
            path=path,
            # Merged data sets may have a name twice.
            name=f"{name}/{title}"
            if title and titles.count(title) == 1
            else f"{name}{f'/{title}' if title else ''}#{number}",
            files=dataset.files(about),
            open=partial(dataset.open, about),
        )
        for number, (about, title) in enumerate(zip(episodes, titles))
    ]


def _info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads((path / INFO).read_text(encoding="utf-8"))
        version = str(info["codebase_version"])
        float(info["fps"]), dict(info["features"]), str(info["data_path"])
        int(info["total_episodes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BagError(
            f"not LeRobot's info.json ({type(error).__name__}: {error})",
            where=path / INFO,
            remedy="make or copy the data set again",
        ) from error
    if not version.startswith("v3."):
        raise BagError(
            f"version {version} of LeRobot's format; v3.x can be read",
            where=path / INFO,
            remedy="convert it with LeRobot's own script, "
            "python -m lerobot.scripts.convert_dataset_v21_to_v30",
        )
    return dict(info)


def _episodes(path: Path) -> list[dict[str, Any]]:
    """One mapping per episode, without the statistics."""
    from pyarrow import parquet

    rows: list[dict[str, Any]] = []
    try:
        for file in sorted(path.glob("meta/episodes/*/*.parquet")):
            names = parquet.read_schema(file).names
            columns = [name for name in names if not name.startswith("stats/")]
            rows += parquet.read_table(file, columns=columns).to_pylist()
        return sorted(rows, key=lambda row: int(row["episode_index"]))
    except (OSError, ValueError, KeyError, TypeError) as error:  # ArrowInvalid is a ValueError
        raise BagError(
            f"meta/episodes cannot be read ({error})", where=path, remedy="copy it again"
        ) from error


@dataclass
class _Dataset:
    """What its episodes share."""

    path: Path
    info: dict[str, Any]
    bgr: bool
    _table: tuple[Path, Any] | None = field(default=None, init=False)

    @property
    def features(self) -> dict[str, Any]:
        features: dict[str, Any] = self.info["features"]
        return features

    @property
    def cameras(self) -> list[str]:
        return [
            key
            for key, feature in self.features.items()
            if feature["dtype"] in ("video", "image") and not _is_depth(feature)
        ]

    def data_file(self, about: Mapping[str, Any]) -> Path:
        return self.path / str(self.info["data_path"]).format(
            chunk_index=about["data/chunk_index"], file_index=about["data/file_index"]
        )

    def film(self, about: Mapping[str, Any], key: str) -> Path:
        return self.path / str(self.info["video_path"]).format(
            video_key=key,
            chunk_index=about[f"videos/{key}/chunk_index"],
            file_index=about[f"videos/{key}/file_index"],
        )

    def files(self, about: Mapping[str, Any]) -> tuple[Path, ...]:
        """All that the episode is read from and that is there."""
        films = [
            self.film(about, key) for key in self.cameras if self.features[key]["dtype"] == "video"
        ]
        wanted = (self.path / INFO, self.data_file(about), *films)
        return tuple(file for file in wanted if file.is_file())

    @contextmanager
    def open(self, about: Mapping[str, Any]) -> Iterator[Rows]:
        table = self._rows(about)
        count = table.num_rows
        if count != about["length"]:
            raise BagError(
                f"{count} of its {about['length']} rows are there",
                where=self.data_file(about),
                remedy="copy the data set again",
            )
        rate = float(self.info["fps"])
        with ExitStack() as stack:
            cameras: dict[str, Frames] = {}
            for key in self.cameras:
                if self.features[key]["dtype"] == "image":
                    cameras[key] = _Pictures(table.column(key), key, self.bgr)
                else:
                    frames = VideoFrames(
                        self.film(about, key),
                        start=float(about[f"videos/{key}/from_timestamp"]),
                        count=count,
                        rate=rate,
                        swap=self.bgr,
                    )
                    cameras[key] = stack.enter_context(frames)
            vectors = {
                key: Vector(_numbers(table.column(key)), _names(feature))
                for key, feature in self.features.items()
                if _is_vector(key, feature) and key in table.column_names
            }
            if STATE not in vectors:
                raise BagError(
                    f"no '{STATE}'; there are {', '.join(vectors) or 'no vectors'}",
                    where=self.path,
                    remedy="a policy needs the measured joints",
                )
            about_action = self.features.get(ACTION, {}).get("info") or {}
            stamps = None
            if STAMP in table.column_names:
                stamps = table.column(STAMP).to_numpy().astype(np.int64)
            yield Rows(
                vectors=vectors,
                cameras=cameras,
                state=STATE,
                # Where it repeats the next state nobody sent it.
                action=None
                if ACTION not in vectors or about_action.get(TARGET) == "next_state"
                else ACTION,
                rate=rate,
                stamps=stamps,
            )

    def _rows(self, about: Mapping[str, Any]) -> Any:
        """The episode's rows; a file of many episodes is read once."""
        from pyarrow import compute, parquet

        file = self.data_file(about)
        if any(self.features[key]["dtype"] == "image" for key in self.cameras):
            filters = [("episode_index", "=", about["episode_index"])]
            return parquet.read_table(file, filters=filters)
        if self._table is None or self._table[0] != file:
            self._table = (file, parquet.read_table(file))
        table = self._table[1]
        return table.filter(compute.equal(table.column("episode_index"), about["episode_index"]))


def _is_depth(feature: Mapping[str, Any]) -> bool:
    infos = [feature.get(key) or {} for key in ("info", "video_info")]
    return any(info.get(f"{way}is_depth_map") for info in infos for way in ("", "video."))


def _is_vector(key: str, feature: Mapping[str, Any]) -> bool:
    number = str(feature["dtype"]).startswith(("float", "int", "uint"))
    return number and len(feature["shape"]) == 1 and key not in (*INDICES, STAMP)


def _names(feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    """A list, or a mapping with one list in it, or names as keys; None if it names no columns."""
    names: Any = feature.get("names")
    if isinstance(names, Mapping):
        lists = [value for value in names.values() if isinstance(value, list)]
        names = lists[0] if len(lists) == 1 else list(names)
    fits = isinstance(names, list) and len(names) == feature["shape"][0]
    # Some writers number the columns, or call them all alike.
    if not fits or len({str(name) for name in names}) != len(names):
        return None
    return tuple(str(name) for name in names)


def _numbers(column: Any) -> NDArray[np.float64]:
    values = np.array(column.to_pylist(), dtype=np.float64)
    return values if values.ndim == 2 else values[:, None]


class _Pictures:
    """Images as files in the table."""

    def __init__(self, column: Any, key: str, swap: bool) -> None:
        self._column, self._key, self._swap = column, key, swap
        height, width = self._decode(0).shape[:2]
        self.size = (width, height)

    def __len__(self) -> int:
        return len(self._column)

    def read(self, rows: Sequence[int]) -> Iterator[Image]:
        for row in rows:
            yield self._decode(row)

    def _decode(self, row: int) -> Image:
        raw = (self._column[row].as_py() or {}).get("bytes") or b""
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR) if raw else None
        if image is None:
            raise BagError(f"image {row} cannot be decoded", where=self._key)
        return np.ascontiguousarray(image if self._swap else image[..., ::-1], np.uint8)
