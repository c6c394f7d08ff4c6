# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From bags to episodes to a dataset: the offline side of the input path.

Which message counts, which one a tick uses and how it becomes an array are the functions of
`observe`, `align`, `decode` and `preprocess`, which the live side uses as well. A bag is read
twice: first stamps and joints, then only those images that a tick uses are decoded. So memory does
not grow with the bag. No storage formats here (`bags`), no statistics (`report`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bags import Bag, DamagedError, RawMessage, absolute, find_bags, is_eipl
from sarnn_ros.data.preview import preview
from sarnn_ros.data.problems import BagReport, Problem, StreamReport
from sarnn_ros.errors import BagError, DecodeError, SarnnError, SpecError, join_problems
from sarnn_ros.spec import NANOSECONDS, CameraSpec, JointSource, Spec
from sarnn_ros.streams.align import ImageTicks, newest_at, tick_grid, with_silences
from sarnn_ros.streams.observe import admit_image, admit_joints, image_of
from sarnn_ros.streams.preprocess import JointNormaliser, eipl_bounds

#: Called with (bags done, bags in all, what is being read).
Progress = Callable[[int, int, str], None]
#: Makes the array that images are decoded into: (name, shape) to uint8.
Allocate = Callable[[str, tuple[int, ...]], NDArray[np.uint8]]

Int = NDArray[np.int64]

#: More ticks than this in one bag means that a clock was set while recording.
MAX_TICKS = 5_000_000
#: An episode needs an input, a target and one more to compare with.
MIN_TICKS = 3
_DECODERS = 2


@dataclass(frozen=True)
class Episode:
    """One demonstration, tick by tick, without holes; T ticks, D joints.

    :param ticks: int64 (T,), ns on the spec's clock.
    :param images: per camera, uint8 (T, h, w, 3) RGB in the model's size; may be memory-mapped.
    :param joints: float64 (T, D), SI units, in the spec's order.
    :param targets: float64 (T, D); row t is what the prediction made at tick t should be. There is
        no tick after the last: where a target would need it, the last row repeats the state.
    :param source_sizes: per camera, (width, height) of the source image.
    :param digest: SHA-256 over the arrays.
    :param lead: per joint, how far at most a recorded command lay from the state at its tick, rad
        or m; empty if the bag holds no commands. The policy's envelope wants it.
    :param previews: per camera, the first, the middle and the last source image, small, with the
        crop drawn.
    """

    name: str
    ticks: Int
    images: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float64]
    targets: NDArray[np.float64]
    source_sizes: Mapping[str, tuple[int, int]]
    digest: str = ""
    lead: tuple[float, ...] = ()
    previews: Mapping[str, Sequence[NDArray[np.uint8]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Episodes, their split, and the normalisation learnt from the training part.

    :param training: indices into `episodes`.
    :param validation: likewise; empty if there is only one episode.
    :param fingerprint: SHA-256 over spec, episodes and split.
    :param bags: what became of each bag.
    """

    spec: Spec
    episodes: tuple[Episode, ...]
    training: tuple[int, ...]
    validation: tuple[int, ...]
    normaliser: JointNormaliser
    fingerprint: str
    bags: tuple[BagReport, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that was found while reading."""
        return tuple(problem for bag in self.bags for problem in bag.problems)


def load_dataset(
    paths: Iterable[str | Path],
    spec: Spec,
    *,
    validation: float = 0.2,
    seed: int = 0,
    strict: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Bags to a dataset.

    :param paths: bags, EIPL's data sets, folders of them, glob patterns.
    :param validation: share of the episodes that is held out, chosen by `seed`. At least one
        of several episodes is, unless the share is 0.
    :param strict: an episode that cannot be used, or was damaged, is an error; else it is left
        out, and `Dataset.problems` says so.
    :param cache: folder for decoded episodes (`cache.default_cache`); None to decode into memory.
    :raises BagError: no episode is usable; with `strict`, not all of them are.
    """
    from sarnn_ros.data.cache import read_bag_cached  # they build on this module
    from sarnn_ros.interop.eipl_dataset import read_eipl

    found = find_bags(paths)
    names = _unique_names(found)
    episodes: list[Episode] = []
    reports: list[BagReport] = []
    for index, (path, name) in enumerate(zip(found, names)):
        if progress is not None:
            progress(index, len(found), name)
        if is_eipl(path):
            some, report = read_eipl(path, spec, name)
        elif cache is None:
            some, report = read_bag(path, spec, name=name)
        else:
            some, report = read_bag_cached(path, spec, name, cache)
        bad = [problem for problem in report.problems if problem.severity == "error"]
        if strict and bad:
            raise BagError(
                join_problems(problem.found for problem in bad), where=path, remedy=bad[0].remedy
            )
        episodes += some
        reports.append(report)
    if progress is not None:
        progress(len(found), len(found), "")
    return make_dataset(spec, episodes, reports, validation=validation, seed=seed)


def make_dataset(
    spec: Spec,
    episodes: Sequence[Episode],
    reports: Sequence[BagReport] = (),
    *,
    validation: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Split, normalise, fingerprint. See `load_dataset`.

    :raises BagError: there is no episode.
    """
    if not episodes:
        problems = [problem for report in reports for problem in report.problems]
        alike: dict[str, list[str]] = {}  # a hundred bags are often bad in one way
        for problem in problems:
            alike.setdefault(problem.found, []).append(problem.where)
        raise BagError(
            f"none of {len(reports)} bags gives an episode:"
            + join_problems(
                f"{places[0]}{f' and {len(places) - 1} more' * (len(places) > 1)}: {found}"
                for found, places in alike.items()
            ),
            remedy=problems[0].remedy if problems else None,
        )
    training, held_out = split(len(episodes), validation, seed)
    moved = [
        array for index in training for array in (episodes[index].joints, episodes[index].targets)
    ]
    if spec.joint_clip is None:
        normaliser = JointNormaliser.from_episodes(moved, spec.joint_range)
    else:
        bounds = eipl_bounds(moved, spec.joint_range, clip=spec.joint_clip)
        normaliser = JointNormaliser.from_eipl_bounds(bounds, spec.joint_range)
    digest = hashlib.sha256(spec.model_dump_json().encode())
    for episode in episodes:
        digest.update(f"{episode.name}:{episode.digest};".encode())
    digest.update(repr((training, held_out)).encode())
    return Dataset(
        spec=spec,
        episodes=tuple(episodes),
        training=training,
        validation=held_out,
        normaliser=normaliser,
        fingerprint=digest.hexdigest(),
        bags=tuple(reports),
    )


def split(count: int, share: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(training, validation) indices, ascending. One episode at least is for training; one of
    several is for validation unless `share` is 0."""
    held_out = min(max(round(share * count), 1 if share > 0 else 0), count - 1)
    order = np.random.default_rng(seed).permutation(count).tolist()
    return tuple(sorted(order[held_out:])), tuple(sorted(order[:held_out]))


def read_bag(
    path: Path, spec: Spec, *, name: str | None = None, allocate: Allocate | None = None
) -> tuple[list[Episode], BagReport]:
    """All episodes of one bag. Never raises for what is in the bag: the report tells."""
    report = BagReport(str(path))
    episodes: list[Episode] = []
    bag = Bag(path)
    try:
        with bag:
            episodes += _read(bag, spec, name or _stem(path), report, allocate or _in_memory)
    except SarnnError as error:
        leave_out(report, str(path), error)
    except Exception as error:  # a bag must never take down the others
        leave_out(report, str(path), BagError(f"cannot be read: {type(error).__name__}: {error}"))
    report.problems[:0] = [
        Problem(
            "error",
            str(path),
            damage,
            "what is lost is missing from training",
            "copy the bag again from where it was recorded, or record it again",
        )
        for damage in bag.damage
    ]
    report.verdict = "left out" if not episodes else "damaged" if bag.damage else "sound"
    report.episodes = [episode.name for episode in episodes]
    return episodes, report


def leave_out(report: BagReport, where: str, error: SarnnError) -> None:
    """Note in the report that something is not used, and why."""
    problem = Problem(
        "error",
        where if error.where in (None, where) else f"{where}: {error.where}",
        error.problem,
        "it is left out of training",
        error.remedy or "record it again, or leave it out",
    )
    report.problems.append(problem)


# -- reading one bag ----------------------------------------------------------------------------


@dataclass
class _Series:
    """A source's valid messages. `places` are their numbers among all messages of the topic."""

    name: str
    topic: str
    max_age_ns: int
    stamps: Any = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    places: Any = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, stamp: int, received: int, place: int, value: Any) -> None:
        self.stamps.append(stamp)
        self.received.append(received)
        self.places.append(place)
        self.values.append(value)

    def describe(self, void: int) -> StreamReport:
        """To be called before `sort`: it looks at the order of arrival."""
        stamps = np.array(self.stamps, dtype=np.int64)
        steps = np.diff(stamps)
        ahead = steps[steps > 0] / NANOSECONDS
        latency = np.median(np.array(self.received) - stamps) if len(stamps) else 0
        return StreamReport(
            topic=self.topic,
            messages=len(stamps) + void,
            void=void,
            # The median: a pause must not look like a low rate.
            rate=float(1 / np.median(ahead)) if len(ahead) else float("nan"),
            jitter=float(ahead.std()) if len(ahead) else float("nan"),
            longest_gap=float(ahead.max()) if len(ahead) else float("nan"),
            backwards=int((steps < 0).sum()),
            repeated=int((steps == 0).sum()),
            latency=float(latency) / NANOSECONDS,
        )

    def keep_ticks(self, period_ns: int) -> None:
        """Where images are ticks, the others count as never sent. Before `sort`, as `describe`."""
        ticks = ImageTicks(period_ns)
        rows = [row for row, stamp in enumerate(self.stamps) if ticks.take(stamp)]
        self.stamps = [self.stamps[row] for row in rows]
        self.places = [self.places[row] for row in rows]
        self.values = [self.values[row] for row in rows]
        self.max_age_ns = 0

    def sort(self) -> None:
        """By stamp; equal stamps in the order of arrival, so that the last one is the newest."""
        stamps = np.array(self.stamps, dtype=np.int64)
        order = np.argsort(stamps, kind="stable")
        self.stamps = stamps[order]
        self.places = np.array(self.places, dtype=np.int64)[order]
        self.values = [self.values[index] for index in order]


@dataclass
class _Streams:
    cameras: list[_Series]
    joints: list[_Series]
    command: _Series
    marker: _Series

    @property
    def observed(self) -> list[_Series]:
        return [*self.cameras, *self.joints]


def _read(
    bag: Bag, spec: Spec, name: str, report: BagReport, allocate: Allocate
) -> Iterator[Episode]:
    _check_topics(bag, spec)
    try:
        streams = _scan(bag, spec, report)
    except DamagedError:
        if not bag.recover():
            raise
        streams = _scan(bag, spec, report)
    for series in streams.observed:
        if not len(series.stamps):
            count, why = report.void.get(series.topic, (0, ""))
            raise BagError(
                f"none of {count} messages can be used, the first because: {why}"
                if count
                else "the topic has no message",
                where=series.topic,
                remedy="record it again, or correct the spec",
            )
    grid, chosen = _align(streams, spec)
    report.streams = _with_ages(report.streams, streams, grid, chosen)
    cuts: list[_Cut] = []
    for title, rows in _windows(spec, name, grid, chosen, streams.marker):
        cut = _Cut(title, grid[rows], [indices[rows] for indices in chosen])
        try:
            cut.trim(report, spec)
            cut.check_holes(streams)
            cuts.append(cut)
        except BagError as error:
            leave_out(report, title, error)
    _decode_images(bag, spec, streams, cuts, allocate)
    for cut in cuts:
        try:
            yield _finish(cut, spec, streams, report)
        except BagError as error:
            leave_out(report, cut.name, error)


def _with_ages(
    reports: list[StreamReport], streams: _Streams, grid: Int, chosen: Sequence[Int]
) -> list[StreamReport]:
    ages: dict[str, tuple[float, float]] = {}
    for series, rows in zip(streams.observed, chosen):
        used = rows >= 0
        if used.any():
            age = (grid[used] - series.stamps[rows[used]]) / NANOSECONDS
            ages[series.topic] = (float(np.median(age)), float(age.max()))
    return [replace(report, age=ages.get(report.topic)) for report in reports]


@dataclass
class _Cut:
    """An episode in the making. `chosen`: per source, the index of each tick's message."""

    name: str
    ticks: Int
    chosen: list[Int]
    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    sizes: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    undecodable: list[tuple[int, int, str]] = field(default_factory=list)  # camera, row, reason
    previews: dict[str, dict[int, NDArray[np.uint8]]] = field(default_factory=dict)  # by row

    def trim(self, report: BagReport, spec: Spec) -> None:
        """Keep what lies from the first to the last tick at which every source is observable."""
        usable = np.flatnonzero(np.all([rows >= 0 for rows in self.chosen], axis=0))
        if len(usable) < MIN_TICKS:
            raise BagError(
                f"at {spec.rate:g} Hz, {len(usable)} of its ticks have every source; an episode "
                f"needs {MIN_TICKS}",
                remedy="record longer, or check that all streams run at the same time and stamp "
                "by the same clock",
            )
        window = slice(int(usable[0]), int(usable[-1]) + 1)
        before, after = report.trimmed
        report.trimmed = (before + window.start, after + len(self.ticks) - window.stop)
        self.ticks = self.ticks[window]
        self.chosen = [rows[window] for rows in self.chosen]
        self.images = {camera: array[window] for camera, array in self.images.items()}

    def check_holes(self, streams: _Streams) -> None:
        """:raises BagError: a source is not observable at a tick in the middle."""
        holes = []
        for series, rows in zip(streams.observed, self.chosen):
            missing = np.flatnonzero(rows < 0)
            if len(missing):
                after = (self.ticks[missing[0]] - self.ticks[0]) / NANOSECONDS
                age = series.max_age_ns / NANOSECONDS
                recent = f"nothing usable of the last {age:g} s" if age else "no image"
                holes.append(
                    f"'{series.topic}' has {recent} at {len(missing)} of {len(self.ticks)} ticks, "
                    f"first {after:.2f} s after the start"
                )
        if holes:
            raise BagError(
                "a hole in the middle: " + "; ".join(holes),
                remedy="record it again; if such gaps are harmless, raise the source's "
                "'max_age', or split the recording there ('episodes: {gap: 1.0}')",
            )


def _windows(
    spec: Spec, name: str, grid: Int, chosen: Sequence[Int], marker: _Series
) -> list[tuple[str, slice]]:
    """Names and rows of the episodes in one bag."""
    split = spec.episodes
    usable = np.flatnonzero(np.all([rows >= 0 for rows in chosen], axis=0))
    spans: list[tuple[int, int]] = []  # of time, both ends included
    if split.gap is not None and len(usable):
        breaks = np.flatnonzero(np.diff(grid[usable]) > split.gap * NANOSECONDS)
        parts = np.split(usable, breaks + 1)
        spans = [(int(grid[part[0]]), int(grid[part[-1]])) for part in parts]
    elif split.times is not None:
        origin = int(grid[0])
        spans = [
            (origin + round(start * NANOSECONDS), origin + round(end * NANOSECONDS))
            for start, end in split.times
        ]
    elif split.marker is not None:
        spans = _marked(marker, int(grid[-1]))
    else:
        return [(name, slice(0, len(grid)))]
    if not spans:
        raise BagError(
            "no episode is marked", where=split.marker, remedy="correct 'episodes' in the spec"
        )
    return [
        (
            f"{name}#{number}",
            slice(int(np.searchsorted(grid, start)), int(np.searchsorted(grid, end, "right"))),
        )
        for number, (start, end) in enumerate(spans)
    ]


def _marked(marker: _Series, end_ns: int) -> list[tuple[int, int]]:
    """Spans between markers: see `EpisodeSplit.marker`. What is still open ends with the bag."""
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    for stamp, value in zip(marker.stamps.tolist(), marker.values):
        if value is True and begun is not None:
            continue
        if begun is not None:
            spans.append((begun, stamp - 1))
        begun = None if value is False else stamp
    if begun is not None:
        spans.append((begun, end_ns))
    return spans


def _check_topics(bag: Bag, spec: Spec) -> None:
    wanted: list[tuple[str, str]] = [(camera.topic, camera.type) for camera in spec.cameras]
    wanted += [(source.topic, source.type) for source in spec.joints]
    if spec.episodes.marker and absolute(spec.episodes.marker) not in bag.topics:
        wanted.append((spec.episodes.marker, "marker"))
    if spec.target == "command":
        wanted.append((spec.command.topic, spec.command.type))
    problems = []
    for topic, kind in dict.fromkeys(wanted):
        found = bag.topics.get(absolute(topic))
        if found is None:
            others = [one.name for one in bag.topics.values() if one.type == kind]
            hint = f"; of type {kind} there are: {', '.join(others)}" if others else ""
            problems.append(f"topic '{absolute(topic)}' is not in the bag{hint}")
        elif found.type != kind:
            problems.append(f"topic '{absolute(topic)}' is a {found.type}, the spec says {kind}")
    if problems:
        present = ", ".join(f"{one.name} ({one.type})" for one in bag.topics.values())
        raise BagError(
            join_problems(problems) if len(problems) > 1 else problems[0],
            where=bag.path,
            remedy=f"correct the spec, or record the topics; the bag has {present or 'none'}",
        )


def _scan(bag: Bag, spec: Spec, report: BagReport) -> _Streams:
    """First pass: stamps of the usable images, stamps and values of the usable joints."""
    report.void = {}
    streams = _Streams(
        [_Series(one.name, absolute(one.topic), one.max_age_ns) for one in spec.cameras],
        [
            _Series(name, absolute(one.topic), one.max_age_ns)
            for name, one in zip(spec.joint_source_names, spec.joints)
        ],
        _Series("command", absolute(spec.command.topic), spec.period_ns - 1),
        _Series("marker", absolute(spec.episodes.marker or ""), 0),
    )
    users: dict[str, list[tuple[_Series, Callable[[Any, int], tuple[int, Any]]]]] = {}

    def use(series: _Series, admit: Callable[[Any, int], tuple[int, Any]]) -> None:
        users.setdefault(series.topic, []).append((series, admit))

    for camera, series in zip(spec.cameras, streams.cameras):
        use(series, _camera_admission(camera, spec))
    for source, series in zip(spec.joints, streams.joints):
        use(series, _joint_admission(source, spec))
    if spec.target == "command":
        use(streams.command, _joint_admission(spec.command_source, spec))
    elif _has_commands(bag, spec):
        use(streams.command, _lenient(_joint_admission(spec.command_source, spec)))
    if spec.episodes.marker:
        use(streams.marker, lambda msg, receive_ns: (receive_ns, getattr(msg, "data", None)))

    places: dict[str, int] = {}
    for message in bag.messages(users):
        topic = message.topic
        place = places[topic] = places.get(topic, -1) + 1
        refused: list[str] = []
        try:
            content = bag.decode(message)
        except DecodeError as error:
            refused.append(error.problem)
        else:
            for series, admit in users[topic]:
                try:
                    stamp, value = admit(content, message.receive_ns)
                except DecodeError as error:  # another source may still use it, as at the robot
                    refused.append(error.problem)
                else:
                    series.add(stamp, message.receive_ns, place, value)
        if refused:
            count, why = report.void.get(topic, (0, refused[0]))
            report.void[topic] = (count + 1, why)
    # Of sources that share a topic, the one that can use the fewest messages.
    fewest_last = sorted(streams.observed, key=lambda series: -len(series.stamps))
    report.streams = [
        series.describe(places.get(series.topic, -1) + 1 - len(series.stamps))
        for series in {series.topic: series for series in fewest_last}.values()
    ]
    if spec.trigger is not None:
        streams.cameras[0].keep_ticks(spec.period_ns)
    for series in (*streams.observed, streams.command, streams.marker):
        series.sort()
    if not bag.damage:
        bag.damage += [
            f"{topic}: only {places.get(topic, -1) + 1} of {bag.topics[topic].count} messages "
            "that the bag's index announces are there"
            for topic in users
            if places.get(topic, -1) + 1 < bag.topics[topic].count
        ]
    return streams


def _camera_admission(camera: CameraSpec, spec: Spec) -> Callable[[Any, int], tuple[int, Any]]:
    return lambda msg, receive_ns: (admit_image(msg, camera, receive_ns, spec), None)


def _joint_admission(source: JointSource, spec: Spec) -> Callable[[Any, int], tuple[int, Any]]:
    return lambda msg, receive_ns: admit_joints(msg, source, receive_ns, spec)


def _has_commands(bag: Bag, spec: Spec) -> bool:
    """Whether the bag holds commands although they are not what is learnt."""
    topic = bag.topics.get(absolute(spec.command.topic))
    if topic is None or topic.type != spec.command.type:
        return False
    try:
        return bool(spec.command_source.names)
    except SpecError:  # an array whose order the spec does not give
        return False


def _lenient(
    admit: Callable[[Any, int], tuple[int, NDArray[np.float64]]],
) -> Callable[[Any, int], tuple[int, Any]]:
    """Commands that are not learnt may be anything: what cannot be read is unknown, and no
    fault of the bag."""

    def lenient(msg: Any, receive_ns: int) -> tuple[int, Any]:
        try:
            return admit(msg, receive_ns)
        except DecodeError:
            return receive_ns, None

    return lenient


def _align(streams: _Streams, spec: Spec) -> tuple[Int, list[Int]]:
    """The recording's ticks, and per observed source the index of each tick's message."""
    starts = [int(series.stamps[0]) for series in streams.observed]
    ends = [int(series.stamps[-1]) for series in streams.observed]
    seconds = (max(ends) - min(starts)) / NANOSECONDS
    if seconds * spec.rate > MAX_TICKS:
        spans = "; ".join(
            f"{series.topic} from {start / NANOSECONDS:.3f} s to {end / NANOSECONDS:.3f} s"
            for series, start, end in zip(streams.observed, starts, ends)
        )
        raise BagError(
            f"the stamps span {seconds:.0f} s: {spans}",
            remedy="a clock was not set, or was set while recording: synchronise the clocks, or "
            "set 'clock: receive'",
        )
    if spec.trigger is None:
        grid = tick_grid(min(starts), max(ends), spec.period_ns)
    else:
        images = streams.cameras[0].stamps
        grid = with_silences(images, spec.period_ns, spec.trigger.max_age_ns)
    return grid, [newest_at(one.stamps, grid, one.max_age_ns) for one in streams.observed]


def _finish(cut: _Cut, spec: Spec, streams: _Streams, report: BagReport) -> Episode:
    if cut.undecodable:
        # These ticks are void, as they would be live: trimmed at an end, a hole in the middle.
        for index, row, why in cut.undecodable:
            topic = streams.observed[index].topic
            count, first_why = report.void.get(topic, (0, why))
            report.void[topic] = (count + 1, first_why)
            cut.chosen[index] = np.where(np.arange(len(cut.ticks)) == row, -1, cut.chosen[index])
        cut.trim(report, spec)
        cut.check_holes(streams)
    for camera, sizes in cut.sizes.items():
        if len(sizes) > 1:
            raise BagError(
                f"the image size changes: {', '.join(f'{w} x {h}' for w, h in sorted(sizes))}",
                where=camera,
                remedy="record with one resolution",
            )
    joints = np.concatenate(
        [
            np.stack(series.values)[rows]
            for series, rows in zip(streams.joints, cut.chosen[len(streams.cameras) :])
        ],
        axis=1,
    )
    commands = _commands(spec, streams.command, cut.ticks)
    targets = _targets(spec, commands, joints)
    digest = digest_of(cut.ticks, joints, targets, *cut.images.values())
    sizes_of = {camera: next(iter(sizes)) for camera, sizes in cut.sizes.items()}
    previews = {
        camera: [shown[row] for row in sorted(shown)] for camera, shown in cut.previews.items()
    }
    return Episode(
        cut.name,
        cut.ticks,
        cut.images,
        joints,
        targets,
        sizes_of,
        digest,
        lead=_lead(spec, commands, joints),
        previews=previews,
    )


def _decode_images(
    bag: Bag, spec: Spec, streams: _Streams, cuts: Sequence[_Cut], allocate: Allocate
) -> None:
    """Second pass: each image that a tick uses is decoded once, two at a time, into `cuts`."""
    # Per topic and place: the cameras, by index, and the rows of a cut that the image goes to.
    users: dict[str, dict[int, list[tuple[_Cut, int, Int]]]] = {}
    for cut in cuts:
        for index, (camera, series) in enumerate(zip(spec.cameras, streams.cameras)):
            shape = (len(cut.ticks), camera.height, camera.width, 3)
            cut.images[camera.name] = allocate(f"{cut.name}.{camera.name}", shape)
            places = series.places[cut.chosen[index]]
            order = np.argsort(places, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
                place = int(places[rows[0]])
                users.setdefault(series.topic, {}).setdefault(place, []).append((cut, index, rows))

    def work(message: RawMessage, cut: _Cut, index: int, rows: Int) -> tuple[int, int] | str:
        camera = spec.cameras[index]
        try:
            source, image = image_of(bag.decode(message), camera)
        except DecodeError as error:
            return error.problem
        cut.images[camera.name][rows] = image
        for row in {0, len(cut.ticks) // 2, len(cut.ticks) - 1}.intersection(rows.tolist()):
            cut.previews.setdefault(camera.name, {})[row] = preview(source, camera)
        return source.shape[1], source.shape[0]

    def finish(cut: _Cut, index: int, rows: Int, job: Future[tuple[int, int] | str]) -> None:
        result = job.result()
        if isinstance(result, str):
            cut.undecodable.extend((index, int(row), result) for row in rows)
        else:
            cut.sizes.setdefault(spec.cameras[index].name, set()).add(result)

    seen: dict[str, int] = {}
    jobs: deque[tuple[_Cut, int, Int, Future[tuple[int, int] | str]]] = deque()
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
        for message in bag.messages(users):
            place = seen[message.topic] = seen.get(message.topic, -1) + 1
            for cut, index, rows in users[message.topic].get(place, ()):
                jobs.append((cut, index, rows, pool.submit(work, message, cut, index, rows)))
            while len(jobs) > 2 * _DECODERS:  # bounded: each job holds its message
                finish(*jobs.popleft())
        while jobs:
            finish(*jobs.popleft())


def _commands(spec: Spec, command: _Series, ticks: Int) -> NDArray[np.float64]:
    """Per tick t, the newest command in (t, t + period]; if none was sent then, the controller
    still followed the one before, so that is it. (T, n); NaN before any, and where unreadable."""
    if spec.target == "command" and not len(command.stamps):
        raise BagError(
            "no command can be used",
            where=command.topic,
            remedy=f"it must name {', '.join(spec.command_names)}; or set 'target: next_state'",
        )
    unknown = np.full(len(spec.command_indices), np.nan)
    values = [unknown if value is None else value for value in command.values]
    newest = np.searchsorted(command.stamps, ticks + spec.period_ns, side="right")
    # Index 0 stands for "none yet".
    commands: NDArray[np.float64] = np.stack([unknown, *values])[newest]
    return commands


def _targets(
    spec: Spec, commands: NDArray[np.float64], joints: NDArray[np.float64]
) -> NDArray[np.float64]:
    """See `Episode.targets`.

    next_state: the state at the next tick. command: for the commanded joints, `_commands`; before
    any command, and for joints that are not commanded, the next state.
    """
    targets = np.concatenate([joints[1:], joints[-1:]])
    if spec.target == "command":
        indices = list(spec.command_indices)
        targets[:, indices] = np.where(np.isnan(commands), targets[:, indices], commands)
    column = 0
    for source in spec.joints:
        for _ in source.names:
            if source.smooth is not None:
                steps = max(1, round(source.smooth * spec.rate))
                targets[:, column] = smooth_switches(targets[:, column], steps)
            column += 1
    return targets


def _lead(
    spec: Spec, commands: NDArray[np.float64], joints: NDArray[np.float64]
) -> tuple[float, ...]:
    """See `Episode.lead`."""
    indices = list(spec.command_indices)
    distance = np.fmax.reduce(np.abs(commands - joints[:, indices]), axis=0)  # skips NaN
    if np.isnan(distance).all():
        return ()
    lead = np.zeros(spec.joint_dim)
    lead[indices] = distance
    return tuple(lead.tolist())


def smooth_switches(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """A two-valued signal with cosine ramps, `steps` ticks before to `steps` after each switch.

    EIPL's `cos_interpolation` does it to inputs as well; that looks ahead, which no robot can, so
    here only targets are smoothed. Ramps that overlap meet where they cross.

    :param values: (T,), lowest and highest are the two levels.
    """
    low, high = values.min(), values.max()
    switches = np.flatnonzero(np.diff(values > (low + high) / 2))
    smoothed = values.copy()
    for number, switch in enumerate(switches.tolist()):
        before = switches[number - 1] if number else -1
        after = switches[number + 1] if number + 1 < len(switches) else len(values) - 1
        start = max(switch - steps + 1, (before + switch) // 2 + 1)
        stop = min(switch + steps, (switch + after) // 2)
        rows = np.arange(start, stop + 1)
        phase = (rows - (switch - steps + 1)) / (2 * steps - 1)  # 0 … 1 over the whole ramp
        ramp = (1 - np.cos(np.pi * phase)) / 2
        level, end = (low, high) if values[switch + 1] > values[switch] else (high, low)
        smoothed[rows] = level + (end - level) * ramp
    return smoothed


def digest_of(*arrays: NDArray[Any]) -> str:
    """SHA-256 over the bytes, hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _in_memory(name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.empty(shape, dtype=np.uint8)


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.name.split(".")[0]


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """A short name per bag; as many parent folders are added as it takes to tell them apart."""
    resolved = [path.resolve() for path in paths]
    for depth in range(max(len(path.parts) for path in resolved)):
        names = [
            "/".join([*path.parent.parts[len(path.parent.parts) - depth :], _stem(path)])
            for path in resolved
        ]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in resolved]
