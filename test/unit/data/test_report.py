# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report finds what is planted in bags, and nothing in sound ones; `inspect` shows it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bag_making as make
import numpy as np
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from sarnn_ros.cli.main import app
from sarnn_ros.data.dataset import Episode
from sarnn_ros.data.differences import crop_cameras, cropped, difference
from sarnn_ros.data.preview import framed
from sarnn_ros.data.problems import gathered, note
from sarnn_ros.data.report import DatasetReport, _difference, _difference_problems, examine
from sarnn_ros.data.report_view import print_report, write_page
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import CameraSpec, Crop, dump_spec, load_spec
from sarnn_ros.streams.preprocess import crop_resize

MS = 1_000_000
#: Of a training that is about something else.
LITTLE = [
    word
    for setting in ("attention=train", "epochs=1", "inner_steps=1", "encoder_frames=8",
                    "image_frames=2", "threads=1")
    for word in ("--set", setting)
]  # fmt: skip


def report_on(tmp_path: Path, *made: make.Recording, **spec) -> DatasetReport:
    for number, one in enumerate(made):
        one.write(tmp_path / "bags" / f"take{number}")
    return examine(load_dataset([tmp_path / "bags"], make.spec(**spec)))


def textured(topic: str, index: int, message):
    """The plain recording, with an image that is not flat, and a corner that changes."""
    if topic == "/image_raw":
        message.data[:] = np.random.default_rng(0).integers(0, 256, len(message.data), np.uint8)
        message.data[-24:] = np.random.default_rng(index).integers(0, 256, 24, np.uint8)
    return message


def recorded(number: int, side: int = 4) -> make.Recording:
    """With an object, of so many pixels a side, that lies elsewhere in each recording."""

    def change(topic: str, index: int, message):
        message = textured(topic, index, message)
        if topic == "/image_raw":
            pixels = message.data.reshape(12, 16, 3)
            pixels[:side, 4 * number : 4 * number + side] = (255, 0, 0)
        return message

    return make.recording(start=make.START + number * 60 * make.SECOND, change=change)


@pytest.mark.parametrize(
    ("side", "says"), [(0, "do not differ"), (1, "differ in 1 of 16 x 12 pixels"), (2, None)]
)
def test_an_object_that_the_network_can_hardly_see_is_warned_of(side: int, says, tmp_path):
    report = report_on(tmp_path, *[recorded(number, side) for number in range(3)])
    found = [one for one in report.problems if "first images" in one.found]
    assert [(one.severity, says in one.found) for one in found] == [("warning", True)] * bool(says)
    assert report.cameras[0].differing == side * side
    assert "'crop" not in " ".join(one.remedy for one in found), "there are no more pixels"


def episodes(of: CameraSpec) -> list[Episode]:
    """A thing of 2 x 2 pixels of a camera of 640 x 480: the model sees a fifth of a pixel."""
    frames = np.zeros((3, 480, 640, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[200:216, 300 + 40 * number : 316 + 40 * number] = 255
    images = [crop_resize(frame, of)[None] for frame in frames]
    empty = np.zeros((1, 2))
    return [
        Episode(str(row), np.zeros(1, np.int64), {"front": one}, empty, empty,
                {"front": (640, 480)})
        for row, one in enumerate(images)
    ]  # fmt: skip


@pytest.mark.parametrize("moves", [True, False])
def test_a_camera_that_moves_with_the_robot_is_not_cropped(moves: bool):
    spec = make.spec(width=64, height=48)
    (camera,) = spec.cameras
    dataset: Any = SimpleNamespace(episodes=episodes(camera), displacements=(), spec=spec)
    found = _difference(dataset, camera, moves=moves)
    assert found is not None and (found.crop is None) is moves


def test_how_large_an_object_gets_by_the_proposed_crop():
    spec = make.spec(width=64, height=48)
    camera = spec.cameras[0]
    found = difference(camera, episodes(camera), ())
    assert found is not None and found.crop is not None
    larger = cropped(camera, found)
    assert larger is not None
    again = difference(larger, episodes(larger), ())
    assert again is not None and again.pixels > 4 * found.pixels
    assert again.pixels == pytest.approx(found.cropped_pixels, rel=0.5)
    # Larger, it is only a note: the crop that would be better still.
    for pixels, severities in ((3.0, ["warning"]), (30.0, ["note"]), (32.0, [])):
        seen = replace(found, pixels=pixels)
        assert crop_cameras(spec, [seen]).cameras == (larger,), "it is cropped all the same"
        problems = list(_difference_problems(spec, [seen]))
        assert [one.severity for one in problems] == severities
        assert all(f"'crop: {{x: {larger.crop.x}, " in one.remedy for one in problems)


def record_small_object(folder: Path, count: int, far: int = 12) -> None:
    """Bags, in which it lies in three places, so far apart, pixels."""
    table = np.random.default_rng(0).integers(90, 110, (96, 128, 3), np.uint8)

    def change(topic: str, index: int, message, number: int):
        if topic != "/image_raw":
            return message
        pixels = table.copy()
        left, top = 20 + far * (number % 3), 30 + (far - 12) * (number % 3)
        pixels[top : top + 6, left : left + 6] = (255, 0, 0)
        stamp = message.header.stamp
        return make.image(stamp.sec * make.SECOND + stamp.nanosec, pixels)

    for number in range(count):
        made = make.recording(
            start=make.START + number * 60 * make.SECOND, change=partial(change, number=number)
        )
        made.write(folder / f"take{number}")


@pytest.fixture
def small_object(tmp_path: Path) -> Path:
    record_small_object(tmp_path / "bags", 3)
    return tmp_path / "bags"


def test_the_crop_is_proposed_as_a_comment_that_a_person_can_take(tmp_path, small_object):
    """The spec as written has no crop; with the # moved it is the cropped one."""
    page, file = tmp_path / "page.html", tmp_path / "spec.yaml"
    arguments = [str(small_object), "--write-spec", str(file), "--html", str(page)]
    result = CliRunner().invoke(app, ["inspect", *arguments])
    assert result.exit_code == 0, result.output
    assert load_spec(file).cameras[0].crop is None
    lines = file.read_text().splitlines()
    (row,) = [row for row, line in enumerate(lines) if line.startswith("# - {")]
    assert "about 44 pixels there instead of 25 " in lines[row - 1]
    assert lines[row] in result.output
    lines[lines.index("cameras:") + 1 : row] = []
    file.write_text("\n".join(lines).replace("# - {", "- {"))
    camera = load_spec(file).cameras[0]
    assert camera.crop is not None and camera.crop.x <= 20
    assert camera.crop.x + camera.crop.width >= 50
    again = CliRunner().invoke(app, ["inspect", str(tmp_path / "bags"), "--spec", str(file)])
    assert again.exit_code == 0, again.output
    # And the page shows it beside the picture.
    content = page.read_text()
    assert "the proposed crop" in content and f"{camera.width} x {camera.height}" in content


def test_the_crop_can_be_taken_in_one_step(tmp_path, small_object):
    """`--crop` writes what the comment offers, of a spec that is there as well."""

    def inspect(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["inspect", str(small_object), *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    plain, taken, again = (tmp_path / f"{name}.yaml" for name in ("plain", "taken", "again"))
    inspect("--write-spec", plain)
    inspect("--crop", "--write-spec", taken)
    (offered,) = [line for line in plain.read_text().splitlines() if line.startswith("# - {")]
    (camera,) = load_spec(taken).cameras
    assert camera.crop is not None
    assert yaml.safe_load(offered[2:]) == [camera.model_dump(mode="json", exclude_unset=True)]
    # What was before it is the comment now.
    (before,) = [line for line in taken.read_text().splitlines() if line.startswith("# - {")]
    (uncropped,) = load_spec(plain).cameras
    assert yaml.safe_load(before[2:]) == [uncropped.model_dump(mode="json", exclude_unset=True)]

    corrected = tmp_path / "corrected.yaml"
    corrected.write_text(plain.read_text().replace("rate: 10", "rate: 5"))
    inspect("--spec", corrected, "--crop", "--write-spec", again)
    assert load_spec(again) == load_spec(taken).model_copy(update={"rate": 5.0})
    # Cropped once, nothing is left to crop.
    assert "no crop: " in inspect("--spec", taken, "--crop")


def test_sound_bags_have_no_problems(tmp_path):
    report = report_on(tmp_path, *[recorded(number) for number in range(3)])
    assert report.problems == () and report.worst == "sound"
    stream = next(one for one in report.bags[0].streams if one.topic == "/joint_states")
    assert stream.rate == pytest.approx(100, rel=0.01) and stream.messages == 200
    assert stream.latency == pytest.approx(0.002) and stream.longest_gap == pytest.approx(0.01)
    assert stream.age == pytest.approx((0.0097, 0.0097), abs=1e-4)
    assert [one.part for one in report.episodes].count("validation") == 1


def every(change):
    return lambda topic, index, message: change(textured(topic, index, message), topic, index)


def degrees(message, topic, index):
    if topic == "/joint_states":
        message.position[:] = [index * 0.9, -index * 0.9]
    return message


def frozen(message, topic, index):
    if topic == "/image_raw":
        message.data[:] = np.arange(len(message.data)) % 251
    return message


def black(message, topic, index):
    if topic == "/image_raw":
        message.data[:] = 3
    return message


def swapped(message, topic, index):
    if topic == "/joint_states" and index == 105:
        message.position[:] = message.position[::-1]
    if topic == "/joint_states" and 100 <= index < 110:
        message.position[:] = [-9.0, 9.0]
    return message


def still(message, topic, index):
    if topic == "/joint_states":
        message.position[1] = 0.25
    return message


def binary(message, topic, index):
    if topic == "/joint_states":
        message.position[1] = float(index > 90)
    return message


def void(message, topic, index):
    if topic == "/joint_states" and index % 10 == 0:
        message.position[0] = np.nan
    return message


def backwards(message, topic, index):
    if topic == "/joint_states" and index % 10 == 3:
        message.header.stamp.nanosec -= min(15 * MS, message.header.stamp.nanosec)
    return message


def repeated(message, topic, index):
    if topic == "/joint_states" and index % 2:
        message.header.stamp.nanosec -= min(10 * MS, message.header.stamp.nanosec)
    return message


@pytest.mark.parametrize(
    ("change", "severity", "says"),
    [
        (degrees, "warning", "degrees"),
        (frozen, "warning", "equal the one before"),
        (black, "warning", "nearly black"),
        (swapped, "warning", "jumps by"),
        (still, "note", "does not move"),
        (binary, "note", "has two values"),
        (void, "warning", "cannot be used"),
        (backwards, "warning", "go back in time"),
        (repeated, "warning", "equal the one before"),
    ],
)
def test_what_is_planted_is_found(change, severity: str, says: str, tmp_path):
    report = report_on(tmp_path, *[make.recording(change=every(change)) for _ in range(2)])
    hits = [one for one in report.problems if says in one.found]
    assert hits and all(one.severity == severity for one in hits)
    assert all(one.effect and one.remedy and one.where for one in report.problems)


def test_a_gripper_that_is_smoothed_as_advised_is_no_problem(tmp_path):
    made = [
        make.recording(change=every(binary), start=make.START + n * make.SECOND) for n in (0, 9)
    ]
    smooth = {make.NAMES[1]: 0.5}
    for joints, found in (({}, 1), ({"smooth": smooth}, 0)):
        folder = tmp_path / str(found)
        report = report_on(folder, *made, joints=[{"names": list(make.NAMES)} | joints])
        about = [one for one in report.problems if one.where == make.NAMES[1]]
        assert len(about) == found
        assert all(f"'smooth: {{{make.NAMES[1]}: 0.5}}'" in one.remedy for one in about)


@pytest.mark.parametrize("moves", [None, True, False])
def test_a_camera_that_moves_with_the_robot_is_told(moves: bool | None, tmp_path):
    def change(topic: str, index: int, message):
        if topic == "/image_raw":
            message.data[:] = np.random.default_rng(index).integers(0, 256, 12 * 16 * 3, np.uint8)
        return message

    camera = make.spec().cameras[0].model_dump() | {"moves": moves}
    made = [make.recording(change=change, start=make.START + n * make.SECOND) for n in (0, 9)]
    report = report_on(tmp_path, *made, cameras=[camera])
    found = [one.found for one in report.problems if "with the robot" in one.found]
    begins = {None: ["seems to move"], True: ["moves with"], False: []}[moves]
    assert len(found) == len(begins)
    assert all(one.startswith(begin) for one, begin in zip(found, begins))


def test_where_images_are_ticks_their_rate_must_be_the_policys(tmp_path):
    good = [recorded(number) for number in range(3)]
    assert report_on(tmp_path, *good, tick="image").problems == ()
    found = [problem.found for problem in report_on(tmp_path, tick="image", rate=13.0).problems]
    assert found == ["its images make ticks of 15.0 Hz, not of 13 Hz"]


def test_slow_stream_and_late_stream(tmp_path):
    late = make.recording(change=textured, image_rate=8.0)
    late.messages = [
        (topic, kind, receive + (60 * MS if topic == "/image_raw" else 0), message)
        for topic, kind, receive, message in late.messages
    ]
    report = report_on(tmp_path, late, max_age=0.3)
    found = [one.found for one in report.problems]
    assert any("8.0 Hz, slower than the 10 Hz" in text for text in found)
    assert any("62 ms after their stamp" in text for text in found)
    assert any("only one episode" in text for text in found)


def test_trimming_lengths_sizes_and_light(tmp_path):
    def short(topic, index, message):
        return (
            None if topic == "/joint_states" and index < 250 else textured(topic, index, message)
        )

    def bright(topic, index, message):
        message = textured(topic, index, message)
        if topic == "/image_raw":
            message.data[:] = 255 - message.data // 5
        return message

    def large(topic, index, message):
        if topic != "/image_raw":
            return message
        stamp = message.header.stamp
        pixels = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
        return make.image(stamp.sec * make.SECOND + stamp.nanosec, pixels)

    report = report_on(
        tmp_path,
        make.recording(3.0, change=textured),
        make.recording(3.0, change=short),
        make.recording(3.0, change=bright),
        make.recording(3.0, change=large),
    )
    found = " | ".join(one.found for one in report.problems)
    assert "25 ticks before and 0 ticks after" in found
    assert "ticks, the median is" in found
    assert "brightness 2" in found and "differ in image size: 16 x 12, 32 x 24" in found


def test_json_terminal_and_page(tmp_path):
    bags = tmp_path / "bags"
    make.recording(change=textured).write(bags / "take<0>")
    make.recording(drop_images=range(20, 31)).write(bags / "hole")
    dataset = load_dataset([bags], make.spec(crop={"x": 1, "y": 1, "width": 14, "height": 10}))
    report = examine(dataset)
    values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert values["verdict"] == "error" and values["bags"][0]["verdict"] == "left out"
    text = io.StringIO()
    print_report(report, Console(file=text, width=200))
    for expected in ("hole in the middle", "/joint_states", "shoulder", "remedy", "take<0>"):
        assert expected in text.getvalue()
    page = tmp_path / "page.html"
    write_page(report, dataset, page)
    content = page.read_text()
    assert (
        content.count("data:image/jpeg") == 3
        and content.count("data:image/png") >= 3
        and "take&lt;0&gt;" in content
    )
    assert "<polyline" in content and "http" not in content
    previews = dataset.episodes[0].previews["front"]
    assert [image.shape for image in previews] == [(12, 16, 3)] * 3
    crop = dataset.spec.cameras[0].crop
    assert crop is not None
    drawn = framed(previews[0], (16, 12), crop)
    assert (drawn[crop.y, crop.x : crop.x + crop.width] == [255, 60, 60]).all()
    assert (drawn != previews[0]).any(), "the preview itself stays as it is"


def test_what_is_alike_in_many_recordings_is_told_once() -> None:
    alike = [note(f"take_{number}", "no rate", "30 Hz is guessed", "--fps") for number in range(5)]
    other = note("take_0", "no image", "nothing is seen", "--bgr")
    found = gathered([alike[0], other, *alike[1:]])
    assert [one.where for one in found] == ["take_0, take_1, take_2 and 2 more", "take_0"]
    assert found[1] == other
    assert gathered(alike[:3])[0].where == "take_0, take_1, take_2"


def test_a_narrow_terminal_shows_whole_topics_and_numbers(tmp_path: Path) -> None:
    topics = {"/image_raw": "/cell_b/top_cam/color/image_raw", "/joint_states": "/cell_b/states"}
    for number in range(2):
        made = make.recording()
        made.messages = [(topics[topic], *rest) for topic, *rest in made.messages]
        made.write(tmp_path / "bags" / f"demo_{number}")
    spec = make.spec(topic=topics["/image_raw"], joints=[
        {"topic": topics["/joint_states"], "names": list(make.NAMES)}
    ])  # fmt: skip
    report = examine(load_dataset([tmp_path / "bags"], spec))
    text = io.StringIO()
    print_report(report, Console(file=text, width=80))
    lines = [line.strip() for line in text.getvalue().splitlines()]
    assert "…" not in text.getvalue().replace("0 … 255", "")
    for bag in ("demo_0:", "demo_1:"):
        rows = lines[lines.index(bag) + 1 :][:3]
        assert rows[0].startswith("/cell_b/") and " 60 " in " ".join(rows)
    joined = "".join(line.split()[0] for line in lines if line)
    assert topics["/image_raw"] in joined and "rad or m" in text.getvalue()
    assert text.getvalue().count("rad or m") == 1


def test_the_page_shows_pictures_before_tables_and_folds_what_is_long(tmp_path: Path) -> None:
    for number in range(12):
        made = make.recording(1.0, start=make.START + number * make.SECOND)
        made.write(tmp_path / "bags" / f"demo_{number}")
    dataset = load_dataset([tmp_path / "bags"], make.spec())
    page = tmp_path / "page.html"
    write_page(examine(dataset), dataset, page)
    content = page.read_text()
    assert content.index("<polyline") < content.index("<table")
    assert "<summary>6 more episodes</summary>" in content
    assert "<summary>24 rows</summary>" in content
    assert content.count("<details>") == content.count("</details>") == 2


@pytest.mark.usefixtures("quick_search")
def test_a_search_says_what_it_finds_with_the_crop_of_training(tmp_path: Path) -> None:
    record_small_object(tmp_path / "bags", 10)
    file, said = tmp_path / "spec.yaml", tmp_path / "said.json"
    command = ["inspect", str(tmp_path / "bags")]
    for more in (["--write-spec", str(file)], ["--spec", str(file), "--search"]):
        result = CliRunner().invoke(app, [*command, *more, "--json", str(said)])
        assert result.exit_code == 0, result.output
    problems = json.loads(said.read_text())["problems"]
    (found,) = [one for one in problems if one["where"] == "attention (camera cropped)"]
    # The arm moves alike wherever the object lies.
    assert found["severity"] == "warning" and "that a search finds explain" in found["found"]


class TestCommand:
    def run(self, *arguments: object):
        return CliRunner().invoke(app, ["inspect", *map(str, arguments)])

    def test_sound(self, tmp_path):
        for number in range(2):
            make.recording(change=textured).write(tmp_path / "bags" / f"take{number}")
        files = {name: tmp_path / name for name in ("r.json", "p.html", "s.yaml")}
        result = self.run(
            tmp_path / "bags", "--json", files["r.json"], "--html", files["p.html"],
            "--write-spec", files["s.yaml"], "--strict",
        )  # fmt: skip
        assert result.exit_code in (0, 1), result.output
        assert all(file.stat().st_size for file in files.values())
        assert json.loads(files["r.json"].read_text())["episodes"][0]["name"] == "take0"
        again = self.run(tmp_path / "bags", "--spec", files["s.yaml"])
        assert again.exit_code == 0, again.output
        refused = self.run(tmp_path / "bags", "--write-spec", files["s.yaml"])
        assert refused.exit_code == 1 and "exists already" in refused.output
        for option in ("--json", "--html"):
            lost = self.run(
                tmp_path / "bags", "--spec", files["s.yaml"], option, tmp_path / "no" / "file"
            )
            assert lost.exit_code == 1 and "cannot be written (No such file" in lost.output

    def test_exit_code_tells_of_a_bad_bag(self, tmp_path):
        spec = tmp_path / "s.yaml"
        spec.write_text(dump_spec(make.spec()))
        make.recording(change=textured).write(tmp_path / "bags" / "good")
        assert self.run(tmp_path / "bags", "--spec", spec).exit_code == 0
        assert self.run(tmp_path / "bags", "--spec", spec, "--strict").exit_code == 1
        make.recording(drop_images=range(20, 31)).write(tmp_path / "bags" / "hole")
        result = self.run(tmp_path / "bags", "--spec", spec, "--json", "-")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["verdict"] == "error"

    def test_no_bag(self, tmp_path):
        result = self.run(tmp_path / "nothing")
        assert result.exit_code == 1 and "does not exist" in result.output


def test_training_crops_to_where_the_episodes_differ(tmp_path):
    """What is trained on has the crop, and the terminal says so; the spec's own crop stays. When
    it does so is in test_recipe."""
    record_small_object(tmp_path / "bags", 10)
    whole = CameraSpec(name="front", topic="/image_raw", width=64, height=48)
    for own in (None, Crop(x=0, y=0, width=128, height=95)):
        spec = make.spec().model_copy(
            update={"cameras": (whole.model_copy(update={"crop": own}),)}
        )
        (tmp_path / "spec.yaml").write_text(dump_spec(spec))
        result = CliRunner().invoke(
            app,
            ["train", str(tmp_path / "bags"), "--spec", str(tmp_path / "spec.yaml"), "--dry-run",
             "--out", str(tmp_path / "policy"), *LITTLE],
            env={"COLUMNS": "400"},
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        taken = own is None
        assert ("is cropped to where the episodes differ, x " in result.output) is taken
        assert ("front 64x48" in result.output) is not taken
        assert "is not cropped" not in result.output


def test_training_says_why_a_camera_is_not_cropped(tmp_path):
    record_small_object(tmp_path / "bags", 10, far=38)
    whole = CameraSpec(name="front", topic="/image_raw", width=64, height=48)
    spec = make.spec().model_copy(update={"cameras": (whole,)})
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    for options in ([], ["--no-crop"]):
        result = CliRunner().invoke(
            app,
            ["train", str(tmp_path / "bags"), "--spec", str(tmp_path / "spec.yaml"), "--dry-run",
             "--out", str(tmp_path / "policy"), *options, *LITTLE],
            env={"COLUMNS": "400"},
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        said = "camera 'front' is not cropped: what differs between its first images is"
        assert (said in result.output) is not bool(options)


@pytest.mark.usefixtures("quick_export")
def test_training_leaves_a_picture_of_its_crop(tmp_path):
    record_small_object(tmp_path / "bags", 10)
    camera = CameraSpec(name="front", topic="/image_raw", width=64, height=48)
    spec = make.spec().model_copy(update={"cameras": (camera,)})
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    result = CliRunner().invoke(
        app,
        ["train", str(tmp_path / "bags"), "--spec", str(tmp_path / "spec.yaml"), "--out",
         str(tmp_path / "policy"), *LITTLE],
        env={"COLUMNS": "400"},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    page = tmp_path / "policy.run" / "crop.html"
    assert f"{page} shows it" in result.output
    assert "the proposed crop" in page.read_text()
