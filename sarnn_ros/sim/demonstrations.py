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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from sarnn_ros.data.write_bag import Images, JointStates, write_bag
from sarnn_ros.errors import BagError, ConfigError
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.scene import JOINT_NAMES, LiftScene
from sarnn_ros.sim.task import DEMONSTRATION_TICKS, RATE, TAUGHT_Y, Placement, is_success, place

#: Stamps start here, s since the epoch (2026-01-01), one minute per episode: reproducible bags.
FIRST_STAMP_SECONDS = 1_767_225_600
EPISODE_SPACING_SECONDS = 60

#: How long the arm stands still before it moves, s, so that every stream has the beginning.
STANDSTILL_SECONDS = 0.1


@dataclass(frozen=True)
class Stream:
    """How one topic behaves in time; jitter and delays in s."""

    topic: str
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


CAMERA = Stream("/image_raw", 30.0, 0.0008, 0.003, 0.002, loss=0.005)
STATES = Stream("/joint_states", 100.0, 0.0003, 0.0003, 0.0003)
REFERENCES = Stream("/joint_references", 100.0, 0.0003, 0.0003, 0.0003)
COMMAND = Stream("/joint_command", RATE, 0.001, 0.0005, 0.0005)
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

    :returns: whether the expert succeeded.
    :raises OSError: the bag cannot be written.
    """
    rng = np.random.default_rng([episode.seed, episode.index, 1])
    commands = plan(episode.cube, rng, episode.ticks)
    duration = STANDSTILL_SECONDS + (episode.ticks + 1) / RATE
    origin = FIRST_STAMP_SECONDS + EPISODE_SPACING_SECONDS * episode.index + float(rng.uniform())
    times = {
        stream: stream.times(STANDSTILL_SECONDS if stream is COMMAND else 0.0, duration, rng)
        for stream in STREAMS
    }
    stamps, arrivals = times[COMMAND]
    times[COMMAND] = stamps[: len(commands)], arrivals[: len(commands)]
    # A sensor sees the world at its stamp; a command changes it when it arrives.
    events = [
        (time, stream)
        for stream, (stamps, arrivals) in times.items()
        for time in (arrivals if stream is COMMAND else stamps)
    ]
    scene = LiftScene()
    scene.reset(episode.cube.x, episode.cube.y, episode.cube.yaw)
    remaining = iter(commands)
    images: list[NDArray[np.uint8]] = []
    joints: dict[Stream, list[tuple[NDArray[np.float64], ...]]] = {
        stream: [] for stream in STREAMS if stream is not CAMERA
    }
    lifts = []
    for time, stream in sorted(events, key=lambda event: event[0]):
        scene.advance_to(time)
        if stream is CAMERA:
            images.append(scene.render())
        elif stream is STATES:
            joints[STATES].append((scene.positions, scene.velocities, scene.efforts))
        elif stream is REFERENCES:
            joints[REFERENCES].append((scene.references,))
        else:
            joints[COMMAND].append((next(remaining),))
            scene.command(joints[COMMAND][-1][0])
            lifts.append(scene.cube_lift)
    lifts.append(scene.cube_lift)

    topics: dict[str, Images | JointStates] = {}
    for stream, (stamps, arrivals) in times.items():
        at: dict[str, Any] = {
            "stamps_ns": _nanoseconds(origin + stamps),
            "received_ns": _nanoseconds(origin + arrivals),
        }
        topics[stream.topic] = (
            Images(images, **at)
            if stream is CAMERA
            else JointStates(JOINT_NAMES, *map(np.array, zip(*joints[stream])), **at)
        )
    write_bag(out / episode.name, topics, custom_data={"sarnn_demonstration": episode.recipe})
    return is_success(lifts)


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

    It may be interrupted at any time: finished episodes stay, and the next call makes the rest.

    :param progress: called with the number of finished episodes and their total.
    :returns: the bags.
    :raises ConfigError: a bag of that name holds another episode, or `out` cannot be written.
    """
    planned = plan_episodes(episodes, seed, ticks)
    try:
        out.mkdir(parents=True, exist_ok=True)
        missing = [episode for episode in planned if not _is_recorded(episode, out)]
        done = len(planned) - len(missing)
        progress(done, len(planned))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
            while missing:
                # No more than there are workers: an interruption waits for all of them.
                batch, missing = missing[:workers], missing[workers:]
                for episode, success in zip(batch, _begin(pool, batch, out)):
                    if not success:
                        raise AssertionError(f"the expert failed in {episode}")
                    done += 1
                    progress(done, len(planned))
    except OSError as error:
        raise ConfigError(
            f"the demonstrations cannot be written ({error})",
            where=out,
            remedy="give '--out' a folder on a disk with space (30 MB) that you may write to",
        ) from error
    return [out / episode.name for episode in planned]


def _begin(pool: ProcessPoolExecutor, batch: Sequence[Episode], out: Path) -> Iterator[bool]:
    """Record these, in order. Workers that this starts do not hear Ctrl-C from the beginning:
    importing the package takes them seconds."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.map(record, batch, repeat(out))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _start_worker() -> None:
    # Ctrl-C is handled by the parent, which waits for started episodes. If it is killed, end too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _is_recorded(episode: Episode, out: Path) -> bool:
    bag = out / episode.name
    if not bag.exists():
        return False
    recipe = _recipe(bag)
    if recipe != episode.recipe:
        raise ConfigError(
            f"is not this episode (found {recipe}, wanted {episode.recipe})",
            where=bag,
            remedy="give '--out' another folder, or remove this one",
        )
    return True


def _recipe(bag: Path) -> str | None:
    """None: it is no bag of ours."""
    try:
        metadata = yaml.safe_load((bag / "metadata.yaml").read_text(encoding="utf-8"))
        recipe = metadata["rosbag2_bagfile_information"]["custom_data"]["sarnn_demonstration"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return str(recipe)


def others(out: Path) -> list[str]:
    """What is in a folder of demonstrations, and is none."""
    paths = sorted(out.iterdir()) if out.is_dir() else []
    return [path.name for path in paths if path.name[0] != "." and _recipe(path) is None]


def mean_commands(bags: Sequence[Path]) -> NDArray[np.float64]:
    """The commands of the demonstrations, averaged tick by tick, (ticks, 6).

    :raises BagError: no bag, or one without commands.
    """
    if not bags:
        raise BagError("no bags to replay", remedy="run 'sarnn demonstrate' first")
    episodes = []
    for bag in bags:
        with AnyReader([bag]) as reader:
            wanted = [item for item in reader.connections if item.topic == COMMAND.topic]
            commands = [
                cast(Any, reader.deserialize(raw, connection.msgtype)).position
                for connection, _, raw in reader.messages(wanted)
            ]
        if not commands:
            raise BagError(f"no message on {COMMAND.topic}", where=bag)
        episodes.append(np.array(commands))
    ticks = min(len(commands) for commands in episodes)
    return np.mean([commands[:ticks] for commands in episodes], axis=0)


def _nanoseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole microseconds, as float64 holds no more of a time since the epoch."""
    return np.round(seconds * 1e6).astype(np.int64) * 1000
