# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy at run time: both backends say the same, and the state is where it should be."""

import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from planted_graphs import endless, graph_of, plant

import sarnn_ros.policy
from sarnn_ros.errors import ConfigError, PolicyError
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy import backends, runtime
from sarnn_ros.policy.directory import Places
from sarnn_ros.policy.export import check_backend
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

#: Between ONNX Runtime and PyTorch, in the ranges of joints and points.
TOLERANCE = 1e-3
#: For points where two features tie: at a temperature of 1e-4 their rounding shows.
TIE_TOLERANCE = 2e-2


def same(a: Prediction, b: Prediction) -> bool:
    return (
        np.array_equal(a.action, b.action)
        and all(np.array_equal(a.encoder_points[n], b.encoder_points[n]) for n in a.encoder_points)
        and all(np.array_equal(a.decoder_points[n], b.decoder_points[n]) for n in a.decoder_points)
    )


def scene(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Three coloured blobs, placed by three values in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    image = np.full((height, width, 3), 90.0)
    places = [(values[0], values[1]), (values[1], values[2]), (0.5, values[0])]
    for place, color in zip(places, ([220, 30, 20], [20, 60, 220], [30, 200, 40])):
        blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 0.01)
        image += blob[..., None] * (np.array(color) - 90)
    return np.clip(image, 0, 255).astype(np.uint8)


def observe(parts, share: np.ndarray) -> Observation:
    low, high = parts.normaliser.minimum, parts.normaliser.maximum
    return Observation(
        tick_ns=1,
        images={c.name: scene(share, c.height, c.width) for c in parts.spec.cameras},
        state=low + share * (high - low),
        stamps={},
        sources={},
    )


def lively(parts) -> None:
    """Weights large enough that the network moves, as a trained one does."""
    with torch.no_grad():
        for name, weight in parts.model.named_parameters():
            if name.endswith("temperature"):
                weight.fill_(0.02)
            if name.endswith("weight") or "weight_" in name:
                weight *= 1.4 if name.startswith("rec.") else 2.0


def places_of(model: SARNN) -> Places:
    """All points follow two numbers, most of them roughly."""
    count = model.point_dim // 2
    slope = np.random.default_rng(0).normal(0, 0.1, (2, 2, count))
    return Places(
        mean=((0.5,) * count,) * 2,
        slope=tuple(tuple(map(tuple, one)) for one in slope.tolist()),
        depth=((0.0,) * count,) * 2,
        deviation=((0.1,) * count,) * 2,
        missed=(0.05,) * count,
        missed_at=((),) * count,
        cost=(0.0, 5.0),
        told=1.0,
        usual_gain=(0.0,),
    )


@pytest.mark.parametrize(
    ("sizes", "model"),
    [
        ([(64, 64)], {}),
        ([(25, 34)], {"stride": 2, "temperature": None}),
        ([(24, 32), (16, 40)], {"motion_dim": 2}),
    ],
    ids=["as usual", "stride 2, learnt temperature", "two cameras, motion"],
)
def test_backends_agree_over_1000_ticks_with_joints_fed_back(make_parts, tmp_path, sizes, model):
    parts = make_parts(*sizes, **model)
    lively(parts)
    directory = parts.export(tmp_path / "policy", places=places_of(parts.model))
    onnx, eager = Policy.load(directory), Policy.load(directory, "torch")
    assert onnx.config.model.motion_dim == model.get("motion_dim", 0)
    span = parts.normaliser.maximum - parts.normaliser.minimum
    joints, points, differences = [], [], []
    for tick in range(1000):
        observation = observe(parts, 0.5 + 0.45 * np.sin(tick * np.array([0.05, 0.07, 0.03])))
        want_image = tick % 100 == 99
        a, b = (
            policy.step(observation, want_image=want_image, input_param=0.0)
            for policy in (onnx, eager)
        )
        assert (np.abs(a.action - b.action) / span).max() < TOLERANCE, tick
        for name in a.encoder_points:
            differences.append(np.abs(a.encoder_points[name] - b.encoder_points[name]))
            assert np.abs(a.decoder_points[name] - b.decoder_points[name]).max() < TOLERANCE, tick
            if want_image:
                image, other = a.images[name].astype(int), b.images[name].astype(int)
                assert np.abs(image - other).max() <= 1
        joints.append(a.action / span)
        points.append(np.concatenate([*a.encoder_points.values()]))
    assert np.max(differences) < TIE_TOLERANCE
    assert np.quantile(differences, 0.99) < TOLERANCE / 10
    # A network that stands still would agree with anything.
    assert np.std(joints, axis=0).min() > 0.02
    assert np.std(points, axis=0).max() > 0.02


def twins(parts) -> Observation:
    """Two equal blobs: every feature has two equal maxima, far apart."""
    image = np.full((24, 32, 3), 60, np.uint8)
    for column in (6, 22):
        image[9:14, column : column + 5] = (230, 40, 30)
    return Observation(1, {"camera0": image}, np.array([0.0, 1.0, 0.02]), {}, {})


def test_a_tie_is_settled_alike_everywhere_and_every_time(parts, policy_dir):
    found = []
    for backend, threads in (("onnxruntime", 1), ("onnxruntime", 2), ("torch", 1)):
        runs = []
        for _ in range(3):
            policy = Policy.load(policy_dir, backend, threads=threads)
            runs += [policy.step(twins(parts)).encoder_points["camera0"] for _ in range(2)]
        for run in runs[1:]:
            np.testing.assert_array_equal(run, runs[0])
        found.append(runs[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)


def test_an_even_picture_is_looked_at_in_the_middle(parts, policy_dir):
    even = Observation(
        1, {"camera0": np.full((24, 32, 3), 77, np.uint8)}, np.array([0.0, 1.0, 0.02]), {}, {}
    )
    for backend in ("onnxruntime", "torch"):
        points = Policy.load(policy_dir, backend).step(even).encoder_points["camera0"]
        np.testing.assert_allclose(points, 0.5, atol=1e-3)


def test_logits_beyond_what_exp_can_hold(make_parts, tmp_path):
    parts = make_parts()
    with torch.no_grad():
        for layer in (0, 2, 4):
            parts.model.pos_encoder[layer].weight *= 50
    policy = Policy.load(parts.export(tmp_path / "policy"))
    prediction = policy.step(parts.observation())
    assert np.isfinite(prediction.action).all()
    points = prediction.encoder_points["camera0"]
    assert ((points >= 0) & (points <= 1)).all()


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_reset_forgets_everything(parts, policy_dir, backend):
    policy = Policy.load(policy_dir, backend)
    observations = [parts.observation(seed) for seed in range(4)]

    def run(policy: Policy) -> list[Prediction]:
        return [policy.step(o, input_param=0.5, input_param_image=0.5) for o in observations]

    first = run(policy)
    carried_on = run(policy)
    policy.reset()
    again = run(policy)
    fresh = run(Policy.load(policy_dir, backend))
    assert all(same(a, b) for a, b in zip(first, again))
    assert all(same(a, b) for a, b in zip(first, fresh))
    assert not same(first[0], carried_on[0])


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_step_that_is_undone_has_not_been(parts, policy_dir, before):
    def run(policy: Policy, seeds) -> list[Prediction]:
        parts_of = [parts.observation(seed) for seed in seeds]
        return [policy.step(o, input_param=0.5, input_param_image=0.5) for o in parts_of]

    policy, straight = Policy.load(policy_dir), Policy.load(policy_dir)
    policy.undo()  # there was none
    run(policy, range(before))
    run(straight, range(before))
    for seed in (50, 51):  # as at a robot that waits
        run(policy, [seed])
        policy.undo()
        policy.undo()
    after = range(before, before + 3)
    assert all(same(a, b) for a, b in zip(run(policy, after), run(straight, after)))


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_asking_for_the_image_changes_nothing_else(parts, policy_dir, backend):
    always, never, now_and_then = (Policy.load(policy_dir, backend) for _ in range(3))
    for tick in range(30):
        observation = parts.observation(tick)
        a = always.step(observation, want_image=True)
        b = never.step(observation)
        c = now_and_then.step(observation, want_image=tick % 3 == 1)
        assert same(a, b) and same(b, c)
        assert b.images is None
        assert (c.images is not None) == (tick % 3 == 1)
        assert a.images["camera0"].shape == (24, 32, 3)
        assert a.images["camera0"].dtype == np.uint8
    for x, y in zip(
        (*always.recurrent, *never.recurrent), (*never.recurrent, *now_and_then.recurrent)
    ):
        np.testing.assert_array_equal(x, y)


def test_the_state_belongs_to_one_policy_and_only_step_moves_it(parts, policy_dir):
    policy, other = Policy.load(policy_dir), Policy.load(policy_dir)
    assert not np.any(policy.recurrent)
    policy.step(parts.observation())
    assert np.any(policy.recurrent)
    assert not np.any(other.recurrent)
    policy.recurrent[0][:] = 99.0
    assert np.abs(policy.recurrent[0]).max() < 1.0


def test_a_prediction_is_in_si_units_and_named_by_camera(make_parts, tmp_path):
    parts = make_parts((24, 32), (16, 40))
    policy = Policy.load(parts.export(tmp_path / "policy"))
    prediction = policy.step(parts.observation())
    with torch.inference_mode():
        images = [
            torch.from_numpy(parts.observation().images[name] / np.float32(255)).permute(2, 0, 1)
            for name in ("camera0", "camera1")
        ]
        low, high = parts.normaliser.minimum, parts.normaliser.maximum
        share = (parts.observation().state - low) / (high - low)
        xv = torch.tensor(0.1 + 0.8 * share, dtype=torch.float32)[None]
        y_joint, enc, dec, _ = parts.model.eval().act([image[None] for image in images], xv)
    expected = low + (y_joint[0].numpy().astype(np.float64) - 0.1) / 0.8 * (high - low)
    np.testing.assert_allclose(prediction.action, expected, atol=1e-4)
    assert prediction.action.dtype == np.float64
    for index, name in enumerate(("camera0", "camera1")):
        for points, reference in (
            (prediction.encoder_points, enc),
            (prediction.decoder_points, dec),
        ):
            np.testing.assert_allclose(
                points[name], reference.reshape(2, 4, 2)[index].numpy(), atol=1e-3
            )


def test_input_param_mixes_measurement_and_prediction(parts, policy_dir):
    """EIPL's online loop, written out with the network itself."""
    policy = Policy.load(policy_dir, "torch")
    model = parts.model.eval()
    state, y_joint, y_image = None, None, None
    for tick in range(5):
        observation = parts.observation(tick)
        found = policy.step(observation, want_image=True, input_param=0.7, input_param_image=0.4)
        image = observation.images["camera0"].astype(np.float32) * np.float32(1 / 255)
        xi = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        xv = torch.from_numpy(parts.normaliser.normalise(observation.state))[None]
        if tick:
            xi = np.float32(0.4) * xi + np.float32(1 - 0.4) * y_image
            xv = np.float32(0.7) * xv + np.float32(1 - 0.7) * y_joint
        with torch.inference_mode():
            y_image, y_joint, *_, state = model(xi, xv, state)
        expected = parts.normaliser.denormalise(y_joint[0].numpy().astype(np.float64))
        np.testing.assert_allclose(found.action, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "joints", "problem"),
    [
        ({}, np.zeros(3), "no image from the camera 'camera0'"),
        ({"camera0": np.zeros((32, 24, 3), np.uint8)}, np.zeros(3), r"\(32, 24, 3\)"),
        ({"camera0": np.zeros((24, 32), np.uint8)}, np.zeros(3), r"\(24, 32\)"),
        ({"camera0": np.zeros((24, 32, 3), np.uint8)}, np.zeros(2), "a state of 2 joints"),
    ],
)
def test_an_observation_of_another_shape_does_not_touch_the_state(
    parts, policy_dir, images, joints, problem
):
    policy = Policy.load(policy_dir)
    policy.step(parts.observation())
    before = policy.recurrent
    with pytest.raises(PolicyError, match=problem):
        policy.step(Observation(2, images, joints, {}, {}))
    np.testing.assert_array_equal(before, policy.recurrent)


def test_an_unknown_backend_is_named(policy_dir):
    with pytest.raises(PolicyError, match="no backend 'tensorrt'"):
        Policy.load(policy_dir, "tensorrt")


def test_the_device_is_the_backends(policy_dir):
    gpu = "cuda" if torch.cuda.is_available() else "cpu"
    assert Policy.load(policy_dir, "torch", device="auto")._backend._device == torch.device(gpu)
    with pytest.raises(ConfigError, match="'cuda:99' cannot be used"):
        Policy.load(policy_dir, "torch", device="cuda:99")
    Policy.load(policy_dir, device="auto")
    with pytest.raises(ConfigError, match="'onnxruntime' runs on the CPU, not on 'cuda'"):
        Policy.load(policy_dir, device="cuda")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (graph_of(endless()), "the operator Loop, graphs within the graph"),
        (graph_of(helper.make_node("Cos", ["state"], ["action"])), "the operator Cos"),
        (graph_of(helper.make_node("Add", ["state", "state"], ["action"], domain="x.y")),
         "the operator x.y.Add"),
        (graph_of(*(helper.make_node("Tanh", ["state"], [f"t{i}"]) for i in range(200)),
                  helper.make_node("Tanh", ["state"], ["action"])), "205 nodes"),
        (b"nothing", "is no ONNX graph"),
    ],
    ids=["Loop", "operator", "domain", "nodes", "bytes"],
)  # fmt: skip
def test_a_graph_that_no_export_wrote_is_refused(policy_dir, content, problem):
    plant(policy_dir, content)
    with pytest.raises(PolicyError, match=problem):
        Policy.load(policy_dir)


def test_the_export_of_larger_images_passes_the_same_check(make_parts, tmp_path):
    """The exporter folds constants of up to 8192 values only; the grid here has 11880."""
    Policy.load(make_parts((72, 96)).export(tmp_path / "policy"))


def test_weights_in_another_file_are_refused(policy_dir):
    model = onnx.load(policy_dir / "policy_command.onnx")
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    plant(policy_dir, model.SerializeToString())
    with pytest.raises(PolicyError, match="weights in another file"):
        Policy.load(policy_dir)


def test_a_step_without_end_is_cancelled(policy_dir, parts, monkeypatch):
    plant(policy_dir, graph_of(endless()))
    monkeypatch.setattr(backends, "check_graph", lambda *_: None)
    monkeypatch.setattr(runtime, "FIRST_STEP_SECONDS", 0.5)
    with pytest.raises(PolicyError, match="took too long and was cancelled"):
        Policy.load(policy_dir)
    monkeypatch.setattr(Policy, "_warm_up", lambda self: None)
    policy = Policy.load(policy_dir)
    policy.cancel()  # between steps: without effect
    policy.step(parts.observation(), want_image=True)
    before = policy.recurrent
    for _ in range(2):
        threading.Timer(0.3, policy.cancel).start()
        with pytest.raises(PolicyError, match="took too long and was cancelled"):
            policy.step(parts.observation())
    np.testing.assert_array_equal(before, policy.recurrent)
    policy.step(parts.observation(), want_image=True)


def test_the_robot_does_not_need_torch(policy_dir):
    code = f"""
import sys
for name in ("torch", "onnxscript", "safetensors", "rclpy"):
    sys.modules[name] = None  # importing it now fails
from sarnn_ros.policy.runtime import Policy
policy = Policy.load({str(policy_dir)!r})
import numpy as np
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize
image = np.zeros((24, 32, 3), np.uint8)
policy.step(Observation(1, {{"camera0": image}}, np.zeros(3), {{}}, {{}}), want_image=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "name",
    ["pos_encoder.2.weight", "rec.weight_hh", "decoder_joint.0.bias", "decoder_image.2.weight"],
)
def test_the_check_at_export_sees_a_small_difference(make_parts, tmp_path, name):
    parts = make_parts()
    policy = Policy.load(parts.export(tmp_path / "policy"))
    check_backend(policy._backend, parts.model, policy.config)
    with torch.no_grad():
        parts.model.get_parameter(name).add_(1e-2)
    with pytest.raises(PolicyError, match="differ"):
        check_backend(policy._backend, parts.model, policy.config)


def test_the_check_at_export_allows_large_outputs_their_rounding(make_parts, tmp_path):
    """A share of them, no more."""
    parts = make_parts()
    with torch.no_grad():
        for part in (parts.model.decoder_joint[0], parts.model.decoder_image[4]):
            part.weight.mul_(1e6)
    policy = Policy.load(parts.export(tmp_path / "policy"))
    with torch.no_grad():
        parts.model.decoder_joint[0].weight.mul_(1.001)
    with pytest.raises(PolicyError, match="differ in action"):
        check_backend(policy._backend, parts.model, policy.config)


def test_loaded_from_a_script(parts, policy_dir):
    """Images as the camera gives them, state in SI units, and the same as the node computes."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    state = parts.normaliser.minimum * 0.5
    policy, node = sarnn_ros.policy.load(policy_dir), Policy.load(policy_dir)
    assert policy.rate == parts.spec.rate
    small = {"camera0": crop_resize(image, parts.spec.cameras[0])}
    expected = [node.step(Observation(tick, small, state, {}, {})) for tick in range(3)]
    for _ in range(2):
        policy.reset()
        for images, prediction in zip((image, {"camera0": image}, image), expected):
            action, points = policy.step(images, state.tolist())
            np.testing.assert_array_equal(action, prediction.action)
            np.testing.assert_array_equal(points["camera0"], prediction.encoder_points["camera0"])
    for images, problem in (
        (image.astype(float), "float64"),
        (image[..., 0], r"uint8 \(480, 640\)"),
        ({}, "none"),
        (image[::2], "640 x 240 pixels, in training it had 640 x 480"),
    ):
        with pytest.raises(PolicyError, match=rf"camera0: the image (is|has) {problem}"):
            policy.step(images, state)
