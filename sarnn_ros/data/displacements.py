# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes in which a camera stood elsewhere than in most: somebody kicked the tripod between two
sessions. They are found by their first images, and can be read with the displacement undone.

The reference is the median picture of the largest group of episodes whose pictures lie alike:
what lies elsewhere in each episode is not in it. A displacement counts only if it is the same in
several consecutive episodes, and explains their middle and last images as well: that of another
object, arm pose or light does not, nor that of a camera which moves with the arm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sarnn_ros.streams.registration import (
    MAX_UNCERTAINTY,
    STILL,
    Image,
    Matrix,
    Reference,
    Registration,
    apart,
    correlate,
    mapped,
    register,
    resized,
    shrink,
)

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Dataset, Episode
    from sarnn_ros.spec import Spec

#: Fewer episodes do not tell what is usual.
MIN_EPISODES = 4
#: So many consecutive episodes must have been displaced alike.
MIN_CONSECUTIVE = 2
#: Pictures are looked for at this width at first, pixels: a clean set shall cost little.
SEARCH_WIDTH = 160
#: Pictures of a reference, at most.
MAX_REFERENCE_PICTURES = 99
#: A displacement is larger than this share of the width at the worst corner, and than so many of
#: its uncertainties. Alike are those that are no further apart than this.
MIN_DISPLACEMENT, MIN_UNCERTAINTIES = 0.01, 4.0
#: So large a share of a place's images must show its displacement.
MIN_AGREEMENT = 0.75
#: As `registration.max_displacement` of the node is by default: more is not undone.
MAX_DISPLACEMENT = 0.25
#: A picture is looked for elsewhere if it correlates less than this share of how they usually do.
SURE_CORRELATION = 0.8
#: Places are searched for again with the reference of the largest one, at most so often.
MAX_SEARCHES = 3
#: Decimals of a displacement's matrix: on another computer the last bits differ, and a training
#: that is resumed there must get the same images.
DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Displacement:
    """One camera stood elsewhere in some episodes.

    :param camera: its name.
    :param episodes: their names, in order. :param others: how many it stood alike in.
    :param text: "demo_17 to demo_24".
    :param found: where their images lie on those of the others; see `Registration`.
    :param pictures: first images, uint8 (h, w, 3) RGB: of the others, the median, and of the first
        of these.
    :param undone: whether they are read so that the camera seems to stand as in the others.
    """

    camera: str
    episodes: tuple[str, ...]
    others: int
    text: str
    found: Registration
    pictures: tuple[Image, Image]
    undone: bool = False

    @property
    def too_large(self) -> bool:
        return self.found.overall > MAX_DISPLACEMENT


def read_aligned(load: Callable[..., Dataset], spec: Spec, *, align: bool = True) -> Dataset:
    """A dataset whose `displacements` are known, and, if they can be, undone.

    :param load: reads it for a spec, and takes `displacements` as `load_dataset` does. It is
        called again only if there is something to undo.
    :param align: undo them; else they are only told.
    """
    dataset = load(spec)
    found = tuple(
        replace(one, undone=align and not one.too_large)
        for camera in spec.cameras
        if not dataset.moves(camera)
        for one in find_displacements(camera.name, dataset.episodes)
    )
    if any(one.undone for one in found):
        return load(spec, displacements=found)
    return replace(dataset, displacements=found) if found else dataset


def find_displacements(camera: str, episodes: Sequence[Episode]) -> list[Displacement]:
    """Where a camera stood elsewhere than in most episodes, and certainly so.

    :param episodes: in the order in which they were recorded.
    """
    shown = [one for one in episodes if camera in one.previews]
    sizes = {one.source_sizes[camera] for one in shown}
    if len(shown) < MIN_EPISODES or len(sizes) != 1:
        return []
    places = _search(
        [shrink(np.array(one.previews[camera][0]), SEARCH_WIDTH) for one in shown], sizes.pop()
    )
    return [
        one
        for rows, near in places[1:]
        if (one := _confirm(camera, shown, places[0][0], rows, near)) is not None
    ]


def _search(images: Sequence[Image], size: tuple[int, int]) -> list[tuple[list[int], Matrix]]:
    """Rows of the images that lie alike, and where on those of the first, which is the largest."""
    largest = list(range(len(images)))
    for _ in range(MAX_SEARCHES):
        reference = _reference([images[row] for row in largest], size)
        found = _register_all(images, reference)
        groups = _places(found)
        if not groups or groups[0] == largest:
            break
        largest = groups[0]
    places = [(rows, found[rows[0]].matrix) for rows in groups]  # type: ignore[union-attr]
    for row in sorted(set(range(len(images))).difference(*groups)):
        for rows, matrix in places[1:]:  # one that is found from nearby only
            one = register(images[row], reference, matrix, sure=-1.0)
            if one and apart(one.matrix, matrix, size) <= MIN_DISPLACEMENT:
                rows[:] = sorted([*rows, row])
                break
    return places


def _reference(images: Sequence[Image], size: tuple[int, int]) -> Reference:
    step = -(-len(images) // MAX_REFERENCE_PICTURES)
    # An odd number: the median of two halves that stood elsewhere would be a mixture of both.
    some = images[::step]
    median = np.median(np.stack(some[: len(some) - 1 + len(some) % 2]), axis=0).astype(np.uint8)
    return Reference(median, np.ones(median.shape[:2], bool), size)


def _register_all(images: Sequence[Image], reference: Reference) -> list[Registration | None]:
    """Where each image lies. It is looked for near the one before; neighbours that do not
    correlate as usual there are looked for everywhere."""
    found: list[Registration | None] = []
    last: Registration | None = None
    for image in images:
        one = register(image, reference, None if last is None else last.matrix, sure=-1.0)
        found.append(one)
        last = one or last
    usual = float(np.median([-1.0 if one is None else one.correlation for one in found]))
    sure = SURE_CORRELATION * usual
    doubtful = [one is None or one.correlation < sure for one in found]
    last = None
    for row, image in enumerate(images):
        if doubtful[row] and any(doubtful[max(0, row - 1) : row] + doubtful[row + 1 : row + 2]):
            last = register(image, reference, None if last is None else last.matrix, sure)
            found[row] = last
    return found


def _places(found: Sequence[Registration | None]) -> list[list[int]]:
    """Rows that lie alike, of several consecutive ones at least; most first."""
    places: list[list[int]] = []
    for row, one in enumerate(found):
        if one is None or one.uncertainty > MAX_UNCERTAINTY:
            continue
        for rows in places:
            first = found[rows[0]]
            if first and apart(one.matrix, first.matrix, one.size) <= MIN_DISPLACEMENT:
                rows.append(row)
                break
        else:
            places.append([row])
    return sorted(filter(_consecutive, places), key=len, reverse=True)


def _consecutive(rows: Sequence[int]) -> bool:
    steps = MIN_CONSECUTIVE - 1
    return any(last - first == steps for first, last in zip(rows, rows[steps:]))


def _confirm(
    camera: str,
    episodes: Sequence[Episode],
    usual: Sequence[int],
    rows: Sequence[int],
    near: Matrix,
) -> Displacement | None:
    """What all images say of the episodes `rows`, against those of the episodes `usual`."""
    size = episodes[0].source_sizes[camera]

    def pictures(moment: int, of: Sequence[int]) -> list[Image]:
        return [np.array(episodes[row].previews[camera][moment]) for row in of]

    some = usual[:: -(-len(usual) // MAX_REFERENCE_PICTURES)]  # not all at once in memory
    reference, first = _reference(pictures(0, some), size), pictures(0, rows)
    found = [register(image, reference, near, sure=-1.0) for image in first]
    known = [one for one in found if one is not None]
    if not known:
        return None
    matrix = _middle([one.matrix for one in known], size)
    agree = [one for one in known if apart(one.matrix, matrix, size) <= MIN_DISPLACEMENT]
    if len(agree) < MIN_AGREEMENT * len(rows):
        return None
    matrix = rounded(_middle([one.matrix for one in agree], size))
    spread = float(np.median([apart(one.matrix, matrix, size) for one in agree]))
    place = replace(
        agree[0],
        matrix=matrix,
        uncertainty=max(spread, float(np.median([one.uncertainty for one in agree]))),
        correlation=float(np.median([one.correlation for one in agree])),
    )
    if place.displacement <= max(MIN_DISPLACEMENT, MIN_UNCERTAINTIES * place.uncertainty):
        return None
    for moment in (1, -1):
        then = _reference(pictures(moment, some), size)
        better = [_fits_better(image, then, place) for image in pictures(moment, rows)]
        if np.mean(better) < MIN_AGREEMENT:
            return None
    names = [one.name for one in episodes]
    return Displacement(
        camera=camera,
        episodes=tuple(names[row] for row in rows),
        others=len(usual),
        text=_ranges(names, rows),
        found=place,
        pictures=(reference.image, first[0]),
    )


def _fits_better(image: Image, reference: Reference, place: Registration) -> bool:
    """Whether an image is more like the reference with the displacement undone than as it is."""
    small = resized(place.matrix, image.shape[1] / place.size[0])
    return correlate(image, reference, small) > correlate(image, reference, STILL)


def rounded(matrix: Matrix) -> Matrix:
    """To `DECIMALS`. Those of a homography's last row are multiplied by squares of pixels."""
    return np.vstack([matrix[:2].round(DECIMALS), matrix[2].round(2 * DECIMALS)])


def _middle(matrices: Sequence[Matrix], size: tuple[int, int]) -> Matrix:
    """The map that moves each corner as the median of the maps does."""
    right, bottom = size[0] - 1.0, size[1] - 1.0
    corners = np.array([(0, 0), (right, 0), (0, bottom), (right, bottom)], np.float32)
    moved = np.median([mapped(matrix, corners) for matrix in matrices], axis=0)
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def _ranges(names: Sequence[str], rows: Sequence[int]) -> str:
    """ "demo_3, demo_17 to demo_24"."""
    parts = []
    for run in np.split(np.array(rows), np.flatnonzero(np.diff(rows) != 1) + 1):
        first, last = names[run[0]], names[run[-1]]
        parts.append(first if len(run) == 1 else f"{first} to {last}")
    return ", ".join(parts)
