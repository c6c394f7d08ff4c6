# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Go on from a policy with more demonstrations or corrections: a round of teaching.

Its attention stays, and of the epochs only the last ones are trained. That takes a quarter of the
time. Where that cannot do, all is trained anew, and it is said why: the episodes differ in places
that the crop cuts off, the attention does not explain the new demonstrations, or whether first
images tell the motion has changed. Without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sarnn_ros.data.dataset import Dataset, make_dataset, split
from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.policy.directory import PolicyConfig, digest, load_config
from sarnn_ros.spec import CameraSpec, Spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training.config import TrainConfig

__all__ = ["Before", "load_before"]

#: Settings by which the network's shape is decided.
SHAPE = ("rec_dim", "k_dim", "temperature", "heatmap_size", "stride")


@dataclass(frozen=True)
class Before:
    """The policy that a training goes on from.

    :param validation, training: `Episode.identity` of those that it was validated with and
        trained on. A name may be another recording's, or another one by now.
    """

    directory: Path
    config: PolicyConfig
    validation: frozenset[str]
    training: frozenset[str]

    @property
    def spec(self) -> Spec:
        return self.config.spec

    @property
    def normaliser(self) -> JointNormaliser:
        bounds = self.config.normalisation
        return JointNormaliser(bounds.minimum, bounds.maximum, self.spec.joint_range)

    @property
    def known(self) -> frozenset[str]:
        """All that it learnt from."""
        return self.validation | self.training

    def missing(self, dataset: Dataset) -> frozenset[str]:
        """What it learnt from, and is not in a data set."""
        return self.known - {one.identity for one in dataset.episodes}

    @property
    def about(self) -> dict[str, Any]:
        """What the new policy keeps of it: which one it was, and of how many episodes."""
        return {"sha256": digest(self.config), "episodes": self.config.training["episodes"]}


def load_before(directory: str | Path) -> Before:
    """:raises PolicyError: there is no sound policy.
    :raises ConfigError: it was not made by `sarnn train`, or its attention was not searched for.
    """
    config = load_config(directory)
    told = config.training
    if not {"identities", "held_out"} <= told.keys():
        raise ConfigError(
            "its training is unknown", where=directory, remedy="train anew, without --from"
        )
    if not told["searched"]:
        raise ConfigError(
            "its attention was not searched for before training, so it is not known to see",
            where=directory,
            remedy="train anew, without --from",
        )
    known = {key: frozenset(value) for key, value in told["identities"].items()}
    return Before(Path(directory), config, known["validation"], known["training"])


def check_settings(before: Before, spec: Spec, config: TrainConfig) -> None:
    """:raises ConfigError: spec or settings ask for another network, or another task."""
    problems = list(_differences(before, spec, config))
    if problems:
        raise ConfigError(
            f"a training cannot go on from this policy:{join_problems(problems)}",
            where=before.directory,
            remedy="give its spec and settings, or train anew, without --from",
        )


def _differences(before: Before, spec: Spec, config: TrainConfig) -> Iterator[str]:
    then = before.config.training["config"]
    for name in SHAPE:
        if then[name] != getattr(config, name):
            yield f"{name}: {then[name]!r} then, {getattr(config, name)!r} now"
    if config.attention != "search":
        yield "attention: train searches nothing, and would move what was found"
    old, new = (_common(one, spec).model_dump(mode="json") for one in (before.spec, spec))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"spec, {name}: {old.get(name)!r} then, {new.get(name)!r} now"


def _common(spec: Spec, wanted: Spec) -> Spec:
    """Without what may differ: crops, which are compared by themselves, the sizes that follow from
    those that training chose, and tolerances.

    :param wanted: what the user gives now.
    """
    whole = {one.name: one for one in wanted.cameras if one.crop is None}
    cameras = []
    for camera in spec.cameras:
        like = camera if camera.crop is None else whole.get(camera.name, camera)
        update = {"crop": None, "width": like.width, "height": like.height}
        cameras.append(camera.model_copy(update=update))
    joints = [source.model_copy(update={"tolerance": None}) for source in spec.joints]
    return spec.model_copy(update={"cameras": tuple(cameras), "joints": tuple(joints)})


def why_other_crop(before: Spec, wanted: Spec) -> str:
    """Why the crops of before do not do, or nothing.

    :param wanted: with the crops that the episodes of now ask for.
    """
    for old, new in zip(before.cameras, wanted.cameras, strict=True):
        if not _within(new, old):
            return f"the episodes differ beyond the crop of camera '{old.name}'"
    return ""


def _within(inner: CameraSpec, outer: CameraSpec) -> bool:
    if outer.crop is None:
        return True
    one, other = inner.crop, outer.crop
    return (
        one is not None
        and other.x <= one.x
        and other.y <= one.y
        and one.x + one.width <= other.x + other.width
        and one.y + one.height <= other.y + other.height
    )


def as_before(dataset: Dataset, before: Before, validation: float, seed: int) -> Dataset:
    """The data set, split so that what the policy was validated with is not trained on. New
    episodes are added to it: those that the data says are for it, or else some, to a share of all,
    but half of the new ones at most.

    :param validation: share of the episodes for validation.
    :raises ConfigError: it has nothing of what the policy learnt from.
    """
    if before.missing(dataset) == before.known:
        raise ConfigError(
            "none of the recordings that it learnt from is given: all of it would be forgotten",
            where=before.directory,
            remedy="give all recordings, old and new; or train anew, without --from",
        )
    whole_ones = [one for one in dataset.episodes if one.led is None]
    new = [one.name for one in whole_ones if one.identity not in before.known]
    held = {one.name for one in whole_ones if one.identity in before.validation}
    count = round(validation * len(whole_ones)) - len(held)
    if dataset.says_split:
        held |= {dataset.episodes[row].name for row in dataset.validation}
    elif new and count > 0:
        order = split(len(new), min(count / len(new), 0.5), seed)[1]
        held |= {new[row] for row in order}
    bounds = dataset.normaliser if dataset.says_bounds else None
    whole = make_dataset(dataset.spec, dataset.episodes, held_out=held, normaliser=bounds)
    return replace(whole, bags=dataset.bags, displacements=dataset.displacements)
