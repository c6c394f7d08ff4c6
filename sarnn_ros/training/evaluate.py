# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well a policy predicts recorded episodes, on recorded states and on its own.

A low error on recorded states does not mean that the policy succeeds: it may extrapolate the
state and never look at the object. Running free shows it.

Joints are weighed by the ranges of the policy's demonstrations: in a few recordings one that
hardly moved would count as much as the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, product
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.data.displacements import MAX_DISPLACEMENT, Displacement
from sarnn_ros.data.problems import listed
from sarnn_ros.policy.health import replay
from sarnn_ros.policy.reference import judge_light, judge_place
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.streams.registration import register, shrink
from sarnn_ros.training.explained import (
    MIN_SQUARED_DIFFERENCE,
    Starts,
    explained_variance,
    first_shares,
    left_out_explained,
    motion_weights,
    stretched,
    trajectories,
    unseen_demonstrations,
)
from sarnn_ros.training.recipe import RECIPE
from sarnn_ros.training.warping import at_best_pace


def judge_cameras(
    policy: Policy, episodes: Sequence[Episode]
) -> tuple[tuple[Displacement, ...], tuple[str, ...]]:
    """Where a camera stood elsewhere than while the policy was demonstrated, an entry for each
    episode, `undone` as the node does it by default before a run; and what there is to say of
    these and of the light, a sentence for each camera.
    """
    found, said = [], []
    for episode, (name, reference) in product(episodes, policy.references.items()):
        about, previews = policy.config.references[name], episode.previews.get(name, ())
        if not len(previews):
            continue
        say = partial(_Said, name, episode.name)
        image = np.asarray(previews[0])
        if episode.source_sizes[name] != reference.source:
            said.append(say("had images of another size", "the node begins no run"))
            continue
        place = register(image, reference, None, reference.sure(about.correlation))
        where = judge_place(place, reference, about, MAX_DISPLACEMENT)
        if place is None or where in ("not recognised", "not told exactly"):
            said.append(
                say("did not show the scene that the policy knows", "the node begins no run")
            )
            continue
        (camera,) = (one for one in policy.spec.cameras if one.name == name)
        light = judge_light(shrink(image), reference, about, place.matrix, camera)
        lit = "was in another light"
        if light.refused:
            said.append(say(lit, f"the node begins no run, {light.text}"))
        elif light.undo is not None:
            said.append(say(lit, "the node undoes the light, and this does not"))
        if where == "in place":
            continue
        one = Displacement(name, (episode.name,), 0, episode.name, place, (reference.image, image))
        undone = where == "elsewhere" and not light.refused
        found.append(dataclasses.replace(one, undone=undone))
        end = "undone, as the node does it" if undone else "the node begins no run there"
        stood = "stood elsewhere than in the policy's demonstrations"
        said.append(say(stood, end, place.displacement))
    return tuple(found), tuple(_listed(said))


class _Said(NamedTuple):
    """Of one camera and episode."""

    camera: str
    episode: str
    what: str
    end: str
    displacement: float = 0.0


def _listed(said: Sequence[_Said]) -> Iterator[str]:
    kind = attrgetter("camera", "what", "end")
    for (camera, what, end), same in groupby(sorted(said, key=kind), kind):
        alike = list(same)
        most = max(one.displacement for one in alike)
        far = f", by up to {most:.1%} of the width" if most > 0.0 else ""
        where = f"{len(alike)} episodes ({listed([one.episode for one in alike])})"
        yield f"camera '{camera}' {what} in {where}{far}: {end}"


def open_loop(policy: Policy, dataset: Dataset, indices: Sequence[int]) -> dict[str, Any]:
    """Predict each tick of recorded episodes from the recorded inputs; of those with takeovers,
    what a person did counts.

    :returns: per joint `rmse` in SI units, and of predicting that nothing changes (`still`); per
        camera and point `motion`, how far (in [0, 1] of the image) it deviates within an episode;
        `points_explain`: of how these episodes differ, what the points of the first images explain
        of an episode left out, and likewise `with_episodes_exchanged` (`explained.py`); None for
        fewer than six episodes, and where they do not differ.
    """
    episodes = [dataset.episodes[index] for index in indices]
    runs = [[prediction for _, prediction in replay(policy, episode)] for episode in episodes]
    errors, still, motion = [], [], {}
    for episode, predictions in zip(episodes, runs, strict=True):
        actions = np.array([prediction.action for prediction in predictions])
        counts = slice(None) if episode.led is None else episode.led[:-1]
        errors.append((actions[:-1] - episode.targets[:-1])[counts])
        still.append((episode.joints[:-1] - episode.targets[:-1])[counts])
    for camera in dataset.spec.cameras:
        points = [np.array([p.encoder_points[camera.name] for p in run]) for run in runs]
        deviations = np.mean([run.std(axis=0) for run in points], axis=0)
        motion[camera.name] = np.hypot(*deviations.T).round(4).tolist()
    shown = [episode for episode in episodes if episode.led is None]
    weights = motion_weights(policy.normaliser, dataset.spec)
    return {
        "episodes": len(episodes),
        "rmse": dict(zip(dataset.spec.joint_labels, rms(errors), strict=True)),
        "still": dict(zip(dataset.spec.joint_labels, rms(still), strict=True)),
        "motion": motion,
        **_points_explain(
            [
                np.concatenate([p.ravel() for p in run[0].encoder_points.values()])
                for run, episode in zip(runs, episodes)
                if episode.led is None
            ],
            [policy.normaliser.normalise(episode.targets) * weights for episode in shown],
            first_states(dataset.spec, policy.normaliser, shown),
        ),
    }


def free_running(
    policy: Policy, dataset: Dataset, indices: Sequence[int], demonstrations: Sequence[int]
) -> dict[str, Any]:
    """Run the policy on recorded images and its own states, of demonstrations alone: the images
    of a takeover are of where the policy had gone.

    :param demonstrations: the policy is compared with what their mean, and first states, tell; of
        an episode among them with what the others tell.
    :returns: per joint `rmse` in SI units, at the pace at which the whole run fits best;
        `explained_variance` of the targets, see `explained.py` (None where there is nothing to
        explain, or too few others tell).
    """
    episodes, others = (
        [
            episode
            for episode in map(dataset.episodes.__getitem__, rows)
            if episode.led is None and len(episode.ticks) > 1
        ]
        for rows in (indices, demonstrations)
    )
    if not episodes:
        return {"episodes": 0, "rmse": {}, "explained_variance": None}
    runs = [free_run(policy, episode) for episode in episodes]
    normalise, back = policy.normaliser.normalise, policy.normaliser.denormalise
    found = [normalise(run) for run in runs]
    targets = [normalise(episode.targets[:-1]) for episode in episodes]
    truth = stretched(targets)
    errors = back(at_best_pace(stretched(found), truth)) - back(truth)
    ways = stretched([normalise(other.targets[:-1]) for other in others]) if others else truth
    states = first_states(dataset.spec, policy.normaliser, others)
    own = first_states(dataset.spec, policy.normaliser, episodes)
    apart = np.array([[one is not other for other in others] for one in episodes])
    share = None
    if apart.sum(1).min() >= (1 if apart.all() else RECIPE.min_episodes_for_search - 1):
        base = [
            unseen_demonstrations(ways[kept], states[kept], own[row : row + 1])[0]
            for row, kept in enumerate(apart)
        ]
        weights = motion_weights(policy.normaliser, dataset.spec)
        share = explained_variance(found, targets, np.stack(base), weights)
    return {
        "episodes": len(episodes),
        "rmse": dict(zip(dataset.spec.joint_labels, rms(errors), strict=True)),
        "explained_variance": share,
    }


def free_run(policy: Policy, episode: Episode) -> NDArray[np.float64]:
    """The predictions (T - 1, D) where the state is off by what the prediction before was off by;
    with `target: next_state`, the state is that prediction."""
    own = episode.joints.copy()
    predicted = []
    run = replay(policy, dataclasses.replace(episode, joints=own))
    for row, (_, prediction) in enumerate(run):  # which reads a tick's state when it comes to it
        predicted.append(prediction.action)
        if row + 1 < len(own):
            own[row + 1] += prediction.action - episode.targets[row]
    return np.array(predicted[:-1])


def _points_explain(
    points: Sequence[NDArray[np.float64]],
    targets: Sequence[NDArray[Any]],
    states: NDArray[np.float64],
) -> dict[str, float | None]:
    """
    :param points: of each episode's first image, (P,).
    :param states: first ones, (E, D).
    """
    names = ("points_explain", "with_episodes_exchanged")
    if len(points) < RECIPE.min_episodes_for_search:
        return dict.fromkeys(names)
    wanted = trajectories(targets)
    if ((wanted - wanted.mean(0)) ** 2).sum() <= MIN_SQUARED_DIFFERENCE:
        return dict.fromkeys(names)
    found = left_out_explained(np.stack(points), wanted, Starts(states)(states))
    return {name: round(one, 3) for name, one in zip(names, found, strict=True)}


def first_states(
    spec: Spec, normaliser: JointNormaliser, episodes: Sequence[Episode]
) -> NDArray[np.float64]:
    """`explained.first_shares` of the episodes, (E, K)."""
    if not episodes:
        return np.zeros((0, len(spec.place_indices)))
    states = np.stack([normaliser.normalise(one.joints[0]) for one in episodes])
    return first_shares(states, spec, motion_weights(normaliser, spec))


def summary(result: Mapping[str, Any], spec: Spec) -> str:
    """For a person: what `open_loop` and `free_running` found, a line each.

    :param result: of these names.
    """
    ahead, free = result["open_loop"], result["free_running"]
    off = per_joint(spec, ahead["rmse"].values(), ahead["still"].values())
    lines = [f"a tick ahead it is off by, and in brackets standing still: {off}"]
    if free["rmse"]:
        off = per_joint(spec, free["rmse"].values())
        lines.append(f"running on its own predictions, at the pace that fits best: {off}")
    if (share := free["explained_variance"]) is not None:
        lines[-1] += f"; so it explains {share:.2f} of how the episodes differ"
    if (seen := ahead["points_explain"]) is not None:
        lines.append(f"the points of the first images explain {seen:.2f} of it")
    return "\n".join(lines)


def per_joint(spec: Spec, values: Iterable[float], others: Iterable[float] = ()) -> str:
    """A number per joint with its unit, and in brackets another one."""
    brackets = [f" ({other:.2g})" for other in others] or [""] * spec.joint_dim
    told = [
        f"{name} {value:.2g}{other}"
        for name, value, other in zip(spec.joint_labels, values, brackets, strict=True)
    ]
    return "; ".join(
        f"{', '.join(one for _, one in same)} {unit}".rstrip()
        for unit, same in groupby(zip(spec.joint_units, told, strict=True), itemgetter(0))
    )


def rms(errors: Iterable[NDArray[Any]]) -> list[float]:
    """Root mean square of each column of errors (T, D) of several episodes."""
    values: list[float] = np.sqrt((np.concatenate(list(errors)) ** 2).mean(axis=0)).tolist()
    return values
