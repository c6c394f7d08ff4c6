# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Problems of recorded data: what is wrong, its effect, and the remedy. No reading here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from sarnn_ros.errors import BagError, SarnnError

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Episode

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One problem.

    :param severity: error: something is left out. warning: training is likely to suffer.
        note: worth knowing.
    :param where: bag, episode, topic or joint.
    :param found: what is wrong, with the values.
    :param effect: what it does to training.
    :param remedy: what to do.
    """

    severity: Severity
    where: str
    found: str
    effect: str
    remedy: str

    def __str__(self) -> str:
        head = f"{self.severity}: {self.where}: {self.found}"
        return f"{head}\n  effect: {self.effect}\n  remedy: {self.remedy}"


#: Of many, so many are named.
NAMED = 3


def listed(names: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def gathered(problems: Iterable[Problem]) -> list[Problem]:
    """For people: those that differ only in where they are become one, in the first's place."""
    where: dict[Problem, list[str]] = {}
    for one in problems:
        where.setdefault(replace(one, where=""), []).append(one.where)
    return [replace(one, where=listed(places)) for one, places in where.items()]


warning = partial(Problem, "warning")
note = partial(Problem, "note")


@dataclass(frozen=True)
class Void:
    """Messages of one topic that cannot be used; `why` and `remedy` of the first."""

    count: int
    why: str
    remedy: str | None


@dataclass(frozen=True)
class StreamReport:
    """One observed topic of one bag. Times in s, NaN where there are too few messages.

    :param jitter: standard deviation of the time between messages.
    :param backwards: messages stamped before their predecessor.
    :param repeated: messages stamped like their predecessor.
    :param latency: median time from stamp to receipt; 0 with the clock `receive`.
    :param age: median and largest age at the ticks that use the topic.
    :param command: it tells the commands.
    """

    topic: str
    messages: int
    void: int
    rate: float
    jitter: float
    longest_gap: float
    backwards: int
    repeated: int
    latency: float
    age: tuple[float, float] | None = None
    command: bool = False


@dataclass
class BagReport:
    """What became of one bag.

    :param verdict: sound; damaged: used in part; left out: gave no episode.
    :param episodes: names of the episodes it gave.
    :param learnt: what of them is, and why.
    :param trimmed: ticks before the first and after the last usable one, over all episodes.
    :param void: per topic, messages that could not be used.
    """

    path: str
    verdict: Literal["sound", "damaged", "left out"] = "sound"
    episodes: list[str] = field(default_factory=list)
    learnt: str = ""
    trimmed: tuple[int, int] = (0, 0)
    void: dict[str, Void] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    streams: list[StreamReport] = field(default_factory=list)

    def add_episodes(self, episodes: Sequence[Episode]) -> None:
        """Note what it gave."""
        self.episodes = [episode.name for episode in episodes]
        led = [episode.led for episode in episodes if episode.led is not None]
        if led:
            ticks, person = sum(map(len, led)), sum(int(one.sum()) for one in led)
            self.learnt = f"{person} of {ticks} ticks: a person took over"
        elif episodes:
            self.learnt = "all: nobody took over"

    def add_void(self, topic: str, error: SarnnError) -> None:
        """Count a message of the topic that cannot be used."""
        known = self.void.get(topic, Void(0, error.problem, error.remedy))
        self.void[topic] = replace(known, count=known.count + 1)

    def with_voids(self, problem: str, remedy: str, topics: Iterable[str]) -> BagError:
        """An error that says as well which messages of the topics could not be used, and why:
        they are the first thing to mend."""
        voids = {topic: self.void[topic] for topic in topics if topic in self.void}
        for topic, void in voids.items():
            problem += (
                f"; {void.count} messages of '{topic}' cannot be used, the first because: "
                f"{void.why}"
            )
        remedies = [void.remedy for void in voids.values() if void.remedy]
        return BagError(problem, remedy="; ".join(dict.fromkeys([*remedies, remedy])))

    def leave_out_copy(self, name: str, known: str) -> None:
        """Note that an episode is not used, as another one holds the same."""
        self.episodes.remove(name)
        self.verdict = self.verdict if self.episodes else "left out"
        self.problems.append(
            warning(
                name,
                f"has the same content as '{known}'",
                "it is left out: it would count twice in training, or be in training and "
                "validation",
                "give each bag once; look for copies",
            )
        )

    def leave_out(self, where: str, error: SarnnError) -> None:
        """Note that a bag or an episode is not used, and why."""
        self.problems.append(
            Problem(
                "error",
                where if error.where in (None, where) else f"{where}: {error.where}",
                error.problem,
                "it is left out of training",
                error.remedy or "record it again, or leave it out",
            )
        )
