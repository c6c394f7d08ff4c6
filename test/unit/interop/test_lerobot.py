# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3: there and back, the files that LeRobot expects, and damaged ones.

That LeRobot itself reads it, and we what it writes, is in `test_lerobot_itself.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from sarnn_ros.data.bags import LABEL
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.report import examine
from sarnn_ros.errors import BagError, ConfigError
from sarnn_ros.interop import lerobot_writer
from sarnn_ros.interop.lerobot_writer import export_lerobot
from sarnn_ros.interop.loading import Arrays, find_recordings, load_dataset, propose
from sarnn_ros.interop.video import film_frames
from sarnn_ros.spec import Spec, parse_spec

#: Levels of 0 … 255 that H.264 of our quality may be off by on such images, on average.
CODEC = 3.0


def bags(folder: Path, **changes: Any) -> Path:
    """Two bags; the second has commands only from its middle on."""
    for number, seconds in enumerate((1.4, 2.0)):
        start = make.START + 10 * number * make.SECOND
        made = make.recording(seconds, start=start, **changes)
        for index in range(int(seconds * 20)):
            if number and index < 10:
                continue
            stamp = start + index * make.SECOND // 20 + 4_000_000
            message = make.joint_state(stamp, [index / 50, 0.5 - index / 40])
            made.add("/joint_command", make.JOINTS, stamp, message)
        made.write(folder / f"take{number}")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return bags(tmp_path_factory.mktemp("bags"))


@pytest.fixture(scope="module")
def written(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "set"
    export(source, out, make.spec(target="command"))
    return out


@pytest.fixture
def copy(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "copy")


def export(source: Path, out: Path, spec: Spec, **options: Any) -> list[Any]:
    return export_lerobot(find_recordings([source]), spec, out, task="push", **options)


def same(back: Dataset, straight: Dataset) -> None:
    assert len(back.episodes) == len(straight.episodes) > 0
    for one, other in zip(back.episodes, straight.episodes):
        assert one.name.endswith(other.name)
        assert np.array_equal(one.ticks, other.ticks)
        assert np.array_equal(one.joints, other.joints.astype(np.float32))
        assert one.targets == pytest.approx(other.targets, abs=1e-6)
        assert one.lead == pytest.approx(other.lead, abs=1e-6)
        assert one.source_sizes == other.source_sizes
        for camera, images in other.images.items():
            off = np.abs(one.images[camera].astype(int) - images.astype(int))
            assert off.mean() < CODEC


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "command"},
        {"rate": 12.5},
        {"rate": 7.0, "crop": {"x": 1, "y": 2, "width": 13, "height": 9}, "target": "command"},
        {"tick": "image", "rate": 10.0, "target": "command"},
        {"episodes": {"times": [[0.1, 0.9], [0.5, 1.2]]}, "target": "command"},
        {"joints": [{"names": list(make.NAMES), "smooth": {"elbow": 0.2}}]},
    ],
    ids=["command", "half a hertz", "uneven", "image ticks", "overlapping cuts", "smooth"],
)
def test_there_and_back(changes, source, tmp_path):
    spec = make.spec(**changes)
    export(source, tmp_path / "set", spec)
    straight = load_dataset([source], spec)
    if spec.target == "next_state":  # nobody's commands: they do not come back as such
        episodes = [type(one)(**{**vars(one), "lead": ()}) for one in straight.episodes]
        straight = type(straight)(**{**vars(straight), "episodes": tuple(episodes)})
    same(load_dataset([tmp_path / "set"], spec), straight)


def test_a_copy_is_written_once_and_told(source, tmp_path):
    shutil.copytree(source, tmp_path / "bags")
    first = sorted((tmp_path / "bags").iterdir())[0]
    shutil.copytree(first, tmp_path / "bags" / "zz_copy")
    reports = export(tmp_path / "bags", tmp_path / "set", make.spec())
    told = [one.found for report in reports for one in report.problems]
    assert [one.verdict for one in reports].count("left out") == 1
    assert sum(f"has the same content as '{first.name}" in one for one in told) >= 1
    plain = export(source, tmp_path / "plain", make.spec())
    names = [[name for one in found for name in one.episodes] for found in (reports, plain)]
    assert names[0] == names[1]


def test_a_conversion_beside_its_bags_counts_once(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "bags")
    export(source, folder / "lerobot", make.spec(target="command"))
    dataset = load_dataset([folder], make.spec(target="command"))
    assert len(dataset.episodes) == 2
    told = [one.found for one in dataset.problems]
    assert sum("has the same content as" in one for one in told) == 2, told


def test_tasks_stay_what_they_were_and_several_are_told(source, written, tmp_path):
    for folder, task in (("a", "lift"), ("b", "turn")):
        kept = Path(folder) / next(source.iterdir()).name
        shutil.copytree(next(source.iterdir()), tmp_path / "bags" / kept)
        export_lerobot(
            find_recordings([tmp_path / "bags" / folder]),
            make.spec(),
            tmp_path / folder,
            task=task,
        )
    both = [tmp_path / "a", tmp_path / "b"]
    assert [one.take.task for one in find_recordings(both) if one.take] == ["lift", "turn"]
    export_lerobot(find_recordings([tmp_path / "a"]), make.spec(), tmp_path / "again")
    (again,) = find_recordings([tmp_path / "again"])
    assert again.take is not None and again.take.task == "lift"

    plain = shutil.copytree(written, tmp_path / "plain")
    table = plain / "meta/episodes/chunk-000/file-000.parquet"
    rows = parquet.read_table(table).to_pylist()
    rows[1]["tasks"] = ["turn"]
    parquet.write_table(pa.Table.from_pylist(rows), table)
    told = load_dataset([plain], make.spec(target="command")).problems
    assert ["2 tasks" in one.found for one in told].count(True) == 1
    export_lerobot(find_recordings([plain]), make.spec(target="command"), tmp_path / "two")
    names = [one.take.task for one in find_recordings([tmp_path / "two"]) if one.take]
    assert names == ["push", "turn"]
    tasks = parquet.read_table(tmp_path / "two/meta/tasks.parquet").to_pydict()
    assert tasks == {"task_index": [0, 1], "task": ["push", "turn"]}
    data = parquet.read_table(tmp_path / "two/data/chunk-000/file-000.parquet").to_pydict()
    assert data["task_index"] == data["episode_index"]


def test_its_images_are_rgb_whatever_others_are(written):
    spec = make.spec(target="command")
    images = [
        load_dataset([written], spec, arrays=Arrays(bgr=bgr)).episodes[0].images["front"]
        for bgr in (False, True)
    ]
    assert np.array_equal(*images)


@pytest.mark.parametrize("factor", [0.5, 2.0, 6.0])
def test_a_rate_that_the_rows_contradict_is_refused(factor: float, copy):
    edit_info(copy, fps=10.0 * factor)
    with pytest.raises(BagError, match=r"fps, and the rows' timestamps are 0\.1 s apart"):
        load_dataset([copy], make.spec(target="command"))


def test_a_full_disk_is_told_and_leaves_nothing(source, tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ConfigError, match="No space left") as told:
        export(source, tmp_path / "set", make.spec(target="command"))
    assert "free some space" in str(told.value.remedy) and not list(tmp_path.iterdir())


def test_two_joints_of_a_spec_are_no_one_column(written):
    joints = [
        {"names": list(make.NAMES), "prefix": side, "topic": side} for side in ("left_", "right_")
    ]
    with pytest.raises(BagError, match="are the same column"):
        load_dataset([written], make.spec(joints=joints))


def test_odd_sizes_and_images_that_come_late(tmp_path):
    """Chroma of half the size cannot hold an odd side; images may be stored out of order."""

    def late(topic: str, index: int, message: Any) -> Any:
        if topic == "/image_raw":
            shift = -1 if index % 3 == 2 else 1 if index % 3 == 1 else 0
            stamp = make.START + round((index + shift) / 30 * make.SECOND) + 1_000_000
            return make.image(stamp, make.colour(index + shift, 17, 13))
        return message

    made = make.recording(2.0, change=late)
    made.write(tmp_path / "bag")
    spec = make.spec(rate=30.0, width=17, height=13)
    export(tmp_path / "bag", tmp_path / "set", spec)
    same(load_dataset([tmp_path / "set"], spec), load_dataset([tmp_path / "bag"], spec))


def test_the_files_are_those_of_the_format(written):
    info = json.loads((written / "meta/info.json").read_text())
    rows = parquet.read_table(written / "data/chunk-000/file-000.parquet").to_pydict()
    episodes = parquet.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    tasks = parquet.read_table(written / "meta/tasks.parquet")
    stats = json.loads((written / "meta/stats.json").read_text())
    count = len(rows["index"])
    assert info["codebase_version"] == "v3.0" and info["fps"] == 10
    assert info["total_frames"] == count and info["total_episodes"] == 2
    assert rows["index"] == list(range(count))
    assert set(info["features"]) - set(rows) == {"observation.images.front"}
    assert info["features"]["observation.state"]["names"] == list(make.NAMES)
    lengths = [one["length"] for one in episodes]
    assert [one["dataset_to_index"] for one in episodes] == np.cumsum(lengths).tolist()
    first = episodes[1]["videos/observation.images.front/from_timestamp"]
    assert first == pytest.approx(lengths[0] / 10)
    assert rows["timestamp"][lengths[0]] == 0.0 and rows["frame_index"][lengths[0]] == 0
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    for key in ("observation.state", "action"):
        values = np.array(rows[key])
        assert stats[key]["mean"] == pytest.approx(values.mean(axis=0))
        assert stats[key]["std"] == pytest.approx(values.std(axis=0))
        assert stats[key]["max"] == pytest.approx(values.max(axis=0))
        assert stats[key]["count"] == [count]
    path = written / "videos/observation.images.front/chunk-000/file-000.mp4"
    with film_frames(path) as film:
        frames = np.stack(list(film.read(range(film.count)))) / 255
    assert len(frames) == count
    image = stats["observation.images.front"]
    assert np.array(image["mean"]).shape == (3, 1, 1)
    assert np.ravel(image["mean"]) == pytest.approx(frames.mean(axis=(0, 1, 2)), abs=0.02)
    assert np.ravel(image["q50"]) == pytest.approx(np.median(frames, axis=(0, 1, 2)), abs=0.08)


def test_files_roll_over(source, tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_writer, "DATA_MB", 0)
    monkeypatch.setattr(lerobot_writer, "VIDEO_MB", 0)
    monkeypatch.setattr(lerobot_writer, "FILES_PER_CHUNK", 1)
    export(source, tmp_path / "set", make.spec())
    names = {path.relative_to(tmp_path / "set").as_posix() for path in tmp_path.rglob("*.*")}
    assert "data/chunk-001/file-000.parquet" in names
    assert "videos/observation.images.front/chunk-001/file-000.mp4" in names
    back = load_dataset([tmp_path / "set"], make.spec())
    assert [len(one.ticks) for one in back.episodes] == [13, 19]


def test_inspect_says_what_it_says_of_bags(written, source, tmp_path):
    spec = propose([written]).spec
    assert spec.cameras[0].name == "front" and spec.joint_labels == make.NAMES
    assert spec.command.topic == "action"
    about = examine(load_dataset([written], spec)).as_dict()
    straight = examine(load_dataset([source], make.spec())).as_dict()
    assert about.keys() == straight.keys()
    assert [one["name"] for one in about["joints"]] == [one["name"] for one in straight["joints"]]
    streams = about["bags"][0]["streams"]
    assert [one["topic"] for one in streams] == ["observation.images.front", "observation.state"]
    assert streams[0]["rate"] == pytest.approx(10.0)


def test_cached_like_a_bag(copy, tmp_path):
    written = copy
    plain = load_dataset([written], make.spec())
    first = load_dataset([written], make.spec(), cache=tmp_path / "cache")
    again = load_dataset([written], make.spec(), cache=tmp_path / "cache")
    assert plain.fingerprint == first.fingerprint == again.fingerprint
    assert isinstance(again.episodes[0].images["front"], np.memmap)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    # Where an episode begins in the film is part of it.
    (about,) = written.glob("meta/episodes/*/*.parquet")
    table = parquet.read_table(about)
    key = "videos/observation.images.front/from_timestamp"
    column = table.column_names.index(key)
    later = pa.array([value + 0.1 for value in table[key].to_pylist()])
    parquet.write_table(table.set_column(column, table.schema.field(key), later), about)
    load_dataset([written], make.spec(), cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) > 2


def test_a_bag_that_cannot_be_used_is_left_out(source, tmp_path):
    shutil.copytree(source, tmp_path / "bags")
    make.recording(drop_images=range(20, 31)).write(tmp_path / "bags" / "hole")
    large = make.recording(
        1.0,
        change=lambda topic, index, message: (
            make.image(make.START + index * make.SECOND // 30, make.colour(index, 32, 24))
            if topic == "/image_raw"
            else message
        ),
    )
    large.write(tmp_path / "bags" / "large")
    reports = export(tmp_path / "bags", tmp_path / "set", make.spec())
    assert [len(report.episodes) for report in reports] == [0, 1, 0, 0]  # hole, large, take0 …
    found = " ".join(problem.found for report in reports for problem in report.problems)
    assert "hole" in found and "those before have" in found
    assert load_dataset([tmp_path / "set"], make.spec()).episodes


def test_failures_stay_out(source, tmp_path):
    shutil.copytree(source, tmp_path / "bags")
    metadata = tmp_path / "bags" / "take0" / "metadata.yaml"
    content = yaml.safe_load(metadata.read_text())
    content["rosbag2_bagfile_information"]["custom_data"] = {LABEL: "failure"}
    metadata.write_text(yaml.safe_dump(content))
    reports = export(tmp_path / "bags", tmp_path / "set", make.spec())
    assert [len(report.episodes) for report in reports] == [0, 1]
    every = find_recordings([tmp_path / "bags"], failures=True)
    reports = export_lerobot(every, make.spec(), tmp_path / "all", task="push")
    assert [len(report.episodes) for report in reports] == [1, 1]


def test_an_interrupted_conversion_leaves_nothing(source, tmp_path):
    def stop(done: int, total: int, name: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(source, tmp_path / "set", make.spec(), progress=stop)
    assert list(tmp_path.iterdir()) == []
    export(source, tmp_path / "set", make.spec())
    with pytest.raises(ConfigError, match="exists already"):
        export(source, tmp_path / "set", make.spec())


def edit_info(folder: Path, **changes: Any) -> None:
    file = folder / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: edit_info(path, codebase_version="v2.1"), "version v2.1"),
        (lambda path: edit_info(path, total_episodes=3), "announces 3"),
        (lambda path: edit_info(path, features=None), "not LeRobot's info.json"),
        (lambda path: (path / "meta/info.json").write_text("{"), "not LeRobot's info.json"),
        (lambda path: shutil.rmtree(path / "meta/episodes"), "announces 2"),
        (
            lambda path: next(path.glob("meta/episodes/*/*")).write_bytes(b"PAR1"),
            "meta/episodes cannot be read",
        ),
    ],
)
def test_damaged_meta_files(damage, says, copy):
    damage(copy)
    with pytest.raises(BagError, match=says):
        load_dataset([copy], make.spec())


def drop_rows(path: Path) -> None:
    file = next(path.glob("data/*/*"))
    parquet.write_table(parquet.read_table(file).slice(0, 20), file)


def cut(path: Path, pattern: str) -> None:
    file = next(path.glob(pattern))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "says", "left"),
    [
        (drop_rows, "of its 19 rows", 1),
        (lambda path: cut(path, "data/*/*"), "cannot be read", 0),
        (lambda path: next(path.glob("data/*/*")).unlink(), "cannot be read", 0),
        (lambda path: cut(path, "videos/*/*/*"), "film", 0),
        (lambda path: next(path.glob("videos/*/*/*")).unlink(), "film", 0),
    ],
    ids=["rows missing", "data cut", "no data", "film cut", "no film"],
)
def test_damaged_content_takes_no_more_than_it_holds(damage, says, left, copy):
    damage(copy)
    if not left:
        with pytest.raises(BagError, match=says):
            load_dataset([copy], make.spec())
        return
    dataset = load_dataset([copy], make.spec())
    assert len(dataset.episodes) == left
    assert says in dataset.problems[0].found


def test_a_film_with_too_few_frames(copy, tmp_path):
    about = next(copy.glob("meta/episodes/*/*"))
    rows = parquet.read_table(about).to_pylist()
    rows[1]["videos/observation.images.front/from_timestamp"] += 0.5
    parquet.write_table(pa.Table.from_pylist(rows), about)
    dataset = load_dataset([copy], make.spec())
    assert len(dataset.episodes) == 1 and "there is no frame" in dataset.problems[0].found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"joints": [{"names": ["shoulder", "wrist"]}]}, "no wrist; there are shoulder, elbow"),
        ({"joints": [{"names": ["elbow"], "field": "effort", "command": False},
                     {"topic": "x", "names": ["shoulder"]}]}, "no elbow/effort"),
        ({"crop": {"x": 10, "y": 0, "width": 10, "height": 8}}, "exceeds the image of 16 x 12"),
    ],
)  # fmt: skip
def test_a_spec_that_does_not_fit(changes, says, written):
    with pytest.raises(BagError, match=says):
        load_dataset([written], make.spec(**changes))


def test_a_name_that_comes_twice_is_told_apart(copy):
    """As in data sets that LeRobot merged."""
    about = next(copy.glob("meta/episodes/*/*"))
    rows = parquet.read_table(about).to_pylist()
    for row in rows:
        row["sarnn_ros/name"] = "take"
    parquet.write_table(pa.Table.from_pylist(rows), about)
    dataset = load_dataset([copy], make.spec())
    assert [one.name for one in dataset.episodes] == ["copy/take#0", "copy/take#1"]


@pytest.mark.parametrize("keys", [("a", "b"), ("b", "a")])
def test_names_that_are_numbered_are_in_the_order_of_their_numbers(keys, tmp_path):
    numbers = {"a": 0, "b": 1}
    folder = foreign(tmp_path / "set", {key: numbers[key] for key in keys})
    spec = parse_spec(
        {
            "rate": 30,
            "cameras": [{"name": "top", "width": 16, "height": 12}],
            "joints": {"names": ["a", "b"]},
        }
    )
    first = load_dataset([folder], spec).episodes[0]
    np.testing.assert_allclose(first.joints[5], (0.5, -0.5), atol=1e-6)


def foreign(folder: Path, names: Any, *, fps: int = 30) -> Path:
    """As LeRobot writes without films, with a depth camera, and no stamps of ours."""
    count, other = 12, 9
    features = {
        "observation.images.top": {"dtype": "image", "shape": [12, 16, 3], "names": None},
        "observation.images.depth": {
            "dtype": "image", "shape": [12, 16, 1], "names": None, "info": {"is_depth_map": True}
        },
        "observation.state": {"dtype": "float32", "shape": [2], "names": names},
        "action": {"dtype": "float32", "shape": [2], "names": names},
    }  # fmt: skip
    pictures = [
        cv2.imencode(".png", make.colour(row)[..., ::-1])[1].tobytes()
        for row in range(count + other)
    ]
    episode = [0] * count + [1] * other
    frame = [*range(count), *range(other)]
    table = {
        "observation.images.top": [{"bytes": raw, "path": None} for raw in pictures],
        "observation.images.depth": [{"bytes": b"", "path": None} for _ in pictures],
        "observation.state": [[row / 10, -row / 10] for row in range(count + other)],
        "action": [[row / 10 + 0.01, 7.0] for row in range(count + other)],
        "timestamp": [row / fps for row in frame],
        "frame_index": frame,
        "episode_index": episode,
    }
    about = [
        {"episode_index": number, "length": length, "tasks": ["x"],
         "data/chunk_index": 0, "data/file_index": 0, "stats/action/max": [1.0, 7.0]}
        for number, length in enumerate((count, other))
    ]  # fmt: skip
    for path, content in (
        ("data/chunk-000/file-000.parquet", pa.table(table)),
        ("meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(about)),
    ):
        (folder / path).parent.mkdir(parents=True)
        parquet.write_table(content, folder / path)
    info = {
        "codebase_version": "v3.0", "fps": fps, "features": features, "total_episodes": 2,
        "data_path": lerobot_writer.DATA_PATH, "video_path": None,
    }  # fmt: skip
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ["shoulder.pos", "elbow.pos"],
        {"motors": ["shoulder", "elbow"]},
        {"shoulder": 0, "elbow": 1},
        None,
        ["motor", "motor"],
    ],
    ids=["drivers", "motors", "mapping", "none", "alike"],
)
def test_what_others_write(names, tmp_path):
    """At a third of the rate: every third row is a tick, and its command the last of the three."""
    spec = make.spec(target="command", rate=10.0)
    dataset = load_dataset([foreign(tmp_path / "set", names)], spec, validation=0)
    first, second = dataset.episodes
    assert first.ticks.tolist() == [0, 100_000_000, 200_000_000, 300_000_000]
    assert first.joints[:, 0] == pytest.approx([0.0, 0.3, 0.6, 0.9])
    assert first.joints[:, 1] == pytest.approx([0.0, -0.3, -0.6, -0.9])
    assert first.targets[:, 0] == pytest.approx([0.21, 0.51, 0.81, 1.11])
    assert first.targets[:, 1] == pytest.approx([7.0] * 4)
    assert second.joints[:, 0] == pytest.approx([1.2, 1.5, 1.8])
    assert np.array_equal(second.images["front"][1], make.colour(15))


@pytest.mark.parametrize("row", [0, 9, 10, 11, 29, 30, 59])
def test_any_row_of_a_film_with_open_groups_of_pictures(row: int, tmp_path: Path):
    """As of x265: frames after a keyframe may be shown before it, and need the one before."""
    import av

    options = {"g": "10", "x264-params": "open-gop=1:bframes=3:scenecut=0:keyint=10"}
    with av.open(str(tmp_path / "a.mp4"), "w") as film:
        stream: Any = film.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(60):
            picture = np.full((48, 64, 3), 4 * number, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode(None))
    with film_frames(tmp_path / "a.mp4", rate=30.0) as frames:
        (found,) = frames.read([row])
        assert abs(float(found.mean()) - 4 * row) < 3
        with pytest.raises(BagError, match="there is no frame 60"):
            list(frames.read([60]))
