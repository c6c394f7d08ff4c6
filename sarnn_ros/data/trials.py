# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trials of a policy on a robot: their plan, their record on disk, and a session with a person.

A folder holds all of it: `trials.yaml` is the plan, `trials.jsonl` has a line for each trial that
ended. The session knows the robot by `Robot` only. No rclpy.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sarnn_ros.errors import ConfigError, SarnnError
from sarnn_ros.files import append_json, read_json_lines, write_text
from sarnn_ros.yaml_file import read_yaml

PLAN, TRIALS = "trials.yaml", "trials.jsonl"
#: Where the node finds the policy when there are two: a link, so that neither its log nor the
#: overlay names which one runs.
UNDER_TRIAL = "under_trial"
#: The node's parameters as they were before the trials, from their begin to their end.
PARAMETERS = "parameters_before.json"
#: A key that was typed before a prompt could be read was not meant for it: a second key after a
#: label must not start the arm, s.
DEAF_SECONDS = 1.0
KEY_SECONDS = 0.1
#: End the last prompt.
ENDS = ("\n", "\r", "q")
#: Of a plan, unless the user says otherwise: trials of each policy with the object seen, and the
#: rest.
USUAL_TRIALS = 20
USUAL = {"hidden": 0.2, "seconds": 60.0}
#: Seeds that are drawn are below this.
SEEDS = 1_000_000
#: `discarded` by the operator; `ended` by the node: both are to be tried again.
Label = Literal["success", "failure", "discarded", "ended"]
LABELS: dict[str, Label] = {"s": "success", "f": "failure", "d": "discarded"}
LABEL_KEYS = "s: success   f: failure   d: discard"


class PolicyOnTrial(BaseModel):
    """:param sha256: `policy.directory.digest` of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: str


@dataclass(frozen=True)
class Planned:
    """One trial.

    :param pair: trials of one pair have the same place, one after the other, each by another
        policy.
    :param policy: its index in the plan.
    :param hidden: the object is hidden from the cameras: a control.
    """

    number: int
    pair: int
    place: str
    policy: int
    hidden: bool


class Plan(BaseModel):
    """What decides all trials and their order.

    :param repeats: of each place by each policy, with the object seen.
    :param hidden: share of all trials, in [0, 0.5].
    :param seconds: a trial ends after so long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    policies: tuple[PolicyOnTrial, ...] = Field(min_length=1, max_length=2)
    places: tuple[str, ...] = Field(min_length=1, max_length=100)
    repeats: int = Field(ge=1, le=1000)
    hidden: float = Field(ge=0, le=0.5)
    seconds: float = Field(gt=0, le=3600)

    @property
    def blind(self) -> bool:
        return len(self.policies) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """Of the policies: their directories' names, or their paths if those are equal."""
        paths = tuple(one.path for one in self.policies)
        short = tuple(Path(path).name for path in paths)
        return short if len({*short}) == len(short) else paths

    def trials(self) -> list[Planned]:
        """All of them, in blocks: each has every place by every policy once, and its part of the
        controls, in random order. More `repeats` add blocks and leave the others as they are."""
        rng = random.Random(self.seed)

        def shuffled(items: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
            # Only random() is promised to stay the same in other versions of Python.
            return sorted(items, key=lambda _: rng.random())

        controls_per_block = len(self.places) * self.hidden / (1 - self.hidden)
        trials: list[Planned] = []
        unused: list[tuple[str, bool]] = []
        pair = controls = 0
        for block in range(self.repeats):
            pairs = [(place, False) for place in self.places]
            until = math.ceil((block + 1) * controls_per_block - 1e-9)
            for _ in range(until - controls):
                unused = unused or shuffled([(place, True) for place in self.places])
                pairs.append(unused.pop())
            controls = until
            for place, hidden in shuffled(pairs):
                policies = sorted(range(len(self.policies)), key=lambda _: rng.random())
                for policy in policies:
                    trials.append(Planned(len(trials), pair, place, policy, hidden))
                pair += 1
        return trials


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    :param seconds: from the start to the end.
    :param health: the largest score of prediction health; None: unknown.
    :param why: for `ended`, the node's words.
    """

    trial: Planned
    label: Label
    seconds: float
    health: float | None
    at: str
    why: str = ""

    @property
    def counts(self) -> bool:
        return self.label in ("success", "failure")


class Record:
    """The plan and the outcomes of a folder.

    :ivar outcomes: in the order in which the trials ended; labels as they were corrected.
    :ivar names_shown_after: number of outcomes after which a report first named the policies.
    :raises ConfigError: no plan, or one that does not fit the outcomes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = read_plan(folder / PLAN)
        self.trials = self.plan.trials()
        self.outcomes: list[Outcome] = []
        self.names_shown_after: int | None = None
        for number, line in enumerate(read_json_lines(folder / TRIALS), 1):
            try:
                if not isinstance(line, dict):
                    raise ValueError(f"{shorten(str(line), 60)} is no JSON object")
                if "names_shown_after" in line:  # whoever else showed them: first ever counts
                    if self.names_shown_after is None:
                        self.names_shown_after = int(line["names_shown_after"])
                else:
                    self._note(self._outcome(line))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"line {number} is no trial of {PLAN} ({error})",
                    where=folder / TRIALS,
                    remedy=f"correct the line, undo the change of {PLAN}, or begin in another "
                    "folder",
                ) from error

    def _outcome(self, line: dict[str, object]) -> Outcome:
        values = dict(line)
        trial = self.trials[int(str(values.pop("trial")))]
        if (about := self._about(trial)) != {key: values.pop(key) for key in about}:
            raise ValueError(f"there, trial {trial.number} is {about}")
        if values["label"] not in (*LABELS.values(), "ended"):
            raise ValueError(f"its label is {values['label']!r}")
        return Outcome(trial, **values)  # type: ignore[arg-type]

    def _about(self, trial: Planned) -> dict[str, object]:
        path = self.plan.policies[trial.policy].path
        return {"place": trial.place, "policy": path, "hidden": trial.hidden}

    def add(self, outcome: Outcome) -> None:
        """On disk when this returns."""
        rest = {key: value for key, value in vars(outcome).items() if key != "trial"}
        line = {"trial": outcome.trial.number, **self._about(outcome.trial), **rest}
        append_json(self.folder / TRIALS, line)
        self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        for index, one in enumerate(self.outcomes):
            if one.trial == outcome.trial and one.counts and outcome.counts:  # it is corrected
                self.outcomes[index] = outcome
                return
        self.outcomes.append(outcome)

    def show_names(self) -> None:
        """A report is shown: who goes on from here, with more repeats perhaps, is no longer blind,
        and later ones say so. So is who looked in another terminal."""
        self.names_shown_after = Record(self.folder).names_shown_after
        if self.plan.blind and self.names_shown_after is None:
            self.names_shown_after = len(self.outcomes)
            append_json(self.folder / TRIALS, {"names_shown_after": self.names_shown_after})

    @property
    def counted(self) -> list[Outcome]:
        """Those with a label."""
        return [one for one in self.outcomes if one.counts]

    @property
    def todo(self) -> list[Planned]:
        """What is left: in the plan's order, but what did not count comes later."""
        done = {one.trial.number for one in self.counted}
        tries = Counter(one.trial.number for one in self.outcomes)
        left = [trial for trial in self.trials if trial.number not in done]
        return sorted(left, key=lambda trial: tries[trial.number])


def keep_parameters(path: Path, before: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Keep what the node's parameters were before they are changed: this process may be killed.

    :raises OSError: it cannot be written.
    """
    write_text(path, json.dumps({"before": dict(before), "set": dict(changed)}))


def parameters_before(path: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """What they were before a session that changed them, if the node has it still; else `now`."""
    if path.is_file():
        then = json.loads(path.read_text())
        if then["set"].items() <= now.items():
            return dict(then["before"])
    return dict(now)


def read_plan(path: Path) -> Plan:
    """:raises ConfigError: the file is missing, or no plan."""
    remedy = "begin in a new folder: sarnn trials FOLDER --places left,middle,right"
    try:
        return Plan.model_validate(read_yaml(path, ConfigError, remedy).values)
    except ValidationError as error:
        raise ConfigError(_first(error), where=path, remedy=remedy) from error


def write_plan(folder: Path, plan: Plan) -> None:
    """:raises ConfigError: it cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PLAN, yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror or error})",
            where=folder,
            remedy="choose another folder",
        ) from error


def open_record(
    folder: Path, wanted: Mapping[str, Any], policies: Callable[[], Sequence[PolicyOnTrial]]
) -> Record:
    """The record of a folder; if it has no plan yet, with a new one.

    :param wanted: values of the plan that the user gave; None: not given. `policies`: paths.
    :param policies: those of a new plan.
    :raises ConfigError: the plan is missing, or has other values. More `repeats` are added.
    """
    given = {name: value for name, value in wanted.items() if value is not None}
    if not (folder / PLAN).exists():
        if (folder / TRIALS).exists() or any(folder.glob("policy_*.json")):
            raise ConfigError(
                f"is the folder of a lesson, of 'sarnn teach', or has lost its {PLAN}",
                where=folder,
                remedy=f"give the trials a folder of their own, as {folder / 'trials'}",
            )
        if "places" not in given:
            raise ConfigError(
                f"has no {PLAN} yet, and --places is missing", where=folder,
                remedy="--places 9 for nine marks on the table, or --places left,middle,right",
            )  # fmt: skip
        usual = {
            "repeats": math.ceil(USUAL_TRIALS / len(given["places"])),
            # Another order each time: it was told by the report of the last comparison.
            "seed": random.randrange(SEEDS),
            **USUAL,
        }
        found = policies()
        if len({one.sha256 for one in found}) < len(found):
            raise ConfigError(
                f"{' and '.join(one.path for one in found)} are the same policy",
                where="--policies",
                remedy="give two that differ, or one",
            )
        try:
            plan = Plan.model_validate({**usual, **given, "policies": found})
        except ValidationError as error:
            raise ConfigError(_first(error), remedy="see sarnn trials --help") from error
        write_plan(folder, plan)
        return Record(folder)
    record = Record(folder)
    there = {**dict(record.plan), "policies": tuple(one.path for one in record.plan.policies)}
    other = {name: value for name, value in given.items() if value != there[name]}
    if other.keys() == {"repeats"} and other["repeats"] > record.plan.repeats:
        write_plan(folder, record.plan.model_copy(update=other))
        return Record(folder)
    for name in other:
        raise ConfigError(
            f"{name} is {there[name]} in the plan of these trials",
            where=folder / PLAN,
            remedy=f"leave out --{name} to go on with them, or begin in another folder",
        )
    return record


def name_places(text: str) -> tuple[str, ...]:
    """`9`: 1 to 9, of a grid that the user marked; else names, between commas.

    :raises ConfigError: one is empty, or there twice.
    """
    text = text.strip()
    names = tuple(name.strip() for name in text.split(","))
    if text.isdecimal():
        names = tuple(map(str, range(1, int(text) + 1)))
    if not names or not all(names) or len({*names}) < len(names):
        raise ConfigError(
            f"'{text}' has no place, an empty name, or one twice", where="--places",
            remedy="--places 9, or names between commas: --places left,middle,right",
        )  # fmt: skip
    return names


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"


class NotDone(SarnnError):
    """The node refused, or did not answer; its words."""


class Robot(Protocol):
    """What a session does with the node that runs the policy. Each raises `NotDone`."""

    def load(self, policy: Path, sha256: str, seconds: float) -> None:
        """:param seconds: a run shall end a little later by itself: this process may be killed."""
        ...

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def reset(self) -> None: ...
    def why_ended(self) -> str:
        """Why the run that was started is over; empty while it goes on. One that ends before a
        command was sent has not begun: it raises."""
        ...

    @property
    def health(self) -> float | None:
        """The largest score since the start."""
        ...


class Keys(Protocol):
    """Single keys of the operator."""

    def read(self, timeout: float) -> str: ...


class Session:
    """Trials of a folder with a person at the keys, until all are done or the person quits.

    :param say: prints a line; :param show: replaces the status line.
    :param stop: ends the session; the robot is stopped, and the trial under way not labelled.
    """

    def __init__(
        self,
        record: Record,
        robot: Robot,
        keys: Keys,
        *,
        say: Callable[[str], None],
        show: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._record, self._robot, self._keys = record, robot, keys
        self._say, self._show, self._stop = say, show, stop
        self._later = Counter[int]()  # how often the person put a trial off, by its number

    def run(self) -> None:
        """Until the record has nothing to do, or the person quits."""
        while todo := self._record.todo:
            trial = min(todo, key=lambda one: self._later[one.number])
            ready = self._prepared(trial, len(todo))
            if ready is None:
                self._later[trial.number] += 1
                continue
            if not ready:
                return
            try:
                outcome = self._try(trial)
            except NotDone as problem:
                self._say(f"not started: {problem}\nThe trial stays to be done.")
                continue
            if outcome is not None:
                if not self._kept(outcome):
                    return
                if outcome.label != "ended":
                    self._say(f"{outcome.label}, after {outcome.seconds:.0f} s")
                if outcome.counts and not self._record.todo:
                    self._end()

    def _end(self) -> None:
        """Before the report is shown: the last label of all may have been a mistake, too."""
        self._show("Enter: the report   c: correct the last label")
        while not self._stop.is_set() and (key := self._keys.read(KEY_SECONDS)) not in ENDS:
            if key == "c":
                self._correct()

    def _kept(self, outcome: Outcome) -> bool:
        """Write it down, as soon as the disk takes it; False if the session ends before."""
        while True:
            try:
                self._record.add(outcome)
            except OSError as error:
                self._say(
                    f"the label is not written: {error.strerror}. Make room on the disk, then "
                    f"press any key ({outcome.label}, trial {outcome.trial.number})"
                )
            else:
                return True
            while not (key := self._keys.read(KEY_SECONDS)):
                if self._stop.is_set():
                    return False
            if key == "q":
                return False

    def _prepared(self, trial: Planned, left: int) -> bool | None:
        """Tell the operator what to do; False to quit, None for another trial first."""
        count = len(self._record.trials)
        what = f"put the object at '{trial.place}', turn it as you like"
        if trial.hidden:
            what += "; then COVER it, with a box for instance: the cameras are to see all else"
        self._say(f"\ntrial {count - left + 1} of {count}: {what}")
        self._show("…")
        deaf = time.monotonic() + DEAF_SECONDS
        while not self._stop.is_set():
            key = self._keys.read(KEY_SECONDS)
            if key == "q":
                break
            if time.monotonic() < deaf:
                continue
            last = self._record.outcomes[-1:]
            correct = "   c: correct the last label" if last and last[0].counts else ""
            self._show(f"Enter: start   n: this one later{correct}   r: reset the node   q: quit")
            if key in ("\n", "\r"):
                return True
            if key == "n":
                return None
            if key == "c" and correct:
                self._correct()
            if key == "r":
                try:
                    self._robot.reset()
                    self._say("reset")
                except NotDone as problem:
                    self._say(f"not reset: {problem}")
        return False

    def _correct(self) -> None:
        """The last label was given by mistake: the other one, as one more line of the record."""
        last = self._record.outcomes[-1]
        other: Label = "failure" if last.label == "success" else "success"
        if self._kept(replace(last, label=other)):
            self._say(f"the trial before is a {other} now")

    def _try(self, trial: Planned) -> Outcome | None:
        """:returns: None: the operator gave no label.
        :raises NotDone: it could not be started."""
        self._load(trial)
        if self._keys.read(0):
            while self._keys.read(0):
                pass
            raise NotDone("a key was pressed while the policy was being loaded")
        limit = self._record.plan.seconds
        began, key, why = time.monotonic(), "", ""
        try:
            self._robot.start()
            began = time.monotonic()
            while not (key or why or self._stop.is_set()):
                seconds = time.monotonic() - began
                if seconds >= limit:
                    self._say(f"{limit:g} s are over")
                    break
                self._show(f"{seconds:.0f} s   {LABEL_KEYS}   any other: stop")
                key = self._keys.read(KEY_SECONDS)
                why = self._robot.why_ended()
        finally:
            seconds = time.monotonic() - began
            health = self._robot.health
            self._halt()
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        if why and key not in LABELS:
            self._say(f"the node ended the run: {why}")
            if not trial.hidden:
                self._say("Nothing is counted; it is tried again later.")
                return Outcome(trial, "ended", round(seconds, 1), health, at, why)
            # Such trials would else be counted only if the policy gets through without the object.
            self._say("With the object hidden that may be what it does: then it is a failure.")
        label = self._label(key)
        return None if label is None else Outcome(trial, label, round(seconds, 1), health, at, why)

    def _load(self, trial: Planned) -> None:
        """Before each trial: so the time it takes tells nothing of which one it is, and a node
        that was restarted meanwhile runs the right one."""
        self._show("loading")
        plan = self._record.plan
        policy = plan.policies[trial.policy]
        if not plan.blind:
            self._robot.load(Path(policy.path), policy.sha256, plan.seconds)
            return
        link = self._record.folder.resolve() / UNDER_TRIAL
        fresh = link.with_name(f".{UNDER_TRIAL}")
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(policy.path, target_is_directory=True)
            fresh.replace(link)
        except OSError as error:
            raise NotDone(f"a link to the policy cannot be made: {error}") from error
        self._robot.load(link, policy.sha256, plan.seconds)

    def _halt(self) -> None:
        try:
            self._robot.stop()
        except NotDone as problem:
            self._say(f"NOT STOPPED: {problem}\nIf the robot moves, use the emergency stop.")

    def _label(self, key: str) -> Label | None:
        self._show(f"{LABEL_KEYS}   q: quit without a label")
        while key not in LABELS and key != "q" and not self._stop.is_set():
            key = self._keys.read(KEY_SECONDS)
        if key in LABELS:  # also if the session was ended after it
            return LABELS[key]
        # A quit in the middle of a run ends the session at the next prompt, too.
        self._stop.set()
        return None
