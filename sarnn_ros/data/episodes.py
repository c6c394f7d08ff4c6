# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From bags to episodes: the offline side of the input path.

What a tick uses follows the same functions as the live side (`observe.py`): `decode_*`,
`newest_at`, `crop_resize`. One bag is one episode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.align import newest_at, tick_grid
from sarnn_ros.data.bags import Bag, find_bags
from sarnn_ros.data.decode import check_image, decode_joints, stamp_ns
from sarnn_ros.data.observe import image_of as see
from sarnn_ros.data.preprocess import JointNormaliser
from sarnn_ros.errors import BagError, DecodeError, SpecError, join_problems
from sarnn_ros.spec import NANOSECONDS, Spec

#: Called with (bags done, bags in all, the bag's name).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Episode:
    """One demonstration on the tick grid; T ticks, D joints.

    :param ticks: int64 (T,), ns on the spec's clock.
    :param images: per camera, RGB uint8 (T, h, w, 3) of the model's size.
    :param joints: float64 (T, D), SI units, in the spec's order.
    :param targets: float64 (T, D): row t is what a prediction made at tick t should be. The last
        row repeats the one before it; nothing is learnt from it.
    :param source_sizes: per camera, (width, height) of the source image.
    :param trimmed: ticks before and after, at which a source was not observable.
    :param void: per topic, messages that could not be used.
    """

    name: str
    ticks: NDArray[np.int64]
    images: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float64]
    targets: NDArray[np.float64]
    source_sizes: Mapping[str, tuple[int, int]]
    trimmed: tuple[int, int] = (0, 0)
    void: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Episodes, their split, and the normalisation learnt from the training part.

    :param training: indices into `episodes`; :param validation: likewise (may be empty).
    :param fingerprint: SHA-256 over spec and episodes.
    :param left_out: bags that gave no episode, with the reason.
    """

    spec: Spec
    episodes: tuple[Episode, ...]
    training: tuple[int, ...]
    validation: tuple[int, ...]
    normaliser: JointNormaliser
    fingerprint: str
    left_out: Mapping[str, str] = field(default_factory=dict)


def load_dataset(
    paths: Iterable[str | Path],
    spec: Spec,
    *,
    validation: float = 0.2,
    seed: int = 0,
    strict: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Read every bag into an episode.

    :param validation: share of the episodes that is held out, chosen by `seed`.
    :param strict: the first bad bag is an error, instead of being left out.
    :raises BagError: no bag is usable, or one is not and `strict`.
    """
    bags = find_bags(paths)
    episodes: list[Episode] = []
    left_out: dict[str, str] = {}
    for index, path in enumerate(bags):
        if progress is not None:
            progress(index, len(bags), path.name)
        try:
            episodes.append(read_episode(path, spec))
        except (BagError, SpecError) as error:
            if strict:
                raise
            left_out[str(path)] = str(error)
    if progress is not None:
        progress(len(bags), len(bags), "")
    if not episodes:
        raise BagError(
            f"none of {len(bags)} bags is usable:{join_problems(left_out.values())}",
            remedy="correct the spec or record again; 'sarnn inspect' shows what a bag holds",
        )
    order = np.random.default_rng(seed).permutation(len(episodes))
    held_out = min(round(validation * len(episodes)), len(episodes) - 1)
    training = tuple(sorted(int(index) for index in order[held_out:]))
    normaliser = JointNormaliser.from_episodes(
        [episodes[index].joints for index in training]
        + [episodes[index].targets for index in training],
        spec.joint_range,
    )
    return Dataset(
        spec=spec,
        episodes=tuple(episodes),
        training=training,
        validation=tuple(sorted(int(index) for index in order[:held_out])),
        normaliser=normaliser,
        fingerprint=_fingerprint(spec, episodes),
        left_out=left_out,
    )


def read_episode(path: Path, spec: Spec) -> Episode:
    """One bag as one episode.

    :raises BagError: the bag is damaged, lacks a topic or joint, or has a hole.
    :raises SpecError: a crop does not fit the images.
    """
    with Bag(path) as bag:
        _check_topics(bag, spec)
        streams = _scan(bag, spec)
        ticks, chosen, trimmed = _align(streams, spec, path)
        joints = np.concatenate(
            [np.stack(streams.joints[i].values)[chosen[f"joints/{i}"]] for i in range(len(spec.joints))],
            axis=1,
        )  # fmt: skip
        images, sizes = _decode_chosen(bag, spec, streams, chosen)
    return Episode(
        name=path.stem,
        ticks=ticks,
        images=images,
        joints=joints,
        targets=_targets(spec, streams, ticks, joints, path),
        source_sizes=sizes,
        trimmed=trimmed,
        void=streams.void,
    )


@dataclass
class _Series:
    """A source's valid messages by stamp; `order` is the place among the topic's messages."""

    stamps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    order: list[int] = field(default_factory=list)

    def sort(self) -> None:
        order = np.argsort(np.array(self.stamps, np.int64), kind="stable")
        self.stamps = [self.stamps[index] for index in order]
        self.values = [self.values[index] for index in order] if self.values else []
        self.order = [self.order[index] for index in order]


@dataclass
class _Streams:
    cameras: list[_Series]
    joints: list[_Series]
    commands: _Series
    void: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def absolute(topic: str) -> str:
    """A spec's topic as a bag names it: relative ones were recorded in the root namespace."""
    return topic if topic.startswith("/") else f"/{topic}"


def _check_topics(bag: Bag, spec: Spec) -> None:
    expected = {absolute(camera.topic): camera.type for camera in spec.cameras}
    expected |= {absolute(source.topic): source.type for source in spec.joints}
    if spec.target == "command":
        expected[absolute(spec.command.topic)] = spec.command.type
    problems = []
    for topic, kind in expected.items():
        found = bag.topics.get(topic)
        if found is None:
            problems.append(f"topic '{topic}' is not in the bag")
        elif found != kind:
            problems.append(f"topic '{topic}' is a {found}, the spec says {kind}")
    if problems:
        has = ", ".join(f"{topic} ({kind})" for topic, kind in bag.topics.items()) or "nothing"
        raise BagError(
            join_problems(problems),
            where=bag.path,
            remedy=f"correct the spec's topics, or record them; the bag has {has}",
        )


def _scan(bag: Bag, spec: Spec) -> _Streams:
    """First pass: stamps of the images, values of the joints; no pixels are kept."""
    streams = _Streams(
        [_Series() for _ in spec.cameras], [_Series() for _ in spec.joints], _Series()
    )
    topics = [absolute(part.topic) for part in (*spec.cameras, *spec.joints)]
    command = absolute(spec.command.topic) if spec.target == "command" else None
    seen: dict[str, int] = {}
    for topic, msg, received in bag.messages([*topics, *([command] if command else [])]):
        place = seen[topic] = seen.get(topic, -1) + 1

        def keep(series: _Series, value: Any, topic: str = topic, place: int = place,
                 msg: Any = msg, received: int = received) -> None:  # fmt: skip
            series.stamps.append(received if spec.clock == "receive" else stamp_ns(msg))
            series.order.append(place)
            if value is not None:
                series.values.append(value)

        try:
            for camera, series in zip(spec.cameras, streams.cameras, strict=True):
                if topic == absolute(camera.topic):
                    check_image(msg)
                    keep(series, None)
            for source, series in zip(spec.joints, streams.joints, strict=True):
                if topic == absolute(source.topic):
                    keep(series, decode_joints(msg, source.names, source.field))
            if topic == command:
                keep(streams.commands, dict(zip(msg.name, msg.position, strict=False)))
        except DecodeError as error:
            streams.void[topic] = streams.void.get(topic, 0) + 1
            streams.reasons.setdefault(topic, str(error))
    for series in (*streams.cameras, *streams.joints, streams.commands):
        series.sort()
    return streams


def _align(
    streams: _Streams, spec: Spec, path: Path
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]], tuple[int, int]]:
    sources = [
        (camera.name, camera.topic, camera.max_age_ns, series)
        for camera, series in zip(spec.cameras, streams.cameras, strict=True)
    ] + [
        (f"joints/{index}", source.topic, source.max_age_ns, series)
        for index, (source, series) in enumerate(zip(spec.joints, streams.joints, strict=True))
    ]
    for _, topic, _, series in sources:
        if not series.stamps:
            why = streams.reasons.get(absolute(topic), "it holds no message")
            raise BagError(f"topic '{topic}' has no usable message: {why}", where=path)
    start = min(series.stamps[0] for *_, series in sources)
    end = max(series.stamps[-1] for *_, series in sources)
    grid = tick_grid(start, end, spec.period_ns)
    chosen = {name: newest_at(series.stamps, grid, age) for name, _, age, series in sources}
    observable = np.all([indices >= 0 for indices in chosen.values()], axis=0)
    if observable.sum() < 3:
        raise BagError(
            f"only {int(observable.sum())} ticks of {spec.rate} Hz have every source",
            where=path,
            remedy="the streams must overlap in time; check stamps, 'clock' and 'max_age'",
        )
    inside = np.flatnonzero(observable)
    first, last = int(inside[0]), int(inside[-1])
    holes = np.flatnonzero(~observable[first : last + 1]) + first
    if len(holes):
        tick = int(holes[0])
        failing = [topic for name, topic, *_ in sources if chosen[name][tick] < 0]
        raise BagError(
            f"{len(holes)} ticks in the middle have no fresh {', '.join(sorted(set(failing)))}, "
            f"the first {(grid[tick] - grid[first]) / NANOSECONDS:.2f} s after the start",
            where=path,
            remedy="record again, or raise the source's 'max_age' if such gaps are harmless",
        )
    used = slice(first, last + 1)
    chosen = {name: indices[used] for name, indices in chosen.items()}
    return grid[used], chosen, (first, len(grid) - 1 - last)


def _decode_chosen(
    bag: Bag, spec: Spec, streams: _Streams, chosen: Mapping[str, NDArray[np.int64]]
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, tuple[int, int]]]:
    """Second pass: decode the images that ticks use, each once."""
    images: dict[str, NDArray[np.uint8]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    users: dict[str, dict[int, list[tuple[str, NDArray[np.int64]]]]] = {}
    by_name = {camera.name: camera for camera in spec.cameras}
    for camera, series in zip(spec.cameras, streams.cameras, strict=True):
        order = np.array(series.order)[chosen[camera.name]]
        images[camera.name] = np.empty((len(order), camera.height, camera.width, 3), np.uint8)
        for place in np.unique(order):
            user = (camera.name, np.flatnonzero(order == place))
            users.setdefault(absolute(camera.topic), {}).setdefault(int(place), []).append(user)
    seen: dict[str, int] = {}
    for topic, msg, _ in bag.messages(users):
        place = seen[topic] = seen.get(topic, -1) + 1
        for name, rows in users[topic].get(place, ()):
            try:
                source, image = see(msg, by_name[name])
            except DecodeError as error:
                raise BagError(
                    f"the image used at tick {int(rows[0])} cannot be decoded: {error.problem}",
                    where=f"{bag.path}, topic '{topic}'",
                    remedy=error.remedy,
                ) from error
            size = (source.shape[1], source.shape[0])
            if sizes.setdefault(name, size) != size:
                raise BagError(
                    f"topic '{topic}' changes from {sizes[name]} to {size} pixels",
                    where=bag.path,
                    remedy="record with one resolution",
                )
            images[name][rows] = image
    return images, sizes


def _targets(
    spec: Spec,
    streams: _Streams,
    ticks: NDArray[np.int64],
    joints: NDArray[np.float64],
    path: Path,
) -> NDArray[np.float64]:
    """What to predict at each tick. Entries that no command names follow the measured state."""
    targets = np.concatenate([joints[1:], joints[-1:]])
    if spec.target == "next_state":
        return targets
    commands = streams.commands
    named = {name for values in commands.values for name in values}
    missing = [name for name in spec.command_names if name not in named]
    if missing:
        raise BagError(
            f"no command for {', '.join(missing)} on '{spec.command.topic}', which names "
            f"{', '.join(sorted(named)) or 'nothing'}",
            where=path,
            remedy="set 'target: next_state' or record the commands of every commanded joint",
        )
    for column in spec.command_indices:
        name = spec.joint_labels[column]
        series = [
            (stamp, values[name])
            for stamp, values in zip(commands.stamps, commands.values, strict=True)
            if name in values and np.isfinite(values[name])
        ]
        stamps = [stamp for stamp, _ in series]
        chosen = newest_at(stamps, ticks[1:], spec.period_ns - 1)
        late = np.flatnonzero(chosen < 0)
        if len(late):
            raise BagError(
                f"{len(late)} of {len(chosen)} ticks have no command for '{name}' on "
                f"'{spec.command.topic}'",
                where=path,
                remedy="commands must come at least at the spec's rate, or use next_state",
            )
        targets[:-1, column] = np.array([value for _, value in series])[chosen]
    targets[-1] = targets[-2]
    return targets


def _fingerprint(spec: Spec, episodes: Sequence[Episode]) -> str:
    digest = hashlib.sha256(spec.model_dump_json().encode())
    for episode in episodes:
        digest.update(episode.name.encode())
        for array in (episode.ticks, episode.joints, episode.targets, *episode.images.values()):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
