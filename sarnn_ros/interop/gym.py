# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Policies in gymnasium environments, and bags of what is demonstrated in one.

Any environment with images and a state will do: of gymnasium only its `reset` and `step` are used.

    policy = sarnn_ros.policy.load("policy")
    outcome = rollout(env, policy, rate=50, seed=0)
    outcome = record(env, script, "demo_000", joints=JOINTS, rate=50, seed=1000)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.data.write_bag import START_NS, Images, JointStates, write_bag
from sarnn_ros.errors import ConfigError
from sarnn_ros.spec import NANOSECONDS, Spec

__all__ = ["Env", "Observe", "Outcome", "Stepper", "pixels_and_agent_pos", "record", "rollout"]

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
#: From what an environment returns: per camera uint8 (H, W, 3) RGB, and the measured state (D,).
Observe = Callable[[Any], tuple[Mapping[str, Image], ArrayLike]]


class Env(Protocol):
    """What is used of a `gymnasium.Env`; not of a vector environment."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]: ...

    def step(self, action: Any, /) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...


class Stepper(Protocol):
    """A policy, as `sarnn_ros.policy.load` gives it, or a control to compare with."""

    @property
    def spec(self) -> Spec: ...

    def reset(self) -> None: ...

    def step(
        self, images: Mapping[str, Image], state: ArrayLike, /
    ) -> tuple[Array, Mapping[str, Array]]: ...


@dataclass(frozen=True)
class Outcome:
    """How an episode ended.

    :param steps: of the environment.
    :param reward: the sum of all steps'.
    :param success: `info["is_success"]` at any step; None if the environment does not say.
    """

    steps: int
    reward: float
    success: bool | None
    terminated: bool
    truncated: bool


def pixels_and_agent_pos(observation: Any) -> tuple[Mapping[str, Image], ArrayLike]:
    """The observations of gym-aloha, gym-pusht and gym-xarm with `obs_type="pixels_agent_pos"`:
    `pixels`, an image or a mapping of them, and `agent_pos`.

    :raises ConfigError: they are not there.
    """
    try:
        pixels, state = observation["pixels"], observation["agent_pos"]
    except (KeyError, TypeError, IndexError) as error:
        keys = ", ".join(observation) if isinstance(observation, Mapping) else type(observation)
        raise ConfigError(
            f"the environment gives {keys}, not pixels and agent_pos",
            remedy="give `observe`, which makes (images by camera, state) of an observation",
        ) from error
    return (pixels if isinstance(pixels, Mapping) else {"camera": pixels}), state


class _Run:
    """An episode under way: counts, and notices its end."""

    def __init__(self, env: Env, observe: Observe, seed: int | None) -> None:
        self._env, self._observe = env, observe
        self.outcome = Outcome(0, 0.0, None, False, False)
        self._see(*env.reset(seed=seed))

    def _see(self, observation: Any, info: Mapping[str, Any]) -> None:
        self.observation = observation
        images, state = self._observe(observation)
        self.images = {name: np.asarray(image) for name, image in images.items()}
        self.state = np.array(state, np.float64).reshape(-1)  # it may be the environment's own
        if "is_success" in info:
            success = bool(self.outcome.success) or bool(np.any(info["is_success"]))
            self.outcome = replace(self.outcome, success=success)

    def ended(self) -> bool:
        return self.outcome.terminated or self.outcome.truncated

    def step(self, action: Array) -> None:
        observation, reward, terminated, truncated, info = self._env.step(action)
        self.outcome = Outcome(
            self.outcome.steps + 1,
            self.outcome.reward + float(reward),
            self.outcome.success,
            bool(terminated),
            bool(truncated),
        )
        self._see(observation, info)


def rollout(
    env: Env,
    policy: Stepper,
    *,
    rate: float,
    seed: int | None = None,
    observe: Observe = pixels_and_agent_pos,
) -> Outcome:
    """Let the policy act for one episode.

    The policy is asked at its own rate. Between its ticks the actions go in a straight line from
    the last one to the new one, step by step; the first line starts at the measured state.

    :param rate: steps of the environment per second, a multiple of the policy's rate.
    :param seed: of `env.reset`: where the objects lie.
    :raises ConfigError: the rates, or the states, do not fit.
    :raises PolicyError: as `LoadedPolicy.step`.
    """
    parts = rate / policy.spec.rate
    if abs(parts - round(parts)) > 1e-6 or round(parts) < 1:
        raise ConfigError(
            f"the environment makes {rate:g} steps per second, the policy {policy.spec.rate:g}",
            remedy="train with a 'rate' that divides the environment's",
        )
    commanded = list(policy.spec.command_indices)
    run = _Run(env, observe, seed)
    policy.reset()
    if run.state.size != policy.spec.joint_dim:
        raise ConfigError(
            f"the environment's state has {run.state.size} values, the policy's "
            f"{policy.spec.joint_dim}",
            remedy="give `observe`, which makes (images by camera, state) of an observation",
        )
    last = run.state[commanded]
    while not run.ended():
        action, _ = policy.step(run.images, run.state)
        for part in range(1, round(parts) + 1):
            share = part / round(parts)
            run.step((1 - share) * last + share * action[commanded])
            if run.ended():
                break
        last = action[commanded]
    return run.outcome


def record(
    env: Env,
    act: Callable[[Any], ArrayLike] | Iterator[ArrayLike],
    bag: str | Path,
    *,
    joints: tuple[str, ...],
    rate: float,
    seed: int | None = None,
    observe: Observe = pixels_and_agent_pos,
    only_success: bool = False,
) -> Outcome:
    """Record one episode into a bag: images, `/joint_states` and `/joint_command`.

    Each camera is a topic of its name. An action is stamped half a step after the observation that
    it answers.

    :param act: gives the action for an observation (a script, a person), or an iterator of
        actions; StopIteration ends the episode.
    :param bag: folder to write; it must not exist.
    :param joints: names of the entries of state and action.
    :param rate: steps of the environment per second.
    :param only_success: write nothing unless the environment said `is_success`.
    :raises ConfigError: names and values differ in number, or there was no step.
    :raises OSError: it cannot be written, or `bag` exists.
    """
    run = _Run(env, observe, seed)
    frames: dict[str, list[Image]] = {name: [] for name in run.images}
    states, actions = [], []
    while not run.ended():
        try:
            action = np.asarray(next(act) if isinstance(act, Iterator) else act(run.observation))
        except StopIteration:
            break
        if not len(joints) == run.state.size == action.size:
            raise ConfigError(
                f"{len(joints)} joints are named, the state has {run.state.size} values and the "
                f"action {action.size}",
                remedy="name each entry; give `observe` if the state has others as well",
            )
        for name, image in run.images.items():
            frames[name].append(image.copy())
        states.append(run.state)
        actions.append(action.astype(np.float64).reshape(-1))
        run.step(action)
    if not states:
        raise ConfigError("the episode has no step", where=bag)
    if only_success and not run.outcome.success:
        return run.outcome
    sent = START_NS + round(NANOSECONDS / rate / 2)
    write_bag(
        bag,
        {
            **{f"/{name}": Images(shown, rate=rate) for name, shown in frames.items()},
            "/joint_states": JointStates(joints, np.stack(states), rate=rate),
            "/joint_command": JointStates(joints, np.stack(actions), rate=rate, start_ns=sent),
        },
    )
    return run.outcome
