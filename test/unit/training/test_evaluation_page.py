# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `sarnn evaluate --html`: what it shows is what the policy did."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from policies import write_policy

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.policy.health import replay
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training import evaluation_page
from sarnn_ros.training.evaluate import free_running, open_loop
from sarnn_ros.training.evaluation_page import Trace, _by_error, write_page
from sarnn_ros.viz.curves import principal_components

pytestmark = pytest.mark.usefixtures("quick_search")


def test_the_page_shows_what_the_policy_did(
    make_task: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_task([9, 6, 7, 12], sizes=((16, 14), (12, 18)), validation=0)
    policy = Policy.load(write_policy(tmp_path / "policy", dataset.spec))
    indices = range(4)
    result = {
        "open_loop": open_loop(policy, dataset, indices),
        "free_running": free_running(policy, dataset, indices, indices),
    }
    monkeypatch.setattr(evaluation_page, "MAX_FRAMES", 5)
    write_page(policy, dataset, result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "http" not in text, "it needs no other file"
    for name, error in result["open_loop"]["rmse"].items():
        assert f"<td>{name}</td><td>{error:.4g}</td>" in text
    assert text.count("rad or m") == 1
    for title in ("Where it looks", "Recurrent state", "Loss per tick", "largest joint error"):
        assert title in text

    films = [json.loads(found) for found in re.findall(r"application/json'>(.*?)</script>", text)]
    assert len(films) == 3
    for film in films:
        assert len(film["frames"]) == 2 and film["seconds"][0] == 0
        assert {len(frames) for frames in film["frames"]} == {len(film["seconds"])} <= {3, 4, 5}
        assert (
            film["left"] == sorted(film["left"]) and 0 < film["left"][0] < film["left"][-1] <= 100
        )
        for url in film["frames"][0]:
            content = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
            assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape[1] > 2 * 256


def test_episodes_are_ranked_by_what_a_person_did(make_task: Callable[..., Dataset]) -> None:
    """As their errors are: a policy that was far off before somebody took over does not count."""
    small, large = make_task([9, 9], validation=0).episodes
    led = np.arange(9) >= 5
    normaliser = JointNormaliser([0.0] * 3, [1.0, 2.0, 1.0], (0.0, 1.0))

    def trace(episode: Episode, off: float, before: float) -> Trace:
        error = np.where(led[:, None], off, before)
        return Trace(replace(episode, led=led), episode.targets + error, np.zeros((9, 2)), {})

    one, other = trace(small, 0.1, 5.0), trace(large, 0.2, 0.0)
    assert _by_error([other, one], normaliser) == [one, other]


def test_losses_are_of_what_was_expected_against_what_came(
    make_task: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = make_task([9, 6])
    policy = Policy.load(write_policy(tmp_path / "policy", dataset.spec))
    episode = dataset.episodes[0]
    trace = evaluation_page._trace(policy, episode)
    steps = list(replay(policy, episode, want_image=True))
    assert {len(values) for values in trace.losses.values()} == {8}
    now, (seen, following) = steps[3][1], steps[4]
    normalisation = policy.config.normalisation
    span = np.array(normalisation.maximum) - np.array(normalisation.minimum)
    low, high = dataset.spec.joint_range
    off = (now.action - episode.targets[3]) / span * (high - low)
    assert trace.losses["joint"][3] == pytest.approx((off**2).mean(), rel=1e-4)
    points = now.decoder_points["camera0"] - following.encoder_points["camera0"]
    assert trace.losses["point"][3] == pytest.approx((points**2).mean())
    assert now.images is not None
    pixels = now.images["camera0"] / 255 - seen.images["camera0"] / 255
    assert trace.losses["image"][3] == pytest.approx((pixels**2).mean())
    assert trace.error.shape == (8, 3) and trace.hidden.shape == (9, 16)


def test_principal_components_are_where_states_vary() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    spread = np.array([5.0, 2.0, 1.0, 0, 0, 0])
    states = [rng.normal(size=(40, 6)) * spread @ directions.T + 3 for _ in range(4)]
    projected, shares = principal_components(states)
    assert shares == pytest.approx(spread[:3] ** 2 / 30, abs=0.03) and sum(shares) > 0.999
    # Distances are kept, as nothing varies elsewhere.
    assert np.linalg.norm(projected[1][0] - projected[2][5]) == pytest.approx(
        np.linalg.norm(states[1][0] - states[2][5])
    )
    flat, none = principal_components([np.ones((3, 2))])
    assert flat[0].shape == (3, 3) and not none.any()
