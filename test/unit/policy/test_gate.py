# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the network is told of where points are to be expected, tick by tick."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sarnn_ros.model import ANYWHERE
from sarnn_ros.policy.backends import Outputs
from sarnn_ros.policy.directory import ANYWHERE_DEVIATION, ModelConfig, Places
from sarnn_ros.policy.runtime import MIN_REACH, REACH_FACTOR, Policy, _reach
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.observe import Observation

COUNT = 4  # two points of each of two cameras
USUAL = np.full((COUNT, 2), 0.5)
P99 = np.array([0.04, 0.001, 0.04, 0.04])


class Told:
    """Stands where a backend stands: sees the points of a script, and keeps what it is told."""

    def __init__(self) -> None:
        self.points = USUAL.copy()
        self.runs: list[SimpleNamespace] = []

    def run(self, images: Any, state: Any, recurrent: Any, gate: Any, *, want_image: bool) -> Any:
        self.runs.append(SimpleNamespace(recurrent=recurrent, gate=gate))
        seen, coming = (
            one.reshape(1, -1).astype(np.float32) for one in (self.points, 0.9 * USUAL)
        )
        return Outputs(np.zeros_like(state), seen, coming, recurrent, None)

    def cancel(self) -> None:
        pass


def make_policy(
    places: bool = True,
    source: str | None = "validation",
    missed: float = 0.05,
    motion_dim: int = 0,
    usual_gain: tuple[float, ...] = (0.0,),
) -> tuple[Policy, Told]:
    """All points follow one number, from left to right."""
    cameras = [{"name": name, "height": 24, "width": 32} for name in ("left", "right")]
    spec = parse_spec({"cameras": cameras, "joints": {"names": ["lift", "turn"]}})
    terms = {
        f"points:{camera.name}": SimpleNamespace(p99=tuple(P99[2 * row : 2 * row + 2]))
        for row, camera in enumerate(spec.cameras)
    }
    config: Any = SimpleNamespace(
        spec=spec,
        normalisation=SimpleNamespace(minimum=[-1.0] * 2, maximum=[1.0] * 2),
        model=ModelConfig(
            rec_dim=3, k_dim=2, joint_dim=2, temperature=0.1, heatmap_size=0.1,
            im_size=((24, 32), (24, 32)), motion_dim=motion_dim,
        ),
        places=Places(
            mean=((0.5,) * COUNT, (0.5,) * COUNT),
            slope=(((0.1,) * COUNT, (0.0,) * COUNT),),
            depth=((0.0,) * COUNT,),
            deviation=((0.01,) * COUNT,) * 2,
            missed=(0.05, missed, 0.05, 0.05),
            missed_at=((),) * COUNT,
            cost=(0.0, 5.0),
            told=1.0,
            usual_gain=usual_gain,
        ) if places else None,
        health=None if source is None else SimpleNamespace(source=source, errors=terms),
    )  # fmt: skip
    backend = Told()
    policy = Policy(config, backend)
    backend.runs.clear()  # those of the warm-up
    return policy, backend


def step(policy: Policy) -> np.ndarray:
    """Which points are replaced."""
    images = {camera.name: np.zeros((24, 32, 3), np.uint8) for camera in policy.spec.cameras}
    told = policy.step(Observation(1, images, np.zeros(2), {}, {}))
    names = [camera.name for camera in policy.spec.cameras]
    pairs = [(told.used_points[name], told.encoder_points[name]) for name in names]
    return np.concatenate([(used != seen).any(1) for used, seen in pairs])


def test_the_first_images_tell_where_points_are_expected() -> None:
    policy, backend = make_policy()
    backend.points[1] = (0.9, 0.1)
    for _ in range(2):
        assert step(policy).tolist() == [False, True, False, False]
        look, real = backend.runs
        assert (look.gate[1] == ANYWHERE).all()
        where, reach = real.gate
        np.testing.assert_allclose(where.reshape(-1, 2), USUAL, atol=0.01)
        assert ((reach > 0.01) & (reach < 0.1)).all()
        assert all(part.dtype == np.float32 for part in real.gate)
        policy.reset()
        backend.runs.clear()


def test_what_demonstrations_often_missed_too_is_let_through() -> None:
    policy, backend = make_policy(missed=0.2)
    backend.points[1] = (0.9, 0.1)
    assert not step(policy).any()
    assert backend.runs[-1].gate[1][0, 1] == ANYWHERE


def test_later_each_point_is_expected_where_it_was_predicted() -> None:
    policy, backend = make_policy()
    step(policy)
    backend.points = 0.9 * USUAL
    backend.points[3] += 0.2
    assert step(policy).tolist() == [False, False, False, True]
    assert len(backend.runs) == 3, "one run for a tick"
    expected, reach = backend.runs[-1].gate
    np.testing.assert_allclose(expected.reshape(-1, 2), 0.9 * USUAL)
    np.testing.assert_allclose(reach[0], np.maximum(REACH_FACTOR * P99, MIN_REACH), rtol=1e-6)


@pytest.mark.parametrize(
    ("usual_gain", "follows"), [((0.0,), True), ((0.0, 1e6, 0.0), False), ((1e6, 0.0, 1e6), True)]
)
def test_the_motion_changes_with_a_thing_that_is_moved(
    usual_gain: tuple[float, ...], follows: bool
) -> None:
    """At the second tick, unless the robot itself does as much then; and with a new episode."""
    policy, backend = make_policy(motion_dim=1, usual_gain=usual_gain)
    step(policy)
    assert backend.runs[-2].gate[2] == 0
    np.testing.assert_allclose(backend.runs[-1].gate[2], [[0.0]], atol=0.05)
    backend.points = USUAL + (0.1, 0.0)
    step(policy)
    step(policy)
    np.testing.assert_allclose(backend.runs[-1].gate[2], [[float(follows)]], atol=0.05)
    assert backend.runs[-1].gate[2].dtype == np.float32
    policy.reset()
    backend.points = USUAL
    step(policy)
    np.testing.assert_allclose(backend.runs[-1].gate[2], [[0.0]], atol=0.05)


def test_a_step_that_is_undone_has_moved_nothing() -> None:
    policy, backend = make_policy(motion_dim=1)
    step(policy)
    policy.undo()  # the first images are those that come then
    backend.points = USUAL + (0.1, 0.0)
    step(policy)
    np.testing.assert_allclose(backend.runs[-1].gate[2], [[1.0]], atol=0.05)
    backend.points = USUAL
    step(policy)
    step(policy)
    np.testing.assert_allclose(backend.runs[-1].gate[2], [[0.0]], atol=0.05)
    policy.undo()
    step(policy)
    np.testing.assert_allclose(backend.runs[-1].gate[2], [[0.0]], atol=0.05)


def test_most_points_elsewhere_are_told_as_seen() -> None:
    policy, backend = make_policy()
    step(policy)
    backend.points = USUAL + 0.3
    assert not step(policy).any()


@pytest.mark.parametrize(
    ("places", "source"), [(True, "training"), (True, None), (False, "validation")]
)
def test_what_is_not_known_limits_nothing(places: bool, source: str | None) -> None:
    policy, backend = make_policy(places, source)
    step(policy)
    backend.points[0] += 0.3
    assert not step(policy).any()
    assert (backend.runs[-1].gate[1] == ANYWHERE).all()


def test_a_point_of_what_comes_late_may_be_anywhere_later() -> None:
    policy, _ = make_policy()
    places = policy.config.places
    assert places is not None
    deviation = ((ANYWHERE_DEVIATION, *places.deviation[0][1:]),) * 2
    policy.config.places = places.model_copy(update={"deviation": deviation})
    reach = _reach(policy.config)[0]
    assert reach[0] == np.float32(ANYWHERE) and (reach[1:] < 1).all()
