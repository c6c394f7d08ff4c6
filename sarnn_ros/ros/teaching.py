# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A lesson as it is led, by keys and from the page alike: the recorder, the trainings and the
inference node, around `data.teaching`.

Whoever asks for something waits for nobody: it is done in a thread, and what becomes of it is
said. One thing at a time: what is asked for meanwhile is refused, as nobody would expect it later.
The end of a run is never refused, and waits for nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sarnn_ros.data.record import Label, spec_digest
from sarnn_ros.data.session import CHECK_SECONDS
from sarnn_ros.data.teaching import Lesson
from sarnn_ros.data.trials import DEAF_SECONDS, NotDone
from sarnn_ros.errors import INTERRUPTED, ConfigError, PolicyError, outcome
from sarnn_ros.policy.directory import PolicyConfig, digest, load_config
from sarnn_ros.processes import Child, parameters_file

if TYPE_CHECKING:
    from sarnn_ros.ros.recorder_node import RecorderNode
    from sarnn_ros.ros.trial_robot import TrialRobot

#: Actions besides the recorder's.
ACTIONS = ("end_run", "train", "dry_run", "run", "advice")
#: These are done whatever else is under way; while a policy runs there are no others.
AT_ONCE = ("end_run", "takeover", "advice")
#: A run ends by itself after so long, s.
RUN_SECONDS = 120.0
ASKED = "has it done the task? s or f"
#: So many of the newest lines are told to who comes later.
LINES = 8


@dataclass
class _Run:
    """A run of a policy, from the moment that it is asked for.

    :ivar policy: its name, once it is known.
    :ivar started: the node has said so.
    :ivar led: a person took over.
    :ivar ends: orders to end it that have no answer yet.
    :ivar over: one of them had.
    """

    is_dry: bool
    policy: str = "the policy"
    started: bool = False
    cancelled: bool = False
    led: bool = False
    ends: int = 0
    over: bool = False


@dataclass(frozen=True)
class _Ended:
    """A run that waits for a label, or may be given another one; `bag` is its recording, `why` it
    ended is in the node's words."""

    bag: str
    policy: str
    led: bool
    why: str


class Teaching:
    """See the module.

    :param children: processes that end with the session.
    :param ending: set by `close`; ends what the robot is waited for.
    :param tell: shows a line to who is at the terminal.
    :ivar spec, settings, background: of every training.
    :ivar arguments: what the inference node is started with.
    """

    spec: Path
    settings: Sequence[str] = ()
    background: bool = True
    arguments: Sequence[str] = ()

    def __init__(
        self,
        lesson: Lesson,
        recorder: RecorderNode,
        robot: TrialRobot,
        children: list[Child],
        ending: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        self.lesson, self.recorder, self.robot = lesson, recorder, robot
        lesson.spec = spec_digest(recorder.session.spec)
        self.children, self._ending, self._tell = children, ending, tell
        self._lock = threading.RLock()
        self._said: deque[str] = deque(maxlen=LINES)
        self._doing = ""
        self._place = ""
        self._training: Child | None = None
        self._resumed = False  # that one, from a checkpoint
        self._inference: Child | None = None
        self._found = False  # the inference node, by `robot`
        self._run: _Run | None = None
        self._deaf_until = 0.0
        self._ended = self._unlabelled()
        # Always the same thread: a child ends with the one that has started it.
        self._worker = ThreadPoolExecutor(1, "lesson")
        self._work: Future[None] | None = None
        self._busy = ""
        self._broken: BaseException | None = None

    def _unlabelled(self) -> _Ended | None:
        """The last run of a session before, if it ended without a label: a bad run may be why."""
        run = self.lesson.unlabelled()
        return None if run is None else _Ended(run["bag"], run["policy"], run["led"], run["why"])

    # -- who asks -------------------------------------------------------------------------------

    def ask(self, action: str) -> str:
        """Begin an action of the recorder, or of `ACTIONS`. Any thread; returns at once.

        :raises ConfigError: something else is under way.
        """
        with self._lock:
            work = self._actions()[action]
            if action in AT_ONCE:
                threading.Thread(target=self._do, args=(work,), name=action, daemon=True).start()
            else:
                if action not in self.possible:
                    raise ConfigError(
                        f"first end the run of {self._run.policy} (space)"
                        if self._run is not None
                        else f"not while '{self._busy}' is under way"
                    )
                if action in ("run", "dry_run"):  # from now on it can be ended
                    if self.recorder.session.recording:
                        raise ConfigError("an episode is being recorded: end it first (space)")
                    self._run = _Run(is_dry=action == "dry_run")
                self._busy = action
                self._work = self._worker.submit(self._do, work, is_busy=True)
        return "asked"

    def toggle(self) -> str:
        """What the space bar does now: an action's name.

        Where a run has just ended, by this key or by itself, another press was meant for it, too,
        and so are those of a key that is held down: they begin no episode."""
        if self._run is not None:
            return "end_run"
        now = time.monotonic()
        if now < self._deaf_until:
            self._deaf_until = now + DEAF_SECONDS
            return "end_run"  # of which nothing comes
        return "stop_episode" if self.recorder.session.recording else "start_episode"

    @property
    def possible(self) -> tuple[str, ...]:
        """Actions that are not refused now."""
        one_only = self._busy or self._run is not None
        names = AT_ONCE if one_only else tuple(self._actions())
        return tuple(name for name in names if name != "end_run" or self._run is not None)

    def say(self, text: str) -> None:
        """Show a line, at the terminal and to who comes later."""
        if text:
            self._said.append(text)
            self._tell(text)

    def greet(self) -> None:
        """Say what comes next, at the beginning."""
        if (ended := self._ended) is not None:
            self.say(f"the last run of {ended.policy}, {ended.bag}, has no label: {ASKED}")
        self.say(self.lesson.advice())

    def status(self) -> str:
        """What the recorder does, and what else goes on; one line."""
        return "  ".join(filter(None, [self.recorder.status(), self._doing]))

    def describe(self) -> tuple[str, dict[str, str]]:
        """What goes on besides recording, and for the page what is possible and the newest lines,
        the newest first."""
        lines = {f"line {row}": text for row, text in enumerate(reversed(list(self._said)))}
        return self._doing, {"possible": " ".join(self.possible), **lines}

    def look_after(self) -> None:
        """See whether a training, or a run, has ended. To be called every now and then."""
        if self._broken is not None:
            raise self._broken
        if self.recorder.session.advice != self._place:
            self._place = self.recorder.session.advice
            if self._place:
                self.say(self._place)
        with self._lock:
            if self._training is not None and self._training.code is not None:
                _, text = outcome(self._training_ended)
                self.say(text)
            if self._run is not None and self._run.started:
                self._watch(self._run)
            elif self._run is None and self.recorder.session.recording:
                self._ended = None  # a label is for what is recorded now
        self._doing = "  ".join(self._under_way())

    def close(self) -> None:
        """End what is under way; what is recorded is kept. The children are not ended here."""
        self._ending.set()
        if self._work is not None:
            wait([self._work])
        if self._run is not None:
            self.say(outcome(partial(self.end_run, "the session ended"))[1])

    # -- threads --------------------------------------------------------------------------------

    def _do(self, work: Callable[[], str], is_busy: bool = False) -> None:
        try:
            done, text = outcome(work)
        except BaseException as error:  # ours: it ends the session
            self._broken = error
            return
        if is_busy:
            self._busy = ""
        self.say(text if done or not text else f"error: {text}")

    def _watch(self, run: _Run) -> None:
        run.led |= self.recorder.led
        try:
            why = self.robot.why_ended()
        except NotDone as problem:
            why = problem.problem
        if why and not run.ends:
            run.ends += 1  # the next look comes sooner than the thread
            work = partial(self._end, run, why)
            threading.Thread(target=self._do, args=(work,), name="end", daemon=True).start()

    def _under_way(self) -> list[str]:
        parts = []
        if (run := self._run) is not None:
            how = ("in a dry run" if run.is_dry else "runs") if run.started else "is being started"
            parts.append(f"{run.policy} {how}")
        if self._training is not None and self._training.log is not None:
            lines = self._training.log.read_text(errors="replace").splitlines()
            epoch = lines[-1].partition(":")[0] if lines else ""
            parts.append(f"training: {epoch if epoch.startswith('epoch') else 'begins'}")
        return parts

    def _training_ended(self) -> str:
        """:raises EnvironmentProblem: it has failed; with the end of its log."""
        ended, self._training = self._training, None
        assert ended is not None
        self.children.remove(ended)
        if ended.code == INTERRUPTED:
            return "the training was interrupted; n goes on with it"
        if ended.code:
            # A process that was killed, or a full disk, leaves a checkpoint that is sound. What
            # fails again after it must not fail for ever.
            if ended.code > 0 and self._resumed:
                self.lesson.forget_training()
            ended.check()
        self.lesson.finish_training()
        name = self.lesson.policy(self.lesson.number).name
        return f"{name} is trained ({ended.log}); {self.lesson.advice()}"

    # -- what is asked for ----------------------------------------------------------------------

    def _actions(self) -> dict[str, Callable[[], str]]:
        actions = self.recorder.actions(CHECK_SECONDS) | {
            "end_run": partial(self.end_run, "the operator ended it"),
            "train": self.train,
            "dry_run": self.start,
            "run": self.start,
            "advice": self.lesson.advice,
        }
        actions["takeover"] = partial(self._take_over, actions["takeover"])
        for name in ("stop_episode", "label_success", "label_failure"):
            actions[name] = partial(self._with_advice, actions[name])
        if self._ended is not None:
            actions["label_success"] = partial(self.label, self._ended, True)
            actions["label_failure"] = partial(self.label, self._ended, False)
            actions["discard_episode"] = partial(self.discard, self._ended)
        return actions

    def _with_advice(self, work: Callable[[], str]) -> str:
        return f"{work()}; {self.lesson.advice()}"

    def _take_over(self, work: Callable[[], str]) -> str:
        """:raises ConfigError: the node of the run has not said yet that it runs."""
        run = self._run
        if run is not None and not run.is_dry and not self.recorder.hears_a_run:
            # Marked in the bag alone, its motion would be learnt as a person's.
            raise ConfigError(f"{run.policy} does not say yet who leads: t again in a moment")
        return work()

    def train(self) -> str:
        """:raises ConfigError: a training is under way, or there is nothing to train on."""
        if self._training is not None:
            raise ConfigError("a training is under way")
        if not self.lesson.recordings():
            raise ConfigError("there is no recording to train on")
        if self.lesson.is_training:
            raise ConfigError("a training of before is ending: again in a moment")
        number = self.lesson.next_number
        config, why = self._config()
        searched = config is not None and bool(config.training.get("searched"))
        words = self.lesson.training(
            self.spec, self.settings, background=self.background, goes_on=searched
        )
        log = self.lesson.folder / f"{self.lesson.policy(number).name}.log"
        self._training = self._child("training", words, log)
        self._resumed = "--resume" in words
        how = "goes on" if self._resumed else "has begun"
        anew = f"; anew, as {why}" if why else ""
        return f"the training of {self.lesson.policy(number).name} {how}; see {log}{anew}"

    def start(self) -> str:
        """Let the newest policy run as `ask` has noted it, and record it.

        :raises ConfigError: there is none.
        :raises NotDone: the node refuses, or the run was ended before it had started.
        """
        run, session = self._run, self.recorder.session
        assert run is not None
        said, ordered, kept_before = "", False, session.kept_last
        try:
            (config, why), policy = self._config(), self.lesson.newest
            if policy is None or config is None:
                raise ConfigError(why or "there is no policy yet: train one (n)")
            run.policy = policy.name
            self._run_node(policy)
            self._raise_if_cancelled(run)
            self.robot.load(policy.resolve(), digest(config), RUN_SECONDS)
            if not run.is_dry:
                said = self.recorder.start_episode()
            self._raise_if_cancelled(run)
            ordered = True
            if run.is_dry:
                self.robot.start_dry()
            else:
                self.robot.start()
            with self._lock:
                self._raise_if_cancelled(run)
                run.started = True
        except BaseException:
            if ordered:  # it may have started, and the answer is lost
                self._stop_started(run)
            self._run = None
            if said:
                session.discard(back_to=kept_before)
            raise
        if run.is_dry:
            return f"{run.policy} says what it would do, and nothing moves; space ends it"
        return f"{said}; {run.policy} runs; space ends it, t takes over"

    def _raise_if_cancelled(self, run: _Run) -> None:
        if run.cancelled:
            raise NotDone(f"{run.policy} was ended before it had started")

    def _stop_started(self, run: _Run) -> None:
        """:raises NotDone: there is no answer; it is a run then, which is to be ended."""
        try:
            self._stop_robot(run.is_dry)
        except NotDone:
            with self._lock:
                run.started, run.cancelled = True, False
            raise

    def _config(self) -> tuple[PolicyConfig | None, str]:
        """Of the newest policy; None if there is none, or, with the reason, if it is damaged."""
        try:
            return (load_config(self.lesson.newest) if self.lesson.newest else None), ""
        except PolicyError as error:
            remedy = f" ({error.remedy})" if error.remedy else ""
            return None, f"{error.where}: {error.problem}{remedy}"

    def _run_node(self, policy: Path) -> None:
        """Start the inference node, unless it runs, and find it."""
        if self._inference is None or self._inference.code is not None:
            log = self.lesson.folder / "inference.log"
            # Whatever a lab's file says: a dry run moves nothing, and a run is recorded.
            ours = {"start_on_activate": False, "policy": str(policy.resolve())}
            file = self.lesson.folder / "inference.yaml"
            file.write_text(parameters_file(self.robot.name, ours), encoding="utf-8")
            words = ["run", "inference", "--ros-args", *self.arguments, "--params-file", str(file)]
            self._inference = self._child("inference", words, log)
            self._found = False
            self.say(f"the inference node is started; see {log}")
        if not self._found:  # it may have taken too long the last time
            self.robot.open(check=self._inference.check)
            self._found = True

    def _child(self, name: str, words: Sequence[str], log: Path) -> Child:
        child = Child(name, [sys.executable, "-m", "sarnn_ros.cli.main", *words], log=log)
        self.children.append(child)
        return child

    def end_run(self, why: str) -> str:
        """End the run under way, if there is one; what it recorded is kept.

        :raises NotDone: the node runs, and does not answer; it can be asked again meanwhile.
        """
        with self._lock:
            run = self._run
            if run is None:
                return ""  # a stop of the page asks for it at any time
            run.ends += 1
        return self._end(run, why)

    def _end(self, run: _Run, why: str) -> str:
        """The order is sent first of all, and each time: one may be lost."""
        with self._lock:
            run.cancelled |= not run.started
        try:
            self._stop_robot(run.is_dry and run.started)
        finally:
            run.ends -= 1
        with self._lock:
            if run.cancelled or run.over:
                return ""  # another thread ends it
            run.over = True
        said = [f"{'the dry run' if run.is_dry else run.policy} has ended: {why}"]
        try:
            if not run.is_dry:
                said += self._keep(run, why)
        finally:
            self._deaf_until = time.monotonic() + DEAF_SECONDS
            self._run = None
        return "; ".join(said)

    def _keep(self, run: _Run, why: str) -> list[str]:
        """What a run recorded, and that it waits for a label; what is to be said of it.

        :raises OSError: it could not be written to its end.
        """
        session = self.recorder.session
        bag = session.episode if session.recording else session.kept_last
        self._ended = _Ended(bag, run.policy, run.led, why)
        # Where the person took over it has failed, also without a label.
        success = False if run.led else None
        with suppress(OSError):  # a full disk, of which the recorder tells
            self.lesson.add_run(bag, run.policy, success, run.led, why)
        said = ["you took over: it is a correction"] if run.led else []
        if session.recording:
            with suppress(OSError):
                self.recorder.note_policy()
            said.append(session.stop())
        return [*said, ASKED]

    def _stop_robot(self, is_dry: bool) -> None:
        """:raises NotDone: the node runs, and does not answer."""
        try:
            if is_dry:
                self.robot.end_dry()
            else:
                self.robot.stop()
        except NotDone:
            if self._inference is None or self._inference.code is None:
                raise

    def label(self, ended: _Ended, is_success: bool) -> str:
        """Of the run that has ended. Of a correction, whether the person has done the task."""
        label: Label = "success" if is_success else "failure"
        said = self.recorder.session.label(label, bag=ended.bag)
        self.lesson.add_run(ended.bag, ended.policy, is_success, ended.led, ended.why)
        return f"{said}; {self.lesson.advice()}"

    def discard(self, ended: _Ended) -> str:
        """What the run that has ended recorded. Nor does the run count."""
        said = self.recorder.session.discard(ended.bag)
        self.lesson.add_run(ended.bag, ended.policy, None, ended.led, ended.why)
        self._ended = None
        return f"{said}; {self.lesson.advice()}"
