# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes and datasets: what bags become and training takes. No reading here."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.problems import BagReport, Problem
from sarnn_ros.errors import BagError, join_problems
from sarnn_ros.spec import CameraSpec, Spec
from sarnn_ros.streams.moving_camera import moves_along
from sarnn_ros.streams.preprocess import JointNormaliser, eipl_bounds

if TYPE_CHECKING:
    from sarnn_ros.data.displacements import Displacement

__all__ = ["Dataset", "Episode", "make_dataset"]

Int = NDArray[np.int64]

#: An episode needs an input, a target and one more to compare with.
MIN_TICKS = 3
#: How much images differ that a film has coded, levels of 255, at most: on the mean, and the means
#: of blocks of so many pixels, where another object lies.
LOST_IN_FILMS, LOST_IN_BLOCKS, BLOCK_PIXELS = 6.0, 12.0, 8
#: Rows of an array, as images, that are worked on at a time.
BLOCK_ROWS = 256
#: Share of the ticks that must tell a joint's effort: of a few ticks its range is not known.
MIN_EFFORT_SHARE = 0.5
#: Episodes that tell whether a camera moves, at most.
MAX_LOOKED_AT = 16


@dataclass(frozen=True)
class Episode:
    """One demonstration, tick by tick, without holes; T ticks, D joints.

    :param ticks: int64 (T,), ns on the spec's clock.
    :param images: per camera, uint8 (T, h, w, 3) RGB in the model's size; may be memory-mapped.
    :param joints: float64 (T, D), SI units, in the spec's order.
    :param targets: float64 (T, D); row t is what the prediction made at tick t should be. There is
        no tick after the last: where a target would need it, the last row repeats the state.
    :param source_sizes: per camera, (width, height) of the source image.
    :param digest: SHA-256 over the arrays.
    :param lead: per joint, how far at most a recorded command lay from the state at its tick, rad
        or m; empty if the bag holds no commands. The policy's envelope wants it.
    :param efforts: float64 (T, D), `Observation.effort` of each tick; None if nothing is known.
    :param led: bool (T,), the ticks whose targets are what a person did who took over from a
        policy; None: a demonstration, in which all are. What the policy did is not learnt, but the
        recurrent part sees it, as it does at the robot.
    :param previews: per camera, the first, the middle and the last source image, as
        `streams.registration.shrink` makes them.
    """

    name: str
    ticks: Int
    images: Mapping[str, NDArray[np.uint8]]
    joints: NDArray[np.float64]
    targets: NDArray[np.float64]
    source_sizes: Mapping[str, tuple[int, int]]
    digest: str = ""
    lead: tuple[float, ...] = ()
    efforts: NDArray[np.float64] | None = None
    led: NDArray[np.bool_] | None = None
    previews: Mapping[str, Sequence[NDArray[np.uint8]]] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """Tells the recording, wherever it lies and however its images are cropped: SHA-256 over
        ticks and states."""
        return digest_of(self.ticks, self.joints)

    @property
    def parts(self) -> list[Episode]:
        """What a person did, without what a policy did: a demonstration is one part."""
        if self.led is None:
            return [self]
        return [
            replace(
                self,
                ticks=self.ticks[rows],
                images={name: images[rows] for name, images in self.images.items()},
                joints=self.joints[rows],
                targets=self.targets[rows],
                efforts=None if self.efforts is None else self.efforts[rows],
                led=None,
            )
            for rows in led_runs(self.led)
        ]


def led_runs(led: NDArray[np.bool_]) -> list[slice]:
    """Where it is true `MIN_TICKS` times or more in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], led, [False]])))
    runs = [slice(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]
    return [run for run in runs if run.stop - run.start >= MIN_TICKS]


@dataclass(frozen=True)
class Dataset:
    """Episodes, their split, and the normalisation learnt from the training part.

    :param training: indices into `episodes`.
    :param validation: indices into `episodes`; empty if there is only one episode.
    :param fingerprint: SHA-256 over spec, episodes and split.
    :param bags: what became of each bag.
    :param displacements: where a camera stood elsewhere in some episodes, as far as was looked.
    :param says_split, says_bounds: the data comes with its split, and with the normalisation.
    """

    spec: Spec
    episodes: tuple[Episode, ...]
    training: tuple[int, ...]
    validation: tuple[int, ...]
    normaliser: JointNormaliser
    fingerprint: str
    bags: tuple[BagReport, ...] = ()
    displacements: tuple[Displacement, ...] = ()
    says_split: bool = False
    says_bounds: bool = False

    def moves(self, camera: CameraSpec) -> bool:
        """Whether a camera moves with the robot: as the spec says, or as the demonstrations do."""
        if camera.moves is not None:
            return camera.moves
        shown = [one for one in self.episodes if camera.name in one.previews]
        rows = np.linspace(0, len(shown) - 1, min(len(shown), MAX_LOOKED_AT)).astype(int)
        previews = (shown[row].previews[camera.name] for row in rows)
        return moves_along([(np.array(one[0]), np.array(one[1])) for one in previews])

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that was found while reading."""
        return tuple(problem for bag in self.bags for problem in bag.problems)

    @property
    def effort_spans(self) -> tuple[tuple[float, float] | None, ...] | None:
        """Per joint the lowest and highest effort of all episodes; None where it is known at too
        few ticks, or always the same, which is no measurement. None if no joint has one."""
        efforts = np.concatenate(
            [
                np.full_like(episode.joints, np.nan)
                if episode.efforts is None
                else episode.efforts
                for whole in self.episodes
                for episode in whole.parts
            ]
        )
        known = np.isfinite(efforts).mean(axis=0) >= MIN_EFFORT_SHARE
        low, high = np.fmin.reduce(efforts), np.fmax.reduce(efforts)  # which skip NaN
        told = known & (low < high)
        if not told.any():
            return None
        spans = zip(low.tolist(), high.tolist(), told.tolist())
        return tuple((lowest, highest) if one else None for lowest, highest, one in spans)


def make_dataset(
    spec: Spec,
    episodes: Sequence[Episode],
    reports: Sequence[BagReport] = (),
    *,
    validation: float = 0.1,
    seed: int = 0,
    held_out: Collection[str] | None = None,
    normaliser: JointNormaliser | None = None,
) -> Dataset:
    """Split, normalise, fingerprint. See `load_dataset`.

    Of episodes with equal content the first one is used, but rather one that is not held out.
    Those with takeovers are for training.

    :param reports: a duplicate is noted in that of its bag.
    :param held_out: names of the episodes for validation, where the data says; None: by
        `validation` and `seed`.
    :param normaliser: that the data comes with; None: from the training episodes.
    :raises BagError: there is no episode.
    """
    first = sorted(episodes, key=lambda one: one.name in (held_out or ()))
    used = {one.name for one in _without_duplicates(first, reports)}
    episodes = [one for one in episodes if one.name in used]
    if not episodes:
        problems = [problem for report in reports for problem in report.problems]
        alike: dict[str, list[str]] = {}  # a hundred bags are often bad in one way
        for problem in problems:
            alike.setdefault(problem.found, []).append(problem.where)
        raise BagError(
            f"none of {len(reports)} bags gives an episode:"
            + join_problems(
                f"{places[0]}{f' and {len(places) - 1} more' * (len(places) > 1)}: {found}"
                for found, places in alike.items()
            ),
            remedy=problems[0].remedy if problems else None,
        )
    if held_out is None:
        whole = [row for row, episode in enumerate(episodes) if episode.led is None]
        validated = tuple(whole[row] for row in split(len(whole), validation, seed)[1])
    else:
        validated = tuple(row for row, episode in enumerate(episodes) if episode.name in held_out)
    training = tuple(row for row in range(len(episodes)) if row not in validated)
    moved, everything = (
        [
            array
            for index in indices
            for part in episodes[index].parts
            for array in (part.joints, part.targets)
        ]
        for indices in (training, range(len(episodes)))
    )
    digest = hashlib.sha256(spec.model_dump_json().encode())
    says_bounds = normaliser is not None
    if normaliser is not None:
        digest.update(f"{normaliser.minimum.tolist()}{normaliser.maximum.tolist()}".encode())
    elif spec.joint_clip is None:
        normaliser = JointNormaliser.from_episodes(moved, spec.joint_range, everything)
    else:
        bounds = eipl_bounds(moved, spec.joint_range, clip=spec.joint_clip)
        normaliser = JointNormaliser.from_eipl_bounds(bounds, spec.joint_range)
    for episode in episodes:
        digest.update(f"{episode.name}:{episode.digest};".encode(errors="surrogateescape"))
    digest.update(repr((training, validated)).encode())
    return Dataset(
        spec=spec,
        episodes=tuple(episodes),
        training=training,
        validation=validated,
        normaliser=normaliser,
        fingerprint=digest.hexdigest(),
        bags=tuple(reports),
        says_split=held_out is not None,
        says_bounds=says_bounds,
    )


def _without_duplicates(
    episodes: Sequence[Episode], reports: Sequence[BagReport]
) -> list[Episode]:
    first: dict[str, str] = {}
    at: dict[bytes, list[Episode]] = {}  # by their ticks
    used = []
    for episode in episodes:
        known = first.setdefault(episode.digest or episode.name, episode.name)
        alike = at.setdefault(episode.ticks.tobytes(), [])
        if known == episode.name:
            known = next((one.name for one in alike if _is_conversion(one, episode)), known)
        if known == episode.name:
            used.append(episode)
            alike.append(episode)
            continue
        for report in reports:
            if episode.name in report.episodes:
                report.leave_out_copy(episode.name, known)
    return used


def _is_conversion(one: Episode, other: Episode) -> bool:
    """Whether two episodes of the same ticks are the same but for what another format loses."""
    if one.joints.shape != other.joints.shape or {*one.images} != {*other.images}:
        return False
    pairs = [(one.images[name], other.images[name]) for name in one.images]
    rows = (0, len(one.joints) // 2)
    return np.allclose(one.joints, other.joints, rtol=1e-6, atol=1e-6) and all(
        a.shape == b.shape and all(_look_alike(a[row], b[row]) for row in rows) for a, b in pairs
    )


def _look_alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two images (h, w, 3) differ by no more than a film loses."""
    height, width = one.shape[:2]
    blocks = (max(1, width // BLOCK_PIXELS), max(1, height // BLOCK_PIXELS))
    apart = one.astype(np.float32) - other
    lost = cv2.resize(apart, blocks, interpolation=cv2.INTER_AREA)
    return bool(np.abs(apart).mean() < LOST_IN_FILMS and np.abs(lost).max() < LOST_IN_BLOCKS)


def split(count: int, share: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(training, validation) indices, ascending. One episode at least is for training; one of
    several is for validation unless `share` is 0."""
    held_out = min(max(round(share * count), 1 if share > 0 else 0), count - 1)
    order = np.random.default_rng(seed).permutation(count).tolist()
    return tuple(sorted(order[held_out:])), tuple(sorted(order[:held_out]))


def digest_of(*arrays: NDArray[Any]) -> str:
    """SHA-256 over the bytes, hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        for block in blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows in pieces of `BLOCK_ROWS`. Of a memory map no more than one piece is in memory."""
    for start in range(0, len(array), BLOCK_ROWS):
        yield array[start : start + BLOCK_ROWS]
        release(array)


def release(array: NDArray[Any]) -> None:
    """Let go of the memory of a memory map; its content stays in the file. Without it, a process
    that passes over a long episode grows by as much."""
    if isinstance(array, np.memmap):
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
