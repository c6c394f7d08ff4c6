# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Policies: written, read, run. `load` is all that a script outside of ROS needs.

policy = sarnn_ros.policy.load("policy")
policy.reset()                                  # at the start of an episode
action, points = policy.step(image, state)      # once per tick, at policy.rate
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.errors import PolicyError

if TYPE_CHECKING:
    from sarnn_ros.policy.runtime import Policy
    from sarnn_ros.spec import Spec

__all__ = ["LoadedPolicy", "load"]


def load(path: str | Path, **options: Any) -> LoadedPolicy:
    """Read a policy directory and get ready to run.

    :param options: of `runtime.Policy.load`: backend, threads, device, sha256.
    :raises PolicyError: missing, damaged, or unfit.
    """
    # Here, so that reading a config alone does not import what runs a policy.
    from sarnn_ros.policy.runtime import Policy

    return LoadedPolicy(Policy.load(path, **options))


class LoadedPolicy:
    """A policy that takes arrays. Use `load`. For one thread.

    :ivar spec: what it observes and predicts: cameras, joints and their order.
    :ivar rate: Hz, at which `step` is to be called.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.spec: Spec = policy.spec
        self.rate = policy.spec.rate

    def reset(self) -> None:
        """Forget the past: the next step is the first of an episode."""
        self._policy.reset()

    def step(
        self, images: NDArray[np.uint8] | Mapping[str, NDArray[np.uint8]], state: ArrayLike
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[np.float64]]]:
        """Advance by one tick.

        :param images: uint8 RGB (H, W, 3) as the camera gives it: cropped and resized here. By
            camera name if there are several.
        :param state: measured joints (D,), in the spec's order, rad or m.
        :returns: action (D,) for the next tick, rad or m; and per camera the attention points
            (k_dim, 2), [x, y] in [0, 1] over the feature map (`sarnn_ros.geometry` makes pixels of
            them).
        :raises PolicyError: an image is missing, is no uint8 (H, W, 3), or has another size than
            in training, or the state has another length.
        :raises SpecError: the crop exceeds the image.
        """
        from sarnn_ros.streams.observe import Observation
        from sarnn_ros.streams.preprocess import crop_resize

        cameras = self._policy.spec.cameras
        if not isinstance(images, Mapping):
            images = {cameras[0].name: images}
        for camera in cameras:
            image = images.get(camera.name)
            if image is None or image.dtype != np.uint8 or image.shape[2:] != (3,):
                found = "none" if image is None else f"{image.dtype} {image.shape}"
                raise PolicyError(
                    f"the image is {found}", where=camera.name, remedy="give uint8 (H, W, 3), RGB"
                )
            about = self._policy.config.envelope.cameras[camera.name]
            trained = about.width, about.height
            # Else the crop is of another part of the scene.
            if None not in trained and image.shape[1::-1] != trained:
                raise PolicyError(
                    f"the image has {image.shape[1]} x {image.shape[0]} pixels, in training it "
                    f"had {trained[0]} x {trained[1]}",
                    where=camera.name,
                    remedy="set the camera's resolution as it was, or resize the image",
                )
        observation = Observation(
            tick_ns=0,
            images={camera.name: crop_resize(images[camera.name], camera) for camera in cameras},
            state=np.asarray(state, np.float64),
            stamps={},
            sources=images,
        )
        prediction = self._policy.step(observation)
        return prediction.action, prediction.encoder_points
