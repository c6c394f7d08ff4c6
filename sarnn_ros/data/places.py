# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the objects lay in demonstrations, and where they should lie in the next one.

A place is where all objects of an episode lie together: [x, y] of each in the camera's image, one
after the other. Of a regression of the motion on the place, with products of its coordinates, the
uncertainty at any place follows from where was demonstrated alone. The next demonstration is the
one that lowers its mean over the region most (a Bayesian I-optimal design). The region is what the
demonstrations span: the first ones belong in its corners. No rclpy, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bags import label_of
from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.data.differences import (
    MIN_JOINT_RANGE,
    MIN_START_DEVIATION,
    difference_limit,
    in_even_light,
    off_median,
)
from sarnn_ros.data.reading import read_bag
from sarnn_ros.files import write_bytes

Array = NDArray[np.float64]

#: Where the recorder draws the map, in its folder.
PICTURE = "places.png"

#: Of fewer images, what most of them show is not known.
MIN_IMAGES = 3
#: Demonstrations that say how far the region reaches.
CORNERS = 4
#: A priori variances of the regression's weights where the region reaches from -1 to 1: of the
#: constant, of coordinates and of their products; and that of a demonstration's own deviation.
CONSTANT_VARIANCE, LINEAR_VARIANCE, PRODUCT_VARIANCE, NOISE_VARIANCE = 100.0, 1.0, 0.1, 0.05
#: Blobs of fewer pixels, and of less than this share of an episode's largest, are no objects.
MIN_PIXELS, MIN_SHARE, MAX_OBJECTS = 6, 0.2, 3
#: An object must be found in this share of the episodes.
MIN_FOUND = 0.7
#: Places that span less than this share of the image are one place.
MIN_SPAN = 0.02
#: A coordinate in which the region reaches less far than this, as a share of the furthest, tells
#: hardly anything.
MIN_EXTENT = 0.01
#: Places of each object, and of all together, among which the next one is chosen.
PLACES_PER_SIDE, CANDIDATES = 20, 2000
#: One more demonstration that lowers the mean uncertainty by less than this is hardly worth it.
MIN_GAIN = 0.05
#: Of fewer misses nothing is said. If they lay anywhere, half of the region would be more certain
#: than where they lie.
MIN_MISSES, MIN_MORE_CERTAIN = 4, 0.65
#: Of a trial that missed, as a share of the region: how far off places count more.
NEAR_MISS = 0.15
#: Of the map: a cross, the mark of the next place, and what surrounds both, RGB.
_MISS, _NEXT, _EDGE = (230, 40, 40), (255, 220, 0), (20, 20, 20)
#: The map is enlarged to about this width, pixels.
MAP_WIDTH = 640


class Coverage:
    """How certain a regression on places is, after demonstrations at some of them.

    :param shown: places of E demonstrations, (E, D).
    :param region: places at which the robot shall succeed, (C, D).
    :param weights: how much each of these counts, (C,); None: alike.
    """

    def __init__(self, shown: Array, region: Array, weights: Array | None = None) -> None:
        low, high = region.min(0), region.max(0)
        self._middle: Array = (low + high) / 2
        half = (high - low) / 2
        self._half: Array = np.maximum(half, MIN_EXTENT * half.max() + 1e-9)
        dimensions = region.shape[1]
        products = dimensions * (dimensions + 1) // 2
        variances = np.repeat(
            [CONSTANT_VARIANCE, LINEAR_VARIANCE, PRODUCT_VARIANCE], [1, dimensions, products]
        )
        known = self._features(shown)
        precision = np.diag(1 / variances) + known.T @ known / NOISE_VARIANCE
        self._covariance: Array = np.asarray(np.linalg.inv(precision), np.float64)
        rows = self._features(region)
        share = np.ones((len(rows), 1)) if weights is None else weights[:, None]
        self._moment: Array = np.asarray((rows * share / share.sum()).T @ rows, np.float64)

    def _features(self, places: Array) -> Array:
        scaled = (np.asarray(places, np.float64) - self._middle) / self._half
        first, second = np.triu_indices(scaled.shape[1])
        return np.hstack([np.ones((len(scaled), 1)), scaled, scaled[:, first] * scaled[:, second]])

    def variance(self, places: Array) -> Array:
        """At places (P, D), as a multiple of a demonstration's own: (P,)."""
        rows = self._features(places)
        found: Array = ((rows @ self._covariance) * rows).sum(1) / NOISE_VARIANCE
        return found

    @property
    def mean_variance(self) -> float:
        """Over the region."""
        return float((self._moment * self._covariance).sum() / NOISE_VARIANCE)

    def gains(self, places: Array) -> Array:
        """By how much a demonstration at each of the places (P, D) would lower `mean_variance`, as
        a share of it: (P,)."""
        rows = self._features(places)
        spread = rows @ self._covariance
        lowered = ((spread @ self._moment) * spread).sum(1)
        total = (self._moment * self._covariance).sum()
        found: Array = lowered / (NOISE_VARIANCE + (spread * rows).sum(1)) / total
        return found


def weights_of(places: Array, missed: Array) -> Array:
    """How much each of the places (P, D) counts, (P,): 1, and more near places (M, D) where trials
    missed."""
    span = np.maximum(np.ptp(places, axis=0), 1e-9)
    apart = (((places[:, None] - missed[None]) / span) ** 2).sum(-1)
    weights: Array = 1 + np.exp(-apart / (2 * NEAR_MISS**2)).sum(1)
    return weights


def hull(places: Array) -> Array:
    """Corners (H, 2) of what the places (E, 2) span."""
    return np.asarray(cv2.convexHull(places.astype(np.float32))[:, 0], np.float64)


def region(places: Array) -> Array:
    """Places (C, D) that demonstrations span: each object within the hull of where it lay, and no
    two nearer to each other than they ever were.

    :param places: (E, D) with D = 2 per object.
    """
    rng = np.random.default_rng(0)
    columns = [_inside(hull(places[:, one : one + 2])) for one in range(0, places.shape[1], 2)]
    if len(columns) == 1:
        return columns[0]
    drawn = np.hstack([one[rng.integers(len(one), size=CANDIDATES)] for one in columns])
    apart = (_nearest_two(drawn) >= _nearest_two(places).min()).nonzero()[0]
    return drawn[apart] if len(apart) else drawn


def _nearest_two(places: Array) -> Array:
    """The least distance of two objects, for each row of (P, D)."""
    each = places.reshape(len(places), -1, 2)
    pairs = combinations(range(each.shape[1]), 2)
    nearest: Array = np.min(
        [np.linalg.norm(each[:, one] - each[:, other], axis=1) for one, other in pairs], axis=0
    )
    return nearest


def _inside(corners: Array) -> Array:
    """The corners, and a grid between them; of a line, what lies next to it."""
    low, high = corners.min(0), corners.max(0)
    step = max(float((high - low).max()) / PLACES_PER_SIDE, 1e-6)
    axes = [np.arange(a, b + step / 2, step) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    contour = corners.astype(np.float32)[:, None]
    kept = [one for one in grid if cv2.pointPolygonTest(contour, one.tolist(), True) > -step / 2]
    return np.vstack([corners, *kept])


#: In words of a place; of several cameras it is said which one's.
_IMAGE = "the image"


@dataclass(frozen=True)
class First:
    """The first image of an episode.

    :param image: uint8 (h, w, 3) RGB, of the whole camera, of one size in all episodes.
    :param start: where the robot is, (K,), rad or m.
    :param span: how far it moves in the episode, (K,).
    :param missed: a policy failed from here, or a person took over from it.
    :param shown: a person demonstrated from here.
    """

    image: NDArray[np.uint8]
    start: Array
    span: Array
    missed: bool = False
    shown: bool = True

    def labelled(self, failed: bool) -> First:
        """:param failed: its bag was labelled a failure: nobody demonstrated."""
        return replace(self, missed=True, shown=False) if failed else self


def first_of(episode: Episode, camera: str, places: Sequence[int]) -> First | None:
    """None: there is no image of the whole camera.

    :param places: entries of the joint vector that say where the robot is.
    """
    previews = episode.previews.get(camera, ())
    if not len(previews):
        return None
    image, joints = np.asarray(previews[0]), episode.joints[:, list(places)]
    led = episode.led
    return First(
        image,
        joints[0],
        np.ptp(joints, axis=0),
        missed=led is not None and bool(led.any()),
        shown=led is None or bool(led.any()),
    )


def place_map(dataset: Dataset) -> PlaceMap | None:
    """The map of a dataset; see `best_map`. Bags that were labelled a failure are misses, also if
    the dataset does without them. Where a camera stood elsewhere, an episode does not count."""
    failures = [bag for bag in dataset.bags if label_of(Path(bag.path)) == "failure"]
    failed = {name for bag in failures for name in bag.episodes}
    left_out = [
        episode
        for bag in failures
        if not bag.episodes
        for episode in read_bag(Path(bag.path), dataset.spec, runs=True)[0]
    ]
    firsts = {}
    places = dataset.spec.place_indices
    for camera in dataset.spec.cameras:
        moved = {
            name
            for one in dataset.displacements
            if one.camera == camera.name
            for name in one.episodes
        }
        firsts[camera.name] = [
            (first := first_of(episode, camera.name, places))
            and first.labelled(episode.name in failed)
            for episode in dataset.episodes
            if episode.name not in moved
        ]
        firsts[camera.name] += [
            (first := first_of(episode, camera.name, places)) and first.labelled(True)
            for episode in left_out
        ]
    return best_map(firsts)


def best_map(firsts: Mapping[str, Sequence[First | None]]) -> PlaceMap | None:
    """Of the cameras the map in which most objects are seen, and lie furthest apart: a place is
    told in one image alone.

    :param firsts: per camera, one of each episode.
    """
    found = (
        map_places(camera, [one for one in images if one is not None])
        for camera, images in firsts.items()
    )
    best = max((one for one in found if one is not None), key=lambda one: one.seen, default=None)
    if best is None or len(firsts) < 2:
        return best
    return replace(best, text=best.text.replace(_IMAGE, f"{_IMAGE} of camera '{best.camera}'"))


@dataclass(frozen=True)
class Objects:
    """Where K objects lay in the first images of E episodes.

    :param places: (E, K, 2), [x, y] in pixels; NaN where one was not found.
    :param colours: (K, 3), RGB.
    """

    places: Array
    colours: Array


def find_objects(first: NDArray[np.uint8]) -> Objects:
    """What tells first images (E, h, w, 3) apart, and where it lies: the middle of its pixels.
    Objects are told from each other by their colours."""
    lights, even = in_even_light(first)
    off = off_median(even, lights, [])
    differs = off > difference_limit(off)
    blobs = [_blobs(image, pixels) for image, pixels in zip(even, differs, strict=True)]
    objects = min(int(np.median([len(found) for found in blobs])), MAX_OBJECTS)
    places = np.full((len(blobs), objects, 2), np.nan)
    if not objects:
        return Objects(places, np.zeros((0, 3)))
    # Those of the episode in which they are most unlike each other.
    colours = max(
        (found[:objects, 2:] for found in blobs if len(found) >= objects),
        key=lambda rows: float(np.var(rows, axis=0).sum()),
    )
    for episode, found in enumerate(blobs):
        apart = np.linalg.norm(found[None, :, 2:] - colours[:, None], axis=-1)
        for _ in range(min(objects, len(found))):  # the most alike first
            one, blob = np.unravel_index(int(apart.argmin()), apart.shape)
            places[episode, one] = found[blob, :2]
            apart[one], apart[:, blob] = np.inf, np.inf
    often = (~np.isnan(places[..., 0])).mean(0) >= MIN_FOUND
    return Objects(places[:, often], colours[often])


def _blobs(image: NDArray[Any], differs: NDArray[np.bool_]) -> Array:
    """Of each blob, the largest first: middle x and y, and mean colour: (B, 5). Small ones beside
    a large one are noise, or its shadow."""
    joined = cv2.dilate(differs.astype(np.uint8), np.ones((3, 3), np.uint8))
    count, names = cv2.connectedComponents(joined)
    found = []
    for one in range(1, count):
        rows, columns = np.nonzero(differs & (names == one))
        middle = [float(columns.mean()), float(rows.mean())]
        found.append([len(rows), *middle, *image[rows, columns].mean(0).tolist()])
    found.sort(reverse=True)
    kept = [one[1:] for one in found if one[0] >= max(MIN_PIXELS, MIN_SHARE * found[0][0])]
    return np.array(kept).reshape(-1, 5)


@dataclass(frozen=True)
class PlaceMap:
    """What one camera's first images say.

    :param seen: how many objects, in which share of the images, and how far they are spread, as a
        share of the image.
    :param text: what to do next, in a sentence or two.
    :param place: where to put each object, (K, 2) pixels; None: nowhere, or not known.
    :param picture: uint8 RGB. Discs in the objects' colours: demonstrated; crosses: missed; the
        mark: next.
    """

    camera: str
    seen: tuple[int, float, float]
    text: str
    place: Array | None
    picture: NDArray[np.uint8]


def map_places(camera: str, firsts: Sequence[First]) -> PlaceMap | None:
    """None: the images tell nothing yet (fewer than three), or differ in size."""
    if len(firsts) < MIN_IMAGES or len({one.image.shape for one in firsts}) > 1:
        return None
    first = np.stack([one.image for one in firsts])
    ground = np.asarray(np.median(first, axis=0), np.uint8)
    span = np.maximum(np.max([one.span for one in firsts], axis=0), MIN_JOINT_RANGE)
    if (np.std([one.start for one in firsts], axis=0) > MIN_START_DEVIATION * span).any():
        return PlaceMap(camera, (0, 0.0, 0.0), _STARTS, None, ground)
    objects = find_objects(first)
    found = ~np.isnan(objects.places).any((1, 2))
    shown = objects.places[found & np.array([one.shown for one in firsts])]
    missed = objects.places[found & np.array([one.missed for one in firsts])]
    count = sum(one.shown for one in firsts)
    height, width = ground.shape[:2]
    text, place = _advise(shown, missed, count, (width, height))
    spread = float((shown.std(0) / (width, height)).sum()) if len(shown) else 0.0
    picture = draw(ground, objects.colours, shown, missed, place)
    if place is not None and len(shown) < count:
        text += f" In {count - len(shown)} of these it was not found in the image."
    # To a tenth: one that is missed once tells no less.
    seen = len(objects.colours), round(float(found.mean()), 1), spread
    return PlaceMap(camera, seen, text, place, picture)


def _advise(
    shown: Array, missed: Array, count: int, size: tuple[int, int]
) -> tuple[str, Array | None]:
    """:param count: of demonstrations, those in which the objects were not found, too."""
    objects = shown.shape[1]
    if not objects:
        return _NOTHING, None
    rows, misses = shown.reshape(-1, 2 * objects), missed.reshape(-1, 2 * objects)
    if len(rows) < CORNERS or np.ptp(rows, axis=0).max() < MIN_SPAN * max(size):
        return f"{count} demonstrated. {_CORNERS}", None
    among = region(rows)
    why = _why_missed(Coverage(rows, among), among, misses)
    if why is False:
        return f"{len(misses)} misses. {_ELSEWHERE}", None
    coverage = Coverage(rows, among, weights_of(among, misses))
    gains = coverage.gains(among)
    best = int(gains.argmax())
    place, gain = among[best].reshape(objects, 2), float(gains[best])
    told = f"next: put {'each object' if objects > 1 else 'it'} {_words(place, size)}"
    if why:
        return f"{len(misses)} misses, most where little was demonstrated. {told}.", place
    if gain < MIN_GAIN:
        return f"{count} demonstrated. {_COVERED} ({told})", place
    return f"{count} demonstrated; {told}.", place


def _why_missed(coverage: Coverage, among: Array, missed: Array) -> bool | None:
    """Whether trials missed where little was demonstrated; None: there are too few to tell."""
    if len(missed) < MIN_MISSES:
        return None
    there, anywhere = coverage.variance(missed), coverage.variance(among)
    return float((there[:, None] > anywhere[None]).mean()) >= MIN_MORE_CERTAIN


def _words(place: Array, size: tuple[int, int]) -> str:
    """Of each object, where in the image it should lie."""
    told = [f"{x:.0%} from the left and {y:.0%} from the top of {_IMAGE}" for x, y in place / size]
    return "; the other ".join(told)


def write_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """:raises OSError: it cannot be written."""
    encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    write_bytes(path, encoded.tobytes())


def draw(
    ground: NDArray[np.uint8], colours: Array, shown: Array, missed: Array, place: Array | None
) -> NDArray[np.uint8]:
    """The map; see `PlaceMap`.

    :param colours: (K, 3), :param shown: (E, K, 2), :param missed: (M, K, 2),
    :param place: (K, 2), or None.
    """
    scale = max(1, round(MAP_WIDTH / ground.shape[1]))
    size = ground.shape[1] * scale, ground.shape[0] * scale
    faded = cv2.addWeighted(ground, 0.6, np.full_like(ground, 255), 0.4, 0)
    canvas = cv2.resize(faded, size, interpolation=cv2.INTER_CUBIC)
    unit = max(1, size[0] // 320)

    def at(point: Array) -> tuple[int, int]:
        x, y = (np.asarray(point) + 0.5) * scale
        return round(float(x)), round(float(y))

    for one, colour in enumerate(colours.tolist()):
        if len(shown):
            edge = np.array([at(point) for point in hull(shown[:, one])], np.int32)
            cv2.polylines(canvas, [edge], True, colour, unit, cv2.LINE_AA)
        for point in shown[:, one]:
            cv2.circle(canvas, at(point), 4 * unit, colour, -1, cv2.LINE_AA)
            cv2.circle(canvas, at(point), 4 * unit, _EDGE, 1, cv2.LINE_AA)
        for point in missed[:, one]:
            for shade, thick in ((_EDGE, 4 * unit), (_MISS, 2 * unit)):
                cv2.drawMarker(canvas, at(point), shade, cv2.MARKER_TILTED_CROSS, 12 * unit, thick)
            cv2.circle(canvas, at(point), 2 * unit, colour, -1, cv2.LINE_AA)
        if place is not None:
            for shade, thick in ((_EDGE, 5 * unit), (_NEXT, 3 * unit)):
                cv2.circle(canvas, at(place[one]), 11 * unit, shade, thick, cv2.LINE_AA)
            cv2.circle(canvas, at(place[one]), 4 * unit, colour, -1, cv2.LINE_AA)
            x, y = at(place[one])
            spot = min(x + 14 * unit, size[0] - 45 * unit), max(y - 8 * unit, 14 * unit)
            for shade, thick in ((_EDGE, 4 * unit), (_NEXT, 1 + unit // 2)):
                cv2.putText(
                    canvas, "next", spot, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * unit, shade, thick,
                    cv2.LINE_AA,
                )  # fmt: skip
    return np.asarray(canvas, np.uint8)


MAP_LEGEND = """Disc: demonstrated, in the object's colour. Cross: missed: labelled a failure, or a
person took over. Ring: next. Line: the region, which the demonstrations span."""
_CORNERS = (
    f"Put the object in the corners of where it may lie; after {CORNERS}, a place is proposed."
)
_COVERED = """What was demonstrated covers what lies between: more of it makes the motion hardly
more certain. Train and try: what still misses needs something else.""".replace("\n", " ")
_ELSEWHERE = """They lie where much was demonstrated, too: more demonstrations are not what is
missing. Look at where the points look (sarnn evaluate --html), at the gripper, and at whether the
demonstrations agree.""".replace("\n", " ")
_NOTHING = "The first images do not differ, or too much differs: there is no place to propose."
_STARTS = "The robot starts elsewhere in each: its places are not told from the objects'."
