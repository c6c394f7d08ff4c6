# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3, read. Needs pyarrow and av, not lerobot.

The format: https://huggingface.co/docs/lerobot/lerobot-dataset-v3. Writing is in
`lerobot_writer.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from sarnn_ros.data.bags import MAX_METADATA_BYTES
from sarnn_ros.data.bounds import inside
from sarnn_ros.data.dataset import Int
from sarnn_ros.data.problems import Problem, note
from sarnn_ros.data.takes import Frames, Image, Rows, Take, Vector, decode_picture
from sarnn_ros.errors import BagError, shorten
from sarnn_ros.interop.tables import read_batches, read_table
from sarnn_ros.interop.video import film_frames
from sarnn_ros.validation import describe

INFO = "meta/info.json"
STATE, ACTION = "observation.state", "action"
#: Columns that every data set has beside its own features.
INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
#: Ours: the exact time of a row, int64 ns; and of an episode, its name.
STAMP, NAME = "stamp_ns", "sarnn_ros/name"
#: No arm is sampled faster, Hz.
MAX_FPS = 10_000
#: Ours, in the feature `action`: what its values are, as `Spec.target`.
TARGET = "sarnn_ros.target"


def matches(path: Path) -> bool:
    """Whether it is the folder of such a data set, of any version."""
    return (path / INFO).is_file()


class _Feature(BaseModel):
    """A column or a camera, as info.json has it."""

    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    info: dict[str, Any] | None = None
    video_info: dict[str, Any] | None = None

    @property
    def is_camera(self) -> bool:
        infos = [self.info or {}, self.video_info or {}]
        depth = any(info.get(f"{way}is_depth_map") for info in infos for way in ("", "video."))
        return self.dtype in ("video", "image") and not depth

    def is_vector(self, key: str) -> bool:
        number = self.dtype.startswith(("float", "int", "uint"))
        return number and len(self.shape) == 1 and key not in (*INDICES, STAMP)


class _Info(BaseModel):
    """What we take from info.json."""

    codebase_version: str
    fps: Annotated[float, Field(gt=0, le=MAX_FPS, allow_inf_nan=False)]
    total_episodes: Annotated[int, Field(ge=0)]
    data_path: str
    video_path: str | None = None
    features: dict[str, _Feature]


def takes(path: Path, name: str, bgr: bool) -> list[Take]:
    """The episodes. Images are RGB by the format, whatever `bgr` says of others.

    :raises BagError: another version, or meta files that are damaged, missing or disagree.
    """
    import pyarrow  # noqa: F401  the user is told what to install before anything is read

    dataset = _Dataset(path, _info(path))
    episodes = _episodes(path)
    if len(episodes) != dataset.info.total_episodes:
        raise BagError(
            f"{len(episodes)} episodes are described, and info.json announces "
            f"{dataset.info.total_episodes}",
            where=path,
            remedy="it was not finished, or not copied whole: make or copy it again",
        )
    titles = [about.get(NAME) for about in episodes]
    counts = Counter(titles)
    tasks = ["; ".join(map(str, about.get("tasks") or ())) for about in episodes]
    notes: tuple[Problem, ...] = ()
    if len({*tasks}) > 1:
        what = ", ".join(f"'{task}' {count}" for task, count in Counter(tasks).most_common(5))
        found = f"{len({*tasks})} tasks are shown in it: {shorten(what)} episodes"
        effect = "a policy is not told which is meant: it must be plain from the first image"
        remedy = "if it is not, train on the episodes of one task"
        notes = (note(str(path), found, effect, remedy),)
    return [
        Take(
            path=path,
            # Merged data sets may have a name twice.
            name=f"{name}/{title}"
            if title and counts[title] == 1
            else f"{name}{f'/{title}' if title else ''}#{number}",
            files=dataset.files(about),
            open=partial(dataset.open, about),
            task=task or None,
            notes=notes if number == 0 else (),
        )
        for number, (about, title, task) in enumerate(zip(episodes, titles, tasks))
    ]


def _info(path: Path) -> _Info:
    file = inside(path, path / INFO)
    remedy = "make or copy the data set again"
    try:
        if file.stat().st_size > MAX_METADATA_BYTES:
            raise ValueError(f"it has more than {MAX_METADATA_BYTES} bytes")
        values = from_json(file.read_bytes())  # bounds the nesting
        version = str(values["codebase_version"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BagError(
            f"not LeRobot's info.json ({type(error).__name__}: {error})", where=file, remedy=remedy
        ) from error
    if not version.startswith("v3."):
        raise BagError(
            f"version {shorten(version, 50)} of LeRobot's format; v3.x can be read",
            where=file,
            remedy="convert it with LeRobot's own script, "
            "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id NAME --root FOLDER "
            "--push-to-hub=false; without the last it writes to the hub",
        )
    try:
        return _Info.model_validate(values)
    except ValidationError as error:
        found = (
            ": ".join((".".join(map(str, item["loc"])), describe(item))) for item in error.errors()
        )
        raise BagError(
            f"not LeRobot's info.json ({shorten('; '.join(found))})", where=file, remedy=remedy
        ) from error


def _episodes(path: Path) -> list[dict[str, Any]]:
    """One mapping per episode: where it is, and its name."""
    from pyarrow import parquet

    rows: list[dict[str, Any]] = []
    try:
        for file in sorted(path.glob("meta/episodes/*/*.parquet")):
            inside(path, file)
            names = [
                name
                for name in parquet.read_schema(file).names
                if name in ("episode_index", "length", "tasks", NAME)
                or name.startswith(("data/", "videos/"))
            ]
            rows += read_table(file, names).to_pylist()
        return sorted(rows, key=lambda row: int(row["episode_index"]))
    # ArrowInvalid is a ValueError.
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BagError(
            f"meta/episodes cannot be read ({type(error).__name__}: {error})",
            where=path,
            remedy="copy it again",
        ) from error


def _number(about: Mapping[str, Any], key: str) -> int:
    """A number of an episode's meta data, which is not negative.

    :raises BagError: it is missing, or something else.
    """
    value = about.get(key)
    if not isinstance(value, int) or value < 0:
        raise BagError(
            f"'{key}' of an episode in meta/episodes is {shorten(repr(value), 80)}, "
            "and must be a whole number that is not negative",
            remedy="make or copy the data set again",
        )
    return value


#: A placeholder of a path: its name, and for a number how many digits it has at least.
_PLACEHOLDER = re.compile(r"\{(\w+)(?::0?(\d{1,2})d?)?\}")


def _filled(pattern: str, values: Mapping[str, str | int], where: str) -> str:
    """A path's pattern with its values. Not `str.format`: that gives a pattern from elsewhere our
    objects' attributes, and as many digits as it asks for.

    :param where: the pattern is, for the message.
    :raises BagError: another placeholder than those of `values`.
    """

    def value(found: re.Match[str]) -> str:
        one = values.get(found[1])
        if one is None or (found[2] and not isinstance(one, int)):
            return found[0]
        return str(one).zfill(int(found[2] or 0))

    filled = _PLACEHOLDER.sub(value, pattern)
    left = _PLACEHOLDER.sub("", pattern)
    if "{" in filled or "{" in left or "}" in left:
        raise BagError(
            f"a path is {shorten(repr(pattern), 200)}",
            where=where,
            remedy=f"it may have the placeholders {', '.join(values)}, numbers as "
            "{chunk_index:03d}, and no other braces",
        )
    return filled


@dataclass
class _Dataset:
    """What its episodes share."""

    path: Path
    info: _Info
    _table: tuple[Path, Any] | None = field(default=None, init=False)

    @property
    def cameras(self) -> list[str]:
        return [key for key, feature in self.info.features.items() if feature.is_camera]

    def data_file(self, about: Mapping[str, Any]) -> Path:
        return self._file(about, "data_path", self.info.data_path, "data")

    def film(self, about: Mapping[str, Any], key: str) -> Path:
        if self.info.video_path is None:
            raise BagError(f"no 'video_path', and '{key}' is a film", where=self.path / INFO)
        return self._file(
            about, "video_path", self.info.video_path, f"videos/{key}", video_key=key
        )

    def _file(
        self, about: Mapping[str, Any], name: str, pattern: str, prefix: str, **values: str | int
    ) -> Path:
        """:param pattern: of the path, in info.json as `name`.
        :param prefix: of the columns that have its numbers."""
        for one in ("chunk_index", "file_index"):
            values[one] = _number(about, f"{prefix}/{one}")
        filled = _filled(pattern, values, f"{self.path / INFO}: {name}")
        return inside(self.path, self.path / filled)

    def files(self, about: Mapping[str, Any]) -> tuple[Path, ...]:
        """All that the episode is read from and that is there."""
        features = self.info.features
        films = [self.film(about, key) for key in self.cameras if features[key].dtype == "video"]
        episodes = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        wanted = (self.path / INFO, *episodes, self.data_file(about), *films)
        return tuple(file for file in wanted if file.is_file())

    @contextmanager
    def open(self, about: Mapping[str, Any]) -> Iterator[Rows]:
        file, features = self.data_file(about), self.info.features
        table, places = self._rows(about)
        count, length = table.num_rows, _number(about, "length")
        if count != length:
            raise BagError(
                f"{count} of its {length} rows are there",
                where=file,
                remedy="copy the data set again",
            )
        self._check_times(table, file)
        with ExitStack() as stack:
            cameras: dict[str, Frames] = {}
            for key in self.cameras:
                if features[key].dtype == "image":
                    cameras[key] = _pictures(file, key, places)
                else:
                    frames = film_frames(
                        self.film(about, key),
                        start=float(about[f"videos/{key}/from_timestamp"]),
                        count=count,
                        rate=self.info.fps,
                    )
                    cameras[key] = stack.enter_context(frames)
            vectors = {
                key: Vector(_numbers(table.column(key), key), _names(feature))
                for key, feature in features.items()
                if feature.is_vector(key) and key in table.column_names
            }
            if STATE not in vectors:
                raise BagError(
                    f"no '{STATE}'; there are {', '.join(vectors) or 'no vectors'}",
                    where=self.path,
                    remedy="a policy needs the measured joints",
                )
            # Where it repeats the next state nobody sent it.
            is_sent = (
                ACTION in vectors and (features[ACTION].info or {}).get(TARGET) != "next_state"
            )
            stamps = None
            if STAMP in table.column_names:
                stamps = table.column(STAMP).to_numpy().astype(np.int64)
            yield Rows(
                vectors=vectors,
                cameras=cameras,
                state=STATE,
                action=ACTION if is_sent else None,
                rate=self.info.fps,
                stamps=stamps,
            )

    def _check_times(self, table: Any, file: Path) -> None:
        """By `fps` rows and the images of a film belong together.

        :raises BagError: the rows' timestamps say another rate.
        """
        if "timestamp" not in table.column_names or table.num_rows < 2:
            return
        step = np.median(np.diff(_numbers(table.column("timestamp"), "timestamp")[:, 0]))
        if not abs(step * self.info.fps - 1.0) < 0.05:
            raise BagError(
                f"info.json says {self.info.fps:g} fps, and the rows' timestamps are {step:.4g} s "
                "apart: states would go with wrong images",
                where=file,
                remedy=f"correct 'fps' in {INFO}, or make the data set again",
            )

    def _rows(self, about: Mapping[str, Any]) -> tuple[Any, Int]:
        """The episode's rows without images, and their places in the file, which is read once for
        all of its episodes."""
        file = self.data_file(about)
        if self._table is None or self._table[0] != file:
            vectors = [key for key, one in self.info.features.items() if one.is_vector(key)]
            self._table = (file, read_table(file, ["episode_index", "timestamp", STAMP, *vectors]))
        table = self._table[1]
        places = np.flatnonzero(table.column("episode_index").to_numpy() == about["episode_index"])
        return table.take(places), places


def _names(feature: _Feature) -> tuple[str, ...] | None:
    """A list, or a mapping with one list in it, or of names to columns or in their order; None if
    it names no columns."""
    names: Any = feature.names
    if isinstance(names, Mapping):
        lists = [value for value in names.values() if isinstance(value, list)]
        if sorted(map(repr, names.values())) == sorted(map(repr, range(len(names)))):
            names = sorted(names, key=names.__getitem__)
        names = lists[0] if len(lists) == 1 else list(names)
    fits = isinstance(names, list) and len(names) == feature.shape[0]
    # Some writers number the columns, or call them all alike.
    if not fits or len({str(name) for name in names}) != len(names):
        return None
    return tuple(str(name) for name in names)


def _numbers(column: Any, key: str) -> NDArray[np.float64]:
    """A column of numbers, or of equally long lists of them, as (n, D)."""
    from pyarrow import compute, types

    array, width = column.combine_chunks(), 1
    while types.is_list(array.type) or types.is_fixed_size_list(array.type):
        lengths = set(compute.unique(compute.list_value_length(array)).to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise BagError(f"the rows of '{key}' differ in length", remedy="copy or make it again")
        width *= lengths.pop()
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(values.reshape(len(column), width), np.float64)


def _pictures(file: Path, key: str, places: Int) -> Frames:
    """Images as files in a table, which are read when they are asked for.

    :param places: rows of the file, ascending.
    """

    def read(rows: Sequence[int]) -> Iterator[Image]:
        wanted = [(int(places[row]), row) for row in rows]
        end = begin = wanted[0][0] if wanted else 0
        batches = read_batches(file, [key], first=begin)
        batch: Any = None
        for place, row in wanted:
            while place >= end:
                batch = next(batches)
                begin, end = end, end + batch.num_rows
            raw = (batch.column(0)[place - begin].as_py() or {}).get("bytes") or b""
            yield decode_picture(
                np.frombuffer(raw, np.uint8), f"image {row} of '{key}'", swap=False
            )

    height, width = next(read([0])).shape[:2]
    return Frames((width, height), len(places), read)
