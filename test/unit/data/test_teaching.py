# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a lesson's folder tells: what was taught, how policies did, and what comes next."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import bag_making as make
import pytest
from policies import write_policy

from sarnn_ros.data.record import append_index, set_label
from sarnn_ros.data.teaching import TRIALS, Lesson
from sarnn_ros.errors import ConfigError
from sarnn_ros.files import append_json
from sarnn_ros.training.claim import claim

SPEC = Path("spec.yaml")


def record(lesson: Lesson, count: int) -> list[Path]:
    begin = len(list(lesson.bags.iterdir()))
    return [
        make.recording(0.3).write(lesson.bags / f"episode_{begin + row:03d}")
        for row in range(count)
    ]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policy(tmp_path_factory.mktemp("policies") / "policy", make.spec())


def trained(lesson: Lesson, policy: Path, *settings: str) -> list[str]:
    """As `n` does it, with a policy that is there already."""
    words = lesson.training(SPEC, settings, background=True, goes_on=True)
    shutil.copytree(policy, lesson.policy(lesson.number + 1))
    return words


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    return Lesson(tmp_path / "lesson")


def test_it_says_what_comes_next(lesson: Lesson, policy: Path) -> None:
    assert "record 10 more demonstrations (space)" in lesson.advice()
    record(lesson, 9)
    assert "record 1 more" in lesson.advice()
    record(lesson, 1)
    assert "train on 10 demonstrations (n)" in lesson.advice()
    trained(lesson, policy)
    assert "see what policy_1 would do (y: dry run)" in lesson.advice()
    lesson.add_run("a", "policy_1", True, False, "ended")
    assert "1 of 1" in lesson.advice() and "let it run elsewhere (g)" in lesson.advice()
    lesson.add_run("b", "policy_1", False, False, "ended")
    assert "take over (t) where it goes wrong" in lesson.advice()
    assert "train (n) after 5 more" in lesson.advice()
    (used, *_) = record(lesson, 5)
    assert "train on 5 more recordings (n)" in lesson.advice()
    append_index(lesson.bags, {"name": used.name, "left_out": "left out of training: nobody led"})
    assert "train (n) after 1 more" in lesson.advice()
    part = {"name": "episode_000", "left_out": "left out of training in part: a hole"}
    append_index(lesson.bags, part)
    assert len(lesson.recordings()) == 14
    trained(lesson, policy)
    for number in range(10):
        lesson.add_run(f"c{number}", "policy_2", True, False, "ended")
    assert "gives a score to report" in lesson.advice()
    assert lesson.score("policy_1").cells[0] == "1 of 2"


def test_a_run_in_which_a_person_took_over_is_no_success(lesson: Lesson) -> None:
    lesson.add_run("a", "policy_1", True, True, "ended")
    assert (lesson.score("policy_1").successes, lesson.score("policy_1").trials) == (0, 1)


def test_what_is_said_anew_of_a_run_corrects_it(lesson: Lesson) -> None:
    for bag, success in (("a", True), ("b", True), ("a", False), ("b", None), ("c", True)):
        lesson.add_run(bag, "policy_1", success, False, "ended")
    assert lesson.score("policy_1").cells[0] == "1 of 2"


def test_what_one_spec_leaves_out_another_may_use(lesson: Lesson) -> None:
    (bag,) = record(lesson, 1)
    entry = {"name": bag.name, "left_out": "left out of training: a hole", "spec": "one"}
    append_index(lesson.bags, entry)
    for lesson.spec, bags in (("one", []), ("other", [bag])):
        assert lesson.recordings() == bags


def test_failures_and_episodes_that_were_cut_off_are_not_trained_on(lesson: Lesson) -> None:
    bags = record(lesson, 3)
    set_label(bags[0], "failure")
    set_label(bags[1], "success")
    (bags[2] / "metadata.yaml").unlink()
    assert lesson.recordings() == [bags[1]]


def test_each_training_goes_on_from_the_policy_before(lesson: Lesson, policy: Path) -> None:
    bags = record(lesson, 2)
    words = trained(lesson, policy, "k_dim=3")
    assert words == [
        "train", *map(str, bags), "--spec", "spec.yaml", "--out", str(lesson.policy(1)),
        "--background", "--set", "k_dim=3",
    ]  # fmt: skip
    record(lesson, 1)
    assert lesson.added() == 1
    words = lesson.training(SPEC, (), background=False, goes_on=True)
    assert words[-2:] == ["--from", str(lesson.policy(1))] and "--background" not in words
    assert len(words) == 10


def test_one_that_was_interrupted_goes_on_with_what_it_began_with(
    lesson: Lesson, change: Callable[[Path], None]
) -> None:
    record(lesson, 2)
    first = lesson.training(SPEC, ("k_dim=3",), background=True, goes_on=True)
    change(lesson.folder / "policy_1.run")
    record(lesson, 1)
    assert lesson.training(SPEC, ("k_dim=5",), background=True, goes_on=True) == [
        *first,
        "--resume",
    ]
    lesson.forget_training()
    assert "k_dim=5" in lesson.training(SPEC, ("k_dim=5",), background=True, goes_on=True)
    assert (lesson.folder / "policy_1.run.before" / "checkpoint.pt").is_file()


@pytest.mark.parametrize("ran", [True, False])
def test_the_number_of_a_policy_that_was_removed_is_not_given_again(
    lesson: Lesson, policy: Path, change: Callable[[Path], None], ran: bool
) -> None:
    """Its runs, and its training, which has ended, are not those of another one."""
    record(lesson, 2)
    trained(lesson, policy)
    change(lesson.folder / "policy_1.run")
    if ran:
        lesson.add_run("a", "policy_1", False, False, "ended")
    else:
        lesson.finish_training()
    shutil.rmtree(lesson.policy(1))
    (lesson.folder / "policy_notes.json").write_text("a person's own")
    bags = [*lesson.recordings(), *record(lesson, 1)]
    words = lesson.training(SPEC, (), background=False, goes_on=True)
    assert words == ["train", *map(str, bags), "--spec", "spec.yaml", "--out",
                     str(lesson.policy(2))]  # fmt: skip
    assert not lesson.score("policy_2").trials


def test_lines_of_trials_are_told_from_runs(lesson: Lesson) -> None:
    (lesson.folder / "trials.jsonl").write_text('{"trial": 0, "label": "success"}\n')
    with pytest.raises(ConfigError, match=r"is no run\n.*of 'sarnn trials', to a folder"):
        lesson.unlabelled()


def test_a_training_that_still_runs_is_known(lesson: Lesson) -> None:
    assert not lesson.is_training
    with claim(lesson.policy(1), resume=False, force=False):
        assert lesson.is_training
    assert not lesson.is_training


@pytest.fixture
def change() -> Callable[[Path], None]:
    def leave_checkpoint(folder: Path) -> None:
        folder.mkdir()
        (folder / "checkpoint.pt").write_bytes(b"")

    return leave_checkpoint


@pytest.mark.parametrize("goes_on", [True, False])
def test_of_a_policy_that_cannot_be_gone_on_from_training_begins_anew(
    goes_on: bool, lesson: Lesson, policy: Path
) -> None:
    record(lesson, 2)
    trained(lesson, policy)
    words = lesson.training(SPEC, (), background=True, goes_on=goes_on)
    assert ("--from" in words) == goes_on


def test_a_policy_from_elsewhere_was_trained_on_nothing_of_here(
    lesson: Lesson, policy: Path
) -> None:
    record(lesson, 2)
    shutil.copytree(policy, lesson.policy(1))
    assert lesson.added() == 2


def test_a_later_line_of_a_run_corrects_what_it_says(tmp_path: Path) -> None:
    lesson = Lesson(tmp_path)
    lesson.add_run("episode_000", "policy_1", True, False, "")
    lesson.add_run("episode_001", "policy_1", True, False, "")
    append_json(tmp_path / TRIALS, {"bag": "episode_000", "success": False})
    score = lesson.score("policy_1")
    assert (score.successes, score.trials) == (1, 2)
    for line in ({"bag": "episode_000", "success": "false"}, {"success": True}, {"bag": [1]}):
        kept = (tmp_path / TRIALS).read_bytes()
        append_json(tmp_path / TRIALS, line)
        with pytest.raises(ConfigError, match="is no run"):
            lesson.score("policy_1")
        (tmp_path / TRIALS).write_bytes(kept)
    (tmp_path / TRIALS).write_text("[]\n")
    with pytest.raises(ConfigError, match=r"\[\] is no run"):
        lesson.score("policy_1")
