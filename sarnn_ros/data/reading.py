# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From one bag to its episodes: the offline side of the input path.

Which messages count, which one a tick uses and how it becomes an array is the business of
`streams`, as it is at the robot. A bag is read twice: first stamps and joints, then only those
images that a tick uses are decoded. So memory does not grow with the bag.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bags import Bag, RawMessage, absolute, bag_files
from sarnn_ros.data.bounds import check_expansion
from sarnn_ros.data.cutting import Cut, led_by_person, run_began, windows
from sarnn_ros.data.dataset import BLOCK_ROWS, MIN_TICKS, Episode, Int, digest_of, release
from sarnn_ros.data.problems import BagReport, Problem, StreamReport, Void, listed
from sarnn_ros.data.targets import commands_at, lead_of, targets_of
from sarnn_ros.errors import BagError, DecodeError, SarnnError, SpecError, join_problems
from sarnn_ros.spec import NANOSECONDS, CameraSpec, Spec
from sarnn_ros.streams.align import silence_ns, tick_grid, with_silences
from sarnn_ros.streams.ingest import (
    Admission,
    Ingest,
    Stream,
    effort_vector,
    image_of,
    joint_admission,
    joint_vector,
)
from sarnn_ros.streams.registration import Matrix, shrink, undo

#: Makes the array that images are decoded into: (name, shape) to uint8.
Allocate = Callable[[str, tuple[int, ...]], NDArray[np.uint8]]
#: Gives source and model image as a camera of the spec has them, with what is undone, as for
#: `crop_resize`; raises `DecodeError`.
Decode = Callable[[CameraSpec, Matrix | None], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
#: Per episode and camera that was not in its place, what is undone.
Moved = Mapping[str, Mapping[str, Matrix]]
#: From wanted places per topic: topic, place and how to decode, ascending in each topic.
Images = Callable[[Mapping[str, Container[int]]], Iterator[tuple[str, int, Decode]]]
#: Is given each source image that ticks use, in their order: (episode, camera, ticks, image).
Show = Callable[[str, str, Int, NDArray[np.uint8]], None]

NOT_MOVED: Moved = MappingProxyType({})
#: More ticks than this in one bag means that a clock was set while recording.
MAX_TICKS = 5_000_000
#: Messages of a topic may be recorded in another order than they came, but not by this much, s.
MAX_DISORDER_SECONDS = 1.0
#: Last part of the name, and type, of a topic that says whether a person leads the arm: `sarnn
#: record` has such a one in every bag.
TAKEOVER, TAKEOVER_TYPE = "takeover", "std_msgs/msg/Bool"
#: What is found of a recording in which the policy led all the time.
RUN_OF_POLICY = "a run of the policy"
#: Longer than any recording: for what is used whatever its age.
_ANY_AGE_NS = 1 << 62
_DECODING_THREADS = 2


def read_bag(
    path: Path,
    spec: Spec,
    *,
    name: str | None = None,
    allocate: Allocate | None = None,
    show: Show | None = None,
    moved: Moved = NOT_MOVED,
    runs: bool = False,
) -> tuple[list[Episode], BagReport]:
    """All episodes of one bag. Never raises for what is in the bag: the report tells.

    :param show: sees the source images, of episodes that are left out later as well.
    :param moved: is undone; see `Moved`.
    :param runs: give those of a policy, too, in which nobody took over: nobody is to learn from
        them. `Episode.led` is False throughout then.
    """
    report = BagReport(str(path))
    episodes: list[Episode] = []
    bag = Bag(path)
    try:
        with bag:
            _check_topics(bag, spec)
            recording, images = _scan(bag, spec, report), partial(_images, bag)
            title = name or stem(path)
            episodes += episodes_of(recording, images, title, report, allocate, show, moved, runs)
    except SarnnError as error:
        report.leave_out(str(path), error)
    except Exception as error:  # a bag must never take down the others
        report.leave_out(str(path), BagError(f"cannot be read: {type(error).__name__}: {error}"))
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
    report.add_episodes(episodes)
    return episodes, report


class BagIngest(Ingest):
    """The ingest of a bag: of an image it keeps its number among the messages of its topic. What
    no tick can see is not kept, so that an hour of joints at 1 kHz fits into memory.

    :ivar place: to be set to the number of the message that is pushed.
    :ivar arrivals: per stream stamps and receipts, ns, of all usable messages as they came.
    :ivar packed_bytes: of the files that it is read from.
    :param command: admits the recorded commands; None if there are none.
    :param takeovers: topics that say whether a person leads the arm, by a Bool.
    """

    def __init__(
        self, spec: Spec, command: Admission | None = None, takeovers: Iterable[str] = ()
    ) -> None:
        super().__init__(spec, absolute, keep=lambda _: self.place)
        self.place = -1
        self.packed_bytes = 0
        self.command = self._add(spec.command.topic, command)
        learnt = [*self.streams, *([self.command] if spec.target == "command" else [])]
        self.arrivals = {one: (array("q"), array("q")) for one in learnt}
        self.takeovers = [self._add(topic, _admit_takeover) for topic in takeovers]

    def _add(self, topic: str, admit: Admission | None) -> Stream:
        """A stream beside the observed ones."""
        known = absolute(topic)
        stream = Stream(known, known, "", admit or _admit_takeover, _ANY_AGE_NS)
        if admit:
            self.routes.setdefault(known, []).append(stream)
        return stream

    def _take(self, stream: Stream, stamp: int, content: Any, receive_ns: int) -> int | None:
        if stream in self.arrivals:
            for known, value in zip(self.arrivals[stream], (stamp, receive_ns)):
                known.append(value)
        tick = super()._take(stream, stamp, content, receive_ns)
        if self.spec.trigger is None:
            stream.forget_superseded(stamp, self.spec.period_ns)
        return tick

    def describe(self, messages: dict[str, int], voids: dict[str, Void]) -> Iterator[StreamReport]:
        """One report per topic: of the observed ones, and of the commands if they are learnt.

        :param messages: so many came of each.
        """
        # Of streams that share a topic, the one that can use the fewest messages.
        told = [one for one in self.arrivals if one is not self.command or self.arrivals[one][0]]
        fewest_last = sorted(told, key=lambda stream: -len(self.arrivals[stream][0]))
        observed = {stream.topic for stream in self.streams}
        for topic, stream in {stream.topic: stream for stream in fewest_last}.items():
            stamps, received = (np.array(known, dtype=np.int64) for known in self.arrivals[stream])
            # Where rosbag2 compresses messages in several threads, a bag has them out of order.
            steps = np.diff(stamps[np.argsort(received, kind="stable")])
            ahead = steps[steps > 0] / NANOSECONDS
            latency = np.median(received - stamps) if len(stamps) else 0
            yield StreamReport(
                topic=topic,
                messages=messages.get(topic, 0),
                void=voids[topic].count if topic in voids else 0,
                # The median: a pause must not look like a low rate.
                rate=float(1 / np.median(ahead)) if len(ahead) else float("nan"),
                jitter=float(ahead.std()) if len(ahead) else float("nan"),
                longest_gap=float(ahead.max()) if len(ahead) else float("nan"),
                backwards=int((steps < 0).sum()),
                repeated=int((steps == 0).sum()),
                latency=float(latency) / NANOSECONDS,
                command=topic not in observed,
            )


def _admit_takeover(msg: Any, receive_ns: int) -> tuple[int, Any]:
    return receive_ns, bool(msg.data)


def _command_admission(bag: Bag, spec: Spec) -> Admission | None:
    """None if the bag has no commands that could be read."""
    if spec.target == "command":
        return joint_admission(spec.command_source, spec)
    topic = bag.topics.get(absolute(spec.command.topic))
    if topic is None or topic.type != spec.command.type:
        return None
    try:
        admit = joint_admission(spec.command_source, spec)
    except SpecError:  # an array whose order the spec does not give
        return None

    def lenient(msg: Any, receive_ns: int) -> tuple[int, Any]:
        # Commands that are not the target may be anything: one that cannot be read is unknown,
        # and no fault of the bag.
        try:
            return admit(msg, receive_ns)
        except DecodeError:
            return receive_ns, None

    return lenient


def _images(bag: Bag, wanted: Mapping[str, Container[int]]) -> Iterator[tuple[str, int, Decode]]:
    seen: dict[str, int] = {}
    for message in bag.messages(wanted):
        place = seen[message.topic] = seen.get(message.topic, -1) + 1
        if place in wanted[message.topic]:
            yield message.topic, place, partial(_decode, bag, message)


def _decode(
    bag: Bag, message: RawMessage, camera: CameraSpec, moved: Matrix | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return image_of(bag.decode(message), camera, moved)


def episodes_of(
    recording: BagIngest,
    images: Images,
    name: str,
    report: BagReport,
    allocate: Allocate | None = None,
    show: Show | None = None,
    moved: Moved = NOT_MOVED,
    runs: bool = False,
) -> Iterator[Episode]:
    """Ticks, episodes and images of a recording whose streams are filled.

    :param images: contents of the cameras' streams are places in there.
    :param runs: as of `read_bag`.
    :raises BagError: it has no episode.
    """
    spec = recording.spec
    grid, chosen = _align(recording)
    report.streams = _with_ages(report.streams, recording, grid, chosen)
    cuts: list[Cut] = []
    began = run_began(recording.takeovers)
    for title, rows in windows(spec, name, grid, chosen):
        if began is not None:
            rows = slice(max(rows.start, int(np.searchsorted(grid, began))), rows.stop)
        cut = Cut(title, grid[rows], [indices[rows] for indices in chosen])
        try:
            cut.trim(report, spec)
            cut.check_holes(report, recording.streams)
            cuts.append(cut)
        except BagError as error:
            report.leave_out(title, error)
    ticks = sum(len(cut.ticks) for cut in cuts)
    pixels = sum(camera.width * camera.height for camera in spec.cameras)
    check_expansion("the model's images of it", ticks * pixels * 3, recording.packed_bytes)
    allocate = allocate or (lambda _, shape: np.empty(shape, np.uint8))
    _decode_images(images, recording, cuts, allocate, show, moved)
    ends_ns = [int(cut.ticks[-1]) for cut in cuts]
    for cut in cuts:
        # They may be listed in any order, and overlap.
        since_ns = max((end for end in ends_ns if end < cut.ticks[0]), default=None)
        try:
            yield _finish(cut, recording, report, since_ns, runs)
        except BagError as error:
            report.leave_out(cut.name, error)


def _with_ages(
    reports: list[StreamReport], recording: BagIngest, grid: Int, chosen: Sequence[Int]
) -> list[StreamReport]:
    ages: dict[str, tuple[float, float]] = {}
    for stream, rows in zip(recording.streams, chosen):
        used = rows >= 0
        if used.any():
            age = (grid[used] - np.array(stream.stamps)[rows[used]]) / NANOSECONDS
            ages[stream.topic] = (float(np.median(age)), float(age.max()))
    return [replace(report, age=ages.get(report.topic)) for report in reports]


def _check_topics(bag: Bag, spec: Spec) -> None:
    wanted: list[tuple[str, str]] = [(camera.topic, camera.type) for camera in spec.cameras]
    wanted += [(source.topic, source.type) for source in spec.joints]
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


def _scan(bag: Bag, spec: Spec, report: BagReport) -> BagIngest:
    """First pass: stamps of the usable images, stamps and values of the usable joints.

    :raises BagError: a topic that is needed has no usable message.
    """
    takeovers = [
        topic.name
        for topic in bag.topics.values()
        if topic.name.endswith(f"/{TAKEOVER}") and topic.type == TAKEOVER_TYPE
    ]
    recording = BagIngest(spec, _command_admission(bag, spec), takeovers)
    counts: dict[str, int] = {}
    received: dict[str, int] = {}
    for message in bag.messages(recording.routes):
        topic = message.topic
        fall = received.get(topic, 0) - message.receive_ns
        if fall > MAX_DISORDER_SECONDS * NANOSECONDS:
            raise BagError(
                f"the recorder's clock was set back by {fall / NANOSECONDS:.1f} s while "
                f"recording, at {message.receive_ns / NANOSECONDS:.3f} s",
                where=topic,
                remedy="record it again with clocks that are synchronised before (chrony): what "
                "belongs together is not known",
            )
        received[topic] = message.receive_ns
        recording.place = counts.get(topic, 0)
        counts[topic] = recording.place + 1
        try:
            refused = recording.push(topic, bag.decode(message), message.receive_ns).refused
        except DecodeError as error:
            refused = [error]
        if refused:
            report.add_void(topic, refused[0])
    report.streams = list(recording.describe(counts, report.void))
    if not bag.damage:
        bag.damage += [
            f"{topic}: only {counts.get(topic, 0)} of {bag.topics[topic].count} messages that the "
            "bag's index announces are there"
            for topic in recording.routes
            if counts.get(topic, 0) < bag.topics[topic].count
        ]
    needed = [*recording.streams, *([recording.command] if spec.target == "command" else [])]
    for stream in needed:
        if not stream.stamps:
            void = report.void.get(stream.topic)
            raise BagError(
                f"none of {void.count} messages can be used, the first because: {void.why}"
                if void
                else stream.last_void or "the topic has no message",
                where=stream.topic,
                remedy=(void and void.remedy) or "record it again, or correct the spec",
            )
    recording.packed_bytes = sum(file.stat().st_size for file in bag_files(bag.path))
    return recording


def _align(recording: BagIngest) -> tuple[Int, list[Int]]:
    """The recording's ticks, and per observed stream the index of each tick's message."""
    spec, streams = recording.spec, recording.streams
    start = min(stream.stamps[0] for stream in streams)
    end = max(stream.stamps[-1] for stream in streams)
    seconds = (end - start) / NANOSECONDS
    if seconds * spec.rate > MAX_TICKS:
        spans = "; ".join(
            f"{stream.topic} from {stream.stamps[0] / NANOSECONDS:.3f} s to "
            f"{stream.stamps[-1] / NANOSECONDS:.3f} s"
            for stream in streams
        )
        raise BagError(
            f"the stamps span {seconds:.0f} s: {spans}",
            remedy="a clock was not set, or was set while recording: synchronise the clocks, or "
            "set 'clock: receive'",
        )
    if spec.trigger is None:
        grid = tick_grid(start, end, spec.period_ns)
    else:
        images = np.array(streams[0].stamps, dtype=np.int64)
        grid = with_silences(images, silence_ns(spec.period_ns, spec.trigger.max_age_ns))
    ticks = grid.tolist()
    return grid, [
        np.array([stream.newest(tick) for tick in ticks], dtype=np.int64) for stream in streams
    ]


def _finish(
    cut: Cut, recording: BagIngest, report: BagReport, since_ns: int | None, runs: bool
) -> Episode:
    """:param since_ns: the last tick of the episode before."""
    spec = recording.spec
    if cut.undecodable:
        # These ticks are void, as they would be live: trimmed at an end, a hole in the middle.
        for index, row, why in cut.undecodable:
            report.add_void(recording.streams[index].topic, why)
            cut.chosen[index] = np.where(np.arange(len(cut.ticks)) == row, -1, cut.chosen[index])
        cut.trim(report, spec)
        cut.check_holes(report, recording.streams)
    for camera, sizes in cut.sizes.items():
        if len(sizes) > 1:
            raise BagError(
                f"the image size changes: {', '.join(f'{w} x {h}' for w, h in sorted(sizes))}",
                where=camera,
                remedy="record with one resolution",
            )
    rows = zip(*(one.tolist() for one in cut.chosen[len(recording.cameras) :]))
    found = [
        [stream.contents[row] for stream, row in zip(recording.sources, tick)] for tick in rows
    ]
    joints = np.stack([joint_vector(tick) for tick in found])
    efforts = _efforts([effort_vector(tick) for tick in found], spec)
    commands = commands_at(spec, recording.command, cut.ticks, since_ns)
    targets = targets_of(spec, commands, joints)
    led = led_by_person(recording.takeovers, cut.ticks)
    if led is not None and not led.any() and not runs:
        raise BagError(
            f"{RUN_OF_POLICY}: nobody took over for {MIN_TICKS} ticks, by "
            f"{listed([stream.name for stream in recording.takeovers if stream.stamps])}",
            remedy="if it went well, nothing is missing; take over where it goes wrong; what a "
            "person leads from begin to end, record without the policy",
        )
    mine = slice(None) if led is None or not led.any() else led
    return Episode(
        cut.name,
        cut.ticks,
        cut.images,
        joints,
        targets,
        source_sizes={camera: next(iter(sizes)) for camera, sizes in cut.sizes.items()},
        efforts=efforts,
        digest=digest_of(
            cut.ticks,
            joints,
            targets,
            *(one for one in (efforts, led) if one is not None),
            *cut.images.values(),
        ),
        lead=lead_of(spec, commands[mine], joints[mine]),
        led=led,
        previews={
            camera: [shown[row] for row in sorted(shown)]
            for camera, shown in cut.previews.items()
            if len(shown) == 3 and 0 in shown  # some may have been void
        },
    )


def _efforts(
    found: Sequence[NDArray[np.float64] | None], spec: Spec
) -> NDArray[np.float64] | None:
    """See `Episode.efforts`."""
    if all(one is None for one in found):
        return None
    unknown = np.full(spec.joint_dim, np.nan)
    return np.stack([unknown if one is None else one for one in found])


def _decode_images(
    images: Images,
    recording: BagIngest,
    cuts: Sequence[Cut],
    allocate: Allocate,
    show: Show | None,
    moved: Moved,
) -> None:
    """Second pass: each image that a tick uses is decoded once, two at a time, into `cuts`."""
    spec = recording.spec
    # Per topic and place: the cameras, by index, and the rows of a cut that the image goes to.
    users: dict[str, dict[int, list[tuple[Cut, int, Int]]]] = {}
    for cut in cuts:
        for index, (camera, stream) in enumerate(zip(spec.cameras, recording.cameras)):
            shape = (len(cut.ticks), camera.height, camera.width, 3)
            cut.images[camera.name] = allocate(f"{cut.name}.{camera.name}", shape)
            places = np.array(stream.contents)[cut.chosen[index]]
            order = np.argsort(places, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
                place = int(places[rows[0]])
                users.setdefault(stream.topic, {}).setdefault(place, []).append((cut, index, rows))

    def work(decode: Decode, cut: Cut, index: int, rows: Int) -> NDArray[np.uint8] | DecodeError:
        camera = spec.cameras[index]
        place = moved.get(cut.name, {}).get(camera.name)
        try:
            source, image = decode(camera, place)
        except DecodeError as error:
            return error
        cut.images[camera.name][rows] = image
        for row in {0, len(cut.ticks) // 2, len(cut.ticks) - 1}.intersection(rows.tolist()):
            still = source if place is None else undo(source, place)
            cut.previews.setdefault(camera.name, {})[row] = shrink(still)
        return source

    def finish(
        cut: Cut, index: int, rows: Int, job: Future[NDArray[np.uint8] | DecodeError]
    ) -> None:
        result = job.result()
        camera = spec.cameras[index].name
        if isinstance(result, DecodeError):
            cut.undecodable.extend((index, int(row), result) for row in rows)
            return
        cut.sizes.setdefault(camera, set()).add((result.shape[1], result.shape[0]))
        if show is not None:
            show(cut.name, camera, cut.ticks[rows], result)

    jobs: deque[tuple[Cut, int, Int, Future[NDArray[np.uint8] | DecodeError]]] = deque()
    with ThreadPoolExecutor(_DECODING_THREADS, thread_name_prefix="decode") as pool:
        for count, (topic, place, decode) in enumerate(images(users)):
            if count % BLOCK_ROWS == 0:
                for target in (one for cut in cuts for one in cut.images.values()):
                    release(target)
            for cut, index, rows in users[topic][place]:
                jobs.append((cut, index, rows, pool.submit(work, decode, cut, index, rows)))
            while len(jobs) > 2 * _DECODING_THREADS:  # bounded: each job holds its image
                finish(*jobs.popleft())
        while jobs:
            finish(*jobs.popleft())


def stem(path: Path) -> str:
    return path.name if path.is_dir() else path.name.split(".")[0]
