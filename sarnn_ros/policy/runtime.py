# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy that runs: observation in, prediction out, tick by tick. No ROS, no torch of its own.

Whether a prediction may be sent to a robot is decided in `control/limits.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import PolicyError
from sarnn_ros.model import ANYWHERE, MAX_GATED_SHARE
from sarnn_ros.policy.backends import (
    Array,
    Backend,
    Gate,
    Outputs,
    Recurrent,
    initial_state,
    make_backend,
    open_gate,
)
from sarnn_ros.policy.directory import ANYWHERE_DEVIATION, PolicyConfig, load_config
from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.policy.reference import load_references
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser, scale_images, unscale_images

if TYPE_CHECKING:
    from sarnn_ros.streams.observe import Observation
    from sarnn_ros.streams.registration import Reference

__all__ = ["Policy", "Prediction"]

#: Loading fails if the first step of each graph, which allocates, takes longer than this, s.
FIRST_STEP_SECONDS = 60.0
#: An attention point is replaced beyond so many times the 99th percentile of how far it was from
#: its prediction in episodes kept for validation, and not nearer than so much of the image.
REACH_FACTOR, MIN_REACH = 1.5, 0.015
#: Of an episode's first images only points are replaced whose filters missed in no more than this
#: share of the demonstrations. What others miss, a goal behind the arm, the recurrent part has
#: learnt to do without, and better than with a place that is some pixels off.
MAX_MISSED = 0.06

#: All that a step changes.
_Past = tuple[Recurrent, Outputs | None, Gate, Expectation | None, int]


@dataclass(frozen=True)
class Prediction:
    """What the policy says at one tick.

    :param action: (D,) float64, rad or m: the joints for the next tick, in the spec's order.
    :param encoder_points: per camera (k_dim, 2) float64, [x, y] in [0, 1]: attended to now.
    :param decoder_points: likewise: where attention is expected at the next tick.
    :param used_points: likewise: `encoder_points`, but the expected place of a point that is not
        where it is expected; this is what the recurrent part gets.
    :param images: per camera (h, w, 3) uint8 RGB, expected at the next tick; None unless wanted.
    :param unlikely: at an episode's first tick, how unlike its points are to those of the
        demonstrations' first images, see `Expectation.unlikely`; None at others, and of a policy
        that does not know.
    """

    action: NDArray[np.float64]
    encoder_points: Mapping[str, NDArray[np.float64]]
    decoder_points: Mapping[str, NDArray[np.float64]]
    used_points: Mapping[str, NDArray[np.float64]]
    images: Mapping[str, NDArray[np.uint8]] | None = None
    unlikely: float | None = None


class Policy:
    """A loaded policy and its recurrent state, which `step` alone advances. One thread at a time.

    Use `Policy.load`.

    :ivar normaliser: of the joints, by the range of the demonstrations.
    :ivar references: per camera, where the pictures tell its place; see `policy.reference`.
    """

    def __init__(
        self,
        config: PolicyConfig,
        backend: Backend,
        references: Mapping[str, Reference] | None = None,
    ) -> None:
        self.config = config
        self.references = dict(references or {})
        self._backend = backend
        bounds = config.normalisation
        self.normaliser = JointNormaliser(
            np.array(bounds.minimum), np.array(bounds.maximum), config.spec.joint_range
        )
        self._initial = initial_state(config.model)
        self._open = open_gate(config.model)
        self._reach = _reach(config)
        self.reset()
        self._warm_up()

    @classmethod
    def load(
        cls,
        directory: str | Path,
        backend: str = "onnxruntime",
        *,
        threads: int = 1,
        device: str = "cpu",
        sha256: str | None = None,
    ) -> Policy:
        """Read a policy directory and get ready to run.

        :param backend: 'onnxruntime', or 'torch'.
        :param threads: of the network's arithmetic. One is best on a machine that does other work:
            several wait for each other, and so for a free core each.
        :param device: of the backend 'torch': 'cpu', 'cuda', or 'auto', a GPU where there is one.
        :param sha256: expected of the directory; see `load_config`.
        :raises PolicyError: as `load_config`, for files that do not fit together, and for a first
            step that takes longer than `FIRST_STEP_SECONDS`.
        :raises ConfigError: a device that the backend has not.
        :raises EnvironmentProblem: the backend is not installed.
        """
        directory = Path(directory)
        config = load_config(directory, sha256=sha256)
        made = make_backend(backend, directory, config, threads=threads, device=device)
        return cls(config, made, load_references(directory, config))

    def _warm_up(self) -> None:
        """The first run of each graph allocates; a robot should not wait for that."""
        images = [np.zeros((1, 3, *size), np.float32) for size in self.config.model.im_size]
        state = np.zeros((1, self.config.model.joint_dim), np.float32)
        timer = threading.Timer(FIRST_STEP_SECONDS, self.cancel)
        timer.daemon = True
        timer.start()
        try:
            for want_image in (True, False):
                self._backend.run(
                    images, state, self._recurrent, self._open, want_image=want_image
                )
        finally:
            timer.cancel()

    @property
    def spec(self) -> Spec:
        return self.config.spec

    @property
    def recurrent(self) -> Recurrent:
        """The LSTM's h and c, each (1, rec_dim). A copy."""
        h, c = self._recurrent
        return h.copy(), c.copy()

    def reset(self) -> None:
        """Forget the past: the next step is the first of an episode."""
        self._recurrent: Recurrent = self._initial
        self._last: Outputs | None = None
        self._gate = self._open
        self._expectation: Expectation | None = None
        self._tick = 0
        self._before = self._past

    def undo(self) -> None:
        """As if the last step since `reset` had not been: a second call does nothing more."""
        self._recurrent, self._last, self._gate, self._expectation, self._tick = self._before

    def cancel(self) -> None:
        """From another thread: have a `step` that is going on end early, with PolicyError.

        The recurrent state stays as it was before that step. Without effect between steps and
        with the backend 'torch'.
        """
        self._backend.cancel()

    def step(
        self,
        observation: Observation,
        *,
        want_image: bool = False,
        input_param: float = 1.0,
        input_param_image: float = 1.0,
    ) -> Prediction:
        """Advance by one tick.

        :param want_image: predict the images too; costs about three times as much.
        :param input_param: share of the measured state in the input, beside what the last step
            predicted (EIPL's online loop). 1: measured only.
        :param input_param_image: the same for images. Below 1 the images are predicted anyway.
        :raises PolicyError: an image of another size than the spec's, a state of
            another length, or cancelled.
        """
        images = []
        for camera in self.spec.cameras:
            image, shape = observation.images.get(camera.name), (camera.height, camera.width, 3)
            if image is None or image.shape != shape:
                found = "no image" if image is None else f"an image of {image.shape}"
                raise PolicyError(
                    f"{found} from the camera '{camera.name}', the policy needs {shape}"
                )
            images.append(scale_images(image, self.spec.image_range)[None])
        if observation.state.shape != (self.spec.joint_dim,):
            raise PolicyError(
                f"a state of {observation.state.size} joints, the policy has {self.spec.joint_dim}"
            )
        state = self.normaliser.normalise(observation.state)[None]

        if self._last is not None:
            state = _mix(state, self._last.action, input_param)
            if self._last.images is not None:
                pairs = zip(images, self._last.images)
                images = [_mix(now, last, input_param_image) for now, last in pairs]

        before = self._past
        predict_image = want_image or input_param_image < 1.0
        last = self._last
        if last is None:
            self._begin(images, state)
        else:
            self._gate = self._expect(last)
        outputs = self._backend.run(
            images, state, self._recurrent, self._gate, want_image=predict_image
        )
        self._recurrent, self._last = outputs.recurrent, outputs
        self._tick += 1
        self._before = before
        prediction = self._prediction(outputs, want_image)
        if last is None and self._expectation is not None:
            return replace(prediction, unlikely=self._expectation.unlikely)
        return prediction

    @property
    def _past(self) -> _Past:
        expectation = copy(self._expectation)  # which a step may change
        return self._recurrent, self._last, self._gate, expectation, self._tick

    def _begin(self, images: list[Array], state: Array) -> None:
        """From an episode's first images: where points are to be expected, and the motion."""
        places = self.config.places
        if places is None:
            return
        outputs = self._backend.run(images, state, self._recurrent, self._open, want_image=False)
        self._expectation = expectation = Expectation(places, _pairs(outputs))
        where, near = expectation.where, expectation.near
        near = np.where(np.array(places.missed) > MAX_MISSED, ANYWHERE, near)
        limits = (part.astype(np.float32).reshape(1, -1) for part in (where, near))
        self._gate = (*limits, *self._motion(expectation))

    def _expect(self, last: Outputs) -> Gate:
        """After the first tick: each point where it was predicted; and the motion, which changes
        if things have been moved."""
        motion = self._gate[2:]
        if motion and self._expectation is not None and self.config.places is not None:
            usual = self.config.places.usual_gain
            tick = self._tick - 1  # that the points are of
            if self._expectation.follow(_pairs(last), usual[min(tick, len(usual) - 1)]):
                motion = self._motion(self._expectation)
        return (last.points_next, self._reach, *motion)

    def _motion(self, expectation: Expectation) -> tuple[Array, ...]:
        """What the points let expect of it, (1, motion_dim), for a network that gets it."""
        count = self.config.model.motion_dim
        return (expectation.z[:count][None].astype(np.float32),) if count else ()

    def _prediction(self, outputs: Outputs, want_image: bool) -> Prediction:
        names = [camera.name for camera in self.spec.cameras]
        images = None
        if want_image and outputs.images is not None:
            scaled = zip(names, outputs.images)
            images = {name: unscale_images(y[0], self.spec.image_range) for name, y in scaled}

        def by_camera(points: Array) -> dict[str, NDArray[np.float64]]:
            shape = (len(names), self.config.model.k_dim, 2)
            return dict(zip(names, points.astype(np.float64).reshape(shape)))

        return Prediction(
            action=self.normaliser.denormalise(outputs.action[0].astype(np.float64)),
            encoder_points=by_camera(outputs.points),
            decoder_points=by_camera(outputs.points_next),
            used_points=by_camera(_used(outputs.points, self._gate)),
            images=images,
        )


def _pairs(outputs: Outputs) -> NDArray[np.float64]:
    """The points seen, (K, 2)."""
    points: NDArray[np.float64] = outputs.points.reshape(-1, 2).astype(np.float64)
    return points


def _reach(config: PolicyConfig) -> Array:
    """How far each point may be from where it was predicted, (1, k_dim * cameras), in shares of
    the image: anywhere, if that is not known from episodes that the policy was not trained on."""
    if config.places is None or config.health is None or config.health.source != "validation":
        return open_gate(config.model)[1]
    errors = [config.health.errors[f"points:{one.name}"].p99 for one in config.spec.cameras]
    reach = np.maximum(REACH_FACTOR * np.concatenate(errors), MIN_REACH)
    reach[np.array(config.places.deviation[0]) >= ANYWHERE_DEVIATION] = ANYWHERE
    return reach.astype(np.float32)[None]


def _used(points: Array, gate: Gate) -> Array:
    """What the network makes of points (1, P), as `model.sarnn.through` does."""
    outside = np.linalg.norm((points - gate[0]).reshape(-1, 2), axis=1) > gate[1][0]
    if outside.mean() > MAX_GATED_SHARE:
        return points
    return np.where(np.repeat(outside, 2), gate[0], points)


def _mix(measured: Array, predicted: Array, share: float) -> Array:
    """share * measured + (1 - share) * predicted"""
    if share >= 1.0:
        return measured
    mixed: Array = np.float32(share) * measured + np.float32(1.0 - share) * predicted
    return mixed
