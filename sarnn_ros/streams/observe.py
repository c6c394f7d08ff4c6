# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The live side of `ingest`: threads, a clock that may be set back, bounded memory. No rclpy."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import CameraSpec, Spec
from sarnn_ros.streams.align import ImageTicks
from sarnn_ros.streams.decode import decode_image
from sarnn_ros.streams.ingest import (
    HORIZON_TICKS,
    Ingest,
    Joints,
    Size,
    Stream,
    effort_vector,
    image_of,
    joint_vector,
)

#: Kept per source at most: joints at 1 kHz for four seconds.
MAX_IMAGES, MAX_JOINTS = 256, 4096
#: Messages that are searched for jumps at a tick: at 1 kHz those of two periods at 10 Hz.
MAX_COMPARED_MESSAGES = 200

Images = tuple[NDArray[np.uint8], NDArray[np.uint8]]
#: `moved` and `light` of `crop_resize`.
Undone = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]


@dataclass(frozen=True)
class Observation:
    """What the policy sees at one tick.

    :param tick_ns: the tick's time.
    :param images: per camera, uint8 (h, w, 3) RGB in the model's size.
    :param state: float64 (D,), in the spec's order, SI units.
    :param stamps: ns, of the message used; per camera name and `Spec.joint_source_names`.
    :param sources: per camera, the decoded source image, uint8 (H, W, 3) RGB.
    :param headers: per camera, the header of its message, for what is published about the image.
    :param jumps: float64 (D,), the largest change of each joint from one message to the next, of
        those lately received and no newer than the one used; per period if they are further apart.
    :param effort: float64 (D,), of the commanded joints in the messages used, NaN where unknown,
        in the driver's unit; None if no message tells one.
    :param moved: per camera that is not in its place, the map that was undone, (3, 3); see
        `crop_resize`.
    """

    tick_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float64]
    stamps: Mapping[str, int]
    sources: Mapping[str, NDArray[np.uint8]]
    headers: Mapping[str, Any] = field(default_factory=dict)
    jumps: NDArray[np.float64] | None = None
    effort: NDArray[np.float64] | None = None
    moved: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """Why a tick has no observation: a reason per source, keyed like `Observation.stamps`."""

    tick_ns: int
    reasons: Mapping[str, str]

    def __str__(self) -> str:
        return "; ".join(f"{source}: {reason}" for source, reason in self.reasons.items())


class ObservationBuffer(Ingest):
    """Keeps, per source, the messages that a coming tick can need. Thread-safe.

    :param resolve: the node's own name for a topic, for what is said of it. `routes` and `push`
        use the spec's.
    :param sizes, max_ahead_ns: see `Ingest`.

    `receive_ns` is the node's clock when the message arrived. Ticks asked for must not lie more
    than two periods before the newest `receive_ns`, or, where images are ticks, `max_age` if that
    is more: older messages are forgotten. When `receive_ns` is less than it was before, the clock
    was set back, and every message is forgotten: it would pass for fresh once the clock reaches
    its stamp again.
    """

    def __init__(
        self,
        spec: Spec,
        resolve: Callable[[str], str] = str,
        sizes: Mapping[str, Size] | None = None,
        max_ahead_ns: int | None = None,
    ) -> None:
        super().__init__(spec, sizes=sizes, max_ahead_ns=max_ahead_ns)
        for stream in self.streams:
            stream.topic = resolve(stream.topic)
        self._lock = threading.Lock()
        self._horizon_ns = HORIZON_TICKS * spec.period_ns
        if spec.trigger is not None:
            self._horizon_ns = max(self._horizon_ns, spec.trigger.max_age_ns)
        self._now_ns = 0  # when the newest message came
        self._moved: Mapping[str, NDArray[np.float64]] = {}
        self._lights: Mapping[str, NDArray[np.float64]] = {}
        self.clear()

    def clear(self, now_ns: int = 0) -> None:
        """Forget every message: when starting anew.

        :param now_ns: a message stamped before it counts as never sent, though it comes later.
        """
        with self._lock:
            self._forget()
            self._since_ns = now_ns
            self._now_ns = max(self._now_ns, now_ns)

    def undo(
        self,
        moved: Mapping[str, NDArray[np.float64]],
        lights: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """From now on undo where cameras have been moved to, and another light.

        :param moved: per camera that is not in its place, as for `crop_resize`.
        :param lights: per camera whose picture is darker or brighter, likewise.
        """
        with self._lock:
            self._moved, self._lights = dict(moved), dict(lights or {})

    def newest_stamp(self, camera: CameraSpec) -> int | None:
        """Of the camera's newest image, ns; None if there is none."""
        with self._lock:
            stamps = self._images_of(camera).stamps
            return stamps[-1] if stamps else None

    def _images_of(self, camera: CameraSpec) -> Stream:
        return next(one for one in self.cameras if one.name == camera.name)

    def newest_source(self, camera: CameraSpec) -> tuple[int, NDArray[np.uint8], Any] | None:
        """Stamp, ns, pixels, uint8 (H, W, 3) RGB, and header of the camera's newest image; None if
        there is none that can be decoded."""
        stream = self._images_of(camera)
        with self._lock:
            if not stream.stamps:
                return None
            stamp, content = stream.stamps[-1], stream.contents[-1]
        try:
            pixels = decode_image(content, value_range=camera.value_range)
            return stamp, pixels, content.header
        except DecodeError:
            return None

    @property
    def images_since_ns(self) -> int:
        """Images stamped before it, ns, were sent before `clear`. With the clock `receive` stamps
        tell nothing, and it is 0."""
        return self._since_ns if self.spec.clock == "header" else 0

    def rewind(self, now_ns: int) -> None:
        """The clock may have been set back to `now_ns`: then forget what came before.

        An arriving message does this as well, but perhaps none arrives.
        """
        with self._lock:
            self._keep_time(now_ns)

    def _keep_time(self, now_ns: int) -> None:
        if now_ns < self._now_ns:
            self._forget()
        self._now_ns = now_ns

    def _forget(self) -> None:
        self._since_ns = 0
        self._ticks = ImageTicks(self.spec.period_ns)
        for stream in self.streams:
            stream.stamps.clear()
            stream.contents.clear()
            stream.last_void = None
        # Per camera the last message decoded, what was undone, and its images: ticks may share
        # a message.
        self._decoded: dict[str, tuple[Any, Undone, Images]] = {}

    def _take(self, stream: Stream, stamp: int, content: Any, receive_ns: int) -> int | None:
        with self._lock:
            self._keep_time(receive_ns)
            if stamp < self._since_ns:
                return None
            tick = super()._take(stream, stamp, content, receive_ns)
            most = MAX_JOINTS if stream in self.sources else MAX_IMAGES
            stream.forget_before(receive_ns - self._horizon_ns, most)
        return tick

    def observe(self, tick_ns: int) -> Observation | Missing:
        """What the tick sees, or why it sees nothing."""
        reasons: dict[str, str] = {}
        found: dict[str, tuple[int, Any]] = {}
        jumps: list[Joints] = []
        with self._lock:
            for stream in self.streams:
                row = stream.newest(tick_ns)
                if row < 0:
                    reasons[stream.name] = stream.why_none(tick_ns)
                else:
                    found[stream.name] = stream.stamps[row], stream.contents[row]
                    if stream in self.sources:
                        jumps.append(Joints(self._jumps(stream, row)))
            moved, lights = self._moved, self._lights
        decoded: dict[str, Images] = {}
        for camera in self.spec.cameras:
            if camera.name in found:
                try:
                    decoded[camera.name] = self._decode(
                        camera,
                        found[camera.name][1],
                        (moved.get(camera.name), lights.get(camera.name)),
                    )
                except DecodeError as error:
                    reasons[camera.name] = f"cannot be decoded: {error.problem}"
        if reasons:
            return Missing(tick_ns, reasons)
        joints: list[Joints] = [found[stream.name][1] for stream in self.sources]
        return Observation(
            tick_ns=tick_ns,
            images={name: pair[1] for name, pair in decoded.items()},
            state=joint_vector(joints),
            stamps={name: stamp for name, (stamp, _) in found.items()},
            sources={name: pair[0] for name, pair in decoded.items()},
            headers={name: found[name][1].header for name in decoded},
            jumps=joint_vector(jumps),
            effort=effort_vector(joints),
            moved=moved,
        )

    def _jumps(self, stream: Stream, row: int) -> NDArray[np.float64]:
        """See `Observation`: of the messages that are kept, up to this one."""
        kept = slice(max(0, row - MAX_COMPARED_MESSAGES), row + 1)
        values = np.array([joints.values for joints in stream.contents[kept]])
        stamps = np.array(stream.stamps[kept])
        periods = np.maximum(np.diff(stamps) / self.spec.period_ns, 1.0)
        changes = np.abs(np.diff(values, axis=0)) / periods[:, None]
        return np.asarray(changes.max(axis=0, initial=0.0))

    def joints_at(self, time_ns: int) -> NDArray[np.float64] | None:
        """The joints alone, (D,), between ticks as well; None if a source's are not fresh."""
        with self._lock:
            rows = [stream.newest(time_ns) for stream in self.sources]
            if min(rows) < 0:
                return None
            values = [stream.contents[row] for stream, row in zip(self.sources, rows)]
        return joint_vector(values)

    def _decode(self, camera: CameraSpec, msg: Any, undone: Undone) -> Images:
        last = self._decoded.get(camera.name)
        if last is None or last[0] is not msg or any(map(operator.is_not, last[1], undone)):
            last = (msg, undone, image_of(msg, camera, *undone))
            self._decoded[camera.name] = last
        return last[2]
