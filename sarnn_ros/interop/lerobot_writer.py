# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings to a LeRobotDataset v3. Needs pyarrow and av, not lerobot.

Of each tick: the source images, whole and as large as the camera gives them; the state; the action
as the spec's `target` says, never smoothed. The folder appears under its name when it is complete.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.cache import new_map
from sarnn_ros.data.dataset import Episode, Int
from sarnn_ros.data.problems import BagReport
from sarnn_ros.errors import BagError, ConfigError, join_problems
from sarnn_ros.files import atomic_folder
from sarnn_ros.interop.lerobot import ACTION, INDICES, INFO, NAME, STAMP, STATE, TARGET
from sarnn_ros.interop.loading import DEFAULTS, Arrays, Progress, Recording
from sarnn_ros.interop.video import FilmJoiner, FilmWriter, pixel_format
from sarnn_ros.spec import NANOSECONDS, Spec

__all__ = ["export_lerobot"]

VERSION = "v3.0"
#: LeRobot's own: when the next file begins, MB, and how many files a folder holds.
DATA_MB, VIDEO_MB, FILES_PER_CHUNK = 100, 200, 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
#: Rows and columns of an image that are looked at for the statistics, about.
STATS_SIDE = 150
#: Images that wait to be written: messages may be stored a little out of order.
_MAX_WAITING = 8
_MB = 2**20

Stats = dict[str, list[Any]]


def export_lerobot(
    recordings: Sequence[Recording],
    spec: Spec,
    out: Path,
    *,
    task: str | None = None,
    arrays: Arrays = DEFAULTS,
    progress: Progress | None = None,
) -> list[BagReport]:
    """Write a data set of everything that is usable.

    :param task: what is shown in the episodes, in words; None: what the recording says, or the
        name of `out`.
    :returns: what became of each recording.
    :raises ConfigError: `out` exists or cannot be written.
    :raises BagError: no episode is usable.
    """
    import pyarrow  # noqa: F401  before minutes of reading

    if out.exists():
        raise ConfigError("exists already", where=out, remedy="give a folder that does not")
    # Ramps belong to our training, not into somebody else's data.
    raw = [source.model_copy(update={"smooth": None}) for source in spec.joints]
    spec = spec.model_copy(update={"joints": tuple(raw)})
    reports = []
    first: dict[str, str] = {}
    try:
        with atomic_folder(out) as folder:
            writer = _Writer(folder, spec)
            for number, recording in enumerate(recordings):
                if progress is not None:
                    progress(number, len(recordings), recording.name)
                films = _Films(folder.parent, spec.rate)
                space = _Space(folder.parent)
                episodes, report = recording.read(spec, arrays, space.allocate, films.show)
                if space.failed:  # `read` blamed the recording
                    raise space.failed
                films.close()
                said = recording.take and recording.take.task
                for episode in episodes:
                    known = first.setdefault(episode.digest or episode.name, episode.name)
                    if known != episode.name:
                        report.leave_out_copy(episode.name, known)
                        continue
                    problem = writer.add(episode, films, task or said or out.name)
                    if problem is not None:
                        report.leave_out(episode.name, problem)
                        report.episodes.remove(episode.name)
                reports.append(report)
                films.remove()
            if not writer.episodes:
                found = [problem for report in reports for problem in report.problems]
                raise BagError(
                    "no recording gives an episode:"
                    + join_problems(f"{one.where}: {one.found}" for one in found),
                    remedy=found[0].remedy if found else None,
                )
            writer.close()
            if progress is not None:
                progress(len(recordings), len(recordings), "")
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error})",
            where=out,
            remedy="free some space, or give another --out; films need their room twice",
        ) from error
    return reports


class _Space:
    """The model's images, which are not written, on the disk and not in memory.

    :ivar failed: there was no space for them.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "images.npy"
        self.failed: OSError | None = None

    def allocate(self, _: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        self._file.unlink(missing_ok=True)  # what is still mapped stays until it is not
        try:
            return new_map(self._file, shape)
        except OSError as error:
            self.failed = error
            raise


@dataclass
class _Film:
    """The film of one camera in one episode, while it is written.

    :ivar ticks: of its frames, ns.
    :ivar counts: of pixels, per channel and level.
    """

    path: Path
    size: tuple[int, int]
    writer: FilmWriter
    ticks: list[int] = field(default_factory=list)
    waiting: list[tuple[int, int, NDArray[np.uint8]]] = field(default_factory=list)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    closed: bool = False

    def add(self, tick: int, image: NDArray[np.uint8]) -> None:
        if (image.shape[1], image.shape[0]) != self.size:
            return  # the episode will be left out for that
        heapq.heappush(self.waiting, (tick, len(self.ticks) + len(self.waiting), image))
        if len(self.waiting) > _MAX_WAITING:
            self.write()

    def write(self) -> None:
        tick, _, image = heapq.heappop(self.waiting)
        if self.ticks and tick <= self.ticks[-1]:
            raise BagError("images are stored far out of the order of their stamps")
        rows, columns = (max(1, side // STATS_SIDE) for side in image.shape[:2])
        small = image[::rows, ::columns]
        for channel, counts in enumerate(self.counts):
            counts += np.bincount(small[..., channel].reshape(-1), minlength=256)
        self.ticks.append(tick)
        self.writer.add(image)

    def close(self) -> None:
        while self.waiting:
            self.write()
        if not self.closed:
            self.writer.close()
        self.closed = True


class _Films:
    """The films of one recording, by episode and camera, in files of their own: an episode may
    still turn out to be of no use."""

    def __init__(self, folder: Path, rate: float) -> None:
        self._folder, self._rate = folder, rate
        self.by_camera: dict[tuple[str, str], _Film] = {}

    def show(self, episode: str, camera: str, ticks: Int, image: NDArray[np.uint8]) -> None:
        film = self.by_camera.get((episode, camera))
        if film is None:
            self._close_before(camera, int(ticks[0]))
            path = self._folder / f"film{len(self.by_camera)}.mp4"
            size = (image.shape[1], image.shape[0])
            film = _Film(path, size, FilmWriter(path, size, self._rate))
            self.by_camera[episode, camera] = film
        for tick in ticks.tolist():
            film.add(tick, image)

    def _close_before(self, camera: str, tick: int) -> None:
        # Of an hour with 300 episodes not all coders may stay open.
        past = tick - 4 * _MAX_WAITING * round(NANOSECONDS / self._rate)
        for (_, other), film in self.by_camera.items():
            if other == camera and film.ticks and film.ticks[-1] < past:
                film.close()

    def close(self) -> None:
        for film in self.by_camera.values():
            film.close()

    def remove(self) -> None:
        for film in self.by_camera.values():
            film.path.unlink(missing_ok=True)


class _Writer:
    """The data set in the making."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.folder, self.spec = folder, spec
        self.tasks: dict[str, int] = {}
        self.episodes: list[dict[str, Any]] = []
        self.frames = 0
        self.sizes: dict[str, tuple[int, int]] = {}
        self._stats: list[dict[str, Stats]] = []
        self._data: Any = None
        self._data_bytes = self._data_file = 0
        self._joiners: dict[str, FilmJoiner] = {}
        self._video_files: dict[str, int] = {}
        (folder / "meta").mkdir(parents=True)

    @property
    def cameras(self) -> dict[str, str]:
        """Key of each camera."""
        return {camera.name: f"observation.images.{camera.name}" for camera in self.spec.cameras}

    def add(self, episode: Episode, films: _Films, task: str) -> BagError | None:
        """Returns why it cannot be added, if so."""
        if episode.led is not None:
            return BagError(
                "a person took over from a policy, and the format cannot say at which ticks",
                remedy="convert the demonstrations alone",
            )
        self.sizes = self.sizes or dict(episode.source_sizes)
        if dict(episode.source_sizes) != self.sizes:
            return BagError(
                f"images of {episode.source_sizes}, those before have {self.sizes} pixels",
                remedy="convert recordings of different image sizes into data sets of their own",
            )
        number, count = len(self.episodes), len(episode.ticks)
        columns = self._columns(episode, number)
        columns["task_index"] += self.tasks.setdefault(task, len(self.tasks))
        about: dict[str, Any] = {
            "episode_index": number,
            "tasks": [task],
            "length": count,
            NAME: episode.name,
            **self._add_rows(columns),
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + count,
        }
        stats = {key: _stats(values) for key, values in columns.items()}
        for camera, key in self.cameras.items():
            film = films.by_camera[episode.name, camera]
            about |= self._add_film(key, film, episode.ticks)
            stats[key] = _image_stats(film)
        about["meta/episodes/chunk_index"] = about["meta/episodes/file_index"] = 0
        for key, one in stats.items():
            about |= {f"stats/{key}/{name}": value for name, value in one.items()}
        self._stats.append(stats)
        self.episodes.append(about)
        self.frames += count
        return None

    def _columns(self, episode: Episode, number: int) -> dict[str, NDArray[Any]]:
        count = len(episode.ticks)
        frame = np.arange(count, dtype=np.int64)
        actions = episode.targets[:, list(self.spec.command_indices)]
        return {
            STATE: episode.joints.astype(np.float32),
            ACTION: actions.astype(np.float32),
            STAMP: episode.ticks,
            "timestamp": (frame / self.spec.rate).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(count, number, np.int64),
            "index": self.frames + frame,
            "task_index": np.zeros(count, np.int64),
        }

    def _add_rows(self, columns: dict[str, NDArray[Any]]) -> dict[str, int]:
        import pyarrow as pa
        from pyarrow import parquet

        arrays = {}
        for key, values in columns.items():
            flat = pa.array(values.reshape(-1))
            wide = values.ndim == 2 and values.shape[1] > 1
            arrays[key] = (
                pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
            )
        table = pa.table(arrays)
        if self._data is not None and self._data_bytes + table.nbytes > DATA_MB * _MB:
            self._data.close()
            self._data, self._data_bytes = None, 0
            self._data_file += 1
        chunk, file = divmod(self._data_file, FILES_PER_CHUNK)
        if self._data is None:
            path = self.folder / DATA_PATH.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = parquet.ParquetWriter(path, table.schema)
        self._data.write_table(table)
        self._data_bytes += table.nbytes
        return {"data/chunk_index": chunk, "data/file_index": file}

    def _add_film(self, key: str, film: _Film, ticks: Int) -> dict[str, Any]:
        joiner = self._joiners.get(key)
        if joiner is not None and joiner.bytes + film.path.stat().st_size > VIDEO_MB * _MB:
            joiner.close()
            joiner = None
            self._video_files[key] += 1
        chunk, file = divmod(self._video_files.setdefault(key, 0), FILES_PER_CHUNK)
        if joiner is None:
            name = VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)
            joiner = self._joiners[key] = FilmJoiner(self.folder / name)
        # The film may begin before the episode, where another camera had no image.
        first = joiner.frames + film.ticks.index(int(ticks[0]))
        joiner.append(film.path, self.spec.rate)
        return {
            f"videos/{key}/chunk_index": chunk,
            f"videos/{key}/file_index": file,
            f"videos/{key}/from_timestamp": first / self.spec.rate,
            f"videos/{key}/to_timestamp": (first + len(ticks)) / self.spec.rate,
        }

    def close(self) -> None:
        """The meta files, which make it a data set."""
        import pyarrow as pa
        from pyarrow import parquet

        self._data.close()
        for joiner in self._joiners.values():
            joiner.close()
        meta = self.folder / "meta"
        path = self.folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        parquet.write_table(pa.Table.from_pylist(self.episodes), path)
        parquet.write_table(_tasks(list(self.tasks)), meta / "tasks.parquet")
        stats = {key: _aggregate([one[key] for one in self._stats]) for key in self._stats[0]}
        (meta / "stats.json").write_text(json.dumps(stats, indent=1), encoding="utf-8")
        (self.folder / INFO).write_text(json.dumps(self._info(), indent=1), encoding="utf-8")

    def _info(self) -> dict[str, Any]:
        rate = self.spec.rate
        return {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": len(self.episodes),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": int(rate) if rate == int(rate) else rate,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        spec = self.spec
        features: dict[str, Any] = {}
        for camera, key in self.cameras.items():
            width, height = self.sizes[camera]
            features[key] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": "h264",
                    "video.pix_fmt": pixel_format(width, height),
                    "video.fps": spec.rate,
                    "video.channels": 3,
                    "is_depth_map": False,
                    "has_audio": False,
                },
            }
        vectors = {STATE: list(spec.joint_labels), ACTION: list(spec.command_names)}
        for key, names in vectors.items():
            features[key] = {"dtype": "float32", "shape": [len(names)], "names": names}
        features[ACTION]["info"] = {TARGET: spec.target}
        for key in (STAMP, *INDICES):
            kind = "float32" if key == "timestamp" else "int64"
            features[key] = {"dtype": kind, "shape": [1], "names": None}
        return features


def _tasks(tasks: list[str]) -> Any:
    """The table of the tasks. LeRobot reads it with pandas, and takes the name from the index:
    so it says which column that is, in pandas' own words."""
    import pyarrow as pa

    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type,
         "metadata": None}
        for name, kind, numpy_type in (
            ("task_index", "int64", "int64"), ("task", "unicode", "object")
        )
    ]  # fmt: skip
    about = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": columns,
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": [*range(len(tasks))], "task": tasks})
    return table.replace_schema_metadata({b"pandas": json.dumps(about).encode()})


def _stats(values: NDArray[Any]) -> Stats:
    columns = (values if values.ndim == 2 else values[:, None]).astype(np.float64)
    stats = {
        "min": columns.min(axis=0),
        "max": columns.max(axis=0),
        "mean": columns.mean(axis=0),
        "std": columns.std(axis=0),
        **{name: np.quantile(columns, q, axis=0) for name, q in QUANTILES.items()},
    }
    return {**{name: value.tolist() for name, value in stats.items()}, "count": [len(columns)]}


def _image_stats(film: _Film) -> Stats:
    """Per channel, of levels in [0, 1]; each of shape (3, 1, 1)."""
    counts = film.counts.astype(np.float64)
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    spread = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0.0))
    share = np.cumsum(counts, axis=1) / total[:, None]
    stats = {
        "min": levels[np.argmax(counts > 0, axis=1)],
        "max": levels[255 - np.argmax(counts[:, ::-1] > 0, axis=1)],
        "mean": mean,
        "std": spread,
        **{name: levels[np.argmax(share >= q, axis=1)] for name, q in QUANTILES.items()},
    }
    nested = {name: value.reshape(3, 1, 1).tolist() for name, value in stats.items()}
    return {**nested, "count": [len(film.ticks)]}


def _aggregate(parts: Sequence[Stats]) -> Stats:
    """Of all episodes: exact but for the quantiles, of which the outermost are taken, as LeRobot
    does."""
    weights = np.array([part["count"][0] for part in parts], np.float64)

    def of(name: str) -> NDArray[np.float64]:
        return np.array([part[name] for part in parts], np.float64)

    mean = np.average(of("mean"), axis=0, weights=weights)
    square = np.average(of("std") ** 2 + of("mean") ** 2, axis=0, weights=weights)
    stats = {
        "min": of("min").min(axis=0),
        "max": of("max").max(axis=0),
        "mean": mean,
        "std": np.sqrt(np.maximum(square - mean**2, 0.0)),
        **{
            name: of(name).min(axis=0) if q <= 0.5 else of(name).max(axis=0)
            for name, q in QUANTILES.items()
        },
    }
    lists = {name: value.tolist() for name, value in stats.items()}
    return {**lists, "count": [int(weights.sum())]}
