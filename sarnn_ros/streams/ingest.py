# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stamped messages in, the observation of a tick out: one path for bags and for live topics.

An `Ingest` is made from a spec. It knows which streams each topic feeds, which messages may be
used, and which of them a tick sees. The bag reader (`data.reading`) and the live node
(`observe.ObservationBuffer`) build on it; neither has a rule of its own.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import NANOSECONDS, TF_TYPE, CameraSpec, Clock, JointSource, Spec
from sarnn_ros.streams.align import ImageTicks, newest
from sarnn_ros.streams.decode import (
    OtherJoints,
    check_image,
    decode_effort,
    decode_image,
    decode_vector,
    stamp_ns,
)
from sarnn_ros.streams.poses import NoTransform, TransformChain
from sarnn_ros.streams.preprocess import check_crop, crop_resize

#: A tick is observed at most so many periods after the newest message arrived.
HORIZON_TICKS = 2

Size = tuple[int, int]
#: Stamp (ns) and content of a message that may be used, from the message and its arrival (ns).
Admission = Callable[[Any, int], tuple[int, Any]]


class Joints(NamedTuple):
    """What a message says of a source's joints.

    :param values: float64 (n,), SI units.
    :param effort: float64 (n,), see `decode_effort`; None: it tells none, or nobody asks.
    """

    values: NDArray[np.float64]
    effort: NDArray[np.float64] | None = None


@dataclass(eq=False)
class Stream:
    """One source and its usable messages, ascending by stamp.

    :param name: the camera's, or as in `Spec.joint_source_names`.
    :param topic: as messages name it.
    :param type: of its messages.
    :param admit: raises `DecodeError` for a message that may not be used.
    :param max_age_ns: the oldest that a tick may use.
    """

    name: str
    topic: str
    type: str
    admit: Admission
    max_age_ns: int
    stamps: list[int] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    last_void: str | None = None

    def add(self, stamp: int, content: Any) -> None:
        """Of equal stamps the later arrival counts as newer."""
        position = bisect.bisect_right(self.stamps, stamp)
        self.stamps.insert(position, stamp)
        self.contents.insert(position, content)
        self.last_void = None

    def newest(self, tick_ns: int) -> int:
        """Which message the tick uses; -1: none."""
        return newest(self.stamps, tick_ns, self.max_age_ns)

    def why_none(self, tick_ns: int) -> str:
        """Why the tick has no message."""
        if self.last_void is not None:
            return f"no usable message; the last one: {self.last_void}"
        past = bisect.bisect_right(self.stamps, tick_ns)
        if past:
            age = (tick_ns - self.stamps[past - 1]) / NANOSECONDS
            if not self.max_age_ns:  # the camera whose images are the ticks
                return f"no image for {age:.3f} s"
            limit = self.max_age_ns / NANOSECONDS
            return f"{age:.3f} s old, at most {limit:.3f} s are allowed"
        if self.stamps:
            ahead = (self.stamps[0] - tick_ns) / NANOSECONDS
            return f"stamped {ahead:.3f} s in the future"
        return f"no message has arrived on '{self.topic}'"

    def forget_superseded(self, stamp: int, period_ns: int) -> None:
        """Drop what no tick of the grid can see: messages with a newer one before the next tick.

        :param stamp: of the message that was added last.
        """
        newest = bisect.bisect_right(self.stamps, stamp) - 1
        for row in (newest, newest - 1):
            if 0 <= row < len(self.stamps) - 1:
                next_tick = -(-self.stamps[row] // period_ns) * period_ns
                if next_tick >= self.stamps[row + 1]:
                    del self.stamps[row], self.contents[row]

    def forget_before(self, floor_ns: int, most: int) -> None:
        """Keep what a tick at `floor_ns` or later can need, and no more than `most` messages."""
        needless = bisect.bisect_right(self.stamps, floor_ns) - 1
        if needless > 0:
            del self.stamps[:needless], self.contents[:needless]
        # The oldest go: a tick then sees what it should, or nothing. Without a newer one it would
        # take an older one for the newest.
        del self.stamps[:-most], self.contents[:-most]


class Arrival(NamedTuple):
    """What became of one message.

    :param tick_ns: the tick that the image is, ns; None if it is none.
    :param refused: one per stream that cannot use the message.
    """

    tick_ns: int | None
    refused: Sequence[DecodeError]


class Ingest:
    """The streams of a spec. For one thread.

    :param resolve: how messages name a topic of the spec.
    :param keep: what is kept of an image message until a tick needs it.
    :param sizes: per camera (width, height) of the source image in training, if known: images of
        many times more pixels are refused without decoding.
    :param max_ahead_ns: how far a stamp may lie ahead of the message's arrival; None: as far as a
        tick that uses the message could. Further ones are void.

    Where images are ticks (`Spec.tick`), the first camera's other images count as never sent, and
    a tick that is not one of its images has no observation.
    """

    def __init__(
        self,
        spec: Spec,
        resolve: Callable[[str], str] = str,
        keep: Callable[[Any], Any] = lambda msg: msg,
        sizes: Mapping[str, Size] | None = None,
        max_ahead_ns: int | None = None,
    ) -> None:
        self.spec = spec
        known = sizes or {}
        self.cameras = [
            Stream(
                camera.name,
                resolve(camera.topic),
                camera.type,
                partial(_admit_image, camera, spec, keep, known.get(camera.name), max_ahead_ns),
                0 if camera is spec.trigger else camera.max_age_ns,
            )
            for camera in spec.cameras
        ]
        self.sources = [
            Stream(
                name, resolve(source.topic), source.type,
                joint_admission(source, spec, max_ahead_ns), source.max_age_ns,
            )
            for name, source in zip(spec.joint_source_names, spec.joints)
        ]  # fmt: skip
        self.routes: dict[str, list[Stream]] = {}
        for stream in self.streams:
            self.routes.setdefault(stream.topic, []).append(stream)
        self._ticks = ImageTicks(spec.period_ns)

    @property
    def streams(self) -> list[Stream]:
        """All that an observation is made of: the cameras, then the joint sources."""
        return [*self.cameras, *self.sources]

    def push(self, topic: str, msg: Any, receive_ns: int) -> Arrival:
        """Hand a message to every stream of its topic: each takes or refuses it by itself.

        What a refused message should have replaced stays in use. Where drivers of an arm and of a
        gripper share a topic, each message is for one of its sources and no fault of the others.
        """
        tick, refused = None, []
        others: list[tuple[Stream, OtherJoints]] = []
        for stream in self.routes[topic]:
            try:
                stamp, content = stream.admit(msg, receive_ns)
            except NoTransform as error:
                if not stream.stamps:
                    stream.last_void = error.problem
            except OtherJoints as error:
                others.append((stream, error))
            except DecodeError as error:
                stream.last_void = error.problem
                refused.append(error)
            else:
                tick = self._take(stream, stamp, content, receive_ns) or tick
        if len(others) == len(self.routes[topic]):
            for stream, other in others:
                stream.last_void = other.problem
                refused.append(other)
        return Arrival(tick, refused)

    def refuse(self, topic: str, problem: str) -> None:
        """A message of this topic was not even read."""
        for stream in self.routes[topic]:
            stream.last_void = problem

    def _take(self, stream: Stream, stamp: int, content: Any, receive_ns: int) -> int | None:
        """Returns the tick that the message is."""
        is_trigger = self.spec.trigger is not None and stream is self.cameras[0]
        if is_trigger and not self._ticks.take(stamp):
            return None
        stream.add(stamp, content)
        return stamp if is_trigger else None


def joint_vector(sources: Iterable[Joints]) -> NDArray[np.float64]:
    """What the joint sources have at a tick, in the spec's order, as float64 (D,), SI units."""
    return np.concatenate([source.values for source in sources])


def effort_vector(sources: Iterable[Joints]) -> NDArray[np.float64] | None:
    """The efforts of the same messages, float64 (D,), NaN where unknown or not finite; None if
    all are."""
    found = list(sources)
    if all(source.effort is None for source in found):
        return None
    parts: list[NDArray[np.float64]] = [
        np.full(len(source.values), np.nan) if source.effort is None else source.effort
        for source in found
    ]
    efforts = np.concatenate(parts)
    known = np.isfinite(efforts)
    return np.where(known, efforts, np.nan) if known.any() else None


def joint_admission(source: JointSource, spec: Spec, max_ahead_ns: int | None = None) -> Admission:
    """Admits what `decode_vector` can read and a usable stamp has; the content is a `Joints`.

    Of tf it keeps the newest transforms, so it must get all messages in the order they came.
    """
    clock = source.clock or spec.clock
    stamp = partial(_stamp, clock, source.max_age_ns, spec, max_ahead_ns)

    def admit(msg: Any, receive_ns: int) -> tuple[int, Joints]:
        values = decode_vector(msg, source)
        return stamp(msg, receive_ns), Joints(values, decode_effort(msg, source))

    chain = TransformChain(source)

    def admit_transforms(msg: Any, receive_ns: int) -> tuple[int, Joints]:
        parts = chain.hear(msg, receive_ns)
        values = decode_vector([part for part, _ in parts], source)
        stamps = [stamp(*part) for part in parts]
        # The newest: a tick uses nothing that was stamped later.
        latest, oldest = max(stamps), min(stamps)
        if latest - oldest > source.max_age_ns:
            late = parts[stamps.index(oldest)][0]
            raise DecodeError(
                f"the transform of '{late.child_frame_id}' is "
                f"{(latest - oldest) / NANOSECONDS:.3f} s older than the newest one on the way to "
                f"'{source.child_frame_id}'"
            )
        return latest, Joints(values)

    return admit_transforms if source.type == TF_TYPE else admit


def image_of(
    msg: Any,
    camera: CameraSpec,
    moved: NDArray[np.float64] | None = None,
    light: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Source image and model image, both uint8 (H, W, 3) RGB.

    :param moved, light: see `crop_resize`; the source image stays as it came.
    :raises DecodeError: the pixels cannot be decoded. Then the tick has no observation.
    """
    source = decode_image(msg, value_range=camera.value_range)
    return source, crop_resize(source, camera, moved, light)


def _admit_image(
    camera: CameraSpec,
    spec: Spec,
    keep: Callable[[Any], Any],
    trained: Size | None,
    max_ahead_ns: int | None,
    msg: Any,
    receive_ns: int,
) -> tuple[int, Any]:
    width, height = check_image(msg, trained)
    check_crop(camera, width, height, DecodeError)
    stamp = _stamp(spec.clock, camera.max_age_ns, spec, max_ahead_ns, msg, receive_ns)
    if camera is spec.trigger and receive_ns - stamp > camera.max_age_ns:
        raise DecodeError(f"{(receive_ns - stamp) / NANOSECONDS:.3f} s old on arrival")
    return stamp, keep(msg)


def _stamp(
    clock: Clock, max_age_ns: int, spec: Spec, max_ahead_ns: int | None, msg: Any, receive_ns: int
) -> int:
    """:raises DecodeError: it is not set, or too far ahead."""
    if clock == "receive":
        return receive_ns
    stamp = stamp_ns(msg)
    # If it were kept, it would pass for fresh at the time of its stamp, and be old by then.
    ahead, most = stamp - receive_ns, max(max_age_ns, HORIZON_TICKS * spec.period_ns)
    if max_ahead_ns is not None:
        most = min(most, max_ahead_ns)
    if ahead > most:
        raise DecodeError(
            f"stamped {ahead / NANOSECONDS:.3f} s in the future, at most {most / NANOSECONDS:.3f} "
            "s are allowed",
            remedy="synchronise the clocks of the computers (chrony), or set use_sim_time for all "
            "nodes or for none"
            + ("" if max_ahead_ns is None else "; watch.max_ahead is the limit"),
        )
    return stamp
