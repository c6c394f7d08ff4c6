# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a camera's place that is kept with a policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import bag_making as make
import numpy as np
import pytest
from moved_camera import HEIGHT, STILL, WIDTH, scene, shot, with_things

from sarnn_ros.data.dataset import Episode
from sarnn_ros.policy import reference
from sarnn_ros.streams.registration import Reference, make_reference, shrink


def test_of_many_episodes_a_hundred_are_read(monkeypatch: pytest.MonkeyPatch):
    """Memory must not grow with the episodes."""
    picture, rng = scene(), np.random.default_rng(1)
    (camera,) = make.spec().cameras
    read: list[int] = []

    class Previews(Mapping[str, Sequence[np.ndarray]]):
        """As the cache has them: the three are one array."""

        def __init__(self, number: int) -> None:
            self._number = number

        def __getitem__(self, name: str) -> Sequence[np.ndarray]:
            read.append(self._number)
            return list(np.stack([shot(with_things(picture, rng, 1))] * 3))

        def __iter__(self) -> Iterator[str]:
            return iter([camera.name])

        def __len__(self) -> int:
            return 1

        def __contains__(self, name: object) -> bool:
            return name == camera.name

    def noted(first: Sequence[np.ndarray], size: tuple[int, int]) -> Reference:
        assert all(image.base is None for image in first), "it keeps the other previews"
        return make_reference(first, size)

    monkeypatch.setattr(reference, "make_reference", noted)
    nothing, numbers = np.zeros(0), np.zeros((0, 2))
    episodes = tuple(
        Episode(
            str(number), nothing.astype(np.int64), {}, numbers, numbers,
            {camera.name: (WIDTH, HEIGHT)}, previews=Previews(number),
        )
        for number in range(250)
    )  # fmt: skip
    made = reference._reference(camera, episodes)
    assert not isinstance(made, str), made
    assert len(read) == 100 and (read[0], read[-1]) == (0, 249)
    assert np.diff(read).max() == 3, "evenly"


@pytest.mark.parametrize(
    ("displaced", "undone", "left_out"), [(4, True, True), (4, False, False), (3, False, True)]
)
def test_a_camera_that_was_moved_and_undone_is_not_in_it(
    displaced: int, undone: bool, left_out: bool
):
    """What is not undone the policy knows as it is, and the reference shows it; but a few do not
    cost the reference."""
    picture, rng = scene(), np.random.default_rng(1)
    camera: Any
    (camera,) = make.spec().cameras
    nothing, numbers = np.zeros(0), np.zeros((0, 2))
    episodes = []
    for number in range(12):
        first = shot(with_things(picture, rng, 1))
        if number >= 12 - displaced:
            first = np.roll(first, 9, axis=1)
        episodes.append(
            Episode(
                str(number), nothing.astype(np.int64), {}, numbers, numbers,
                {camera.name: (WIDTH, HEIGHT)}, previews={camera.name: [first] * 3},
            )
        )  # fmt: skip
    names = tuple(one.name for one in episodes[12 - displaced :])
    moved = SimpleNamespace(camera=camera.name, episodes=names, undone=undone)
    dataset: Any = SimpleNamespace(
        spec=make.spec(),
        episodes=tuple(episodes),
        displacements=(moved,),
        moves=lambda camera: False,
    )
    usual = reference._reference(camera, episodes[: 12 - displaced])
    assert not isinstance(usual, str)
    told: list[str] = []
    found = reference.references_from_dataset(dataset, told.append)
    alike = bool(found) and np.array_equal(found[camera.name][0].mask, usual[0].mask)
    assert alike is left_out, told


def test_one_that_moves_with_the_robot_has_none():
    """The report says so, training need not."""
    told: list[str] = []
    dataset: Any = SimpleNamespace(spec=make.spec(), moves=lambda camera: True)
    assert reference.references_from_dataset(dataset, told.append) == {} and not told


def test_a_scene_that_repeats_tells_no_place() -> None:
    (camera,) = make.spec().cameras
    nothing, numbers = np.zeros(0), np.zeros((0, 2))
    tiles = np.kron(np.indices((24, 32)).sum(0) % 2, np.ones((5, 5)))[..., None]
    image = np.repeat(60 + 120 * tiles, 3, axis=2).astype(np.uint8)
    episode = Episode(
        "0", nothing.astype(np.int64), {}, numbers, numbers,
        {camera.name: (WIDTH, HEIGHT)}, previews={camera.name: [image]},
    )  # fmt: skip
    made = reference._reference(camera, [episode] * 5)
    assert isinstance(made, str) and "repeats itself" in made


def test_a_camera_that_sets_its_exposure_by_itself_has_a_reference() -> None:
    picture, random = scene(), np.random.default_rng(1)
    (camera,) = make.spec().cameras
    nothing, numbers = np.zeros(0), np.zeros((0, 2))
    gains = [random.uniform(0.8, 1.2) * random.uniform(0.95, 1.05, 3) for _ in range(20)]
    episodes = [
        Episode(
            str(number), nothing.astype(np.int64), {}, numbers, numbers,
            {camera.name: (WIDTH, HEIGHT)},
            previews={camera.name: [
                (shot(with_things(picture, random, 1)) * gain).clip(0, 255).astype(np.uint8)]},
        )
        for number, gain in enumerate(gains)
    ]  # fmt: skip
    made = reference._reference(camera, episodes)
    assert not isinstance(made, str), made
    assert made[0].mask.mean() > 0.6
    assert made[1].displacement < 0.005


def lit(image: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    return (image * np.array(factors)).clip(0, 255).astype(np.uint8)


def shown_in(lights: Sequence[Sequence[float]], camera: Any) -> list[Episode]:
    picture, random = scene(), np.random.default_rng(3)
    nothing, numbers = np.zeros(0), np.zeros((0, 2))
    return [
        Episode(
            str(number), nothing.astype(np.int64), {}, numbers, numbers,
            {camera.name: (WIDTH, HEIGHT)},
            previews={camera.name: [lit(shot(with_things(picture, random, 1)), light)]},
        )
        for number, light in enumerate(lights)
    ]  # fmt: skip


@pytest.mark.parametrize("second", [(0.5,) * 3, (0.15,) * 3, (1.0, 0.8, 0.55)])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_each_light_that_was_demonstrated_reaches_the_policy_as_it_is(
    second: tuple[float, ...], share: float
) -> None:
    camera: Any
    (camera,) = make.spec().cameras
    lights = [second if number < 20 * share else (1.0,) * 3 for number in range(20)]
    episodes = shown_in(lights, camera)
    made = reference._reference(camera, episodes)
    assert not isinstance(made, str), made
    assert 2 <= len(made[1].lights) <= 4
    for episode in episodes:
        image = shrink(episode.previews[camera.name][0])
        assert reference.judge_light(image, *made, STILL, camera) == reference.Lighting()
    # Any other light becomes the one that is nearest.
    first = episodes[0].previews[camera.name][0]
    found = reference.judge_light(shrink(lit(first, (0.5,) * 3)), *made, STILL, camera)
    assert found.undo is not None and "which is undone" in found.text
    assert found.undo == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("off", [-30, -4, 0, 4, 30])
def test_distances_are_not_taken_for_light(off: int) -> None:
    camera: Any
    (camera,) = make.spec().cameras
    camera = camera.model_copy(update={"value_range": (400.0, 650.0)})
    episodes = shown_in([(0.6,) * 3] * 12, camera)
    made = reference._reference(camera, episodes)
    assert not isinstance(made, str), made
    image = episodes[0].previews[camera.name][0].astype(int) + off
    found = reference.judge_light(
        shrink(image.clip(0, 255).astype(np.uint8)), *made, STILL, camera
    )
    assert found.undo is None and found.refused == (abs(off) > 8)
    assert ("values are off by" in found.text) == found.refused, found.text
    assert not found.refused or f"{off * 250 / 255:.3g} (of 400 to 650)" in found.text
