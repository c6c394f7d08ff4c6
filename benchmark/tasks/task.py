# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark needs of a task: a small adapter over a public simulator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from benchmark.tasks.surfaces import Array, Image, Surfaces
from benchmark.tasks.things import Thing

__all__ = ["Array", "Image", "Task"]


class Task(ABC):
    """One task of a simulator, driven tick by tick at `rate`.

    A demonstration and a policy use the same `step`, and see the same images and state.
    """

    name: str
    #: Ticks per second of simulated time, Hz.
    rate: float
    #: Ticks of an episode, at most.
    ticks: int
    #: Names of the entries of state and command, in order.
    joints: tuple[str, ...]
    #: Width and height of each camera's images, pixels.
    cameras: ClassVar[Mapping[str, tuple[int, int]]]
    #: Success counts once reached; otherwise only at the end of the episode.
    ends_at_success: bool
    #: The height of the table, m.
    table: float = 0.0
    #: What table and wall show, and what they show instead in a disturbed trial.
    surfaces = other_surfaces = Surfaces()
    #: More `things`.
    beside: Callable[[Array], list[Thing]] | None = None

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Begin an episode. The seed alone decides where the objects lie."""

    @abstractmethod
    def images(self) -> dict[str, Image]:
        """Per camera uint8 (height, width, 3), RGB."""

    @abstractmethod
    def state(self) -> Array:
        """Measured state (D,), in the units of the simulator: rad, m, or 0 to 1 for a gripper."""

    @abstractmethod
    def step(self, command: Array) -> None:
        """Simulate one tick while the robot moves to `command` (D,)."""

    @abstractmethod
    def success(self) -> bool:
        """Whether the task is fulfilled now, by the simulator's own rule."""

    @abstractmethod
    def script(self) -> Iterator[Array]:
        """Commands of a scripted demonstration from the present state. May look at everything."""

    def correction(self) -> Iterator[Array]:
        """Commands of a person who takes over from a policy, from the present state."""
        return self.script()

    @abstractmethod
    def positions(self) -> Array:
        """True positions of what differs between episodes, m, flat: what no policy is told."""

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        """From the next image on, the cameras stand elsewhere than in the demonstrations.

        :param around, up: degrees by which they go round what they look at.
        :param aside: m to their right.
        :raises NotImplementedError: the task cannot, and is asked to.
        """
        if (around, up, aside) != (0.0, 0.0, 0.0):
            raise NotImplementedError(f"{self.name} cannot move its cameras")

    def move_object(self, x: float, y: float) -> None:
        """Move what the robot is about to take or push by so much, m.

        :raises NotImplementedError: the task cannot.
        """
        raise NotImplementedError(f"{self.name} cannot move its object")

    def target(self) -> Array:
        """Where what the robot is about to take or push is, or what it goes to: (3,), m.

        :raises NotImplementedError: the task does not tell.
        """
        raise NotImplementedError(f"{self.name} does not tell where its object is")

    @property
    def shown(self) -> Surfaces:
        """What table and wall show now."""
        return self.surfaces.but(self.other_surfaces)

    def things(self, eye: Array) -> list[Thing]:
        """What is drawn beside the task's scene, for a camera that is there, m."""
        return [] if self.beside is None else self.beside(eye)

    @abstractmethod
    def hide(self) -> None:
        """Make the objects invisible to the cameras, for this episode."""
