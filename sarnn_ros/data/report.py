# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The dataset report: figures on streams, joints, cameras and episodes, and what is wrong.

`examine` computes, `as_dict` makes JSON of it; showing it is `report_view`. Every threshold is
here, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bags import absolute
from sarnn_ros.data.dataset import Dataset, Episode, blocks, release
from sarnn_ros.data.differences import Difference, difference
from sarnn_ros.data.displacements import MAX_DISPLACEMENT, Displacement
from sarnn_ros.data.problems import BagReport, Problem, StreamReport, note, warning
from sarnn_ros.spec import NANOSECONDS, CameraSpec, Spec
from sarnn_ros.streams.preprocess import MIN_RANGE
from sarnn_ros.streams.registration import describe

#: More void messages than this share are a fault of the driver, not an accident.
MAX_VOID_SHARE = 0.01
#: Where images are ticks: how far their rate may be from `rate`.
MAX_TICK_RATE_DEVIATION = 0.1
#: An image that arrives later than this part of a period after its stamp is, at the robot, often
#: not yet there at its tick: the policy then sees an older one than in training.
MAX_LATENCY_PERIODS = 0.3
#: No revolute joint of a usual arm turns further, rad.
MAX_ANGLE = 2.2 * np.pi
#: Of a joint's range, in one tick: an arm that moves on purpose does not.
MAX_STEP_SHARE = 0.5
#: Share of ticks at one end of the range that looks like clipping.
MAX_SATURATED_SHARE = 0.3
#: Share of ticks at which a gripper is between open and closed.
MAX_BETWEEN_SHARE = 0.25
#: Convolutions of 3 x 3 hardly find an object of fewer pixels; the place of one of fewer than
#: `MIN_PLACED_PIXELS` is uncertain (docs/explanation/attention.md).
MIN_SEEN_PIXELS, MIN_PLACED_PIXELS = 4.0, 32.0
#: Of an image's mean and of its standard deviation, 0 … 255.
MIN_BRIGHTNESS, MAX_BRIGHTNESS, MIN_CONTRAST = 12.0, 243.0, 4.0
#: Share of images equal to the one before, while the joints move.
MAX_REPEATED_SHARE = 0.2
#: Episodes shorter or longer than the median by this factor.
MAX_LENGTH_RATIO = 2.0
#: Brightness of an episode against the others, 0 … 255.
MAX_BRIGHTNESS_DIFFERENCE = 40.0


@dataclass(frozen=True)
class JointReport:
    """One entry of the joint vector over all episodes, in its unit.

    :param still: share of ticks at which it does not move.
    :param saturated: share of ticks at exactly its lowest or highest value.
    :param largest_step: largest change from one tick to the next.
    :param levels: number of different values, counted up to 3.
    :param between: share of ticks in the middle half of the range.
    :param effort: lowest and highest, in the driver's unit; None: not known well enough to watch
        it at the robot (`watch.effort`), or the joint is not commanded.
    """

    name: str
    minimum: float
    maximum: float
    still: float
    saturated: float
    largest_step: float
    levels: int
    between: float
    effort: tuple[float, float] | None

    @property
    def range(self) -> str:
        return f"{self.minimum:.4g} … {self.maximum:.4g}"


@dataclass(frozen=True)
class CameraReport:
    """One camera over all episodes. Brightness and colour 0 … 255, of the model's images.

    :param contrast: mean standard deviation over an image.
    :param repeated: share of images equal to the one before.
    :param differing: pixels of the model's image by which an episode's first one differs from the
        others' (median); None for a single episode.
    """

    name: str
    source_sizes: tuple[tuple[int, int], ...]
    brightness: float
    brightness_of_episodes: tuple[float, ...]
    color: tuple[float, float, float]
    contrast: float
    repeated: float
    differing: float | None


@dataclass(frozen=True)
class EpisodeReport:
    """One episode; `part` is training or validation."""

    name: str
    ticks: int
    seconds: float
    part: str


@dataclass(frozen=True)
class DatasetReport:
    """The whole report. `problems` includes those found while reading.

    :param differences: per camera, between the episodes' first images.
    """

    spec: Spec
    fingerprint: str
    bags: tuple[BagReport, ...]
    episodes: tuple[EpisodeReport, ...]
    joints: tuple[JointReport, ...]
    cameras: tuple[CameraReport, ...]
    differences: tuple[Difference | None, ...]
    problems: tuple[Problem, ...]

    @property
    def worst(self) -> str:
        """error, warning, note or sound."""
        found = {problem.severity for problem in self.problems}
        return next((one for one in ("error", "warning", "note") if one in found), "sound")

    def as_dict(self) -> dict[str, Any]:
        """For JSON: NaN becomes None."""
        values = {
            "verdict": self.worst,
            "fingerprint": self.fingerprint,
            "spec": self.spec.model_dump(mode="json"),
            "bags": [asdict(bag) for bag in self.bags],
            "episodes": [asdict(one) for one in self.episodes],
            "joints": [asdict(one) for one in self.joints],
            "cameras": [asdict(one) for one in self.cameras],
            "problems": [asdict(one) for one in self.problems],
        }
        cleaned: dict[str, Any] = _without_nan(values)
        return cleaned


def examine(dataset: Dataset) -> DatasetReport:
    """Figures and problems of a dataset."""
    spec, episodes = dataset.spec, dataset.episodes
    joints = tuple(_joints(dataset))
    # At this share of the ticks, at least, some joint moves.
    in_motion = 1.0 - min(joint.still for joint in joints)
    moving = [camera for camera in spec.cameras if dataset.moves(camera)]
    differences = tuple(
        _difference(dataset, camera, moves=camera in moving) for camera in spec.cameras
    )
    cameras = tuple(
        _camera(camera, episodes, found) for camera, found in zip(spec.cameras, differences)
    )
    lengths = tuple(
        EpisodeReport(
            episode.name,
            len(episode.ticks),
            len(episode.ticks) / spec.rate,
            "training" if index in dataset.training else "validation",
        )
        for index, episode in enumerate(episodes)
    )
    problems = [
        *dataset.problems,
        *(problem for bag in dataset.bags for problem in _stream_problems(bag, spec)),
        *_tick_problems(spec, episodes),
        *_joint_problems(spec, joints),
        *(one for camera, about in zip(spec.cameras, cameras) for one in _camera_problems(
            camera, about, [episode.name for episode in episodes], moving=in_motion)),
        *map(_moving_camera, moving),
        *map(_displacement_problem, dataset.displacements),
        *_difference_problems(spec, differences),
        *_episode_problems([one for one, made in zip(lengths, episodes) if made.led is None]),
    ]  # fmt: skip
    return DatasetReport(
        spec, dataset.fingerprint, dataset.bags, lengths, joints, cameras, differences,
        tuple(problems),
    )  # fmt: skip


# -- figures ------------------------------------------------------------------------------------


def _joints(dataset: Dataset) -> Iterator[JointReport]:
    spec = dataset.spec
    episodes = [part for episode in dataset.episodes for part in episode.parts]
    values = np.concatenate([episode.joints for episode in episodes])
    steps = np.abs(np.concatenate([np.diff(episode.joints, axis=0) for episode in episodes]))
    low, high = values.min(axis=0), values.max(axis=0)
    efforts = dataset.effort_spans or (None,) * spec.joint_dim
    for column, name in enumerate(spec.joint_labels):
        span = high[column] - low[column]
        one = values[:, column]
        at_end = max(float((one == low[column]).mean()), float((one == high[column]).mean()))
        yield JointReport(
            name=name,
            minimum=float(low[column]),
            maximum=float(high[column]),
            # A thousandth of the range, or of a unit: encoders are noisy.
            still=float((steps[:, column] <= max(span, 1e-3) * 1e-3).mean()),
            saturated=at_end if span > 0 else 0.0,
            largest_step=float(steps[:, column].max()),
            levels=min(3, len(np.unique(one))),
            between=float((np.abs(one - (low + high)[column] / 2) < span / 4).mean()),
            effort=efforts[column],
        )


def _camera(
    camera: CameraSpec, episodes: tuple[Episode, ...], found: Difference | None
) -> CameraReport:
    means, contrasts, repeated, of_episodes = [], [], [], []
    for episode in episodes:
        images = episode.images[camera.name]
        # Statistics need no more than some of the images; a long episode is memory-mapped.
        copies = []
        for row in np.unique(np.linspace(0, len(images) - 1, 32).astype(np.int64)):
            copies.append(np.array(images[row], dtype=np.float64))
            release(images)  # after each: the system may map 2 MB of the file for it
        some = np.stack(copies)
        means.append(some.mean(axis=(0, 1, 2)))
        contrasts.append(float(some.mean(axis=-1).std(axis=(1, 2)).mean()))
        of_episodes.append(float(some.mean()))
        repeated.append(_repeated(images))
    color = np.mean(means, axis=0)
    return CameraReport(
        name=camera.name,
        source_sizes=tuple(sorted({episode.source_sizes[camera.name] for episode in episodes})),
        brightness=float(np.mean(of_episodes)),
        brightness_of_episodes=tuple(of_episodes),
        color=(float(color[0]), float(color[1]), float(color[2])),
        contrast=float(np.mean(contrasts)),
        repeated=float(np.mean(repeated)),
        differing=found.pixels if found else None,
    )


def _repeated(images: NDArray[np.uint8]) -> float:
    """Share of images equal to the one before."""
    same, last = 0, None
    for block in blocks(images):
        for image in block:
            same += last is not None and np.array_equal(image, last)
            last = image
        last = np.array(last)  # the block is gone when the next one comes
    return same / max(1, len(images) - 1)


# -- problems -----------------------------------------------------------------------------------


def _stream_problems(bag: BagReport, spec: Spec) -> Iterator[Problem]:
    for stream in bag.streams:
        yield from _one_stream(stream, bag, spec)
    before, after = bag.trimmed
    if max(before, after) > max(1.0, 0.5 * spec.rate):
        yield warning(
            bag.path,
            f"{before} ticks before and {after} ticks after the episodes lack a source",
            "they are not trained on: the beginning or the end of the motion may be missing",
            "start the recording when every topic is there, and stop none early "
            "(`sarnn record` checks)",
        )


def _tick_problems(spec: Spec, episodes: Sequence[Episode]) -> Iterator[Problem]:
    if spec.trigger is None:
        return
    steps = np.concatenate([np.diff(episode.ticks) for episode in episodes])
    rate = NANOSECONDS / float(np.median(steps))
    if abs(rate / spec.rate - 1.0) > MAX_TICK_RATE_DEVIATION:
        yield warning(
            spec.trigger.topic,
            f"its images make ticks of {rate:.1f} Hz, not of {spec.rate:g} Hz",
            "a command is sent to be reached after a period of 'rate': too early or too late",
            f"set 'rate' to {rate:.3g}, or the camera to a multiple of 'rate'",
        )


def _one_stream(stream: StreamReport, bag: BagReport, spec: Spec) -> Iterator[Problem]:
    where, period = f"{bag.path}: {stream.topic}", 1.0 / spec.rate
    if stream.void > MAX_VOID_SHARE * stream.messages:
        yield warning(
            where,
            f"{stream.void} of {stream.messages} messages cannot be used, the first because: "
            f"{bag.void[stream.topic].why}",
            "they are ignored, so that observations get older, or episodes have holes; at the "
            "robot as well",
            bag.void[stream.topic].remedy or "repair the driver",
        )
    if stream.rate < 0.95 * spec.rate and not stream.command:
        yield warning(
            where,
            f"{stream.rate:.1f} Hz, slower than the {spec.rate:g} Hz of the ticks",
            "some ticks repeat the observation before them, and the policy learns to stand still",
            f"publish faster, or set 'rate' to {max(0.2, np.floor(stream.rate)):g} or less",
        )
    if stream.backwards:
        yield warning(
            where,
            f"{stream.backwards} of {stream.messages} stamps go back in time",
            "a clock was set while recording, or two publishers share the topic: observations may "
            "come from different moments or machines",
            "synchronise the clocks before recording (chrony), look for a second publisher "
            "('ros2 topic info -v'), or set 'clock: receive'",
        )
    if stream.repeated > 0.05 * stream.messages:
        yield warning(
            where,
            f"{stream.repeated} of {stream.messages} stamps equal the one before",
            "the topic may be published twice, or stamps are coarse; ages at ticks are not right",
            "look for a second publisher ('ros2 topic info -v')",
        )
    # Where images are ticks, their own latency delays the tick, and changes nothing in it.
    trigger = absolute(spec.trigger.topic) if spec.trigger is not None else None
    if (
        spec.clock == "header"
        and stream.topic != trigger
        and stream.latency > MAX_LATENCY_PERIODS * period
    ):
        yield warning(
            where,
            f"messages arrive {stream.latency * 1e3:.0f} ms after their stamp (median)",
            "if the publisher's clock is behind, what is learnt at a tick is a command of that "
            "much later"
            if stream.command
            else "at the robot the newest message at a tick is that much older than in training",
            "set 'clock: receive', or make the transport faster",
        )
    if stream.latency < -0.005:
        yield warning(
            where,
            f"messages are stamped {-stream.latency * 1e3:.0f} ms after they were received",
            "the publisher's clock is ahead: its messages are used that much too late",
            "synchronise the clocks (chrony), or set 'clock: receive'",
        )


def _joint_problems(spec: Spec, joints: tuple[JointReport, ...]) -> Iterator[Problem]:
    named = [(source.is_position, name) for source in spec.joints for name in source.names]
    if not any(
        joint.maximum - joint.minimum >= MIN_RANGE
        for joint, (is_position, _) in zip(joints, named)
        if is_position
    ):
        yield warning(
            "all joints",
            "none of them moves",
            "there is nothing to learn: the policy will stand still",
            "check that the driver published while recording, and the topic in the spec",
        )
    for row, (joint, (is_position, name)) in enumerate(zip(joints, named)):
        if joint.maximum - joint.minimum < MIN_RANGE:
            yield note(
                joint.name,
                f"does not move ({joint.range})",
                "it is normalised as if it moved by 0.001, and nothing is learnt of it",
                "leave it out of the spec; or, if the controller wants it in every command, keep "
                "it and name it in the node's parameter hold_joints",
            )
        elif is_position:  # a force jumps at contact, and rests at zero
            if max(-joint.minimum, joint.maximum) > MAX_ANGLE:
                yield warning(
                    joint.name,
                    f"{joint.range} is more than a turn: degrees, not radians?",
                    "the command limits and the robot take it for radians",
                    "publish radians (REP 103)",
                )
            yield from _switch_problems(joint, name, smoothed=row in spec.smooth)


def _switch_problems(joint: JointReport, name: str, *, smoothed: bool) -> Iterator[Problem]:
    """Of a joint that jumps, as a gripper does, or is taken for one."""
    if smoothed:  # it may jump: its targets do not
        if joint.between > MAX_BETWEEN_SHARE:
            yield warning(
                joint.name,
                f"is smoothed, and is between its two ends at {joint.between:.0%} of the ticks",
                "'smooth' makes its targets those of a switch: other motions are lost",
                "smooth grippers only: name them in 'smooth', or leave the key out",
            )
    elif joint.levels == 2:
        yield note(
            joint.name,
            f"has two values, {joint.minimum:.4g} and {joint.maximum:.4g}",
            "a jump is hard to predict at the right tick",
            f"set 'smooth: {{{name}: 0.5}}' for its source",
        )
    elif joint.largest_step > MAX_STEP_SHARE * (joint.maximum - joint.minimum):
        turn = abs(joint.largest_step - 2 * np.pi) < 0.3
        yield warning(
            joint.name,
            f"jumps by {joint.largest_step:.4g} within one tick, range {joint.range}",
            "it cannot be learnt, and the guard's step limit, taken from it, would allow it"
            + ("; it looks like an angle that wraps around" if turn else ""),
            "unwrap the angle in the driver" if turn
            else "look for joints that swap names, a second publisher or a pause in recording",
        )  # fmt: skip
    if joint.levels > 2 and joint.saturated > MAX_SATURATED_SHARE:
        yield note(
            joint.name,
            f"is at one end of its range at {joint.saturated:.0%} of the ticks ({joint.range})",
            "a clipped signal hides how far the motion wanted to go",
            "if it is a gripper, observe its command instead of its measured position",
        )


def _camera_problems(
    camera: CameraSpec, about: CameraReport, names: list[str], *, moving: float
) -> Iterator[Problem]:
    where = f"camera '{camera.name}'"
    sees = "the policy cannot see what it is to act on"
    if about.brightness < MIN_BRIGHTNESS or about.brightness > MAX_BRIGHTNESS:
        kind = "black" if about.brightness < MIN_BRIGHTNESS else "white"
        yield warning(
            where,
            f"images are nearly {kind} (mean {about.brightness:.0f} of 255)",
            sees,
            "set exposure, 'value_range' (16 bit) or the lights",
        )
    elif about.contrast < MIN_CONTRAST:
        yield warning(
            where,
            f"images have no contrast (standard deviation {about.contrast:.1f} of 255)",
            sees,
            "check lens, focus, 'crop' and 'value_range'",
        )
    if about.repeated > MAX_REPEATED_SHARE and moving > 0.5:
        yield warning(
            where,
            f"{about.repeated:.0%} of the images equal the one before, while the joints move",
            "the policy learns to move without looking",
            "check the camera's rate and whether its driver repeats images"
            + ("; or whether the arm is outside of the crop for long" if camera.crop else ""),
        )
    if len(about.source_sizes) > 1:
        sizes = ", ".join(f"{width} x {height}" for width, height in about.source_sizes)
        yield warning(
            where,
            f"episodes differ in image size: {sizes}",
            "crop and resize then cover different parts of the scene",
            "record with one resolution",
        )
    median = float(np.median(about.brightness_of_episodes))
    for name, brightness in zip(names, about.brightness_of_episodes):
        if abs(brightness - median) > MAX_BRIGHTNESS_DIFFERENCE:
            yield warning(
                f"{where}, episode '{name}'",
                f"brightness {brightness:.0f}, the others have {median:.0f}",
                "attention may learn the light instead of the object",
                "fix exposure and white balance, or leave the episode out; colour augmentation "
                "helps if the light does vary",
            )
    width, height = about.source_sizes[0]
    crop = camera.crop
    if (crop.width if crop else width) < camera.width or (
        crop.height if crop else height
    ) < camera.height:
        yield note(
            where,
            f"the source is smaller than the model's {camera.width} x {camera.height}",
            "enlarged images cost time and show nothing new",
            "make 'width' and 'height' smaller, or the crop larger",
        )


def _moving_camera(camera: CameraSpec) -> Problem:
    found = "moves with the robot"
    if not camera.moves:
        found = (
            "seems to move with the robot: in the middle of most demonstrations hardly an edge is "
            "where it was at first"
        )
    return note(
        f"camera '{camera.name}'",
        found,
        "whether it was moved on its mount is told neither here nor at the robot, and it is not "
        "cropped",
        "if it stands, set 'moves: false' in the spec",
    )


def _difference(dataset: Dataset, camera: CameraSpec, *, moves: bool) -> Difference | None:
    displaced = [one.episodes for one in dataset.displacements if one.camera == camera.name]
    found = difference(camera, dataset.episodes, dataset.spec.place_indices, displaced)
    if found is not None and moves:
        found = replace(found, crop=None)  # what differs lies elsewhere in later images
    return found


def _displacement_problem(one: Displacement) -> Problem:
    found = one.found
    parts = ", ".join(part.where for part in describe(found)) or "sheared or stretched"
    effect = (
        "it is undone before crop and resize, as at the robot; what stands out of the background "
        "stays off by its parallax (shown by 'sarnn inspect', --html)"
    )
    remedy = "leave the camera where it is while demonstrating"
    if not one.undone:
        effect = (
            "the same place in the image then comes with other joints: the policy learns both "
            "places, from fewer demonstrations each"
        )
        remedy = (
            "put the camera where it will stand, and demonstrate there; align_cameras: true "
            "undoes it in training"
        )
    if one.too_large:
        remedy = (
            f"more than {MAX_DISPLACEMENT:.0%} at a corner is not undone: leave these episodes "
            "out, or record them again with the camera where it was"
        )
    return Problem(
        "note" if one.undone else "warning",
        f"camera '{one.camera}', {one.text}",
        f"the picture lies {parts}, against {one.others} other episodes "
        f"({found.displacement:.1%} of the width at the worst corner, ± {found.uncertainty:.1%}): "
        "the camera was moved",
        effect,
        remedy,
    )


def _difference_problems(spec: Spec, found: Sequence[Difference | None]) -> Iterator[Problem]:
    """Of one camera at least, what differs must be seen, and better in more than a few pixels."""
    known = [(camera, one) for camera, one in zip(spec.cameras, found) if one is not None]
    best = max((one.pixels for _, one in known), default=MIN_PLACED_PIXELS)
    if best >= MIN_PLACED_PIXELS:
        return
    hidden = best < MIN_SEEN_PIXELS
    for camera, one in known:
        remedy = "move the object between the episodes, and crop the image to where it may lie"
        if one.crop is not None:
            (width, height), crop = one.size, one.crop
            remedy = (
                f"'crop: {{x: {crop.x}, y: {crop.y}, width: {crop.width}, "
                f"height: {crop.height}}}' with 'width: {width}' and 'height: {height}' would "
                f"make it about {one.cropped_pixels:.0f} pixels (of 'sarnn inspect', --html shows "
                "it, and --crop --write-spec writes it); let the crop hold all places where the "
                "object may lie later"
            )
        elif not hidden:
            continue
        what = f"differ in {one.pixels:.0f} of {camera.width} x {camera.height} pixels"
        yield Problem(
            "warning" if hidden else "note",
            f"camera '{camera.name}'",
            f"the first images of the episodes {what if one.pixels else 'do not differ'}",
            "the network can hardly see where the object lies, and learns the mean motion"
            if hidden
            else "the object is small for the network, and its place uncertain",
            remedy,
        )


def _episode_problems(episodes: Sequence[EpisodeReport]) -> Iterator[Problem]:
    """:param episodes: demonstrations."""
    if not episodes:
        yield warning(
            "all episodes",
            "in each of them a person took over from a policy, and none is a demonstration",
            "they cannot be trained on by themselves",
            "give the demonstrations as well that the policy was trained on",
        )
        return
    if len(episodes) == 1:
        yield warning(
            episodes[0].name,
            "there is only one episode",
            "nothing is left for validation, and the policy can only repeat it",
            "record about five demonstrations at each of several object positions",
        )
    median = float(np.median([episode.ticks for episode in episodes]))
    for episode in episodes:
        if not 1 / MAX_LENGTH_RATIO <= episode.ticks / median <= MAX_LENGTH_RATIO:
            yield warning(
                episode.name,
                f"{episode.ticks} ticks, the median is {median:.0f}",
                "a demonstration that was cut short, or more than one",
                "look at it, and leave it out or split it",
            )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
