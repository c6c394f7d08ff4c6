# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations by the scripted expert, as rosbag2 files like a real recording.

Each stream has its own rate, phase, jitter and transport delay, and a message reaches the recorder
after its stamp. Everything runs in simulated time, many times faster than real time, and the same
seed makes the same bytes. No rclpy here: bags are written by `rosbags`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sarnn_ros.errors import ConfigError
from sarnn_ros.files import atomic_folder
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.scene import JOINT_NAMES, LiftScene
from sarnn_ros.sim.task import DEMONSTRATION_TICKS, RATE, TAUGHT_Y, Placement, is_success, place

#: Stamps start here, s since the epoch (2026-01-01), one minute per episode: reproducible bags.
EPOCH = 1_767_225_600
EPISODE_SPACING = 60

#: The arm stands still this long before it moves, s, so that no stream misses the beginning.
LEAD_IN = 0.1

IMAGE = "sensor_msgs/msg/Image"
JOINT_STATE = "sensor_msgs/msg/JointState"

#: What a default ROS 2 publisher offers; `ros2 bag play` offers it again.
QOS = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    QosTime(9223372036, 854775807),
    QosTime(9223372036, 854775807),
    QosLiveliness.AUTOMATIC,
    QosTime(9223372036, 854775807),
    False,
)

_TYPES = get_typestore(Stores.ROS2_JAZZY)
_Image = _TYPES.types[IMAGE]
_JointState = _TYPES.types[JOINT_STATE]
_Header = _TYPES.types["std_msgs/msg/Header"]
_Time = _TYPES.types["builtin_interfaces/msg/Time"]


@dataclass(frozen=True)
class Stream:
    """How one topic behaves in time; jitter and delays in s."""

    topic: str
    msgtype: str
    rate: float
    jitter: float
    delay: float
    delay_spread: float
    loss: float = 0.0

    def times(
        self, start: float, end: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """When messages are stamped and when they arrive, both (n,) rising, s, at a random phase.

        Jitter is normal and cut at three deviations; the delay is a minimum plus an exponential
        tail; lost messages are missing from both.
        """
        period = 1.0 / self.rate
        nominal = np.arange(start + rng.uniform(0.0, period), end, period)
        noise = np.clip(
            rng.normal(0.0, self.jitter, nominal.shape), -3 * self.jitter, 3 * self.jitter
        )
        stamps = np.maximum(nominal + noise, start)
        arrivals = stamps + self.delay + rng.exponential(self.delay_spread, nominal.shape)
        arrivals = np.maximum.accumulate(arrivals)  # a topic keeps its order
        kept = rng.random(nominal.shape) >= self.loss
        return stamps[kept], arrivals[kept]


CAMERA = Stream("/image_raw", IMAGE, 30.0, 0.0008, 0.003, 0.002, loss=0.005)
STATES = Stream("/joint_states", JOINT_STATE, 100.0, 0.0003, 0.0003, 0.0003)
REFERENCES = Stream("/joint_references", JOINT_STATE, 100.0, 0.0003, 0.0003, 0.0003)
COMMAND = Stream("/joint_command", JOINT_STATE, RATE, 0.001, 0.0005, 0.0005)
STREAMS = (CAMERA, STATES, REFERENCES, COMMAND)


@dataclass(frozen=True)
class Episode:
    """One demonstration to be recorded: everything in it follows from these numbers."""

    index: int
    seed: int
    cube: Placement
    ticks: int = DEMONSTRATION_TICKS

    @property
    def name(self) -> str:
        return f"episode_{self.index:03d}"

    @property
    def recipe(self) -> str:
        """What is stored in the bag's metadata, to know an episode again."""
        return json.dumps(
            {
                "seed": self.seed,
                "index": self.index,
                "ticks": self.ticks,
                "cube": [self.cube.x, self.cube.y, self.cube.yaw],
            }
        )


def plan_episodes(count: int, seed: int, ticks: int = DEMONSTRATION_TICKS) -> list[Episode]:
    """`count` episodes that go round the taught positions."""
    episodes = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        cube = place(TAUGHT_Y[index % len(TAUGHT_Y)], rng)
        episodes.append(Episode(index, seed, cube, ticks))
    return episodes


def record(episode: Episode, out: Path) -> bool:
    """Demonstrate one episode and write it to the bag `out/<episode.name>`.

    The bag appears under its name only when it is complete.

    :return: whether the expert succeeded.
    :raises OSError: the bag cannot be written.
    """
    lifts: list[float] = []
    with atomic_folder(out / episode.name) as partial:
        messages = sorted(_demonstrate(episode, lifts), key=lambda message: message[0])
        writer = Writer(partial, version=8, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            writer.set_custom_data("sarnn_demonstration", episode.recipe)
            connections = {
                stream.topic: writer.add_connection(
                    stream.topic, stream.msgtype, typestore=_TYPES, offered_qos_profiles=[QOS]
                )
                for stream in STREAMS
            }
            for arrival, stream, message in messages:
                data = _TYPES.serialize_cdr(message, stream.msgtype)
                writer.write(connections[stream.topic], arrival, data)
    return is_success(lifts)


def _demonstrate(episode: Episode, lifts: list[float]) -> Iterator[tuple[int, Stream, Any]]:
    """Run the episode; yield (arrival ns, stream, message) and append the lift at each command."""
    rng = np.random.default_rng([episode.seed, episode.index, 1])
    commands = plan(episode.cube, rng, episode.ticks)
    duration = LEAD_IN + (episode.ticks + 1) / RATE
    origin = EPOCH + EPISODE_SPACING * episode.index + float(rng.uniform())

    events: list[tuple[float, Stream, float, float]] = []
    for stream in STREAMS:
        start = LEAD_IN if stream is COMMAND else 0.0
        stamps, arrivals = stream.times(start, duration, rng)
        # A sensor sees the world at its stamp; a command changes it when it arrives.
        happens = arrivals if stream is COMMAND else stamps
        events += [
            (time, stream, stamp, arrival)
            for time, stamp, arrival in zip(happens, stamps, arrivals, strict=True)
        ]

    scene = LiftScene()
    scene.reset(episode.cube.x, episode.cube.y, episode.cube.yaw)
    remaining = iter(commands)
    for time, stream, stamp, arrival in sorted(events, key=lambda event: event[0]):
        scene.advance_to(time)
        header = _header(origin + stamp, "camera" if stream is CAMERA else "")
        if stream is CAMERA:
            message = _image_message(header, scene.render())
        elif stream is STATES:
            message = _joint_message(header, scene.positions, scene.velocities)
        elif stream is REFERENCES:
            message = _joint_message(header, scene.references)
        else:
            command = next(remaining, None)
            if command is None:
                continue
            scene.command(command)
            lifts.append(scene.cube_lift)
            message = _joint_message(header, command)
        yield _nanoseconds(origin + arrival), stream, message
    lifts.append(scene.cube_lift)


def demonstrate(
    out: Path,
    *,
    episodes: int = 25,
    seed: int = 0,
    ticks: int = DEMONSTRATION_TICKS,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Record the episodes that are not there yet, in parallel processes.

    Interrupted at any time, the finished episodes stay and the next call makes the rest.

    :param progress: called with the number of finished episodes and their total.
    :return: the bags.
    :raises ConfigError: a bag of that name holds another episode, or `out` cannot be written.
    """
    planned = plan_episodes(episodes, seed, ticks)
    try:
        out.mkdir(parents=True, exist_ok=True)
        missing = [episode for episode in planned if not _is_recorded(episode, out)]
        done = len(planned) - len(missing)
        progress(done, len(planned))
        if missing:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(
                min(workers, len(missing)), mp_context=context, initializer=_start_worker
            ) as pool:
                waiting = iter(missing)
                running = {
                    pool.submit(record, *job): job[0] for job in _next(waiting, out, workers)
                }
                # Never more than the workers have in hand, so that an interruption is short.
                while running:
                    for task in wait(running, return_when=FIRST_COMPLETED).done:
                        episode = running.pop(task)
                        if not task.result():
                            raise AssertionError(f"the expert failed in {episode}")
                        done += 1
                        progress(done, len(planned))
                        for job in _next(waiting, out, 1):
                            running[pool.submit(record, *job)] = job[0]
    except OSError as error:
        raise ConfigError(
            f"the demonstrations cannot be written ({error})",
            where=out,
            remedy="give '--out' a folder on a disk with space (30 MB) that you may write to",
        ) from error
    return [out / episode.name for episode in planned]


def _next(waiting: Iterator[Episode], out: Path, count: int) -> list[tuple[Episode, Path]]:
    return [(episode, out) for episode in islice(waiting, count)]


def _start_worker() -> None:
    # Ctrl-C is for the parent, which lets a started episode finish. If the parent is killed, go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _is_recorded(episode: Episode, out: Path) -> bool:
    bag = out / episode.name
    if not bag.exists():
        return False
    recipe = None
    try:
        metadata = yaml.safe_load((bag / "metadata.yaml").read_text(encoding="utf-8"))
        recipe = metadata["rosbag2_bagfile_information"]["custom_data"]["sarnn_demonstration"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        pass  # no bag of ours; said below
    if recipe != episode.recipe:
        raise ConfigError(
            f"holds something else than this episode (found {recipe}, wanted {episode.recipe})",
            where=bag,
            remedy="give '--out' another folder, or remove this one",
        )
    return True


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000


def _header(seconds: float, frame: str) -> Any:
    sec, nanosec = divmod(_nanoseconds(seconds), 1_000_000_000)
    return _Header(stamp=_Time(sec=sec, nanosec=nanosec), frame_id=frame)


def _image_message(header: Any, image: NDArray[np.uint8]) -> Any:
    height, width, _ = image.shape
    return _Image(
        header=header,
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=width * 3,
        data=image.reshape(-1),
    )


def _joint_message(
    header: Any, position: NDArray[np.float64], velocity: NDArray[np.float64] | None = None
) -> Any:
    return _JointState(
        header=header,
        name=list(JOINT_NAMES),
        position=position,
        velocity=np.empty(0) if velocity is None else velocity,
        effort=np.empty(0),
    )
