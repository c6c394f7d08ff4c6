# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags in which a person took over from a policy, beside demonstrations: what of them is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bag_making as make
import numpy as np
import pytest
from bag_making import SECOND, START, T
from typer.testing import CliRunner

from sarnn_ros.cli.main import app
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.places import first_of
from sarnn_ros.data.reading import read_bag
from sarnn_ros.errors import ConfigError
from sarnn_ros.interop.eipl_dataset import export_eipl
from sarnn_ros.interop.lerobot_writer import export_lerobot
from sarnn_ros.interop.loading import find_recordings, load_dataset
from sarnn_ros.policy.envelope import envelope_from_dataset
from sarnn_ros.spec import dump_spec

MS = 1_000_000
BOOL = "std_msgs/msg/Bool"
TAKEOVER = "/recorder/takeover"
#: A person leads from 0.75 s to 1.35 s: at the ticks from 0.8 s on, of which that at 1.3 s ends
#: after the hand-back. The first tick of all is at 0.1 s.
SAID, LED = ((750, True), (1350, False)), range(7, 12)


def write(
    path: Path,
    number: int = 0,
    said: Mapping[str, Sequence[tuple[int, bool]]] = {},
    *,
    fast: int | None = None,
) -> Path:
    """A recording of 2 s, 20 ticks, in which the joints do not stand still.

    :param said: per topic (ms, whether a person leads).
    :param fast: the arm jumps there, by number of the joint state, 10 ms each.
    """
    start = START + number * 60 * SECOND

    def change(topic: str, index: int, message: Any) -> Any:
        if topic == "/joint_states" and fast is not None and index >= fast:
            message.position[:] = [9.0, -9.0] if index < fast + 20 else message.position
        return message

    made = make.recording(start=start, change=change)
    for topic, values in said.items():
        for ms, value in values:
            made.add(topic, BOOL, start + ms * MS, T[BOOL](data=value))
    return made.write(path)


def folder(tmp_path: Path, **bags: Mapping[str, Sequence[tuple[int, bool]]]) -> Path:
    """Two demonstrations and what is given."""
    told = {"demo0": {}, "demo1": {}, **bags}
    for number, (name, said) in enumerate(told.items()):
        write(tmp_path / "bags" / name, number, said)
    return tmp_path / "bags"


def load(tmp_path: Path, **bags: Any) -> Dataset:
    return load_dataset([folder(tmp_path, **bags)], make.spec(), validation=0.5)


@pytest.mark.parametrize("topic", [TAKEOVER, "/left/recorder/takeover", "/sarnn/takeover"])
def test_a_bag_with_takeovers_is_kept_whole_and_says_what_a_person_did(topic: str, tmp_path: Path):
    (episode,), report = read_bag(write(tmp_path / "bag", said={topic: SAID}), make.spec())
    (same,), plain = read_bag(write(tmp_path / "demo"), make.spec())
    assert same.led is None and plain.learnt == "all: nobody took over"
    assert np.array_equal(episode.ticks, same.ticks), "the recurrent part sees it from its start"
    assert episode.led is not None and np.flatnonzero(episode.led).tolist() == list(LED)
    assert report.verdict == "sound" and not report.problems
    assert report.learnt == "5 of 19 ticks: a person took over"
    assert episode.digest != same.digest


@pytest.mark.parametrize(
    ("said", "led"),
    [
        ({TAKEOVER: ((750, True),)}, list(range(7, 19))),  # until the end
        ({TAKEOVER: ((0, True), (750, False), (1350, True))}, [*range(6), *range(13, 19)]),
        ({TAKEOVER: ((0, False), (750, True)), "/sarnn/takeover": ((550, True),)}, None),
        ({TAKEOVER: ((0, True),)}, "demonstration"),
        ({TAKEOVER: ()}, "demonstration"),
    ],
    ids=["open", "twice", "either", "always", "silent"],
)  # fmt: skip
def test_when_a_person_leads(said: Any, led: Any, tmp_path: Path):
    (episode,), _ = read_bag(write(tmp_path / "bag", said=said), make.spec())
    if led == "demonstration":
        assert episode.led is None
    else:
        assert episode.led is not None
        found = np.flatnonzero(episode.led).tolist()
        assert found == (list(range(5, 19)) if led is None else led)


@pytest.mark.parametrize("said", [((0, False),), ((750, True), (900, False))], ids=str)
def test_a_run_in_which_nobody_took_over_is_no_demonstration(said: Any, tmp_path: Path):
    episodes, report = read_bag(write(tmp_path / "bag", said={TAKEOVER: said}), make.spec())
    assert not episodes and report.verdict == "left out"
    assert "a run of the policy: nobody took over for 3 ticks" in report.problems[0].found
    (run,), _ = read_bag(tmp_path / "bag", make.spec(), runs=True)
    assert run.led is not None and not run.led.any(), "of which the map shows where it failed"
    first = first_of(run, "front", (0,))
    assert first is not None and not first.shown and not first.missed
    assert first.labelled(True).missed


def test_other_topics_of_that_name_are_not_read(tmp_path: Path):
    made = make.recording()
    made.add("/x/takeover", "std_msgs/msg/Empty", START + 750 * MS, T["std_msgs/msg/Empty"]())
    made.add("/overtake", BOOL, START + 750 * MS, T[BOOL](data=True))
    (episode,), _ = read_bag(made.write(tmp_path / "bag"), make.spec())
    assert episode.led is None


def test_the_cache_keeps_what_a_person_led(tmp_path: Path):
    bags = folder(tmp_path, fixed={TAKEOVER: SAID})
    for _ in range(2):
        dataset = load_dataset([bags], make.spec(), cache=tmp_path / "cache")
        led = [episode.led for episode in dataset.episodes]
        assert led[:2] == [None, None] and np.flatnonzero(led[2]).tolist() == list(LED)
        assert dataset.bags[2].learnt == "5 of 19 ticks: a person took over"


def test_what_a_policy_did_is_neither_validated_with_nor_in_the_limits(tmp_path: Path):
    plain = load(tmp_path / "plain")
    write(tmp_path / "bags" / "wild", 3, {TAKEOVER: SAID}, fast=40)  # from 0.4 to 0.6 s
    folder(tmp_path)
    dataset = load_dataset([tmp_path / "bags"], make.spec(), validation=0.5)
    (wild,) = (row for row, one in enumerate(dataset.episodes) if one.name == "wild")
    assert dataset.episodes[wild].joints.max() == 9.0
    assert wild in dataset.training and len(dataset.validation) == 1
    assert dataset.normaliser.maximum.max() < 3.0
    envelope, before = map(envelope_from_dataset, (dataset, plain))
    assert envelope.position_max == before.position_max and envelope.max_step == before.max_step
    assert envelope.start_pose == before.start_pose
    # And what the person did is: a jump while they led.
    write(tmp_path / "bags" / "bold", 4, {TAKEOVER: SAID}, fast=90)
    dataset = load_dataset([tmp_path / "bags"], make.spec(), validation=0.5)
    assert max(envelope_from_dataset(dataset).position_max) == 9.0


def test_inspect_says_of_each_bag_what_is_used(tmp_path: Path):
    bags = folder(tmp_path, fixed={TAKEOVER: SAID}, alone={TAKEOVER: ((0, False),)})
    (tmp_path / "spec.yaml").write_text(dump_spec(make.spec()))
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["inspect", str(bags), "--spec", str(tmp_path / "spec.yaml"), "--no-cache"]
    )
    assert result.exit_code == 1, "one bag is left out"
    lines = {
        name: next(line for line in result.output.splitlines() if f"/{name}" in line)
        for name in ("demo0", "demo1", "fixed", "alone")
    }
    assert "all: nobody took over" in lines["demo0"] and "sound" in lines["demo0"]
    assert "all: nobody took over" in lines["demo1"]
    assert "5 of 19 ticks: a person took over" in lines["fixed"]
    assert "left out" in lines["alone"] and "nothing: see below" in lines["alone"]
    assert "a run of the policy: nobody took over for 3 ticks" in result.output


def test_corrections_alone_are_no_data_set(tmp_path: Path):
    write(tmp_path / "bags" / "fixed", said={TAKEOVER: SAID})
    (tmp_path / "spec.yaml").write_text(dump_spec(make.spec()))
    result = CliRunner().invoke(
        app, ["inspect", str(tmp_path / "bags"), "--spec", str(tmp_path / "spec.yaml")]
    )
    assert "none is a demonstration" in " ".join(result.output.split())


def test_other_formats_cannot_tell_takeovers_and_get_none(tmp_path: Path):
    bags = folder(tmp_path, fixed={TAKEOVER: SAID})
    with pytest.raises(ConfigError, match="in fixed a person took over"):
        export_eipl(tmp_path / "eipl", load_dataset([bags], make.spec()))
    reports = export_lerobot(
        find_recordings([bags]), make.spec(width=32, height=32), tmp_path / "lerobot", task="t"
    )
    assert [len(report.episodes) for report in reports] == [1, 1, 0]
    assert "a person took over" in reports[2].problems[0].found
