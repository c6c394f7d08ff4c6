# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of recording, and what becomes of episodes. The recorder as a process is
in test/ros/test_recorder.py."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pytest

from sarnn_ros.data.bags import Bag, find_bags, label_of
from sarnn_ros.data.dataset import Episode
from sarnn_ros.data.places import PICTURE, place_map
from sarnn_ros.data.reading import read_bag
from sarnn_ros.data.record import INDEX, EpisodeWriter, read_index
from sarnn_ros.data.session import Channel, Session, channels, read_back
from sarnn_ros.errors import ConfigError, DecodeError
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import Spec, parse_spec

STEP_NS = 100_000_000
KIND = "sensor_msgs/msg/JointState"


def unusable(message: object, now_ns: int) -> None:
    raise DecodeError("no joint 'a'")


def problems(channel: Channel, publishers: list[tuple[str, str]], *, at: int = 10) -> list[str]:
    for step in range(10):
        channel.arrived(step * STEP_NS, b"raw")
    return list(channel.problems("/joints", publishers, [object()], 0, at * STEP_NS))


@pytest.mark.parametrize(
    ("publishers", "words"),
    [
        ([], "nobody publishes"),
        ([("arm", "std_msgs/msg/String")], "is a std_msgs/msg/String"),
        ([("arm", KIND), ("rival", KIND)], "2 publishers: arm, rival"),
    ],
)
def test_publishers(publishers: list[tuple[str, str]], words: str):
    (problem,) = problems(Channel("joints", KIND), publishers)
    assert words in problem


@pytest.mark.parametrize(
    ("rate", "at", "words"), [(10.0, 10, None), (20.0, 10, "10.0 Hz"), (10.0, 40, "nothing for")]
)
def test_rates(rate: float, at: int, words: str | None):
    channel = Channel("joints", KIND, checks=[lambda message, now_ns: None], rate=rate)
    found = problems(channel, [("arm", KIND)], at=at)
    assert bool(found) == (words is not None)
    assert words is None or words in found[0]


def test_what_may_be_old_may_come_rarely():
    spec = make.spec(joints=[{"names": ["a"]}, {"topic": "hand", "names": ["b"], "max_age": 12.0}])
    rates = {one.topic: one.rate for one in channels(spec)}
    assert (rates["joint_states"], rates["hand"], rates["image_raw"]) == (10.0, 0.25, 10.0)
    hand = Channel("hand", KIND, rate=0.25)
    hand.arrived(0, b"raw")
    found = [list(hand.problems("/hand", [("arm", KIND)], [], 0, at * 10**9)) for at in (11, 13)]
    assert found == [[], ["'/hand' has sent nothing for 12 s"]]


def test_a_rate_is_measured_while_messages_arrive():
    """In another thread; once `sarnn teach` ended by it."""
    channel, stop = Channel("joints", KIND), threading.Event()

    def arrive():
        while not stop.is_set():
            channel.arrived(time.monotonic_ns(), b"")

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            channel.measured_rate(time.monotonic_ns())
    finally:
        stop.set()
        thread.join()


def test_a_message_that_training_would_refuse():
    (problem,) = problems(Channel("joints", KIND, checks=[unusable]), [("arm", KIND)])
    assert "unusable: no joint 'a'" in problem


@pytest.mark.parametrize("publishers", [[("arm", KIND)], [("arm", KIND), ("gripper", KIND)]])
def test_an_arm_and_a_gripper_may_take_turns_on_one_topic(
    publishers: list[tuple[str, str]],
) -> None:
    """As `sarnn spec` proposes it. Each source is judged by the messages that name its joints."""
    spec = make.spec(joints=[{"names": list(make.NAMES)}, {"names": ["grip"]}])
    (channel,) = [one for one in channels(spec) if one.topic == "joint_states"]
    arm = make.joint_state(make.START, [0.0] * len(make.NAMES))
    grip = make.joint_state(make.START, [0.0], ["grip"])
    channel.rate = 0.0
    for messages in ([arm, grip], [grip, arm]):
        assert not list(channel.problems("joint_states", publishers, messages, make.START, 0))
    (problem,) = channel.problems("joint_states", publishers, [arm, arm], make.START, 0)
    assert "'grip'" in problem


@pytest.mark.parametrize("target", ["next_state", "command"])
def test_commands_are_checked_as_strictly(target: str):
    """A trajectory's stamp of 0 means "now" to its controller."""
    kind = "trajectory_msgs/msg/JointTrajectory"
    spec = make.spec(target=target, command={"topic": "/command", "type": kind})
    (channel,) = [one for one in channels(spec) if one.topic == "/command"]
    message = make.T[kind](
        make.header(0),
        list(make.NAMES),
        [
            make.T["trajectory_msgs/msg/JointTrajectoryPoint"](
                np.zeros(2), np.zeros(0), np.zeros(0), np.zeros(0),
                make.T["builtin_interfaces/msg/Duration"](0, 0),
            )
        ],
    )  # fmt: skip
    (said,) = channel.unusable("/command", [message], make.START)
    assert "the stamp is 0 s 0 ns" in said and "'clock: receive'" in said
    assert list(channel.unusable("/command", [], make.START)) == [], "they may be silent"
    found = list(channel.problems("/command", [("teach", kind)], [message], make.START, 0))
    assert found == ([said] if target == "command" else [])
    other = make.spec(
        target=target, command={"topic": "/command", "type": kind, "clock": "receive"}
    )
    (channel,) = [one for one in channels(other) if one.topic == "/command"]
    assert list(channel.unusable("/command", [message], make.START)) == []


@pytest.mark.parametrize(("target", "required"), [("next_state", False), ("command", True)])
def test_commands_are_required_only_if_they_are_learnt(target: str, required: bool):
    spec = parse_spec(
        {"cameras": [{"name": "front"}], "joints": {"names": ["a"]}, "target": target}
    )
    found = {one.topic: one.required for one in channels(spec)}
    assert found == {"image_raw": True, "joint_states": True, "joint_command": required}
    silent = Channel("joint_command", KIND, required=False)
    assert not list(silent.problems("/joint_command", [], [], 0, 0))


def test_further_topics_may_be_silent_and_shared():
    publishers = [("base", KIND), ("arm", KIND)]
    assert problems(Channel("tf", KIND, shared=True), publishers, at=1000) == []
    assert problems(Channel("tf", KIND, shared=True), []), "but somebody must publish them"


def test_a_full_disk_and_nothing_to_stop(tmp_path: Path):
    session = Session(tmp_path, min_free=1e9, spec=make.spec())
    (problem,) = session.problems()
    assert "GB are free" in problem
    with pytest.raises(ConfigError, match="not recording: no"):
        session.start({}, lambda: ["no"])
    for work in (session.stop, session.discard):
        with pytest.raises(ConfigError):
            work()


TOPICS = {"/image_raw": (make.IMAGE, []), "/joint_states": (make.JOINTS, []),
          "/recorder/takeover": ("std_msgs/msg/Bool", [])}  # fmt: skip


def record(
    session: Session,
    number: int,
    takeover: bool = False,
    hole: bool = False,
    place: tuple[int, int] | None = None,
    run: bool = False,
) -> None:
    """An episode of 2 s, which runs on.

    :param hole: of two ticks, in the images.
    :param place: of a white square in all images, pixels.
    :param run: of a policy.
    """

    def draw(topic: str, index: int, message: Any) -> Any:
        if place is not None and topic == "/image_raw":
            pixels = message.data.reshape(message.height, message.width, 3)
            pixels[place[1] : place[1] + 4, place[0] : place[0] + 4] = 255
        return message

    session.start(TOPICS, list)
    made = make.recording(
        start=make.START + number * 60 * make.SECOND,
        drop_images=range(20, 31) if hole else (),
        change=draw,
    )
    for row, (topic, kind, receive, message) in enumerate(
        sorted(made.messages, key=lambda m: m[2])
    ):
        if run and row == 0:
            session.write("/recorder/takeover", receive, bytes(5))
        if takeover and row in (80, 200):
            session.take_over("/recorder/takeover", receive)
        session.write(topic, receive, bytes(make.STORE.serialize_cdr(message, kind)))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path / "bags", min_free=0.0, spec=make.spec())


def test_discarding_twice_does_not_reach_the_episode_before(session: Session):
    record(session, 0)
    session.stop()
    record(session, 1)
    assert "episode_001" in session.discard()
    with pytest.raises(ConfigError, match="no episode to discard"):
        session.discard()
    assert [bag.name for bag in find_bags([session.out])] == ["episode_000"]
    trash = session.out / ".trash" / "episode_001"
    assert read_bag(trash, make.spec())[0], "it can be brought back"
    record(session, 2)
    assert "episode_002" in session.stop() and "episode_002" in session.discard()
    assert session.kept == 1
    log = (session.out / "recorder.log").read_text()
    assert log.count("discarded") == 2 and log.startswith("20")


def test_what_was_discarded_is_not_lost_to_a_session_that_begins_anew(session: Session):
    """`rm -rf bags/*` leaves the trash, and the next episodes would have its names."""
    record(session, 0)
    session.discard()
    shutil.rmtree(session.out / "episode_000", ignore_errors=True)
    (session.out / INDEX).unlink()
    record(session, 1)
    assert "episode_001" in session.discard(), "the name is taken"
    record(session, 2)
    session.stop()
    shutil.copytree(session.out / "episode_002", session.out / ".trash" / "episode_002")
    assert "discarded episode_002" in session.discard()
    trash = sorted(bag.name for bag in (session.out / ".trash").iterdir())
    assert trash == ["episode_000", "episode_001", "episode_002", "episode_002.before"]


@pytest.mark.parametrize("running", [True, False])
def test_labels_are_kept_in_the_bag_and_failures_left_out(running: bool, session: Session):
    for number, label in enumerate(("success", "failure", None)):
        record(session, number)
        if label is None or not running:
            session.stop()
        if label is not None:
            session.label(label)
    assert session.kept == 2, "without the failure"
    names = [f"episode_{number:03d}" for number in range(3)]
    assert [label_of(session.out / name) for name in names] == ["success", "failure", None]
    assert [entry["label"] for entry in read_index(session.out) if "label" in entry] == [
        "success", "failure"
    ]  # fmt: skip
    dataset = load_dataset([session.out], make.spec())
    assert [episode.name for episode in dataset.episodes] == ["episode_000", "episode_002"]
    (problem,) = dataset.problems
    assert problem.severity == "note" and "failure" in problem.found
    every = load_dataset([session.out], make.spec(), failures=True)
    assert len(every.episodes) == 3 and not every.problems


def test_of_a_bag_with_a_takeover_what_the_person_did_is_learnt(session: Session):
    record(session, 0, takeover=True)
    session.stop()
    session.start({**TOPICS, "/extra": ("std_msgs/msg/Bool", [])}, list)
    session.write("/image_raw", 0, b"")
    assert ": 0.0 s; '/joint_states' sent nothing; '/extra' sent nothing" in session.stop()
    ((episode,), report) = read_bag(session.out / "episode_000", make.spec())
    assert report.verdict == "sound" and 19 <= len(episode.ticks) <= 20
    assert episode.led is not None and 8 <= episode.led.sum() <= 10


def test_who_leads_is_kept_of_a_node_that_starts_while_recording(session: Session):
    record(session, 0)
    for _ in range(2):  # said again, it changes nothing
        session.add("/sarnn/takeover", "std_msgs/msg/Bool", [])
    for row in range(20):
        leads = make.STORE.types["std_msgs/msg/Bool"](data=row > 5)
        raw = make.STORE.serialize_cdr(leads, "std_msgs/msg/Bool")
        session.write("/sarnn/takeover", make.START + row * make.SECOND // 10, bytes(raw))
    with pytest.raises(ConfigError, match="without a definition"):
        session.add("/other", "our_msgs/msg/Other", [])  # and the episode goes on
    session.stop()
    session.add("/sarnn/takeover", "std_msgs/msg/Bool", [])  # between episodes: nothing to do
    ((episode,), report) = read_bag(session.out / "episode_000", make.spec())
    assert report.verdict == "sound" and episode.led is not None and episode.led.sum() > 8


def test_a_topic_that_dies_while_recording_is_said_at_once_and_at_the_end(session: Session):
    record(session, 0)
    (said,) = session.silent({"/image_raw": 0.6})
    assert "'/image_raw' has sent nothing for 0.6 s" in said
    assert session.silent({"/image_raw": 0.85}) == []
    assert "comes again" in session.silent({})[0]
    assert "'/image_raw' was silent 0.85 s" in session.stop()
    assert read_index(session.out)[-1]["gaps"] == {"/image_raw": 0.85}
    assert session.silent({"/image_raw": 3.0}) == [], "nothing is being recorded"


def test_what_was_silent_in_an_episode_is_said_anew_in_the_next(session: Session):
    record(session, 0)
    session.silent({"/image_raw": 0.6})
    session.stop()
    record(session, 1)
    assert "has sent nothing" in session.silent({"/image_raw": 0.7})[0]
    session.stop()
    record(session, 2)
    assert session.silent({}) == []


@pytest.mark.parametrize(("after", "silent"), [(0.4, False), (0.6, True)])
def test_when_a_topic_counts_as_silent(after: float, silent: bool):
    channel = Channel("image", KIND, checks=[unusable], rate=10.0)
    assert channel.silence(0) is None, "never came: the preflight says so"
    channel.arrived(0, b"raw")
    assert (channel.silence(round(after * 1e9)) is not None) == silent


@pytest.mark.parametrize("label", ["success", None])
def test_an_episode_that_training_leaves_out_is_said_at_once(label: str | None, session: Session):
    record(session, 0)
    assert "left out" not in session.stop(20)
    record(session, 1, hole=True)
    said = session.label("success", 20) if label else session.stop(20)
    assert "but it is left out of training: a hole in the middle: '/image_raw'" in said
    assert label is None or said.endswith("; episode_001 is a success")
    assert session.kept == 1 and list(session.left_out) == ["episode_001"]
    (news,) = session.news()
    assert "episode_001 is left out of training: a hole" in news and session.news() == []
    assert session.verdict == news
    assert "a hole" in read_index(session.out)[-1]["left_out"]
    # The same words as inspect's, by the same code.
    report = load_dataset([session.out], make.spec()).bags[1]
    assert report.problems[0].found in news
    assert session.label("failure") == "episode_001 is a failure, but left out of training"
    session.discard()
    assert session.kept == 1 and not session.left_out and not session.verdict


def test_a_check_that_takes_longer_is_told_later(session: Session, monkeypatch):
    answered = threading.Event()

    def slow(bag: Path, spec: Spec) -> tuple[str, list[Episode]]:
        answered.wait(20)
        return "left out of training: it is too dark", []

    monkeypatch.setattr("sarnn_ros.data.session.read_back", slow)
    record(session, 0)
    assert session.label("success", 0.01).endswith("is being checked; episode_000 is a success")
    assert session.checking and session.kept == 1 and not session.verdict
    answered.set()
    session.finish_checks(20)
    assert session.news() == ["episode_000 is left out of training: it is too dark"]
    assert not session.checking and session.kept == 0


def mapped(session: Session) -> None:
    session.finish_checks(100)
    while session.mapping:
        time.sleep(0.05)


def test_where_to_put_the_object_next_is_told(session: Session):
    """Of all episodes of the folder, whoever recorded them; a failure is a miss."""
    places = [(1, 1), (11, 1), (11, 7), (1, 7)]
    for number, place in enumerate(places):
        record(session, number, place=place)
        session.stop()
    record(session, 4, place=(6, 4))
    mapped(session)
    assert session.advice.startswith("4 demonstrated; next: put it "), "the fifth still runs"
    drawn = cv2.imread(str(session.out / PICTURE))
    assert drawn is not None and drawn.shape[1] >= 320
    session.stop()
    mapped(session)
    with pytest.raises(ConfigError, match="another session"):
        Session(session.out, min_free=0.0, spec=make.spec())
    session.close()
    later = Session(session.out, min_free=0.0, spec=make.spec())
    record(later, 5, place=(7, 5))
    later.stop()
    mapped(later)
    assert later.advice.startswith("6 demonstrated; next: put it ")
    assert later.advice.endswith(f"See {session.out / PICTURE}.")
    for number, place in enumerate([(4, 4), (8, 4), (6, 2), (6, 6)], 6):
        record(later, number, place=place, run=number < 8)
        later.label("failure")
    mapped(later)
    assert later.advice.startswith("4 misses"), "labels count that were given after the check"
    record(later, 10, place=(6, 6), run=True)
    later.label("success")
    mapped(later)
    assert later.advice.startswith("4 misses"), "nor did anybody demonstrate"
    assert read_bag(later.out / "episode_006", later.spec)[0] == [], "nothing to learn from"
    told = place_map(load_dataset([later.out], later.spec, validation=0))
    assert told is not None and told.text.startswith("4 misses"), "sarnn inspect says the same"


def test_services_do_not_wait_for_the_check(session: Session, monkeypatch):
    waits: list[float | None] = []
    real, ours = threading.Thread.join, threading.current_thread()

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if threading.current_thread() is ours:
            waits.append(timeout)
        real(thread, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", join)
        record(session, 0)
        session.stop()
        record(session, 1)
        session.label("success")
    assert waits == [0.0, 0.0], "messages would queue meanwhile"
    session.finish_checks(20)


def test_a_label_is_of_the_episode_that_it_ends(session: Session, monkeypatch):
    """Whatever another thread does meanwhile."""

    def next_one(bag: Path, spec: Spec) -> tuple[None, list[Episode]]:
        session.start(TOPICS, list)
        return None, []

    monkeypatch.setattr("sarnn_ros.data.session.read_back", next_one)
    record(session, 0)
    assert session.label("success", 20).endswith("episode_000 is a success")
    assert label_of(session.out / "episode_000") == "success"
    session.finish_checks(20)
    assert session.episode == "episode_001"


def test_what_is_left_out_in_part_is_said_so(tmp_path: Path):
    bag = make.recording(drop_images=range(20, 31)).write(tmp_path / "bag")
    why, _ = read_back(bag, make.spec(episodes={"times": [[0, 0.5], [0.5, 2.0]]}))
    assert why is not None and why.startswith("left out of training in part: a hole")


def test_commands_that_cannot_be_learnt_are_said_once_an_episode(session: Session):
    assert session.unusable(["'/c' is unusable"]) == [], "nothing is being recorded"
    for number in range(2):
        record(session, number)
        assert session.unusable(["'/c' is unusable"]) == [f"episode_00{number}: '/c' is unusable"]
        assert session.unusable(["'/c' is unusable"]) == []
        session.stop()


def test_flipped_bits_are_noticed(session: Session):
    record(session, 0)
    session.stop()
    (file,) = (session.out / "episode_000").glob("*.mcap")
    content = bytearray(file.read_bytes())
    content[content.index(make.colour(30).tobytes()[:48]) + 10] ^= 0x01
    file.write_bytes(content)
    _, report = read_bag(file.parent, make.spec())
    assert any("damaged chunk" in problem.found for problem in report.problems)
    with Bag(file.parent) as bag:
        assert bag.topics["/image_raw"].count == 60


def test_an_episode_whose_end_cannot_be_written_can_be_discarded(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    def full(_: EpisodeWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    record(session, 0)
    with monkeypatch.context() as patched:
        patched.setattr(EpisodeWriter, "close", full)
        with pytest.raises(OSError, match="No space left"):
            session.stop()
    assert not session.recording and session.kept_last == "episode_000"
    session._checks["episode_000"].join(30)
    assert session.kept == 0 and "episode_000" in session.left_out
    with pytest.raises(ConfigError, match="is cut off, and cannot be labelled"):
        session.label("failure")
    assert "discarded episode_000" in session.discard()
    assert not list(session.out.glob("episode_*"))
    record(session, 1)
    with monkeypatch.context() as patched:
        patched.setattr(EpisodeWriter, "close", full)
        assert "discarded episode_001" in session.discard()
    record(session, 2)
    assert "kept episode_002" in session.stop()

    def full_index(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sarnn_ros.data.session.append_index", full_index)
    assert "is a success" in session.label("success"), "it is done"
    assert "discarded episode_002" in session.discard()


@pytest.mark.parametrize("change", ["discard", "failure"])
def test_the_map_is_drawn_anew_when_an_episode_is_discarded_or_labelled(
    change: str, session: Session
):
    for number, place in enumerate([(2, 2), (12, 2), (2, 8), (12, 8), (7, 5)]):
        record(session, number, place=place)
        session.stop()
    mapped(session)
    before = session.advice
    assert "5 demonstrated" in before
    session.discard() if change == "discard" else session.label("failure")
    mapped(session)
    assert "4 demonstrated" in session.advice


def test_without_episodes_there_is_no_map(session: Session):
    for number, place in enumerate([(2, 2), (12, 2), (2, 8), (12, 8)]):
        record(session, number, place=place)
        session.stop()
    mapped(session)
    assert session.advice and (session.out / PICTURE).exists()
    for number in range(4):
        session.discard(f"episode_{number:03d}")
    mapped(session)
    assert not session.advice and not (session.out / PICTURE).exists()


@pytest.mark.parametrize("nested", [False, True])
def test_the_map_is_the_same_wherever_the_folder_and_its_bags_are(
    nested: bool, session: Session, monkeypatch: pytest.MonkeyPatch
):
    for number, place in enumerate([(2, 2), (12, 2), (2, 8), (12, 8), (4, 4), (4, 6)]):
        record(session, number, place=place)
        session.stop()
    mapped(session)
    session.close()
    wanted = session.advice.partition(" See ")[0]
    if nested:  # two days, whose episodes have the same names
        for number in range(6):
            day = session.out / ("mon" if number < 3 else "tue")
            day.mkdir(exist_ok=True)
            name = f"episode_{number % 3:03d}"
            (session.out / f"episode_{number:03d}").rename(day / name)
    monkeypatch.chdir(session.out)
    later = Session(Path(), min_free=0.0, spec=make.spec())
    later._map_places()
    assert wanted and later.advice.partition(" See ")[0] == wanted
    later.close()


def test_maps_that_are_asked_for_at_once_are_drawn(tmp_path: Path, monkeypatch):
    """By the check of an episode, and by its label meanwhile. A thread starts once."""
    both = threading.Barrier(2, timeout=20)

    class Slow(Session):
        """Both have noted their thread before either goes on."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "_map" and value is not None:
                both.wait()

    session = Slow(tmp_path, min_free=0.0, spec=make.spec())
    monkeypatch.setattr(session, "_map_places", lambda: None)
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(session._draw_map) for _ in range(2)]:
            one.result()
    session.finish_checks(20)


def test_the_episode_that_runs_is_not_on_the_map(session: Session):
    for number, place in enumerate([(2, 2), (12, 2), (2, 8), (12, 8), (7, 5)]):
        record(session, number, place=place)
        session.stop()
    mapped(session)
    record(session, 5, place=(6, 6))
    assert session._writer is not None
    session._writer.flush()  # as it does each second
    session._map_places()
    assert "5 demonstrated" in session.advice


def test_what_is_kept_is_brought_to_the_disk(session: Session, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
    )
    record(session, 0)
    session.stop(60.0)
    session.finish_checks(60.0)
    assert {"episode_000", "episode_000.mcap", "metadata.yaml"} <= set(synced)
