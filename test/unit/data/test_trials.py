# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trials: the plan, what is on disk, and a session with a robot and an operator of this test. The
real node is in test/ros/test_trials_command.py."""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from sarnn_ros.data import trials
from sarnn_ros.data.trials import (
    TRIALS,
    UNDER_TRIAL,
    NotDone,
    Outcome,
    Plan,
    Planned,
    PolicyOnTrial,
    Record,
    Session,
    keep_parameters,
    name_places,
    open_record,
    parameters_before,
    write_plan,
)
from sarnn_ros.data.trials_view import claims, print_report, rows, write_page
from sarnn_ros.errors import ConfigError

PLACES = ("left", "middle", "right")


def make_plan(folder: Path, *, policies: int = 2, repeats: int = 2, hidden: float = 0.2) -> Plan:
    found = []
    for name in ("secret_ann", "secret_bob")[:policies]:
        (folder / name).mkdir(parents=True, exist_ok=True)
        found.append(PolicyOnTrial(path=str(folder / name), sha256=name))
    return Plan(
        seed=3, policies=tuple(found), places=PLACES, repeats=repeats, hidden=hidden, seconds=9
    )


@pytest.fixture
def record(tmp_path: Path) -> Record:
    write_plan(tmp_path, make_plan(tmp_path))
    return Record(tmp_path)


class Operator:
    """Presses Enter at each prompt, and the next key of `keys` while the robot runs or a label is
    asked for."""

    def __init__(self, keys: str) -> None:
        self.keys = list(keys)
        self.running = False
        self.early: list[str] = []
        self.before: list[str] = []  # at prompts, before Enter

    def read(self, timeout: float) -> str:
        if not timeout:
            return self.early.pop() if self.early else ""
        if not self.keys:
            return "q"
        if not self.running:
            return self.before.pop(0) if self.before else "\n"
        key = self.keys.pop(0)
        time.sleep(0 if key else 0.002)
        return key


class Arm:
    """A robot for sessions. It notes which policy each start was of."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.refusals: list[str] = []
        self.ends: list[str] = []
        self.started: list[str] = []
        self.paths: set[Path] = set()
        self.loaded = ""
        self.stops = 0
        self.health: float | None = 0.5

    def load(self, policy: Path, sha256: str, seconds: float) -> None:
        self.paths.add(policy)
        self.loaded = policy.resolve().name
        assert sha256 == self.loaded

    def start(self) -> None:
        if self.refusals and (words := self.refusals.pop(0)):
            raise NotDone(words)
        self.started.append(self.loaded)
        self.operator.running = True

    def stop(self) -> None:
        self.stops += 1

    def reset(self) -> None: ...

    def why_ended(self) -> str:
        return self.ends.pop(0) if self.ends else ""


class Evening:
    """One session, and all that was said in it."""

    def __init__(self, folder: Path, keys: str) -> None:
        self.record = Record(folder)
        self.operator = Operator(keys)
        self.arm = Arm(self.operator)
        self.said: list[str] = []

    def run(self) -> Evening:
        session = Session(
            self.record, self.arm, self.operator,
            say=self._say, show=self._say, stop=threading.Event(),
        )  # fmt: skip
        session.run()
        return self

    def _say(self, text: str) -> None:
        self.said.append(text)
        if text.startswith("\ntrial"):
            self.operator.running = False


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "DEAF_SECONDS", 0.0)


# -- the plan -----------------------------------------------------------------------------------


def test_the_plan_is_balanced_in_every_block(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, repeats=4)
    found = plan.trials()
    assert [one.number for one in found] == list(range(len(found)))
    seen = [one for one in found if not one.hidden]
    for block in range(4):
        part = seen[6 * block : 6 * (block + 1)]
        assert Counter((one.place, one.policy) for one in part) == {
            (place, policy): 1 for place in PLACES for policy in (0, 1)
        }
    hidden = [one for one in found if one.hidden]
    assert len(hidden) == 6 and Counter(one.policy for one in hidden) == {0: 3, 1: 3}
    assert Counter(one.place for one in hidden) == dict.fromkeys(PLACES, 2)
    assert any(one.hidden for one in found[:8]), "a control in the first block"
    for first, second in zip(found[::2], found[1::2]):
        assert (first.pair, first.place, first.hidden) == (
            second.pair,
            second.place,
            second.hidden,
        )
        assert first.policy != second.policy
    assert {one.policy for one in found[::2]} == {0, 1}, "either may come first"


def test_the_plan_is_a_function_of_its_values(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, repeats=2)
    assert plan.trials() == plan.trials()
    longer = plan.model_copy(update={"repeats": 5}).trials()
    assert longer[: len(plan.trials())] == plan.trials(), "more repeats leave what was done"
    assert plan.model_copy(update={"seed": 4}).trials() != plan.trials()
    # Written in files that are read again: never another order for the same values.
    order = [(one.place, one.policy, one.hidden) for one in plan.trials()[:8:2]]
    assert order == [
        ("middle", 1, True),
        ("right", 0, False),
        ("left", 0, False),
        ("middle", 0, False),
    ]


def test_one_policy_and_no_controls(tmp_path: Path) -> None:
    found = make_plan(tmp_path, policies=1, hidden=0, repeats=3).trials()
    assert len(found) == 9 and not any(one.hidden or one.policy for one in found)


@pytest.mark.parametrize(
    ("text", "places"), [("4", ("1", "2", "3", "4")), ("left, right", ("left", "right"))]
)
def test_places(text: str, places: tuple[str, ...]) -> None:
    assert name_places(text) == places


@pytest.mark.parametrize("text", ["a,,b", "a,a", "", "0"])
def test_places_that_cannot_be_told_apart(text: str) -> None:
    with pytest.raises(ConfigError, match="no place, an empty name, or one twice"):
        name_places(text)


# -- the folder ---------------------------------------------------------------------------------


def outcome(trial: Planned, label: str, why: str = "") -> Outcome:
    return Outcome(trial, label, 4.0, 0.3, "2026-11-28T12:00:00+00:00", why)  # type: ignore[arg-type]


def test_a_line_that_was_cut_off_is_one_trial_to_be_done(record: Record) -> None:
    for trial in record.trials[:3]:
        record.add(outcome(trial, "success"))
    file = record.folder / TRIALS
    file.write_bytes(file.read_bytes()[:-20])
    again = Record(record.folder)
    assert again.outcomes == record.outcomes[:2]
    assert again.todo == record.trials[2:]
    again.add(outcome(record.trials[2], "failure"))
    assert Record(record.folder).todo == record.trials[3:], "and the next line is not lost with it"


@pytest.mark.parametrize(
    "change", [('"label": "success"', '"label": "success'), ('"success"', '"sucess"'), ("{", "[")]
)
def test_a_line_that_a_person_spoilt_is_refused(record: Record, change: tuple[str, str]) -> None:
    for trial in record.trials[:3]:
        record.add(outcome(trial, "success"))
    file = record.folder / TRIALS
    first, second, third = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([first, second.replace(*change), third, ""]), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2 is no trial[^\n]*\n.*correct the line"):
        Record(record.folder)


def test_what_did_not_count_comes_again_and_later(record: Record) -> None:
    record.add(outcome(record.trials[0], "discarded"))
    record.add(outcome(record.trials[1], "ended", "faulted"))
    left = Record(record.folder).todo
    assert left == [*record.trials[2:], *record.trials[:2]]


def test_a_plan_that_was_changed_does_not_fit(record: Record) -> None:
    record.add(outcome(record.trials[0], "success"))
    write_plan(record.folder, record.plan.model_copy(update={"places": ("a", "b", "c")}))
    with pytest.raises(ConfigError, match="line 1 is no trial of"):
        Record(record.folder)


def test_going_on_with_other_values_is_refused_and_more_repeats_are_not(record: Record) -> None:
    def no_policies() -> list[PolicyOnTrial]:
        raise AssertionError("the plan is there")

    assert open_record(record.folder, {"places": PLACES, "seed": None}, no_policies).plan
    with pytest.raises(ConfigError, match="hidden is"):
        open_record(record.folder, {"hidden": 0.1}, no_policies)
    with pytest.raises(ConfigError, match="repeats is 2 in the plan"):
        open_record(record.folder, {"repeats": 1}, no_policies)
    more = open_record(record.folder, {"repeats": 3}, no_policies)
    assert len(more.trials) > len(record.trials)
    with pytest.raises(ConfigError, match="--places is missing"):
        open_record(record.folder / "new", {}, no_policies)


def test_a_policy_is_not_compared_with_itself(tmp_path: Path) -> None:
    one, _ = make_plan(tmp_path).policies
    with pytest.raises(ConfigError, match="are the same policy"):
        open_record(
            tmp_path / "new",
            {"places": PLACES},
            lambda: [one, one.model_copy(update={"path": str(tmp_path / "a_link")})],
        )


@pytest.mark.parametrize("left", [TRIALS, "policy_1.json"])
def test_a_lesson_is_no_folder_of_trials(tmp_path: Path, left: str) -> None:
    (tmp_path / left).touch()
    with pytest.raises(ConfigError, match=f"folder of a lesson[^\n]*\n.*{tmp_path}/trials"):
        open_record(tmp_path, {"places": PLACES}, list)
    assert not (tmp_path / trials.PLAN).exists()


def test_a_new_plan_has_twenty_trials_of_each_policy_that_see_the_object(tmp_path: Path) -> None:
    policies = make_plan(tmp_path).policies
    new = open_record(tmp_path / "new", {"places": ("1", "2", "3")}, lambda: policies)
    seen = Counter(one.policy for one in new.trials if not one.hidden)
    assert seen == {0: 21, 1: 21}
    assert Record(tmp_path / "new").trials == new.trials
    seeds = {
        open_record(tmp_path / name, {"places": ("1", "2")}, lambda: policies).plan.seed
        for name in "abcd"
    }
    assert len(seeds) > 1, "the report of one comparison must not tell the order of the next"


# -- a session ----------------------------------------------------------------------------------


def test_a_session_to_the_end_in_three_evenings_names_no_policy(record: Record) -> None:
    count = len(record.trials)
    evenings = [Evening(record.folder, keys).run() for keys in ("sfs", "fd", "s" * count)]
    said = "\n".join(text for evening in evenings for text in evening.said)
    assert "secret" not in said
    assert "put the object at 'left'" in said and "then COVER it" in said
    done = Record(record.folder)
    assert done.todo == [] and len(done.outcomes) == count + 1, "one was discarded"
    started = [name for evening in evenings for name in evening.arm.started]
    assert Counter(started[:4]) == {"secret_ann": 2, "secret_bob": 2}
    assert all(evening.arm.stops == len(evening.arm.started) for evening in evenings)
    # The link is all that a log or an overlay of the node can name.
    assert all(one.arm.paths == {record.folder / UNDER_TRIAL} for one in evenings)


def test_a_refused_start_is_told_and_labels_nothing(record: Record) -> None:
    evening = Evening(record.folder, "s")
    evening.arm.refusals = ["faulted: call ~/reset: the camera stands still"]
    evening.run()
    assert any("not started: faulted: call ~/reset: the camera" in one for one in evening.said)
    assert [one.trial.number for one in evening.record.outcomes] == [0], "then it was started"
    assert evening.arm.stops == 2, "also after a start without an answer"


def test_a_trial_may_be_put_off_and_comes_again(record: Record) -> None:
    evening = Evening(record.folder, "ss")
    evening.operator.before = ["n"]
    evening.run()
    assert [one.trial.number for one in evening.record.outcomes] == [1, 2]
    assert evening.record.todo[0].number == 0
    Evening(record.folder, "s" * (len(record.trials) - 3)).run()
    last = Evening(record.folder, "s")
    assert len(last.record.todo) == 1
    last.operator.before = ["n"]
    assert not last.run().record.todo, "also when it alone is left"
    assert sum(text.startswith("\ntrial") for text in last.said) == 2


def test_a_label_that_was_a_mistake_is_corrected_without_a_look_into_the_record(record: Record):
    evening = Evening(record.folder, "sd")
    evening.operator.before = ["c", "\n", "c", "\n"]  # the first has nothing to correct
    evening.run()
    for one_of in (evening.record, Record(record.folder)):
        assert [one.label for one in one_of.outcomes[:2]] == ["failure", "discarded"]
        assert [one.trial.number for one in one_of.counted] == [0]
    assert "the trial before is a failure now" in evening.said


@pytest.mark.parametrize("second", ["d", ""])
def test_there_is_no_last_label_to_correct_after_what_did_not_count(
    record: Record, second: str
) -> None:
    write_plan(record.folder, record.plan.model_copy(update={"hidden": 0.0}))
    evening = Evening(record.folder, "s")
    evening.operator.keys = ["s", second, "never asked for"]
    evening.operator.before = ["\n", "\n", "c", "q"]
    if not second:
        evening.arm.ends = ["", "faulted: the image is 2 s old"]
    evening.run()
    labels = [one.label for one in evening.record.outcomes]
    assert labels == ["success", "discarded" if second else "ended"], evening.said


def test_the_last_label_of_all_can_be_corrected(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, policies=1, repeats=1, hidden=0.0)
    write_plan(tmp_path, plan.model_copy(update={"places": ("left",)}))
    evening = Evening(tmp_path, "fc\n").run()
    assert [one.label for one in evening.record.outcomes] == ["success"]
    assert "the trial before is a success now" in evening.said
    assert not Evening(tmp_path, "c").run().said, "it is over"


def test_a_label_counts_though_the_session_is_ended_while_the_robot_stops(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    evening, stop = Evening(record.folder, "s"), threading.Event()
    monkeypatch.setattr(evening.arm, "stop", stop.set)
    Session(
        evening.record, evening.arm, evening.operator,
        say=evening._say, show=evening._say, stop=stop,
    ).run()  # fmt: skip
    assert [one.label for one in Record(record.folder).outcomes] == ["success"]


def test_a_run_that_the_node_ended_is_told_and_not_labelled(record: Record) -> None:
    write_plan(record.folder, record.plan.model_copy(update={"hidden": 0.0}))
    evening = Evening(record.folder, "")
    evening.operator.keys = ["", "s"]
    evening.arm.ends = ["faulted: the image is 2 s old"]
    evening.run()
    assert any("the node ended the run: faulted: the image is 2 s old" in x for x in evening.said)
    first, second = evening.record.outcomes
    assert (first.label, first.why) == ("ended", "faulted: the image is 2 s old")
    assert second.label == "success" and second.trial.number == 1
    assert first.trial in evening.record.todo


def test_a_run_without_the_object_that_the_node_ended_may_be_a_failure(record: Record) -> None:
    """Else only those would count in which the policy got through without it."""
    assert record.trials[0].hidden
    evening = Evening(record.folder, "")
    evening.operator.keys = ["", "f"]
    evening.arm.ends = ["faulted: the command was refused 5 times"]
    evening.run()
    assert any("With the object hidden that may be" in one for one in evening.said)
    (one,) = evening.record.outcomes
    assert (one.label, one.why) == ("failure", "faulted: the command was refused 5 times")


def test_any_other_key_stops_and_then_the_label_is_asked(record: Record) -> None:
    evening = Evening(record.folder, "xf").run()
    (one,) = evening.record.outcomes
    assert one.label == "failure" and one.health == 0.5
    assert evening.arm.stops == 1


def test_the_time_limit_stops_and_asks(record: Record) -> None:
    write_plan(record.folder, record.plan.model_copy(update={"seconds": 0.001}))
    evening = Evening(record.folder, "")
    evening.operator.keys = ["", "s"]
    evening.run()
    assert "0.001 s are over" in evening.said
    assert [one.label for one in evening.record.outcomes] == ["success"]


def test_a_label_waits_for_room_on_the_disk(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, append = [True, True], trials.append_json

    def append_if_there_is_room(path: Path, entry: dict[str, object]) -> None:
        if full and full.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        append(path, entry)

    monkeypatch.setattr(trials, "append_json", append_if_there_is_room)
    evening = Evening(record.folder, "sxx").run()
    assert sum("not written: No space left" in one for one in evening.said) == 2
    assert [one.label for one in Record(record.folder).outcomes] == ["success"]


def test_quitting_in_a_run_stops_the_robot_and_labels_nothing(record: Record) -> None:
    evening = Evening(record.folder, "q").run()
    assert evening.arm.stops == 1 and not (record.folder / TRIALS).exists()


def test_a_key_while_the_policy_is_loaded_starts_nothing(record: Record) -> None:
    evening = Evening(record.folder, "s")
    evening.operator.early = ["s", "\n"]
    evening.run()
    said = [one for one in evening.said if "not started: a key was pressed" in one]
    assert len(said) == 1 and not evening.operator.early
    assert [one.label for one in evening.record.outcomes] == ["success"], "when asked again"


def test_a_second_key_after_a_label_starts_nothing(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is used to press Enter after a letter stands at the table by then."""
    monkeypatch.setattr(trials, "DEAF_SECONDS", 1.0)
    keys: Iterator[str] = iter(["\n", "\n", "", "q"])
    evening = Evening(record.folder, "")
    monkeypatch.setattr(evening.operator, "read", lambda timeout: next(keys))
    evening.run()
    assert evening.arm.started == []


def test_a_stop_without_an_answer_is_shouted(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Arm) -> None:
        raise NotDone("no answer of /sarnn/stop within 10 s")

    monkeypatch.setattr(Arm, "stop", fails)
    evening = Evening(record.folder, "s").run()
    assert any("NOT STOPPED: no answer" in one and "emergency stop" in one for one in evening.said)


# -- the report ---------------------------------------------------------------------------------


def finish(record: Record, *, hidden: bool = False, second: bool = False) -> None:
    """The first policy always succeeds if it sees the object.

    :param hidden: if it does not, too; :param second: the second policy does, too.
    """
    for trial in record.todo:
        good = (trial.policy == 0 or second) and (not trial.hidden or hidden)
        record.add(outcome(trial, "success" if good else "failure"))


def test_the_report_has_controls_pairs_and_what_did_not_count(tmp_path: Path) -> None:
    write_plan(tmp_path, make_plan(tmp_path, repeats=3))
    record = Record(tmp_path)
    record.add(outcome(next(one for one in record.trials if not one.hidden), "discarded"))
    record.add(outcome(next(one for one in record.trials if not one.hidden), "ended", "faulted"))
    finish(record)
    first, hidden, second, _ = rows(record)
    assert first[:2] == ("secret_ann", "seen")
    assert first[2:5] == ("9 of 9", "100%", "70 to 100 %")
    assert hidden[1:3] == ("hidden", "0 of 3") and second[2] == "0 of 9"
    assert sorted([first[5:], second[5:]]) == [("0", "0"), ("1", "1")]
    said = " ".join(claims(record))
    assert "only" in said and "secret_ann is better (exact test: p = 0.0039" in said
    assert "With the object hidden, 0 of 3: it must see it." in said
    assert "With the object hidden, 0 of 3 (0 to 56 %): this does not show" in said
    assert "The node ended 1 more, which are not counted" in said
    assert "If what the node ended first was a failure: of 9 pairs" in said
    console = Console(width=150, record=True)
    print_report(record, console)
    assert "9 of 9" in console.export_text()
    write_page(record)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>3 of 3</b>" in page and "faulted" in page and "0.30, at most 0.30" in page


def test_one_is_not_better_for_having_more_tries(tmp_path: Path) -> None:
    write_plan(tmp_path, make_plan(tmp_path, repeats=3, hidden=0.0))
    record = Record(tmp_path)
    for trial in [one for one in record.trials if one.policy == 0]:
        record.add(outcome(trial, "ended", "faulted"))
    finish(record)
    (said,) = [one for one in claims(record) if "points for" in one]
    counted, _, worst = said.partition(" If what the node ended first was a failure: ")
    assert "secret_ann is better" in counted
    assert "this does not say that one is better" in worst and "is better" not in worst.replace(
        "that one is better", ""
    )


def test_a_policy_that_does_as_well_without_seeing_is_not_said_to_see(tmp_path: Path) -> None:
    write_plan(tmp_path, make_plan(tmp_path, policies=1, repeats=7, hidden=0.3))
    record = Record(tmp_path)
    finish(record, hidden=True)
    assert any("does not show that it needs to see it" in one for one in claims(record))
    other = tmp_path / "other"
    write_plan(other, make_plan(tmp_path, policies=1, repeats=7, hidden=0.3))
    record = Record(other)
    finish(record)
    assert "With the object hidden, 0 of 9: it must see it." in claims(record)


def test_a_report_before_the_end_is_noted_in_later_ones(record: Record) -> None:
    record.add(outcome(record.trials[0], "success"))
    record.show_names()
    assert any("trials are left" in one for one in claims(record))
    again = Record(record.folder)
    again.show_names()
    assert again.names_shown_after == 1
    finish(again)
    said = list(claims(Record(record.folder)))
    assert any("after 1 runs: from then on, the trials were not blind" in one for one in said)


def test_names_that_were_shown_in_another_terminal_are_noted_too(record: Record) -> None:
    record.add(outcome(record.trials[0], "success"))
    Record(record.folder).show_names()
    finish(record)
    record.show_names()
    for one in (record, Record(record.folder)):
        assert any(
            "after 1 runs: from then on, the trials were not" in text for text in claims(one)
        )


def test_what_the_node_had_before_counts_while_it_has_what_was_set(tmp_path: Path) -> None:
    file, before = tmp_path / "parameters.json", {"policy": "mine", "run_timeout": 0.0}
    assert parameters_before(file, before) == before
    changed = {"policy": "under_trial", "run_timeout": 65.0}
    keep_parameters(file, before, changed)
    assert parameters_before(file, {**changed, "dry_run": True}) == before
    for other in ({"policy": "mine"}, {"run_timeout": 0.0}):  # started anew, or set by somebody
        assert parameters_before(file, {**changed, **other}) == {**changed, **other}


def test_trials_that_are_added_after_the_report_are_not_blind(record: Record) -> None:
    finish(record)
    record.show_names()
    assert not any("blind" in one for one in claims(record))
    more = open_record(record.folder, {"repeats": record.plan.repeats + 1}, list)
    shown = len(more.outcomes)
    finish(more)
    assert any(f"after {shown} runs: from then on" in one for one in claims(more))


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        (lambda place, count: place == "left", "missed 8 of 8 at 'left'"),
        (lambda place, count: count % 2, "no more at one place than at another"),
        (lambda place, count: place == "left" and count < 3, None),
    ],
)
def test_where_it_missed_is_where_to_demonstrate_next(
    tmp_path: Path, fails: Callable[[str, int], bool], words: str | None
) -> None:
    write_plan(tmp_path, make_plan(tmp_path, policies=1, repeats=8, hidden=0.0))
    record = Record(tmp_path)
    counts: Counter[str] = Counter()
    for trial in record.todo:
        failed = fails(trial.place, counts[trial.place])
        counts[trial.place] += 1
        record.add(outcome(trial, "failure" if failed else "success"))
    said = [one for one in claims(record) if "place" in one or "demonstrate" in one]
    assert [words in one for one in said] == [True] if words else said == []
