# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses as numbers that never jump, and the pose of one frame in another from messages of tf.

A quaternion and its negative are the same rotation, and angles wrap around. Two columns of the
rotation matrix have neither fault (Zhou et al., On the Continuity of Rotation Representations in
Neural Networks, CVPR 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import DecodeError, shorten
from sarnn_ros.spec import JointSource

#: A quaternion that is further from length 1 was not set, or is none.
QUATERNION_TOLERANCE = 0.01
#: No robot has more frames; a message of hundreds of thousands must not keep the node busy.
MAX_FRAMES = 1000


class NoTransform(DecodeError):
    """A message of tf that does not move the wanted frame. Many nodes share tf's topic, so this is
    no fault of the message."""


def rotation(quaternion: Any) -> NDArray[np.float64]:
    """The rotation matrix, (3, 3), of x, y, z, w; the same for the negated quaternion.

    :raises DecodeError: it is not of length 1.
    """
    x, y, z, w = quaternion.x, quaternion.y, quaternion.z, quaternion.w
    norm = math.hypot(x, y, z, w)
    if not abs(norm - 1.0) < QUATERNION_TOLERANCE:
        raise DecodeError(
            f"a quaternion of length {norm:.3g}, not 1",
            remedy="have the publisher set the orientation, normalised",
        )
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def pose_components(position: Any, quaternion: Any, names: Sequence[str]) -> NDArray[np.float64]:
    """The nine `COMPONENTS` of a pose, (9,): position, x axis and y axis of its frame.

    :raises DecodeError: the rotation is asked for, and the quaternion is not of length 1.
    """
    if all(name.startswith("position") for name in names):
        axes = np.zeros(6)  # not picked
    else:
        axes = rotation(quaternion)[:, :2].T.reshape(-1)
    return np.array([position.x, position.y, position.z, *axes])


class TransformChain:
    """The transforms that lead from one frame to another below it. For one thread.

    As in tf2, a transform holds until one of the same child comes. Fixed transforms (tf_static)
    are not read: before the first and after the last joint they would turn and shift every pose
    alike, which tells the network nothing.

    :param source: names the frames.
    """

    def __init__(self, source: JointSource) -> None:
        self._source = source
        self._heard: dict[str, tuple[Any, int]] = {}

    def hear(self, msg: Any, receive_ns: int) -> list[tuple[Any, int]]:
        """The chain from parent to child as it is after this message.

        :return: of each part the TransformStamped, and when it arrived, ns.
        :raises NoTransform: the message moves no frame of the chain, or a part was never heard.
        :raises DecodeError: it has too many frames.
        """
        fresh = {one.child_frame_id: (one, receive_ns) for one in msg.transforms[:MAX_FRAMES]}
        if len(msg.transforms) > MAX_FRAMES or len(self._heard | fresh) > MAX_FRAMES:
            self._heard.clear()
            raise DecodeError(f"more than {MAX_FRAMES} frames in tf")
        self._heard |= fresh
        chain = self._walk()
        if not any(one.child_frame_id in fresh for one, _ in chain):
            raise NoTransform(f"it does not move '{self._source.child_frame_id}'")
        return chain

    def _walk(self) -> list[tuple[Any, int]]:
        wanted, frame = self._source.frame_id, self._source.child_frame_id or ""
        chain: list[tuple[Any, int]] = []
        while frame != wanted:
            if frame not in self._heard or len(chain) == MAX_FRAMES:
                raise NoTransform(
                    f"{self._where(frame, bool(chain))}. Fixed transforms (tf_static) are not "
                    "read: name frames between which all transforms move; there are "
                    + shorten(", ".join(sorted(self._heard)) or "none", 300)
                )
            chain.append(self._heard[frame])
            frame = chain[-1][0].header.frame_id
        return chain[::-1]

    def _where(self, frame: str, above: bool) -> str:
        source = self._source
        if not above:
            return f"no transform moves '{source.child_frame_id}'"
        end = "lead in a circle" if frame in self._heard else f"end at '{frame}'"
        return (
            f"the transforms from '{source.child_frame_id}' upwards {end}, not at "
            f"'{source.frame_id}'"
        )


def chain_components(transforms: Sequence[Any], names: Sequence[str]) -> NDArray[np.float64]:
    """`pose_components` of the last frame in the first one's parent.

    :param transforms: TransformStamped, each child the next one's parent.
    :raises DecodeError: see `rotation`.
    """
    *parents, last = (one.transform for one in transforms)
    values: NDArray[np.float64] = pose_components(last.translation, last.rotation, names)
    values = values.reshape(3, 3)
    for one in reversed(parents):
        values = values @ rotation(one.rotation).T
        values[0] += (one.translation.x, one.translation.y, one.translation.z)
    return values.reshape(-1)
