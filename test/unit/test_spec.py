# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The spec accepts what labs have and names what is wrong with the rest."""

import pytest
import yaml

from sarnn_ros.errors import SpecError
from sarnn_ros.spec import Spec, load_spec, parse_spec

GOOD = {
    "rate": 10,
    "cameras": [{"name": "front", "topic": "/camera/image_raw", "width": 64, "height": 48}],
    "joints": [
        {"topic": "joint_states", "names": ["shoulder", "elbow"]},
        {"topic": "gripper/state", "names": ["gripper"]},
        {"topic": "joint_states", "names": ["elbow"], "field": "effort", "command": False},
    ],
}


def changed(path, value):
    """GOOD with one value replaced (or added) at a path of keys and indices."""
    values = yaml.safe_load(yaml.safe_dump(GOOD))
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return values


def test_the_vector_is_the_sources_in_order():
    spec = parse_spec(GOOD)
    assert spec.joint_labels == ("shoulder", "elbow", "gripper", "elbow/effort")
    assert spec.joint_dim == 4
    assert spec.command_names == ("shoulder", "elbow", "gripper")
    assert spec.period_ns == 100_000_000


def test_one_source_may_stand_without_a_list():
    assert parse_spec(changed(["joints"], {"names": ["a"]})).joint_labels == ("a",)


WRENCH = {
    "topic": "/wrist/wrench",
    "type": "geometry_msgs/msg/WrenchStamped",
    "names": ["force.z", "torque.x"],
    "command": False,
}


def test_forces_are_observed_and_never_commanded():
    spec = parse_spec(changed(["joints"], [*GOOD["joints"], WRENCH]))
    assert spec.joint_labels[3:] == (
        "elbow/effort", "/wrist/wrench/force.z", "/wrist/wrench/torque.x",
    )  # fmt: skip
    assert spec.command_names == ("shoulder", "elbow", "gripper")
    assert [source.is_position for source in spec.joints] == [True, True, False, False]
    assert spec.place_indices == (0, 1, 2), "nor do they say where the robot is"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"command": True},
            r"a geometry_msgs/msg/WrenchStamped of '/wrist/wrench' cannot be commanded",
        ),
        ({"names": ["force.w"]}, r"force\.x, force\.y, .*torque\.z"),
        ({"field": "effort"}, "has no field 'effort'"),
        ({"indices": [0, 1]}, "'indices' are for arrays"),
    ],
)
def test_wrenches_that_cannot_be(change, says):
    with pytest.raises(SpecError, match=says):
        parse_spec(changed(["joints"], [*GOOD["joints"], WRENCH | change]))
    with pytest.raises(SpecError, match=r"command\.type"):
        parse_spec(changed(["command"], {"type": WRENCH["type"]}))


def test_json_round_trip_is_exact():
    spec = parse_spec(GOOD)
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse_spec(GOOD).rate = 20


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["rate"], 0, "rate"),
        (["rate"], float("nan"), "rate"),
        (["rate"], "fast", "rate"),
        (["clock"], "wall", "clock"),
        (["cameras"], [], "cameras"),
        (["cameras", 0, "width"], 7, "width"),
        *(
            (["cameras", 0, "topic"], name, "not a topic's name")
            for name in ("no spaces", "a//b", "a/", "/", "~", "/0/image", "//a", "é")
        ),
        (["cameras", 0, "crop"], {"x": -1, "y": 0, "width": 5, "height": 5}, "crop.x"),
        (["cameras", 0, "value_range"], [5, 1], "value_range [5.0, 1.0] must rise"),
        (["cameras", 0, "colour"], "red", "colour"),
        (["cameras"], GOOD["cameras"] * 2, "camera 'front' is named more than once"),
        (["joints", 0, "names"], [], "names"),
        (["joints", 0, "names"], ["a", ""], "empty joint name"),
        (["joints", 1, "names"], ["elbow"], "joint 'elbow' is named more than once"),
        (["joints", 2, "command"], True, "cannot be commanded"),
        (["joints", 0, "max_age"], -1, "max_age"),
        (["target"], "next", "target"),
        (["joint_range"], [0.9, 0.1], "joint_range [0.9, 0.1] must rise"),
        (["typo"], 1, "typo"),
    ],
)
def test_a_wrong_value_is_named(path, value, says):
    with pytest.raises(SpecError) as caught:
        parse_spec(changed(path, value), where="lab.yaml")
    assert says in str(caught.value)
    assert caught.value.where.startswith("lab.yaml")
    assert caught.value.remedy


TF = {"topic": "/tf", "type": "tf2_msgs/msg/TFMessage", "names": ["position.x"], "command": False}
FRAMES = {"frame_id": "base_link", "child_frame_id": "tool0"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "needs two frames"),
        ({"frame_id": "base_link"}, "needs two frames"),
        (FRAMES | {"child_frame_id": "base_link"}, "needs two frames"),
        (FRAMES | {"type": "geometry_msgs/msg/PoseStamped"}, "needs two frames"),
        (FRAMES | {"names": ["force.x"]}, "names of a tf2_msgs/msg/TFMessage are position.x"),
        (FRAMES | {"command": True}, "cannot be commanded (only joints are: the limits"),
    ],
)
def test_frames_that_cannot_be(change, says):
    with pytest.raises(SpecError) as caught:
        parse_spec(changed(["joints"], [{"names": ["a"]}, TF | change]))
    assert says in str(caught.value)


def test_two_frames_of_one_topic():
    tools = [TF | FRAMES, TF | FRAMES | {"child_frame_id": "elbow"}]
    spec = parse_spec(changed(["joints"], [{"names": ["a"]}, *tools]))
    assert spec.joint_labels == ("a", "/tf/tool0/position.x", "/tf/elbow/position.x")
    assert spec.shared_topics == {"/tf"}


def test_a_pose_is_no_command():
    pose = {"topic": "target", "type": "geometry_msgs/msg/PoseStamped"}
    with pytest.raises(SpecError, match=r"only joints are: .*target: next_state"):
        parse_spec(changed(["command"], pose))


def test_all_problems_at_once():
    values = changed(["rate"], -1) | {"target": "x", "clock": "y"}
    with pytest.raises(SpecError) as caught:
        parse_spec(values)
    assert all(key in str(caught.value) for key in ("rate", "target", "clock"))


def test_nothing_commanded_is_an_error():
    with pytest.raises(SpecError, match="no joint is commanded"):
        parse_spec(changed(["joints"], [{"names": ["a"], "command": False}]))


@pytest.mark.parametrize("text", ["[1, 2]", "rate: [", "\t- x", ""])
def test_a_file_that_is_no_spec(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "rate: 10\njoints: {names: [a]}\nrate: 20\n",
            "line 3: 'rate' is given in line 1 already",
        ),
        ("joints:\n- {names: [a], names: [b]}\n", "line 2: 'names' is given in line 2 already"),
        ("cameras: []\njoints: []\n'cameras': []\n", "line 3: 'cameras'"),
    ],
)
def test_what_is_given_twice_is_not_dropped(tmp_path, text, said):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=said):
        load_spec(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["episodes"], {"times": [[0.5, float("inf")]]}),
        (["joint_range"], [0.0, float("inf")]),
        (["image_range"], [float("-inf"), 1.0]),
        (["cameras"], [{"name": "depth", "value_range": [0.0, float("inf")]}]),
        (["cameras"], [{"name": "depth", "value_range": [0.0, float("nan")]}]),
    ],
)
def test_only_finite_numbers_bound(place, value):
    with pytest.raises(SpecError, match="finite"):
        parse_spec(changed(place, value))


def test_a_missing_or_binary_file(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "nowhere.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "binary")


def test_units_are_known_where_the_spec_says_which_joints_slide() -> None:
    def joints(**more: object) -> Spec:
        return parse_spec({"cameras": [{}], "joints": [{"names": ["a", "hand"], **more}]})

    assert joints().common_unit == "rad or m"
    assert joints(prismatic=[]).common_unit == "rad"
    mixed = joints(prismatic=["hand"])
    assert (mixed.joint_units, mixed.common_unit) == (("rad", "m"), None)
    with pytest.raises(SpecError, match=r"prismatic: 'hnd' is no joint of .*did you mean 'hand'"):
        joints(prismatic=["hnd"])
    with pytest.raises(SpecError, match="'prismatic' is for joints"):
        joints(
            type="geometry_msgs/msg/WrenchStamped",
            names=["force.x"],
            command=False,
            prismatic=["force.x"],
        )
