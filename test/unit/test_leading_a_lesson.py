# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a lesson does with what is asked of it while something else is under way, and where the
node does not answer. Whole sessions are in test/system and test/ros."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bag_making as make
import pytest
import yaml

from sarnn_ros.data.bags import label_of
from sarnn_ros.data.reading import TAKEOVER_TYPE, read_bag
from sarnn_ros.data.record import EpisodeWriter
from sarnn_ros.data.session import Session
from sarnn_ros.data.teaching import Lesson
from sarnn_ros.data.trials import NotDone
from sarnn_ros.errors import ConfigError, EnvironmentProblem
from sarnn_ros.ros import teaching
from sarnn_ros.ros.teaching import Teaching, _Run

#: How long a thread may take to do nothing.
PATIENCE_SECONDS = 20.0


class Robot:
    """The node's services, each of which answers when `answers` is set.

    :ivar asked: in order.
    """

    def __init__(self) -> None:
        self.name = "/sarnn"
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.problem = ""

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        assert self.answers.wait(PATIENCE_SECONDS)
        if self.problem:
            raise NotDone(self.problem)

    def open(self, check: Callable[[], None]) -> None:
        self._ask("open")

    def load(self, *_: object) -> None:
        self._ask("load")

    def start(self) -> None:
        self._ask("start")

    def start_dry(self) -> None:
        self._ask("start_dry")

    def stop(self) -> None:
        self._ask("stop")

    def end_dry(self) -> None:
        self._ask("end_dry")

    def why_ended(self) -> str:
        return ""


class Recorder:
    """Says that it records, or not."""

    led = hears_a_run = False

    def __init__(self) -> None:
        self.session: Any = SimpleNamespace(
            recording=False,
            advice="",
            stop=self._stop,
            discard=lambda back_to="": self._stop(),
            spec=make.spec(),
            episode="episode_000",
            kept_last="episode_000",
        )

    def _stop(self) -> str:
        self.session.recording = False
        return "kept episode_000"

    def note_policy(self) -> None:
        pass

    def start_episode(self) -> str:
        self.session.recording = True
        return "recording episode_000"

    def actions(self, wait: float) -> dict[str, Callable[[], str]]:
        return {
            "start_episode": self.start_episode,
            "stop_episode": self._stop,
            "label_success": lambda: "is a success",
            "label_failure": lambda: "is a failure",
            "takeover": lambda: "asked",
        }


class Recording(Recorder):
    """The recorder's real session."""

    def __init__(self, bags: Path) -> None:
        self.session = Session(bags, 0.0, make.spec())

    def note_policy(self) -> None:
        self.session.note_policy("/recorder/takeover", 1)

    def start_episode(self) -> str:
        topics: Any = {"/image_raw": (make.IMAGE, []), "/joint_states": (make.JOINTS, [])}
        topics["/recorder/takeover"] = (TAKEOVER_TYPE, [])
        said = self.session.start(topics, list)
        for topic, kind, receive, message in make.recording(0.5).messages:
            self.session.write(topic, receive, bytes(make.STORE.serialize_cdr(message, kind)))
        return said

    def actions(self, wait: float) -> dict[str, Callable[[], str]]:
        return super().actions(wait) | {
            "stop_episode": self.session.stop,
            "label_success": lambda: self.session.label("success"),
            "label_failure": lambda: self.session.label("failure"),
            "discard_episode": self.session.discard,
        }


class _Node:
    """The process of an inference node that runs."""

    code = None

    def check(self) -> None:
        pass


class Led(Teaching):
    """With all that was said, and a policy that is there."""

    robot: Any
    recorder: Any
    _inference: Any

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, records: bool = False
    ) -> None:
        lesson = Lesson(folder)
        recorder: Any = Recording(lesson.bags) if records else Recorder()
        robot: Any = Robot()
        self.told: list[str] = []
        super().__init__(lesson, recorder, robot, [], threading.Event(), self.told.append)
        self._inference, self._found = _Node(), True
        monkeypatch.setattr(teaching, "digest", lambda _: "")
        monkeypatch.setattr(teaching, "DEAF_SECONDS", 0.0)
        monkeypatch.setattr(Led, "_config", lambda _: (SimpleNamespace(), ""))
        lesson.policy(1).mkdir(exist_ok=True)
        (lesson.policy(1) / "config.json").touch()

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < end, (self.told, self.robot.asked)
            time.sleep(0.005)

    def hears(self, text: str) -> None:
        self.until(lambda: any(text in line for line in self.told))


@pytest.fixture
def led(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Led]:
    made = Led(tmp_path, monkeypatch)
    yield made
    made.robot.answers.set()
    made.close()


def running(led: Led, is_dry: bool) -> None:
    led._run = _Run(is_dry, "policy_1", started=True)
    led.recorder.session.recording = not is_dry


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_run_is_ended_again_at_once_while_the_first_end_has_no_answer(
    led: Led, is_dry: bool
) -> None:
    running(led, is_dry)
    order = "end_dry" if is_dry else "stop"
    for count in (1, 2, 3):
        led.ask("end_run")
        led.until(lambda count=count: led.robot.asked == [order] * count)
    assert led.toggle() == "end_run" and not led.told
    led.robot.answers.set()
    led.hears("has ended: the operator ended it")
    led.until(lambda: not any(one.name == "end_run" for one in threading.enumerate()))
    assert len(led.told) == 1, "once"
    assert led.toggle() == "start_episode"


def test_the_space_bar_pressed_once_too_often_begins_no_episode(
    led: Led, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label would be for that one. Nor does a key that is held down."""
    monkeypatch.setattr(teaching, "DEAF_SECONDS", 0.5)
    led.robot.answers.set()
    running(led, False)
    led.ask("end_run")
    led.until(lambda: led._run is None)
    told = len(led.told)
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        assert led.toggle() == "end_run"
        led.ask(led.toggle())
        time.sleep(0.05)
    assert len(led.told) == told and not led.recorder.session.recording
    time.sleep(0.6)
    assert led.toggle() == "start_episode"


def test_a_run_can_be_ended_as_soon_as_it_is_asked_for(
    led: Led, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is still being read then."""
    is_read = threading.Event()
    monkeypatch.setattr(
        Led, "_config", lambda _: (is_read.wait(PATIENCE_SECONDS) and SimpleNamespace(), "")
    )
    led.robot.answers.set()
    led.ask("run")
    assert led.toggle() == "end_run"
    led.ask("end_run")
    led.until(lambda: led.robot.asked == ["stop"])
    is_read.set()
    led.hears("was ended before it had started")
    assert led.robot.asked == ["stop"]
    led.until(lambda: led.toggle() == "start_episode")


@pytest.mark.parametrize("action", ["run", "dry_run"])
def test_while_an_episode_is_recorded_no_run_begins(led: Led, action: str) -> None:
    """And the space bar still ends the episode."""
    led.recorder.session.recording = True
    with pytest.raises(ConfigError, match="an episode is being recorded: end it first"):
        led.ask(action)
    assert led.toggle() == "stop_episode"


def test_a_stop_while_nothing_runs_says_nothing(led: Led) -> None:
    """The page sends one with each of its stops."""
    led.ask("end_run")
    led.until(lambda: not any(one.name == "end_run" for one in threading.enumerate()))
    assert not led.told


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_run_that_was_not_stopped_goes_on_for_the_keys(led: Led, is_dry: bool) -> None:
    running(led, is_dry)
    led.robot.answers.set()
    led.robot.problem = "no answer"
    led.ask("end_run")
    led.hears("error: no answer")
    assert led.toggle() == "end_run"
    led._inference.code = 1  # it is gone, and the robot holds
    led.ask("end_run")
    led.hears("has ended: the operator ended it")


def test_what_a_run_was_is_asked_when_it_has_ended(led: Led) -> None:
    running(led, False)
    assert led._run is not None
    led._run.led = True
    led.robot.answers.set()
    led.ask("end_run")
    led.hears("it is a correction; kept episode_000; has it done the task?")
    running(led, False)
    led.recorder.session.recording = False  # the disk is full
    led.ask("end_run")
    led.hears("the operator ended it; has it done the task?")
    led.until(lambda: led.toggle() == "start_episode")


def test_what_is_asked_meanwhile_is_refused_and_not_kept_for_later(led: Led) -> None:
    led.ask("run")
    led.until(lambda: led.robot.asked == ["load"])
    for action in ("run", "train", "start_episode"):
        with pytest.raises(ConfigError, match="first end the run of policy_1"):
            led.ask(action)
    assert led.possible == ("end_run", "takeover", "advice")
    led.robot.answers.set()
    led.hears("policy_1 runs")
    led.until(lambda: "run" not in led.possible)
    assert led.robot.asked == ["load", "start"]


def test_a_run_that_is_ended_while_it_is_loaded_never_starts(led: Led) -> None:
    led.ask("run")
    led.until(lambda: led.robot.asked == ["load"])
    led.ask("end_run")
    led.until(lambda: led.robot.asked == ["load", "stop"])
    led.robot.answers.set()
    led.hears("was ended before it had started")
    assert led.robot.asked == ["load", "stop"]
    assert led.toggle() == "start_episode"


@pytest.mark.parametrize("heard", [False, True])
def test_a_mark_alone_does_not_take_over_a_run(heard: bool, led: Led) -> None:
    """The bag would say that a person leads while the policy does."""
    led.recorder.hears_a_run = heard
    led.ask("run")
    led.until(lambda: led.robot.asked == ["load"])
    led.ask("takeover")
    led.hears("asked" if heard else "error: policy_1 does not say yet who leads: t again")
    assert heard or "asked" not in led.told


def test_a_stop_that_overtakes_the_start_is_sent_again(led: Led) -> None:
    led.robot.answers.set()
    led.robot.load = lambda *_: led.robot.answers.clear()
    led.ask("run")
    led.until(lambda: led.robot.asked == ["start"])
    led.ask("end_run")
    led.until(lambda: led.robot.asked == ["start", "stop"])
    led.robot.answers.set()
    led.hears("was ended before it had started")
    assert led.robot.asked == ["start", "stop", "stop"]
    led.until(lambda: led.toggle() == "start_episode")


def test_a_node_that_was_not_found_is_looked_for_again(led: Led) -> None:
    led._found = False
    led.robot.answers.set()
    for led.robot.problem, found in (("nothing was heard", False), ("", True)):
        led.robot.asked.clear()
        led.ask("dry_run")
        led.until(lambda: not led._busy)
        assert (led.robot.asked == ["open", "load", "start_dry"]) == found, led.told
    assert led._found


def test_what_comes_next_is_said_after_each_episode(led: Led) -> None:
    led.ask("start_episode")
    led.hears("recording episode_000")
    led.ask("stop_episode")
    led.hears("kept episode_000; next: see what policy_1 would do")
    led.ask("label_success")
    led.hears("is a success; next: see what policy_1 would do")


def test_a_refusal_is_said_and_the_session_goes_on(led: Led) -> None:
    led.robot.answers.set()
    led.robot.problem = "the robot is faulted"
    led.ask("run")
    led.hears("error: the robot is faulted")
    led.until(lambda: "run" in led.possible)
    led.look_after()


def test_a_mistake_of_ours_ends_the_session(led: Led) -> None:
    led.robot.load = lambda *_: 1 // 0
    led.ask("run")
    led.until(lambda: led._broken)
    with pytest.raises(ZeroDivisionError):
        led.look_after()


def test_the_page_is_told_what_the_terminal_says(led: Led) -> None:
    for number in range(20):
        led.say(f"line of number {number}")
    text, values = led.describe()
    assert text == "" and values["line 0"] == led.told[-1] == "line of number 19"
    assert len(values) == 1 + teaching.LINES
    assert values["possible"].split()[:2] == ["start_episode", "stop_episode"]


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Led]:
    made = Led(tmp_path, monkeypatch, records=True)
    made.robot.answers.set()
    yield made
    made.close()


def press(led: Led, *actions: str) -> None:
    for action in actions:
        led.ask(action)
        led.until(lambda action=action: not led._busy and not (action == "end_run" and led._run))
        led.look_after()


@pytest.mark.parametrize("is_led", [False, True])
def test_a_run_in_which_a_person_took_over_has_failed_without_a_label(
    recording: Led, is_led: bool
) -> None:
    press(recording, "run")
    recording.recorder.led = is_led
    recording.look_after()
    press(recording, "end_run")
    assert recording.lesson.score("policy_1").trials == is_led
    assert recording.lesson.score("policy_1").successes == 0


def test_a_run_that_ends_before_its_node_was_heard_is_no_demonstration(recording: Led) -> None:
    press(recording, "run", "end_run")
    (bag,) = recording.lesson.bags.glob("episode_*")
    episodes, report = read_bag(bag, make.spec())
    assert not episodes and "a run of the policy" in report.problems[0].found
    recording.recorder.session.finish_checks(PATIENCE_SECONDS)
    for spec in (recording.lesson.spec, "of before"):  # a run is one by any spec
        recording.lesson.spec = spec
        assert not recording.lesson.recordings()


@pytest.mark.parametrize("label", ["label_failure", "discard_episode"])
def test_what_was_kept_before_a_refused_run_is_still_labelled(
    recording: Led, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> None:
        recording.look_after()  # as the terminal does all the time
        raise NotDone("not started: joint1 is at 0.3")

    press(recording, "start_episode", "stop_episode")
    with monkeypatch.context() as patched:
        patched.setattr(recording.robot, "start", start)
        press(recording, "run")
    press(recording, label)
    if label == "discard_episode":
        assert not list(recording.lesson.bags.glob("episode_*"))
    else:
        assert label_of(recording.lesson.bags / "episode_000") == "failure"
    recording.ask("discard_episode")
    recording.until(lambda: not recording._busy)
    assert label == "label_failure" or "no episode to discard" in recording.told[-1]


def test_a_run_may_be_labelled_anew_and_discarded(recording: Led) -> None:
    lesson = recording.lesson
    press(recording, "run", "end_run", "label_success", "label_failure")
    assert label_of(lesson.bags / "episode_000") == "failure"
    assert (lesson.score("policy_1").successes, lesson.score("policy_1").trials) == (0, 1)
    press(recording, "run", "end_run", "label_success", "discard_episode")
    assert not (lesson.bags / "episode_001").exists()
    assert (lesson.score("policy_1").successes, lesson.score("policy_1").trials) == (0, 1)
    press(recording, "start_episode", "stop_episode", "label_success")
    assert lesson.score("policy_1").trials == 1, "a demonstration is no run"


def test_a_run_without_a_label_is_asked_for_by_the_next_session(
    recording: Led, monkeypatch: pytest.MonkeyPatch
) -> None:
    press(recording, "run", "end_run")
    recording.hears(teaching.ASKED)
    recording.close()
    recording.recorder.session.close()
    after = Led(recording.lesson.folder, monkeypatch, records=True)
    after.robot.answers.set()
    after.greet()
    assert "the last run of policy_1, episode_000, has no label" in after.told[0]
    press(after, "label_failure")
    assert (after.lesson.score("policy_1").successes, after.lesson.score("policy_1").trials) == (
        0,
        1,
    )
    assert label_of(after.lesson.bags / "episode_000") == "failure"
    assert after.lesson.unlabelled() is None
    press(after, "run", "end_run", "discard_episode")
    assert after.lesson.unlabelled() is None, "it was discarded"
    after.close()


@pytest.mark.parametrize("before", ["dry_run", "run"])
def test_a_run_is_labelled_after_another_was_refused_or_dry(
    recording: Led, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = recording.lesson
    press(recording, "run", "end_run")
    if before == "run":
        refuses = NotDone("not started: joint1 is at 0.3")

        def start() -> None:
            recording.look_after()  # as the terminal does all the time
            raise refuses

        with monkeypatch.context() as patched:
            patched.setattr(recording.robot, "start", start)
            press(recording, "run")
        recording.hears("error: not started")
    else:
        press(recording, "dry_run", "end_run")
    press(recording, "label_failure")
    assert label_of(lesson.bags / "episode_000") == "failure"
    assert lesson.score("policy_1").trials == 1
    assert [bag.name for bag in lesson.bags.glob("episode_*")] == ["episode_000"]


def test_a_training_of_a_session_that_was_killed_is_waited_for(recording: Led) -> None:
    press(recording, "start_episode", "stop_episode")
    folder = recording.lesson.folder / "policy_2.run"
    folder.mkdir()
    (folder / "checkpoint.pt").touch()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        press(recording, "train")
    recording.hears("error: a training of before is ending")
    assert (folder / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("resumed", "code", "anew"), [(False, 1, False), (True, 1, True), (True, -9, False)]
)
def test_a_training_that_failed_goes_on_unless_its_checkpoint_is_why(
    led: Led, resumed: bool, code: int, anew: bool
) -> None:
    def check() -> None:
        raise EnvironmentProblem("training failed")

    folder = led.lesson.folder / "policy_2.run"
    folder.mkdir()
    (folder / "checkpoint.pt").touch()
    training: Any = SimpleNamespace(code=code, check=check)
    led._training, led._resumed = training, resumed
    led.children.append(training)
    led.look_after()
    assert "training failed" in led.told[-1]
    assert folder.exists() != anew


@pytest.mark.parametrize("name", ["lesson #2", "it's: 3", 'a "b" \\ c', "é [😀]"])
def test_the_node_is_given_its_policy_and_starts_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    led = Led(tmp_path / name, monkeypatch)
    led._inference = None
    led.arguments = ["--params-file", "lab.yaml"]
    words: list[str] = []
    monkeypatch.setattr(led, "_child", lambda _, given, log: words.extend(given) or _Node())
    policy = led.lesson.policy(1)
    led.robot.answers.set()
    led._run_node(policy)
    led.close()
    assert words[-4:-1] == ["--params-file", "lab.yaml", "--params-file"], "the last one wins"
    given = yaml.safe_load(Path(words[-1]).read_text(encoding="utf-8"))
    expected = {"start_on_activate": False, "policy": str(policy.resolve())}
    assert given["/sarnn"]["ros__parameters"] == expected


def test_a_run_whose_recording_cannot_be_ended_is_over(
    recording: Led, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: EpisodeWriter) -> None:
        raise OSError("No space left on device")

    press(recording, "run")
    with monkeypatch.context() as patched:
        patched.setattr(EpisodeWriter, "close", full)
        recording.ask("end_run")
        recording.hears("error: No space left on device")
    assert recording.toggle() == "start_episode"
    press(recording, "discard_episode")
    assert not list(recording.lesson.bags.glob("episode_*"))
    press(recording, "run", "end_run", "label_failure")
    assert recording.lesson.score("policy_1").trials == 1


def test_a_policy_that_cannot_be_read_is_no_missing_one(
    led: Led, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Led, "_config", Teaching._config)
    config = led.lesson.policy(1) / "config.json"
    config.write_text('{"format_version": 3, "sha256": "x"}')
    led.ask("run")
    led.hears("config.json: format version 3; this sarnn_ros reads")
    assert not any("there is no policy" in line for line in led.told)
    monkeypatch.setattr(led, "_child", lambda *_: None)
    led.spec, led.settings, led.background = Path("spec.yaml"), (), False
    monkeypatch.setattr(led.lesson, "recordings", lambda: [led.lesson.bags / "episode_000"])
    assert "; anew, as " in led.train() and led.robot.asked == []
