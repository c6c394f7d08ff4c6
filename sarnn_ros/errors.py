# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix. Standard library only; every room may import this one.

A `SarnnError` always says three things: what was wrong (with the offending value), where it was
found, and what to do about it. Programming mistakes stay `TypeError`, `AssertionError` and so on:
the command line shows those with a traceback, and these without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

__all__ = [
    "BagError",
    "ConfigError",
    "DecodeError",
    "EnvironmentProblem",
    "PolicyError",
    "SarnnError",
    "SpecError",
    "TrainingError",
]

#: Exit code of a command after Ctrl-C, by the shells' convention: 128 + SIGINT.
INTERRUPTED = 130

#: For whoever notices that camera images are lost between two processes.
IMAGE_LOSS_REMEDY = (
    "start the camera's driver with the DDS profile that 'sarnn dds-profile' names "
    "(docs/how-to/install.md#camera-images-and-dds)"
)


class SarnnError(Exception):
    """A fault in the user's input or set-up.

    :param problem: what is wrong, naming the value.
    :param where: the file, line, topic, joint or parameter it was found in.
    :param remedy: what the user can do about it.
    """

    def __init__(self, problem: str, *, where: object = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.where = None if where is None else str(where)
        self.remedy = remedy
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}\n  remedy: {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would be lost by the default pickling between worker processes.
        return partial(type(self), where=self.where, remedy=self.remedy), (self.problem,)


class SpecError(SarnnError):
    """The spec (what is observed and commanded) is invalid or contradicts the data."""


class ConfigError(SarnnError):
    """A setting, a parameter or a command-line option is wrong."""


class DecodeError(SarnnError):
    """A message cannot be turned into an array without guessing."""


class BagError(SarnnError):
    """A bag is missing, damaged or lacks what the spec asks for."""


class PolicyError(SarnnError):
    """A policy directory is missing, damaged, tampered with or does not fit."""


class TrainingError(SarnnError):
    """Training cannot start or go on."""


class EnvironmentProblem(SarnnError):
    """Python, the platform or an optional dependency is not what is needed."""


def outcome(work: Callable[[], str]) -> tuple[bool, str]:
    """Whether somebody's order was carried out, and what to tell them: the answer, or what was
    wrong. Other errors than those of the set-up and of the disk pass."""
    try:
        return True, work()
    except (SarnnError, OSError) as error:
        return False, str(getattr(error, "problem", error))


def shorten(text: str, most: int = 1000) -> str:
    """At most about so many characters: what a message or a file holds may be of any length."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … ({len(text) - most} characters) … {text[-most // 2 :]}"


def join_problems(problems: Iterable[str]) -> str:
    """Several problems as one indented list, so that a user fixes them all in one go."""
    return "".join(f"\n  - {problem}" for problem in problems)
