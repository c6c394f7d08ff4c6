# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of other formats than bags: rows of states and images, one row per moment.

Ticks, targets, holes and the report come from the code that reads bags (`reading.py`). Which
column and which camera the spec means is decided here. Reading the files is in `interop/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Episode, Int
from sarnn_ros.data.problems import BagReport, Problem, note
from sarnn_ros.data.proposal import DEFAULT_RATE, camera_names, model_size
from sarnn_ros.data.reading import (
    MAX_TICKS,
    NOT_MOVED,
    Allocate,
    BagIngest,
    Decode,
    Moved,
    Show,
    episodes_of,
)
from sarnn_ros.errors import BagError, DecodeError, SarnnError, shorten
from sarnn_ros.spec import COMPONENTS, NANOSECONDS, CameraSpec, EpisodeSplit, Spec
from sarnn_ros.streams.decode import decode_image
from sarnn_ros.streams.ingest import Joints
from sarnn_ros.streams.preprocess import check_crop, crop_resize
from sarnn_ros.streams.registration import Matrix

Image = NDArray[np.uint8]
Part = Literal["training", "validation"]


@dataclass(frozen=True)
class Frames:
    """The images of one camera, one per row.

    :param size: (width, height), pixels.
    :param count: of rows.
    :param read: gives rows, which ascend, each uint8 (H, W, 3) RGB.
    """

    size: tuple[int, int]
    count: int
    read: Callable[[Sequence[int]], Iterator[Image]]


@dataclass(frozen=True)
class Vector:
    """Numbers of each row.

    :param values: float64 (n, D), SI units.
    :param names: of the columns, if known.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Rows:
    """The content of one recording.

    :param vectors: by the key that the format has for them.
    :param cameras: by their keys.
    :param state: key of the measured joints.
    :param action: key of the commands, if there are any.
    :param rate: rows per second, if the format says so.
    :param stamps: int64 (n,) ns, rising, if the format has them; they go before the rate.
    """

    vectors: Mapping[str, Vector]
    cameras: Mapping[str, Frames]
    state: str
    action: str | None = None
    rate: float | None = None
    stamps: Int | None = None


@dataclass(frozen=True)
class Take:
    """One recording that is not yet read.

    :param path: of the data set, for messages.
    :param name: of the episode.
    :param files: what it is read from.
    :param open: gives the rows; raises `SarnnError`, or anything for damaged files.
    :param part: where the format says which episodes are for training.
    :param bounds: EIPL's joint_bounds.npy that belongs to it.
    :param order: of the colours, if the format does not say: then a note is due.
    :param task: what is shown, in words, if the format says so.
    :param notes: what a user should know of the data set, told with this recording.
    """

    path: Path
    name: str
    files: tuple[Path, ...]
    open: Callable[[], AbstractContextManager[Rows]]
    part: Part | None = None
    bounds: Path | None = None
    order: Literal["RGB", "BGR"] | None = None
    task: str | None = None
    notes: tuple[Problem, ...] = ()

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path}: {self.name}"


def array_frames(array: NDArray[np.uint8], *, swap: bool) -> Frames:
    """Images in an array, or in what can be indexed like one.

    :param array: uint8 (n, H, W, 3).
    :param swap: they are BGR.
    """
    count, height, width = array.shape[:3]
    return Frames(
        (width, height), count, lambda rows: (rgb(np.asarray(array[row]), swap) for row in rows)
    )


def rgb(image: Image, swap: bool) -> Image:
    """:param swap: exchange red and blue."""
    return np.ascontiguousarray(image[..., ::-1]) if swap else image


def decode_picture(raw: NDArray[np.uint8], where: str, *, swap: bool) -> Image:
    """An image file (JPEG, PNG) to RGB, with the bounds that messages have.

    :param swap: exchange red and blue.
    :raises BagError: it cannot be decoded, or is larger than any camera's image.
    """
    # Some writers fill up with zeros, to the size of the longest.
    end = int(np.flatnonzero(raw)[-1]) + 1 if raw.any() else 0
    try:
        image = decode_image(SimpleNamespace(format="", data=raw[:end]))
    except DecodeError as error:
        raise BagError(
            f"cannot be decoded: {error.problem}", where=where, remedy="copy or make it again"
        ) from error
    return rgb(image, swap)


def unreadable(error: Exception) -> SarnnError:
    """What a user is told of anything that reading raised: a damaged file provokes anything."""
    if isinstance(error, SarnnError):
        return error
    what = f"cannot be read: {type(error).__name__}: {shorten(str(error))}"
    return BagError(what, remedy="copy or make it again")


def read_take(
    take: Take,
    spec: Spec,
    *,
    rate: float | None = None,
    allocate: Allocate | None = None,
    show: Show | None = None,
    moved: Moved = NOT_MOVED,
) -> tuple[list[Episode], BagReport]:
    """As `read_bag`: never raises for what is in the files.

    :param rate: rows per second where the format does not say; None: the spec's.
    """
    where = take.where
    report = BagReport(where)
    episodes: list[Episode] = []
    # A take is an episode by itself.
    spec = spec.model_copy(update={"episodes": EpisodeSplit()})
    try:
        with take.open() as rows:
            recording = BagIngest(spec)
            recording.packed_bytes = sum(file.stat().st_size for file in take.files)
            _tell_rate(rows, spec, rate, report)
            _fill(recording, rows, rate, report)
            images = partial(_images, dict(rows.cameras))
            episodes += episodes_of(recording, images, take.name, report, allocate, show, moved)
    except Exception as error:  # a damaged file must not take down the others
        report.leave_out(where, unreadable(error))
    if take.order is not None:
        report.problems.append(
            note(
                where,
                f"the format does not say the order of the colours; taken as {take.order}",
                "at the robot images are RGB: red and blue are swapped if this is wrong",
                "images from OpenCV, as EIPL's bag scripts write them, are BGR: give --bgr"
                if take.order == "RGB"
                else "leave --bgr out if they are RGB",
            )
        )
    report.problems += take.notes
    report.verdict = "sound" if episodes else "left out"
    report.add_episodes(episodes)
    return episodes, report


def _tell_rate(rows: Rows, spec: Spec, rate: float | None, report: BagReport) -> None:
    """Whether it had to be guessed, and whether ticks are whole numbers of rows."""
    if rows.stamps is not None:
        return
    own = rows.rate or rate
    if own is None:
        found = (
            f"the format does not say the rate of its rows; taken as the spec's {spec.rate:g} Hz"
        )
        follows = "a policy of rows that were faster moves the robot too slowly, and vice versa"
        report.problems.append(note(report.path, found, follows, "give --fps"))
        return
    per_tick = own / spec.rate
    if per_tick > 1.0 and abs(per_tick - round(per_tick)) > 1e-3:
        found = f"rows come at {own:g} Hz and ticks at {spec.rate:g} Hz: {per_tick:.3g} rows each"
        follows = "a steady motion looks as if it went in jerks"
        even = own / np.ceil(per_tick)
        report.problems.append(note(report.path, found, follows, f"set 'rate: {even:.7g}'"))


def _fill(recording: BagIngest, rows: Rows, rate: float | None, report: BagReport) -> None:
    """Streams as the ingest of a bag fills them; the contents of a camera's are row numbers."""
    spec, stamps = recording.spec, rows.stamps
    count = len(rows.vectors[rows.state].values)
    lengths = {key: len(vector.values) for key, vector in rows.vectors.items()}
    lengths |= {key: frames.count for key, frames in rows.cameras.items()}
    lengths |= {} if stamps is None else {"time": len(stamps)}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise BagError(f"the numbers of rows differ: {found}", remedy="make it again")
    own_rate = rows.rate or rate or spec.rate
    ticks = count * max(1.0, spec.rate / own_rate)
    if ticks > MAX_TICKS:
        raise BagError(
            f"{count} rows at {own_rate:g} Hz are {ticks:.3g} ticks; at most {MAX_TICKS} are read",
            remedy="correct the rate, or split it into shorter episodes",
        )
    if stamps is None:
        # Row k at k / rate, rounded down such that rows which are ticks are so to the nanosecond.
        places = np.arange(count) * spec.rate / own_rate
        stamps = np.floor(places * spec.period_ns + 1e-3).astype(np.int64)
    elif not (np.diff(stamps) > 0).all():
        raise BagError("the time does not rise from row to row", remedy="make it again")
    for camera, stream in zip(spec.cameras, recording.cameras):
        stream.topic = camera_key(camera, spec, rows)
        check_crop(camera, *rows.cameras[stream.topic].size, BagError)
        for row, stamp in enumerate(stamps.tolist()):
            recording._take(stream, stamp, row, stamp)
    for stream, (key, columns) in zip(recording.sources, state_columns(rows, spec)):
        stream.topic = key
        values = rows.vectors[key].values[:, columns]
        for stamp, value in zip(stamps.tolist(), values):
            if np.isfinite(value).all():
                recording._take(stream, stamp, Joints(value), stamp)
            else:
                report.add_void(key, DecodeError(f"{value.tolist()} is not finite"))
        if not stream.stamps:
            raise BagError("no row is finite", where=key)
    if spec.target == "command" or rows.action is not None:
        _push_commands(recording, rows, spec, stamps)
    used = dict.fromkeys((stream.topic for stream in recording.streams), len(stamps))
    report.streams = list(recording.describe(used, report.void))


def _push_commands(recording: BagIngest, rows: Rows, spec: Spec, stamps: Int) -> None:
    """The command of a row was sent after its state was seen, and before the next row's."""
    try:
        key, columns = action_columns(rows, spec)
    except BagError:
        if spec.target == "command":
            raise
        return  # nobody asked for them
    steps = np.diff(stamps)
    half = np.append(steps, np.median(steps) if len(steps) else spec.period_ns).astype(np.int64)
    values = rows.vectors[key].values[:, columns]
    for stamp, value in zip((stamps + half // 2).tolist(), values):
        if np.isfinite(value).all():
            recording.command.add(stamp, Joints(value))
    if spec.target == "command" and not recording.command.stamps:
        raise BagError("no row is finite", where=key, remedy="set 'target: next_state'")


def _images(
    cameras: Mapping[str, Frames], wanted: Mapping[str, Container[int]]
) -> Iterator[tuple[str, int, Decode]]:
    for key, places in wanted.items():
        rows = [row for row in range(cameras[key].count) if row in places]
        for row, image in zip(rows, cameras[key].read(rows), strict=True):
            yield key, row, partial(_decode, image)


def _decode(image: Image, camera: CameraSpec, moved: Matrix | None) -> tuple[Image, Image]:
    return image, crop_resize(image, camera, moved)


# -- which key and which columns the spec means --------------------------------------------------


def plain(key: str) -> str:
    """How keys and topics are compared: 'observation.images.top' is 'observation/images/top'."""
    return re.sub(r"[^0-9A-Za-z]+", "_", key).strip("_")


def short(key: str) -> str:
    """The last part of a key: what names a camera."""
    return plain(re.split(r"[./]", key.strip("./"))[-1])


def camera_key(camera: CameraSpec, spec: Spec, rows: Rows) -> str:
    """The camera's topic, or its name, is the key or the key's last part; or there is just one.

    :raises BagError: none is.
    """
    for key in rows.cameras:
        if plain(key) == plain(camera.topic):
            return key
    for key in rows.cameras:
        if camera.name in (short(key), plain(key)):
            return key
    if len(rows.cameras) == len(spec.cameras) == 1:
        return next(iter(rows.cameras))
    raise BagError(
        f"no camera '{camera.name}'; there are {', '.join(map(short, rows.cameras)) or 'none'}",
        remedy="name the spec's cameras like those of the data",
    )


def state_columns(rows: Rows, spec: Spec) -> list[tuple[str, list[int]]]:
    """Key and columns of each joint source: of the vector that is named like its topic, else of
    the state; in there by name, by `indices`, or in order.

    :raises BagError: a name is missing, two joints are one column, or their number differs.
    """
    found = list(_state_columns(rows, spec))
    labels = iter(spec.joint_labels)
    taken: dict[tuple[str, int], str] = {}
    for key, columns in found:
        for column, label in zip(columns, labels):
            other = taken.setdefault((key, column), label)
            if other != label:
                raise BagError(
                    f"'{other}' and '{label}' of the spec are the same column, {column}",
                    where=key,
                    remedy="name the joints in the spec as the data does, with their 'prefix'",
                )
    return found


def _state_columns(rows: Rows, spec: Spec) -> Iterator[tuple[str, list[int]]]:
    keys = [
        next((key for key in rows.vectors if plain(key) == plain(source.topic)), rows.state)
        for source in spec.joints
    ]
    taken: dict[str, int] = {}  # columns without names go in order
    for source, key in zip(spec.joints, keys):
        vector = rows.vectors[key]
        width, count = vector.values.shape[1], len(source.names)
        if vector.names is not None:
            # The state may have an effort beside the position of the same name.
            other = key == rows.state and source.field != "position"
            names = source.labels if other else source.names
            yield key, _named(source.labels, names, vector.names, key)
            continue
        if source.indices is not None:
            if max(source.indices) >= width:
                raise BagError(f"there is no column {max(source.indices)} of {width}", where=key)
            yield key, list(source.indices)
            continue
        components = COMPONENTS.get(source.type, ())
        if components and width == len(components):
            yield key, [components.index(name) for name in source.names]
            continue
        total = sum(
            len(one.names) for one, other_key in zip(spec.joints, keys) if other_key == key
        )
        if total != width:
            raise BagError(
                f"{width} columns without names, and the spec has {total} joints for them",
                where=key,
                remedy="list all of them in their order; or give the source a type of array and "
                "'indices'",
            )
        first = taken[key] = taken.get(key, 0) + count
        yield key, list(range(first - count, first))


def action_columns(rows: Rows, spec: Spec) -> tuple[str, list[int]]:
    """Key and columns of the commanded joints. Columns without names are those of the state if
    there are as many, else the commanded joints in the spec's order.

    :raises BagError: there are no commands, or they do not fit.
    """
    topic = spec.command.topic
    key = next((key for key in rows.vectors if plain(key) == plain(topic)), rows.action)
    if key is None:
        raise BagError("there are no commands in it", remedy="set 'target: next_state'")
    vector = rows.vectors[key]
    width = vector.values.shape[1]
    names = vector.names or spec.command.names
    if names is not None:
        return key, _named(spec.command_names, spec.command_names, names, key)
    states = [(of, column) for of, columns in state_columns(rows, spec) for column in columns]
    commanded = [states[row] for row in spec.command_indices]
    vectors = {of for of, _ in commanded}
    columns = [column for _, column in commanded]
    if len(vectors) == 1 and width == rows.vectors[vectors.pop()].values.shape[1]:
        return key, columns
    in_order = len(vectors) > 1 or columns == sorted(columns)
    if width == len(spec.command_names) and in_order:
        return key, list(range(width))
    if width == spec.joint_dim and in_order:
        return key, list(spec.command_indices)
    raise BagError(
        f"{width} columns without names, and the spec commands {len(spec.command_names)} joints"
        + ("" if in_order else ", which are in another order than the state's columns"),
        where=key,
        remedy="list them in their order as 'names' of 'command' in the spec",
    )


def _named(
    labels: Sequence[str], names: Sequence[str], columns: Sequence[str], key: str
) -> list[int]:
    # LeRobot's drivers call a joint's position 'shoulder_pan.pos'.
    known = {name: column for column, name in reversed(list(enumerate(columns)))}
    known = {name.removesuffix(".pos"): column for name, column in known.items()} | known
    found = [known.get(label, known.get(name)) for label, name in zip(labels, names)]
    missing = [label for label, column in zip(labels, found) if column is None]
    if missing:
        raise BagError(
            f"no {', '.join(missing)}; there are {', '.join(columns)}",
            where=key,
            remedy="name the joints in the spec as the data does",
        )
    return [column for column in found if column is not None]


# -- a spec to begin with ------------------------------------------------------------------------


def proposal(rows: Rows, rate: float | None) -> dict[str, object]:
    """A spec's values for these rows: every camera, the whole state, topics named like the keys.

    :param rate: rows per second where the format does not say; None: unknown.
    """
    own = rows.rate or rate
    if rows.stamps is not None and len(rows.stamps) > 1:
        own = float(NANOSECONDS / np.median(np.diff(rows.stamps)))
    values: dict[str, object] = {"rate": DEFAULT_RATE}
    age: dict[str, float] = {}
    if own:
        # Whole rows per tick: of 15 Hz, ticks at 10 would be one row and two rows apart in turn.
        rows_per_tick = max(1.0, np.ceil(own / DEFAULT_RATE - 0.05))
        rate = float(np.floor(own / rows_per_tick * 1e6) / 1e6)
        values["rate"] = round(own, 3) if rows_per_tick == 1.0 else rate
        age = {"max_age": round(min(60.0, max(3.0 / own, 1.0 / rate)), 3)}
        if rows.stamps is not None and rows_per_tick == 1.0 and not _on_grid(rows.stamps):
            values["tick"] = "image"
    topics = [_topic(key) or f"camera_{row}" for row, key in enumerate(rows.cameras, 1)]
    names = [name if name[:1].isalpha() else f"camera_{name}" for name in map(short, rows.cameras)]
    if len({*names}) < len(names):
        names = camera_names(topics)
    cameras = []
    for name, topic, frames in zip(names, topics, rows.cameras.values()):
        width, height = model_size(*frames.size)
        cameras.append({"name": name, "topic": topic, "width": width, "height": height, **age})
    values["cameras"] = cameras
    state = rows.vectors[rows.state]
    joints = state.names or [f"joint_{column}" for column in range(state.values.shape[1])]
    values["joints"] = [{"topic": _topic(rows.state), "names": list(joints), **age}]
    if rows.action is not None:
        values["command"] = {"topic": _topic(rows.action)}
    return values


def _on_grid(stamps: Int) -> bool:
    """Whether the rows come evenly, to the microsecond."""
    even = np.linspace(stamps[0], stamps[-1], len(stamps))
    return bool(np.abs(stamps - even).max() < 1000)


def _topic(key: str) -> str:
    parts = [plain(part) for part in re.split(r"[./]", key) if plain(part)]
    return "/".join(part if part[0].isalpha() else f"_{part}" for part in parts)
