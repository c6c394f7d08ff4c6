# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy directory survives the trip, and nothing that is wrong with one goes unnoticed."""

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pytest
import torch
from policies import write_policy

from sarnn_ros.errors import PolicyError
from sarnn_ros.policy import directory as policy_directory
from sarnn_ros.policy.backends import load_model
from sarnn_ros.policy.directory import CameraReference, _checksum, digest, load_config
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.streams.registration import Reference

pytestmark = pytest.mark.usefixtures("quick_export")

FILES = ["config.json", "model.safetensors", "policy.onnx", "policy_command.onnx"]


def edit_config(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change config.json as someone would who knows the format: its checksum is right again."""
    values = json.loads((path / "config.json").read_text())
    del values["sha256"]
    change(values)
    values["sha256"] = _checksum(values)
    (path / "config.json").write_text(json.dumps(values))


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place: Any = values
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def test_a_policy_is_read_back_as_it_was_written(parts, tmp_path):
    curves = tmp_path / "curves of this run.png"
    curves.write_bytes(b"not really a picture")
    out = parts.export(tmp_path / "deep" / "policy", extra_files={"curves.png": curves})

    config = load_config(out)
    written = [*FILES, "README.md", "curves.png"]
    assert sorted(path.name for path in out.iterdir()) == sorted(written)
    assert (out / "curves.png").read_bytes() == b"not really a picture"
    assert config.spec == parts.spec
    assert config.envelope == parts.envelope
    assert config.training == {"epochs": 3}
    assert config.normalisation.minimum == tuple(parts.normaliser.minimum)
    model = config.model
    assert (model.rec_dim, model.k_dim, model.joint_dim) == (20, 4, 3)
    assert (model.temperature, model.heatmap_size, model.stride) == (1e-4, 0.1, 1)
    assert model.im_size == ((24, 32),)


def png(width: int, height: int, size: tuple[int, int] | None = None) -> bytes:
    """Of another size than it says, if one is given."""
    channels = np.zeros((height, width, 4), np.uint8)
    content = bytearray(cv2.imencode(".png", channels)[1].tobytes())
    if size is not None:
        content[16:24] = struct.pack(">II", *size)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"junk" * 20, png(2, 2), png(3000, 2250), png(16, 12, (320, 240)), png(320, 240)[:60]],
    ids=["empty", "no picture", "small", "large", "of another size than it says", "cut off"],
)
def test_a_reference_is_a_picture_of_its_size(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make.spec(width=16, height=12)
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    made = Reference(picture, np.ones((240, 320), bool), (640, 480))
    about = CameraReference(displacement=0.001, correlation=0.95, source=(640, 480))
    policy = write_policy(tmp_path / "policy", spec, references={"front": (made, about)})
    (read,) = Policy.load(policy).references.values()
    assert np.array_equal(read.image, picture)
    file = policy / "reference_front.png"
    file.write_bytes(content)
    digest_of_it = hashlib.sha256(content).hexdigest()
    edit_config(policy, put("files", file.name, value=digest_of_it))
    decode, sizes = cv2.imdecode, set()

    def decoded(*arguments: Any) -> Any:
        found = decode(*arguments)
        sizes.add(None if found is None else found.shape)
        return found

    monkeypatch.setattr(cv2, "imdecode", decoded)
    with pytest.raises(PolicyError, match=r"is no PNG of 320 x 240 pixels with four channels"):
        Policy.load(policy)
    assert (2250, 3000, 4) not in sizes, "its header tells that it would take much memory"


def test_a_network_as_large_as_it_is_said_to_be_takes_no_memory(policy_dir, tmp_path):
    policy = Path(shutil.copytree(policy_dir, tmp_path / "copy"))
    edit_config(policy, put("model", "rec_dim", value=200_000))
    with pytest.raises(PolicyError, match="the weights do not fit"):
        load_model(policy, load_config(policy))


def test_floats_survive_to_the_last_bit(make_parts, tmp_path):
    parts = make_parts()
    low, high = [-np.pi, -1 / 3, -0.1], np.full(3, np.nextafter(1, 2))
    parts.normaliser = JointNormaliser(low, high, parts.spec.joint_range)
    config = load_config(parts.export(tmp_path / "policy"))
    assert config.normalisation.minimum == (-np.pi, -1 / 3, -0.1)
    assert config.normalisation.maximum[0] == np.nextafter(1, 2)


def test_an_export_is_the_same_every_time(parts, tmp_path):
    first, second = (load_config(parts.export(tmp_path / name)).files for name in "ab")
    assert first == second


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [Path.unlink, truncate, flip_a_bit, empty])
def test_any_damage_to_any_file_is_found(policy_dir, name, damage):
    damage(policy_dir / name)
    with pytest.raises(PolicyError) as caught:
        load_config(policy_dir)
    where = str(
        policy_dir if damage is Path.unlink and name == "config.json" else policy_dir / name
    )
    assert caught.value.where == where
    with pytest.raises(PolicyError):
        Policy.load(policy_dir)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "3",
        "{}",
        '{"format_version": 1}',
        "{" * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000,
        "\0",
    ],
)
def test_a_config_that_is_none_is_refused(policy_dir, content):
    (policy_dir / "config.json").write_text(content)
    with pytest.raises(PolicyError, match=r"config\.json"):
        load_config(policy_dir)


def test_a_change_by_hand_is_noticed(policy_dir):
    path = policy_dir / "config.json"
    path.write_text(path.read_text().replace('"rate": 10.0', '"rate": 11.0'))
    with pytest.raises(PolicyError, match="changed by hand"):
        load_config(policy_dir)


@pytest.mark.parametrize("name", ["config.json", "policy.onnx"])
@pytest.mark.parametrize("kind", ["device", "FIFO", "folder", "huge"])
def test_what_is_no_regular_file_is_not_read(policy_dir, name, kind):
    path = policy_dir / name
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 2**40)
    with pytest.raises(PolicyError, match=rf"{name}: (is not a regular|cannot be read|has 10995)"):
        Policy.load(policy_dir)


def test_a_planted_link_is_not_written_through(make_parts, tmp_path):
    parts = make_parts()
    mine = tmp_path / "mine"
    mine.write_text("mine")
    out = tmp_path / "policy"
    out.mkdir()
    for name in [*FILES, *(f"{name}.new" for name in FILES)]:
        (out / name).symlink_to(mine)
    parts.export(out)
    assert mine.read_text() == "mine"
    load_config(out)


def test_a_policy_is_known_by_its_digest(make_parts, policy_dir, tmp_path):
    sha256 = digest(load_config(policy_dir))
    Policy.load(policy_dir, sha256=sha256.upper() + "\n")
    edit_config(policy_dir, put("envelope", "max_step", value=[2.0, 2.0, 0.02]))
    Policy.load(policy_dir)
    for expected in (sha256, "", "é"):
        with pytest.raises(PolicyError, match=f"not the expected {expected}"):
            Policy.load(policy_dir, sha256=expected)


def test_its_digest_is_the_one_in_its_file_also_of_a_version_with_fewer_fields(policy_dir):
    edit_config(policy_dir, lambda values: values["envelope"].pop("first_lead"))
    sha256 = json.loads((policy_dir / "config.json").read_text())["sha256"]
    load_config(policy_dir, sha256=sha256)


def test_layout_is_not_content(policy_dir):
    path = policy_dir / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    load_config(policy_dir)


def no_step_of(row: int) -> Callable[[dict[str, Any]], None]:
    """A joint that moved, and made no step."""

    def change(values: dict[str, Any]) -> None:
        for key in ("max_step", "max_change", "second_difference"):
            values["envelope"][key][row] = 0.0

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("format_version", value=5), "format version 5; this sarnn_ros reads 4"),
        (put("format_version", value="x"), "format version 'x'"),
        (put("surprise", value=1), "surprise"),
        (put("model", "surprise", value=1), "model.surprise"),
        (put("model", "kind", value="transformer"), "model.kind"),
        (put("model", "rec_dim", value=-1), "model.rec_dim"),
        (put("model", "temperature", value=0), "model.temperature"),
        (put("model", "joint_dim", value=4), "model.joint_dim is for 4 joints, the spec has 3"),
        (put("model", "im_size", value=[[32, 24]]), "model.im_size"),
        (put("normalisation", "minimum", value=[0.0]), "normalisation.minimum is for 1 joints"),
        (put("normalisation", "maximum", 0, value=float("nan")), "normalisation.maximum"),
        (put("envelope", "max_step", value=[]), "envelope.max_step"),
        (put("envelope", "cameras", value={}), "envelope.cameras"),
        (put("envelope", "max_step", 0, value=-0.1), "envelope.max_step.0"),
        (put("envelope", "max_step", 0, value=1e6), "shoulder: max_step is 1e+06, more than its"),
        (put("envelope", "max_step", 0, value=float("inf")), "envelope.max_step.0"),
        (put("envelope", "max_change", value=None), "envelope.max_change"),
        (
            put("envelope", "max_change", 1, value=0.2),
            "elbow: max_change is 0.2, more than max_st",
        ),
        (
            put("envelope", "second_difference", 1, value=0.21),
            "elbow: second_difference is 0.21, more than twice max_change, 0.2",
        ),
        (put("envelope", "lag", value=[0, 9, 0]), "elbow: lag is 9, more than 0.2 s are ticks, 2"),
        (put("envelope", "lag", value=[0]), "envelope.lag is for 1 joints"),
        (put("envelope", "lag", value=[0, -1, 0]), "envelope.lag.1"),
        (put("envelope", "min_dwell", 2, value=0.0), "envelope.min_dwell.2"),
        (put("envelope", "min_dwell", value=[None]), "envelope.min_dwell is for 1 joints"),
        (put("envelope", "position_max", 2, value=1e308), "gripper: 0 to 1e+308 are no positions"),
        (put("envelope", "position_min", 0, value=-2e4), "shoulder: -20000 to 1.5 are no positio"),
        (put("envelope", "position_min", 1, value=3.0), "elbow: position_min 3 is above position"),
        (put("envelope", "position_min", 1, value=float("nan")), "envelope.position_min.1"),
        (
            put("envelope", "start_pose", 1, value=-0.1),
            "elbow: start_pose -0.1 is not between 0 a",
        ),
        (
            put("envelope", "start_pose_spread", 1, value=9.0),
            "elbow: start_pose_spread is 9, more",
        ),
        (put("envelope", "start_pose_spread", 1, value=-1.0), "envelope.start_pose_spread.1"),
        (
            no_step_of(0),
            "shoulder: max_step is 0, but it moved from -1.5 to 1.5 within an episode",
        ),
        (put("spec", "rate", value=-10), "spec.rate"),
        (
            put(
                "health",
                value={"source": "validation", "episodes": 1, "ticks": 1, "errors": {}},
            ),
            "health.errors is for {}",
        ),
        (
            put(
                "places",
                value={
                    "mean": [[0.5], [0.5]],
                    "slope": [],
                    "depth": [],
                    "told": 0.9,
                    "usual_gain": [0.0],
                    "deviation": [[0.1], [0.1]],
                    "missed": [0.1],
                    "missed_at": [[]],
                    "cost": [0.0, 1.0],
                },
            ),
            "places is of 1 points, the model has 4",
        ),
        (put("model", "motion_dim", value=2), "model.motion_dim is 2, places tells 0"),
        (put("files", value={}), "has no 'policy_command.onnx'"),
        (put("files", "../../etc/passwd", value="0" * 64), "cannot be the name"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(policy_dir, change, problem):
    edit_config(policy_dir, change)
    with pytest.raises(PolicyError) as caught:
        Policy.load(policy_dir)
    assert problem in str(caught.value)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
@pytest.mark.parametrize(
    "change",
    [
        put("model", "rec_dim", value=21),
        put("model", "k_dim", value=5),
        put("spec", "cameras", 0, "name", value="other"),
    ],
)
def test_files_of_another_model_are_refused(policy_dir, backend, change):
    def both(values: dict[str, Any]) -> None:
        change(values)
        name = values["spec"]["cameras"][0]["name"]
        values["envelope"]["cameras"] = {name: values["envelope"]["cameras"]["camera0"]}

    edit_config(policy_dir, both)
    if backend == "torch" and "other" in (policy_dir / "config.json").read_text():
        return  # the weights do not know what the camera is called
    with pytest.raises(PolicyError, match="export the policy again"):
        Policy.load(policy_dir, backend)


def test_a_missing_directory_and_one_without_a_policy(tmp_path):
    with pytest.raises(PolicyError, match="does not exist"):
        load_config(tmp_path / "nowhere")
    with pytest.raises(PolicyError, match="holds no policy"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda parts: parts.model.rec.weight_hh.data.fill_(float("nan")),
        lambda parts: parts.model.pos_encoder[0].bias.data.fill_(float("inf")),
        lambda parts: setattr(
            parts, "normaliser", JointNormaliser([0.0, 0.0], [1.0, 1.0], (0.0, 1.0))
        ),
        lambda parts: setattr(
            parts, "envelope", parts.envelope.model_copy(update={"max_step": (1.0,)})
        ),
        lambda parts: setattr(
            parts, "spec", parts.spec.model_copy(update={"joints": parts.spec.joints * 2})
        ),
        # an activation that the config does not say
        lambda parts: setattr(parts.model.decoder_joint[1], "negative_slope", 0.9),
        lambda parts: setattr(parts.model.im_encoder[1], "negative_slope", 0.9),
        lambda parts: setattr(parts.model.pos_encoder[3], "negative_slope", 0.9),
    ],
)
def test_what_must_not_be_exported_is_not(make_parts, tmp_path, break_it):
    out = make_parts(seed=1).export(tmp_path / "policy")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    parts = make_parts()
    break_it(parts)
    with pytest.raises(PolicyError):
        parts.export(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_export_leaves_the_model_alone(make_parts, tmp_path):
    parts = make_parts()
    parts.model.train().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in parts.model.state_dict().items()}
    parts.export(tmp_path / "policy")
    assert parts.model.training
    assert parts.model.pos_encoder[2].weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in parts.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_new_policy_replaces_the_old_and_nothing_else(make_parts, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("old")
    out = make_parts(seed=1).export(tmp_path / "policy", extra_files={"old_curves.png": note})
    (out / "checkpoints").mkdir()
    (out / "my notes.md").write_text("mine")
    old = load_config(out)

    make_parts(seed=2).export(out)
    assert load_config(out).files["model.safetensors"] != old.files["model.safetensors"]
    assert not (out / "old_curves.png").exists()
    assert (out / "my notes.md").read_text() == "mine"
    assert (out / "checkpoints").is_dir()
    assert not list(out.glob("*.new"))


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_policy_can_be_replaced(parts, policy_dir, name):
    flip_a_bit(policy_dir / name)
    parts.export(policy_dir)
    load_config(policy_dir)


class Crash(BaseException):
    """As kill -9 would: nothing may catch it."""


def crashing(after: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Make the process 'die' before its `after`-th change to the file system in `commit`."""
    count = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > after:
                raise Crash
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(policy_directory, "write_bytes", counted(policy_directory.write_bytes))
    for method in ("replace", "unlink"):
        monkeypatch.setattr(Path, method, counted(getattr(Path, method)))
    return lambda: count


def test_a_crash_at_any_moment_leaves_the_old_policy_or_the_new(make_parts, tmp_path):
    staged = make_parts(seed=2).export(tmp_path / "staged")
    new = load_config(staged)
    files = {name: staged / name for name in new.files}
    original = make_parts(seed=1).export(tmp_path / "original")
    old = load_config(original)
    outcomes = []
    after = 0
    while True:
        out = shutil.copytree(original, tmp_path / f"policy{after}")
        with pytest.MonkeyPatch.context() as patch:
            count = crashing(after, patch)
            with contextlib.suppress(Crash):
                policy_directory.commit(out, new, files)
            finished = count() <= after
        found = load_config(out)
        assert found.files in (old.files, new.files)
        Policy.load(out)
        outcomes.append(found.files == new.files)
        # and whatever was left behind does not hinder the next export
        policy_directory.commit(out, new, files)
        assert load_config(out).files == new.files
        assert not list(out.glob("*.new"))
        if finished:
            break
        after += 1
    assert outcomes == sorted(outcomes), "once new, always new"
    assert not outcomes[0] and outcomes[-1]
    assert after >= 2 * len(files) + 1


def test_kill_9_while_exporting(make_parts, tmp_path):
    out = make_parts(seed=1).export(tmp_path / "policy")
    staged = make_parts(seed=2).export(tmp_path / "staged")
    code = f"""
from pathlib import Path
from sarnn_ros.policy.directory import commit, load_config
config = load_config({str(staged)!r})
other = load_config({str(out)!r})
print(flush=True)
while True:
    commit({str(out)!r}, config, {{name: Path({str(staged)!r}) / name for name in config.files}})
"""
    for delay in (0.0, 0.003, 0.01, 0.03):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=delay)
            child.send_signal(signal.SIGKILL)
        load_config(out)


def test_a_full_disk_leaves_the_old_policy(make_parts, tmp_path):
    """The limit on a file's size stands in for the full disk: the same error, mid-file."""
    out = make_parts(seed=1).export(tmp_path / "policy")
    staged = make_parts(seed=2).export(tmp_path / "staged")
    old, new = load_config(out), load_config(staged)
    files = {name: staged / name for name in new.files}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(PolicyError, match="cannot be written"):
            policy_directory.commit(out, new, files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_config(out) == old
    assert not list(out.glob("*.new"))


def test_a_file_in_the_way(parts, tmp_path):
    (tmp_path / "policy").write_text("a file")
    with pytest.raises(PolicyError, match="cannot be written"):
        parts.export(tmp_path / "policy")
