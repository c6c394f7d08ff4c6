# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The live side of observation: messages in as they arrive, what a tick sees out. No rclpy.

What counts as a message, which one a tick uses, and how it becomes an array are the functions that
`bags` and `episodes` use, so that a policy sees at the robot what it was trained on.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import NANOSECONDS, CameraSpec, JointSource, Spec
from sarnn_ros.streams.align import ImageTicks, newest_for
from sarnn_ros.streams.decode import check_image, decode_image, decode_vector, stamp_ns
from sarnn_ros.streams.preprocess import crop_resize

#: A tick is observed at most so many periods after the newest message arrived.
HORIZON_TICKS = 2
#: Kept per source, whatever happens: joints at 1 kHz for four seconds.
MAX_IMAGES, MAX_JOINTS = 256, 4096


@dataclass(frozen=True)
class Observation:
    """What the policy sees at one tick.

    :param tick_ns: the tick's time.
    :param images: per camera, uint8 (h, w, 3) RGB in the model's size.
    :param state: float64 (D,), the measured joints in the spec's order, SI units.
    :param stamps: ns, of the message used; per camera name and `Spec.joint_source_names`.
    :param sources: per camera, the decoded source image, uint8 (H, W, 3) RGB.
    :param headers: per camera, the header of its message, for what is published about the image.
    """

    tick_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float64]
    stamps: Mapping[str, int]
    sources: Mapping[str, NDArray[np.uint8]]
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """Why a tick has no observation: a reason per source, keyed like `Observation.stamps`."""

    tick_ns: int
    reasons: Mapping[str, str]

    def __str__(self) -> str:
        return "; ".join(f"{source}: {reason}" for source, reason in self.reasons.items())


def admit_image(msg: Any, camera: CameraSpec, receive_ns: int, spec: Spec) -> int:
    """The stamp of an image that may be used, ns.

    :raises DecodeError: the image is void: malformed, unstamped, stamped in the future, or smaller
        than the crop.
    """
    width, height = check_image(msg)
    crop = camera.crop
    if crop and (crop.x + crop.width > width or crop.y + crop.height > height):
        raise DecodeError(
            f"crop x={crop.x} y={crop.y} width={crop.width} height={crop.height} exceeds the "
            f"image of {width} x {height} pixels",
            where=camera.topic,
            remedy="correct the crop in the spec, or the camera's resolution",
        )
    if spec.clock == "receive":
        return receive_ns
    return _not_ahead(stamp_ns(msg), receive_ns, camera.max_age_ns, spec)


def admit_joints(
    msg: Any, source: JointSource, receive_ns: int, spec: Spec
) -> tuple[int, NDArray[np.float64]]:
    """Stamp (ns) and values of a joint message that may be used.

    :raises DecodeError: the message is void: see `decode_vector`, `stamp_ns`; or stamped in the
        future.
    """
    values = decode_vector(msg, source)
    if (source.clock or spec.clock) == "receive":
        return receive_ns, values
    return _not_ahead(stamp_ns(msg), receive_ns, source.max_age_ns, spec), values


def _not_ahead(stamp: int, receive_ns: int, max_age_ns: int, spec: Spec) -> int:
    # Kept until its stamp is due, it would pass for fresh then, and be seconds old in truth.
    ahead = stamp - receive_ns
    if ahead > max(max_age_ns, HORIZON_TICKS * spec.period_ns):
        raise DecodeError(
            f"stamped {ahead / NANOSECONDS:.3f} s in the future",
            remedy="synchronise the clocks of the computers (chrony), or set use_sim_time for all "
            "nodes or for none",
        )
    return stamp


def image_of(msg: Any, camera: CameraSpec) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Source image and model image, both uint8 RGB.

    :raises DecodeError: the pixels cannot be decoded. The tick is void then.
    """
    source = decode_image(msg, value_range=camera.value_range)
    return source, crop_resize(source, camera)


@dataclass
class _Kept:
    """The valid messages of one source that a tick can still need, ascending by stamp."""

    topic: str
    max_age_ns: int
    most: int
    stamps: list[int] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    last_void: str | None = None

    def add(self, stamp: int, content: Any, floor_ns: int) -> None:
        # Equal stamps: the later arrival counts as newer, as in a bag.
        position = bisect.bisect_right(self.stamps, stamp)
        self.stamps.insert(position, stamp)
        self.contents.insert(position, content)
        self.last_void = None
        # Of those that no coming tick (>= floor) can prefer to a newer one, none is needed.
        needless = bisect.bisect_right(self.stamps, floor_ns) - 1
        if needless > 0:
            del self.stamps[:needless], self.contents[:needless]
        # Too many: without the oldest a tick sees what it should or nothing; without others it
        # would take an older one for the newest.
        del self.stamps[: -self.most], self.contents[: -self.most]

    def newest(self, tick_ns: int) -> tuple[int, Any] | str:
        """(stamp, content) for the tick, or why there is none."""
        index = newest_for(self.stamps, tick_ns, self.max_age_ns)
        if index >= 0:
            return self.stamps[index], self.contents[index]
        if self.last_void is not None:
            return f"no usable message; the last one: {self.last_void}"
        past = bisect.bisect_right(self.stamps, tick_ns)
        if past:
            age = (tick_ns - self.stamps[past - 1]) / NANOSECONDS
            if not self.max_age_ns:  # the camera that the ticks come from
                return f"no image for {age:.3f} s"
            limit = self.max_age_ns / NANOSECONDS
            return f"{age:.3f} s old, at most {limit:.3f} s are allowed"
        if self.stamps:
            ahead = (self.stamps[0] - tick_ns) / NANOSECONDS
            return f"stamped {ahead:.3f} s in the future"
        return f"no message has arrived on '{self.topic}'"


class ObservationBuffer:
    """Keeps, per source, the messages that a coming tick can need. Thread-safe.

    :param spec: what is observed.
    :param resolve: what messages call a topic of the spec: a node's own name for it.

    `receive_ns` is the node's clock when the message arrived. Ticks asked for must not lie more
    than two periods before the newest `receive_ns`, or where images are ticks `max_age` if that is
    more: older messages are forgotten. When `receive_ns` is less than it was before, the clock was
    set back, and everything is: it would pass for fresh once the clock reaches its stamps again.

    Where images are ticks, the first camera's other images count as never sent, and a tick that is
    not one of its images has no observation.
    """

    def __init__(self, spec: Spec, resolve: Callable[[str], str] = str) -> None:
        self.spec = spec
        topics = {*(camera.topic for camera in spec.cameras), *(one.topic for one in spec.joints)}
        self._resolved = {topic: resolve(topic) for topic in topics}
        self._lock = threading.Lock()
        self._cameras = {camera.name: camera for camera in spec.cameras}
        self._trigger = spec.trigger
        self._horizon_ns = HORIZON_TICKS * spec.period_ns
        if self._trigger is not None:
            self._horizon_ns = max(self._horizon_ns, self._trigger.max_age_ns)
        self._now_ns = 0  # as the newest message came
        self.clear()

    def clear(self, now_ns: int = 0) -> None:
        """Forget every message: when starting anew.

        :param now_ns: a message stamped before it counts as never sent, though it comes later.
        """
        with self._lock:
            self._forget()
            self._since_ns = now_ns
            self._now_ns = max(self._now_ns, now_ns)

    @property
    def images_since_ns(self) -> int:
        """Images stamped before it, ns, are of before `clear`. Where the clock is `receive` stamps
        tell nothing, and it is 0."""
        return self._since_ns if self.spec.clock == "header" else 0

    def rewind(self, now_ns: int) -> None:
        """The clock was set back to this, ns: forget what came before, keep what has come since.
        A message that comes does it, too; but none may come."""
        with self._lock:
            self._keep_time(now_ns)

    def _keep_time(self, now_ns: int) -> None:
        if now_ns < self._now_ns:
            self._forget()
        self._now_ns = now_ns

    def _forget(self) -> None:
        self._since_ns = 0
        self._images = {
            camera.name: _Kept(
                self._resolved[camera.topic],
                0 if camera is self._trigger else camera.max_age_ns,
                MAX_IMAGES,
            )
            for camera in self.spec.cameras
        }
        self._ticks = ImageTicks(self.spec.period_ns)
        self._joints = [
            _Kept(self._resolved[source.topic], source.max_age_ns, MAX_JOINTS)
            for source in self.spec.joints
        ]
        # Per camera the last message decoded and its images: ticks may share a message.
        self._decoded: dict[str, tuple[Any, tuple[NDArray[np.uint8], ...]]] = {}

    def push_image(self, camera_name: str, msg: Any, receive_ns: int) -> int | None:
        """
        :returns: the tick that the image is, ns, if it is one: to be observed now.
        :raises DecodeError: the image is void and never used; earlier ones stay in use.
        """
        camera = self._cameras[camera_name]
        try:
            stamp = admit_image(msg, camera, receive_ns, self.spec)
            if camera is self._trigger and receive_ns - stamp > camera.max_age_ns:
                raise DecodeError(f"{(receive_ns - stamp) / NANOSECONDS:.3f} s old on arrival")
        except DecodeError as error:
            self._images[camera_name].last_void = error.problem
            raise
        with self._lock:
            self._keep_time(receive_ns)
            if stamp < self._since_ns:
                return None
            if camera is self._trigger and not self._ticks.take(stamp):
                return None
            self._images[camera_name].add(stamp, msg, receive_ns - self._horizon_ns)
        return stamp if camera is self._trigger else None

    def push_joints(self, source_index: int, msg: Any, receive_ns: int) -> None:
        """:raises DecodeError: the message is void and never used; earlier ones stay in use."""
        source = self.spec.joints[source_index]
        try:
            stamp, values = admit_joints(msg, source, receive_ns, self.spec)
        except DecodeError as error:
            self._joints[source_index].last_void = error.problem
            raise
        with self._lock:
            self._keep_time(receive_ns)
            if stamp >= self._since_ns:
                self._joints[source_index].add(stamp, values, receive_ns - self._horizon_ns)

    def observe(self, tick_ns: int) -> Observation | Missing:
        """What the tick sees, or why it sees nothing."""
        with self._lock:
            images = {name: kept.newest(tick_ns) for name, kept in self._images.items()}
            joints = {
                name: kept.newest(tick_ns)
                for name, kept in zip(self.spec.joint_source_names, self._joints)
            }
        found = {**images, **joints}
        reasons = {name: item for name, item in found.items() if isinstance(item, str)}
        decoded: dict[str, tuple[NDArray[np.uint8], ...]] = {}
        for name, item in images.items():
            if not isinstance(item, str):
                try:
                    decoded[name] = self._decode(name, item[1])
                except DecodeError as error:
                    reasons[name] = f"cannot be decoded: {error.problem}"
        if reasons:
            return Missing(tick_ns, reasons)
        return Observation(
            tick_ns=tick_ns,
            images={name: pair[1] for name, pair in decoded.items()},
            state=np.concatenate([item[1] for item in joints.values()]),
            stamps={name: int(item[0]) for name, item in found.items()},
            sources={name: pair[0] for name, pair in decoded.items()},
            headers={
                name: item[1].header for name, item in images.items() if not isinstance(item, str)
            },
        )

    def joints_at(self, time_ns: int) -> NDArray[np.float64] | None:
        """The joints alone, (D,), between ticks as well; None if a source's are not fresh."""
        with self._lock:
            found = [kept.newest(time_ns) for kept in self._joints]
        values = [item[1] for item in found if not isinstance(item, str)]
        return np.concatenate(values) if len(values) == len(found) else None

    def _decode(self, name: str, msg: Any) -> tuple[NDArray[np.uint8], ...]:
        last = self._decoded.get(name)
        if last is None or last[0] is not msg:
            last = self._decoded[name] = (msg, image_of(msg, self._cameras[name]))
        return last[1]
