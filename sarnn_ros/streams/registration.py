# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera has been moved to since the demonstrations, and the warp that undoes it.

The *reference* of a camera is the median of the demonstrations' first images, with a mask of where
they look alike: an object tells nothing of the camera. An image is registered to it in three
steps: where to begin (no motion; the shift by phase correlation; a similarity through matched SIFT
features), from coarse to fine by maximising the correlation (ECC, Evangelidis and Psarakis 2008),
and robust least squares on images of even local contrast, for which light and shadows matter
little (Lucas and Kanade 1981; Baker and Matthews 2004). How large a residual may be is told by
those of the edges: most pixels have none, and their median residual would make outliers of edges.

How exact the result is, is told by the fit itself. Residuals of neighbouring pixels depend on each
other (parallax, shadows, objects), so the covariance of the parameters is estimated from sums over
tiles of the image (a sandwich estimate, clustered by tile). It is asked for where the
demonstrations differ, as the objects are there. Of homography, affine map, similarity and
translation, the first is taken that the picture determines well enough.

A camera that has moved in space moves near and far things differently, and no map of the image
does that. So where a picture does not fit as a whole, what is near to where the demonstrations
differ counts most. If the picture does not tell where that is now, the map is uncertain.

OpenCV and NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Gray = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: A map of pixels, (3, 3), of homogeneous coordinates; pixel centres are integers.
Matrix = NDArray[np.float64]
STILL: Matrix = np.eye(3)

#: Images are registered, and references kept, at this width at most, pixels.
REFERENCE_WIDTH = 320
#: A pixel differs between demonstrations if a channel is off the median by more than this,
#: 0 … 255, in more than this share of them; or, of noisy images, by so many deviations of noise.
MIN_DIFFERENCE, SHARE_THAT_DIFFERS, NOISE_DEVIATIONS = 12.0, 0.05, 4.0
#: Of what deviates by less, a correlation says nothing: it is rounding.
FLAT = 1e-3
#: Kinds of maps, most parameters first.
KINDS = ("homography", "affine", "similarity", "translation")
#: Of which it is looked for.
ROUGH = "affine"
#: A kind is determined if it is no less certain than this, as a share of the width, anywhere where
#: the demonstrations differ.
MAX_UNCERTAINTY = 0.004
#: A map enlarges or shrinks by no more than this factor, and shows this share of the reference.
MAX_ZOOM, MIN_OVERLAP = 1.5, 0.5
#: No other place is looked for if the images correlate this well where it is likely, and no corner
#: is off by more than this share of the width from there.
SURE_CORRELATION, NEAR = 0.85, 0.01
#: The same as a share of the usual correlation, where that is known. Where the scene repeats it
#: is half-way between that of another place and the usual one: where another place correlates by
#: more than this share. Of perforated plates by 0.71 to 0.95, of our tasks by 0.06 to 0.66.
GOOD_SHARE, MIN_REPEATS = 0.8, 0.7
#: Standard deviation of the window of the local contrast, as a share of the width; the contrast,
#: in log intensity, below which there is only noise; and the intensity that dark noise has.
CONTRAST_WINDOW, NOISE_CONTRAST, DARK = 0.05, 0.03, 8.0
#: A camera has moved if what does not correlate there is at most this part of what does not in its
#: place. Of 40 pictures of the lift scene with the arm elsewhere none was then taken for a moved
#: camera (34 without this), of 30 that were moved none for one in its place.
LEFT_WHERE_MOVED = 0.5
#: Near to where the demonstrations differ, a camera has moved only if what does not correlate
#: there is at most this part of what does not in its place: 0.95 and more where only the wall is
#: another, 0.06 to 0.57 of cameras that were moved.
LEFT_IF_MOVED = 0.8
#: SIFT: features looked for, and matches that must agree on a similarity.
FEATURES, MIN_MATCHES = 600, 8
#: Robust steps at most; how long the last one is, in parts of the width, as noise keeps them at a
#: half of it; and the residual that counts for nothing, in robust deviations.
ROBUST_STEPS, LAST_STEP, OUTLIER_DEVIATIONS = 10, 2e-4, 3.0
#: Tiles per side for the covariance.
TILES = 10
#: Where edges deviate by more than this from the map of the whole picture (see below), and it is
#: not another scene, its depth may matter: then what a pixel counts falls off to this weight with
#: the distance from where the demonstrations differ, over this share of the width. Twelve cameras
#: of seven tasks, moved by 4° and 2 cm, 6° and 4 cm, leave an object off by 0.7 and 1.6 % of the
#: width, affine maps of edges taken for outliers by 0.9 and 2.1.
MIN_DEVIATION, HOPELESS, FAR_WEIGHT, FALL_OFF = 0.15, 0.3, 0.02, 0.1
#: The table may be off by more than its edges are wide: so images are blurred by these shares of
#: the width at first.
BLURS = 0.04, 0.02, 0.01
#: Little is to be seen near there if no more than this part of what counts is where a pixel counts
#: for more than so much: 0.07 and 0.12 on the lift scene, 0.53 to 0.87 of twelve other cameras.
MIN_NEAR, NEAR_WEIGHT = 0.3, 0.3
#: Then the picture must move as one: edges deviate by no more than this (see below), and it
#: correlates so well. Lift's, shifted, turned or zoomed, with noise or not, deviates by 0.01 to
#: 0.15 and correlates by 0.91 and more. Its camera turned round what it looks at by 2° deviates by
#: 0.19 and correlates by 0.92, and the cube is 0.7 % off; by 4° to a side by 0.24 and more; by 4°
#: up it correlates by 0.86 and less, and the cube is 5 % off.
PLAIN_DEVIATION, PLAIN_CORRELATION = 0.2, 0.88
#: A camera that moved by less than `NEAR` is taken for one in its place, where that is all that is
#: told, if the picture correlates so nearly as well there.
ALIKE = 0.05
#: A picture moves as one if edges deviate by no more than this, in parts of the local contrast:
#: 0.26 behind a hand, 0.31 to 0.88 where a camera was moved in space. The nearer map counts
#: nevertheless if no more than this part of what did not correlate is left; and if all correlates
#: so well in its place, if no more than `LEFT_WHERE_MOVED` is.
MAX_DEVIATION, LEFT_IF_NEARER, IN_PLACE = 0.33, 0.9, 0.7


@dataclass(frozen=True, eq=False)
class Reference:
    """What a camera showed when the demonstrations began.

    :param image: uint8 (h, w, 3) RGB, the median first image as `shrink` makes it.
    :param mask: bool (h, w), where the demonstrations look alike.
    :param source: (width, height) of the camera's own image, pixels.
    """

    image: Image
    mask: Mask
    source: tuple[int, int]

    @property
    def _differs(self) -> NDArray[np.uint8]:
        """1 where the demonstrations differ, by more than single pixels, (h, w)."""
        differs = (~self.mask).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))

    @property
    def where(self) -> Matrix:
        """Corners of the rectangle in which they do, (4, 2), pixels; of the image, if nowhere."""
        rows, columns = np.nonzero(self._differs)
        if not len(rows):
            return _corners(*self.mask.shape[::-1])
        sides = [np.quantile(one, (0.05, 0.95)) for one in (columns, rows)]
        return np.array([(x, y) for x in sides[0] for y in sides[1]])

    def out_of_view(self, matrix: Matrix) -> float:
        """Share of where the demonstrations differ that an image does not show, 0 … 1: objects
        may lie there, and no warp brings them back.

        :param matrix: of a `Registration`.
        """
        points = np.argwhere(self._differs)[:, ::-1]
        if not len(points):
            return 0.0
        height, width = self.mask.shape
        there = mapped(resized(invert(matrix), width / self.source[0]), points)
        seen = (there >= -0.5) & (there <= np.array([width, height]) - 0.5)
        return float(1.0 - seen.all(axis=1).mean())

    def near(self) -> Gray:
        """float32 (h, w), 1 where the demonstrations differ, down to `FAR_WEIGHT` elsewhere."""
        differs = self._differs
        if not differs.any():
            return np.ones(self.mask.shape, np.float32)
        away = cv2.distanceTransform(1 - differs, cv2.DIST_L2, cv2.DIST_MASK_5)
        near = np.exp(-((away / (FALL_OFF * differs.shape[1])) ** 2))
        return np.asarray(FAR_WEIGHT + (1.0 - FAR_WEIGHT) * near, np.float32)

    @property
    def plain(self) -> bool:
        """Whether next to nothing is to be seen around where the demonstrations differ. Then what
        is far from there tells where it is, which a camera that was moved in space shows
        otherwise."""
        counts, even = self.near(), _even(_gray(self.image))
        edges = sum(one**2 for one in _slopes(even)) * self.mask * counts
        return float(edges[counts > NEAR_WEIGHT].sum()) < MIN_NEAR * float(edges.sum())

    @cached_property
    def repeats(self) -> float:
        """How well its middle correlates with another part of it, 0 … 1: 1 of a perforated plate
        with nothing else on it, below 0.5 of most scenes. A camera that moved by one hole may
        then be taken for one in its place."""
        even = _even(_gray(self.image))
        height, width = even.shape
        top, left = height // 5, width // 5
        middle = even[top : height - top, left : width - left]
        found = cv2.matchTemplate(even, middle, cv2.TM_CCOEFF_NORMED)
        peaks = found >= cv2.dilate(found, np.ones((5, 5), np.uint8))
        peaks[max(0, top - 3) : top + 4, max(0, left - 3) : left + 4] = False
        return float(found[peaks].max(initial=0.0))

    def sure(self, usual: float) -> float:
        """Correlation from which on no better place needs to be looked for.

        :param usual: that of an image in its place.
        """
        repeats = self.repeats
        return usual * ((1.0 + repeats) / 2.0 if repeats > MIN_REPEATS else GOOD_SHARE)


@dataclass(frozen=True, eq=False)
class Registration:
    """Where an image lies on a reference.

    :param matrix: (3, 3) float64, from pixels of the image to pixels of the reference, both in
        the size of the camera's own image.
    :param kind: of the map, one of `KINDS`.
    :param uncertainty: standard deviation where the demonstrations differ, at its worst, as a
        share of the width.
    :param correlation: of both images at even local contrast, where they overlap, -1 … 1: at its
        best of the whole, or near to where the demonstrations differ if that is more.
    :param overlap: share of the reference's mask that the image shows.
    :param size: (width, height) of the camera's own image, pixels.
    """

    matrix: Matrix
    kind: str
    uncertainty: float
    correlation: float
    overlap: float
    size: tuple[int, int]

    @property
    def displacement(self) -> float:
        """How far the worst corner has moved, as a share of the width."""
        return _off(self.matrix, *self.size)

    @property
    def overall(self) -> float:
        """The same, if all of the image moved as its middle did. Corners of a homography tell
        little: they are far from where it is certain."""
        return _off(_affine(self.matrix, self._middle), *self.size)

    @property
    def shift(self) -> tuple[float, float]:
        """(right, down) by which the image shows what was in the reference's middle off its own
        middle, pixels."""
        right, down = mapped(invert(self.matrix), self._middle[None])[0] - self._middle
        return float(right), float(down)

    @property
    def turn(self) -> float:
        """By which the image is turned, rad, clockwise as it is looked at."""
        linear = _affine(self.matrix, self._middle)[:2, :2]
        return float(np.arctan2(linear[0, 1] - linear[1, 0], np.trace(linear)))

    @property
    def zoom(self) -> float:
        """How many times as large things look as in the reference."""
        return float(1.0 / np.sqrt(np.linalg.det(_affine(self.matrix, self._middle)[:2, :2])))

    @property
    def _middle(self) -> Matrix:
        return (np.array(self.size) - 1.0) / 2.0


def make_reference(first_images: Sequence[Image], source: tuple[int, int]) -> Reference:
    """The reference of one camera.

    :param first_images: uint8 (h, w, 3) RGB, the first of each demonstration by `shrink`.
    :param source: (width, height) of the camera's own image, pixels.
    """
    stack = np.stack(first_images)
    median = np.median(stack, axis=0).astype(np.float32)
    off = stack - median
    least = max(MIN_DIFFERENCE, NOISE_DEVIATIONS * float(np.median([_noise(one) for one in off])))
    differs = np.quantile(np.abs(off).max(axis=-1), 1.0 - SHARE_THAT_DIFFERS, axis=0) > least
    grown = cv2.dilate(differs.astype(np.uint8), np.ones((3, 3), np.uint8))
    return Reference(np.rint(median).astype(np.uint8), np.asarray(grown == 0), source)


def _noise(off: Gray) -> float:
    """Standard deviation of the noise in a difference of images (h, w, 3): the median absolute
    deviation of what single pixels are off their neighbours'."""
    fine = np.abs(off - cv2.blur(off, (3, 3)))
    return float(np.median(fine) / (0.6745 * np.sqrt(1.0 - 1.0 / 9.0)))


def shrunk_size(width: int, height: int, widest: int = REFERENCE_WIDTH) -> tuple[int, int]:
    """(width, height) of `shrink`'s image."""
    if width <= widest:
        return width, height
    return widest, max(1, round(height * widest / width))


def shrink(source: Image, widest: int = REFERENCE_WIDTH) -> Image:
    """The camera's image (H, W, 3) in the size in which it is registered, pixels."""
    height, width = source.shape[:2]
    size = shrunk_size(width, height, widest)
    if size == (width, height):
        return np.ascontiguousarray(source)
    return np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA), np.uint8)


def register(
    image: Image,
    reference: Reference,
    near: Matrix | None = None,
    sure: float = SURE_CORRELATION,
) -> Registration | None:
    """Where an image lies on the reference; None if it cannot be told.

    :param image: uint8 (h, w, 3) RGB, by `shrink`.
    :param near: where it is likely to lie, `Registration.matrix` of an earlier image; None: in its
        place. If it does, this is several times as fast.
    :param sure: correlation from which on no better place is looked for.
    """
    if image.shape != reference.image.shape:
        return None
    try:
        return _register(image, reference, near, sure)
    except (cv2.error, np.linalg.LinAlgError):  # pictures in which there is nothing to find
        return None


def _register(
    image: Image, reference: Reference, near: Matrix | None, sure: float
) -> Registration | None:
    plain = _grays(image, reference)
    pair = _Pair(_even(plain[0]), _even(plain[1]), reference)
    size = image.shape[1::-1]
    small = size[0] / reference.source[0]
    middle = pair.where.mean(0)
    best = pair.fit(STILL if near is None else _as(ROUGH, resized(near, small), middle))
    before = best.matrix
    best.refine(ROUGH)
    if best.correlation <= sure or best.off(before) >= NEAR:
        # It is asked while they are tried.
        others = _candidates(image, reference, plain, pair, lambda: best.correlation <= sure)
        for matrix in others:
            fit = pair.fit(matrix)
            fit.refine(ROUGH)
            if fit.overlap >= MIN_OVERLAP and fit.correlation > best.correlation:
                best = fit
                if best.correlation > sure:
                    break
    # The robot is the strongest edge of many scenes, and stands elsewhere at times: a picture that
    # fits nearly as well where the camera stood has not moved.
    still = pair.fit(STILL)
    clearly = 1.0 - best.correlation <= LEFT_WHERE_MOVED * (1.0 - still.correlation)
    if not clearly and best.off(STILL) >= NEAR:
        best = still
    if not _is_plausible(best.matrix, size):
        return None
    counts = reference.near()
    # Around a plain table, no more is believed than that the picture moved as one.
    kinds = KINDS[-1:] if best is still else KINDS[2:] if reference.plain else KINDS
    found = pair.determined(best.matrix, kinds)
    if reference.plain:
        as_one = found.deviation <= PLAIN_DEVIATION and found.correlation >= PLAIN_CORRELATION
        if not as_one and found.off(STILL) >= NEAR:
            found.uncertainty = np.inf
    elif found.deviation > MIN_DEVIATION and best.correlation > HOPELESS:
        found = _nearer(pair, best, found, counts)
    if found.overlap < MIN_OVERLAP or not _is_plausible(found.matrix, size):
        found.uncertainty = np.inf
    if found.uncertainty > MAX_UNCERTAINTY:
        # Too little is to be seen there. But a camera that hardly moved need not be moved back.
        shifted = pair.determined(STILL, KINDS[-1:])
        fits = shifted.deviation <= PLAIN_DEVIATION
        if fits and shifted.off(STILL) < NEAR and shifted.correlation > best.correlation - ALIKE:
            found = shifted
    return Registration(
        resized(found.matrix, 1 / small),
        found.kind,
        found.uncertainty,
        max(found.correlation, found.weighted_correlation(counts)),
        found.overlap,
        reference.source,
    )


def _nearer(pair: _Pair, best: _Fit, whole: _Fit, counts: Gray) -> _Fit:
    """The map that fits best by how much each pixel (h, w) counts, if it is clearly better for
    those that do, or the picture as a whole does not move as one; else that of the whole.

    It is looked for from `best` and from where the camera stood: what lies at another depth leads
    astray. And what is far may be another, as a wall: if near nothing speaks for it, the camera
    has not moved.
    """
    found = _found_nearer(pair, best, whole, counts)
    stands = pair.determined(STILL, KINDS[-1:])
    left, left_there = (1.0 - one.weighted_correlation(counts) for one in (found, stands))
    speaks_for_it = left < LEFT_IF_MOVED * left_there
    return found if speaks_for_it or stands.off(STILL) >= NEAR else stands


def _found_nearer(pair: _Pair, best: _Fit, whole: _Fit, counts: Gray) -> _Fit:
    """The same where the camera may have moved."""
    fits = [pair.determined(matrix, KINDS[:2], counts) for matrix in (best.matrix, STILL)]
    found = max(fits, key=lambda fit: fit.weighted_correlation(counts))
    left, left_nearer = (1.0 - one.weighted_correlation(counts) for one in (whole, found))
    if best.off(STILL) < NEAR and best.correlation > IN_PLACE:  # behind a hand, or a shadow
        return found if left_nearer < LEFT_WHERE_MOVED * left else whole
    as_one = whole.deviation <= MAX_DEVIATION
    return whole if as_one and left_nearer >= LEFT_IF_NEARER * left else found


class Part(NamedTuple):
    """One way in which a picture lies elsewhere: where, what to do with the camera, how much."""

    where: str
    move: str
    amount: str


def describe(found: Registration) -> list[Part]:
    """How the picture lies, and what to do with the camera, part by part."""
    (right, down), width = found.shift, found.size[0]
    parts = []
    for value, way, back in ((right, "right", "right"), (-right, "left", "left"),
                             (down, "down", "down"), (-down, "up", "up")):  # fmt: skip
        if value >= 0.003 * width:
            amount = f"{value:.0f} px"
            where = f"{amount} ({value / width:.1%} of the width) too far {way}"
            parts.append(Part(where, f"turn it {back}", amount))
    degrees = float(np.degrees(found.turn))
    if abs(degrees) >= 0.3:
        way, amount = "clockwise" if degrees > 0 else "counter-clockwise", f"{abs(degrees):.1f}°"
        parts.append(Part(f"turned {way} by {amount}", f"roll it {way}", amount))
    if abs(found.zoom - 1.0) >= 0.005:
        larger, amount = found.zoom > 1.0, f"{abs(found.zoom - 1.0):.1%}"
        where = f"{amount} too {'large' if larger else 'small'}"
        parts.append(Part(where, "move it back" if larger else "move it closer", amount))
    return parts


def undo(image: Image, matrix: Matrix) -> Image:
    """The image as the camera would show it from its place: uint8 (H, W, 3).

    :param matrix: of a `Registration`. What lies beyond the image repeats its border.
    """
    height, width = image.shape[:2]
    warped = cv2.warpPerspective(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)


def invert(matrix: Matrix) -> Matrix:
    """The map back, (3, 3)."""
    return _scaled(np.linalg.inv(matrix))


def mapped(matrix: Matrix, points: Any) -> Matrix:
    """Where pixels (…, 2) are mapped to, (…, 2)."""
    lifted = np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]
    return _float64(lifted[..., :2] / lifted[..., 2:])


def apart(one: Matrix, other: Matrix, size: tuple[int, ...]) -> float:
    """How far apart two maps put the worst corner, as a share of the width.

    :param size: (width, height) of the images, pixels.
    """
    return _off(one @ invert(other), *size)


def _float64(values: Any) -> Matrix:
    return np.asarray(values, np.float64)


def _scaled(matrix: Any) -> Matrix:
    return _float64(matrix / matrix[2, 2])


def _lifted(affine: Any) -> Matrix:
    return np.vstack([_float64(affine), [0.0, 0.0, 1.0]])


def resized(matrix: Matrix, factor: float) -> Matrix:
    """The map between images that are so many times as large."""
    zoom = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1.0]])
    return _scaled(zoom @ matrix @ np.linalg.inv(zoom))


def _corners(width: int, height: int) -> Matrix:
    return np.array([(x, y) for x in (0.0, width - 1.0) for y in (0.0, height - 1.0)])


def _off(matrix: Matrix, width: int, height: int) -> float:
    """How far the worst corner is moved, as a share of the width."""
    corners = _corners(width, height)
    return float(np.linalg.norm(mapped(matrix, corners) - corners, axis=1).max() / width)


def _affine(matrix: Matrix, place: Matrix) -> Matrix:
    """The affine map that goes where the map does near to a pixel (2,)."""
    *there, depth = matrix @ np.append(place, 1.0)
    linear = (matrix[:2, :2] - np.outer(there, matrix[2, :2]) / depth) / depth
    shift = np.array(there) / depth - linear @ place
    return _lifted(np.column_stack([linear, shift]))


def _as(kind: str, matrix: Matrix, place: Matrix) -> Matrix:
    """The map of a kind that goes nearly where this one does near to a pixel (2,)."""
    if kind == "homography":
        return matrix
    affine = _affine(matrix, place)
    if kind == "affine":
        return affine
    zoom, turn = np.trace(affine[:2, :2]) / 2, (affine[1, 0] - affine[0, 1]) / 2
    linear = np.array([[zoom, -turn], [turn, zoom]]) if kind == "similarity" else np.eye(2)
    shift = mapped(affine, place) - linear @ place
    return _lifted(np.column_stack([linear, shift]))


def _is_plausible(matrix: Matrix, size: tuple[int, ...]) -> bool:
    """:param size: (width, height) of the image, pixels."""
    corners = np.column_stack([_corners(*size), np.ones(4)])
    if not (corners @ matrix[2] > 1 / MAX_ZOOM**3).all():
        return False
    linear = _affine(matrix, (np.array(size) - 1.0) / 2.0)[:2, :2]
    factors = np.linalg.svd(linear, compute_uv=False)
    upright = np.linalg.det(linear) > 0 and np.trace(linear) > 0
    return bool(upright and factors[0] < MAX_ZOOM and factors[1] > 1 / MAX_ZOOM)


def _even(gray: Gray) -> Gray:
    """Log intensity less its local mean, divided by its local contrast."""
    log = np.log(gray + DARK)
    sigma = CONTRAST_WINDOW * gray.shape[1]
    off = log - cv2.GaussianBlur(log, (0, 0), sigma)
    contrast = np.sqrt(np.maximum(cv2.GaussianBlur(off**2, (0, 0), sigma), 0.0))
    return np.asarray(cv2.GaussianBlur(off / (contrast + NOISE_CONTRAST), (0, 0), 1.0))


def recognise(image: Image, reference: Reference) -> float:
    """How well an image correlates with a reference in its place, or where its features say that
    it lies, -1 … 1. Quicker than `register`, and less sure to find it.

    :param image: uint8 (h, w, 3) RGB, by `shrink`.
    """
    if image.shape != reference.image.shape:
        return -1.0
    best = -1.0
    for matrix in (STILL, match(image, reference)):
        if matrix is not None and _is_plausible(matrix, image.shape[1::-1]):
            fit = _fit(image, reference, matrix)
            fit.refine(ROUGH)
            if fit.overlap >= MIN_OVERLAP:
                best = max(best, fit.correlation)
    return best


def correlate(image: Image, reference: Reference, matrix: Matrix) -> float:
    """How well an image correlates with a reference at even local contrast, -1 … 1.

    :param image: uint8 (h, w, 3) RGB, by `shrink`.
    :param matrix: (3, 3), from its pixels to the reference's, both in this size.
    """
    return _fit(image, reference, matrix).correlation


def _fit(image: Image, reference: Reference, matrix: Matrix) -> _Fit:
    now, then = _grays(image, reference)
    return _Pair(_even(now), _even(then), reference).fit(matrix)


def _grays(image: Image, reference: Reference) -> tuple[Gray, Gray]:
    return _gray(image), _gray(reference.image)


def _gray(image: Image) -> Gray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def _slopes(gray: Gray) -> list[Gray]:
    """Derivatives to the right and down, per pixel."""
    return [
        np.asarray(cv2.Sobel(gray, cv2.CV_32F, *order, ksize=3, scale=1 / 8))
        for order in ((1, 0), (0, 1))
    ]


def _candidates(
    image: Image,
    reference: Reference,
    plain: Sequence[Gray],
    pair: _Pair,
    poor: Callable[[], bool],
) -> Iterator[Matrix]:
    """Maps that may be about right.

    :param poor: whether what was found of those before is.
    """
    mask = reference.mask.astype(np.uint8)
    window = cv2.createHanningWindow(plain[0].shape[::-1], cv2.CV_32F)
    # Copies: it multiplies its inputs by the window, in place.
    (right, down), _ = cv2.phaseCorrelate(plain[0].copy(), plain[1].copy(), window)
    shifted = np.array([[1.0, 0.0, right], [0.0, 1.0, down], [0.0, 0.0, 1.0]])

    def around(start: Matrix) -> Iterator[Matrix]:
        # Plain images converge from farther away; even ones in spite of a shadow.
        for images in (plain, (pair.now, pair.then)):
            found = _coarse_to_fine(images, mask, start)
            if found is not None and _is_plausible(found, image.shape[1::-1]):
                yield found

    yield from around(shifted)
    yield from around(STILL)
    matched = match(image, reference)
    if matched is not None and _is_plausible(matched, image.shape[1::-1]):
        yield from around(matched)
        if poor():
            # Of a fine texture nothing is left in small images: so from blurred ones of full size.
            yield pair.determined(matched, (ROUGH,), np.ones(pair.mask.shape, np.float32)).matrix


def match(image: Image, reference: Reference) -> Matrix | None:
    """The similarity (3, 3) from an image to the reference on which most SIFT features agree, in
    pixels of these images; None if too few do. It finds any shift and turn.

    :param image: uint8 (h, w, 3) RGB, by `shrink`.
    """
    finder = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=0.02)
    points, found = finder.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    wanted, known = finder.detectAndCompute(
        cv2.cvtColor(reference.image, cv2.COLOR_RGB2GRAY), reference.mask.astype(np.uint8) * 255
    )
    if min(len(points), len(wanted)) < MIN_MATCHES:
        return None
    # Lowe's ratio test: the second best match must be clearly worse.
    pairs = cv2.BFMatcher().knnMatch(found, known, k=2)
    good = [one for one, other in pairs if one.distance < 0.8 * other.distance]
    if len(good) < MIN_MATCHES:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(
        np.array([points[one.queryIdx].pt for one in good]),
        np.array([wanted[one.trainIdx].pt for one in good]),
        ransacReprojThreshold=0.01 * image.shape[1],
    )
    if matrix is None or int(agree.sum()) < MIN_MATCHES:
        return None
    return _lifted(matrix)


def _coarse_to_fine(
    images: Sequence[Gray], mask: NDArray[np.uint8], start: Matrix
) -> Matrix | None:
    """ECC in two sizes; None where it does not converge. The full size is for `_Fit.refine`."""
    matrix = start
    for scale, kind in ((0.25, cv2.MOTION_EUCLIDEAN), (0.5, cv2.MOTION_AFFINE)):
        now, then = (
            cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            for one in images
        )
        seen = cv2.resize(mask, then.shape[::-1], interpolation=cv2.INTER_NEAREST)
        begin = np.ascontiguousarray(resized(matrix, scale)[:2], np.float32)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        try:
            _, found = cv2.findTransformECC(now, then, begin, kind, criteria, seen, 3)
        except cv2.error:
            return None
        matrix = resized(_lifted(found), 1 / scale)
    return matrix if np.isfinite(matrix).all() else None


class _Pair:
    """An image and the reference at even contrast, and what all fits of the two share."""

    def __init__(self, now: Gray, then: Gray, reference: Reference) -> None:
        self.now, self.then, self._reference = now, then, reference
        self.mask = mask = reference.mask
        self.where = reference.where
        self.slopes = _slopes(now)
        height, width = mask.shape
        y, x = np.mgrid[:height, :width]
        # In parts of the width from the middle, or the equations would be badly conditioned.
        self.middle = np.array([(width - 1) / 2, (height - 1) / 2])
        self.pixels = np.stack([x, y]).astype(np.float64)  # (2, h, w)

    def fit(self, matrix: Matrix) -> _Fit:
        return _Fit(self, matrix)

    def determined(self, matrix: Matrix, kinds: Sequence[str], counts: Gray | None = None) -> _Fit:
        """From there, the fit of the first of these kinds that the picture determines; else of
        the most certain one.

        :param counts: (h, w), how much each pixel counts; None: all alike, and the map is about
            right. Else it may be off by more than edges are wide.
        """
        pairs = [self] if counts is None else [*self._blurred, self]
        fits = []
        for kind in kinds:
            at = _as(kind, matrix, self.where.mean(0))
            for pair in pairs:
                fit = pair.fit(at)
                fit.refine(kind, counts)
                at = fit.matrix
            if fit.uncertainty <= MAX_UNCERTAINTY:
                return fit
            fits.append(fit)
        return min(fits, key=lambda one: one.uncertainty)

    @cached_property
    def _blurred(self) -> list[_Pair]:
        """The same, blurred, the widest first."""
        made = []
        for share in BLURS:
            sigma = share * self.now.shape[1]
            now, then = (cv2.GaussianBlur(one, (0, 0), sigma) for one in (self.now, self.then))
            made.append(_Pair(np.asarray(now), np.asarray(then), self._reference))
        return made


class _Fit:
    """One map between the two images of a pair.

    :ivar overlap, correlation, uncertainty, kind: see `Registration`; `correlation` of the whole.
    :ivar deviation: robust, of the residuals at edges.
    """

    def __init__(self, pair: _Pair, matrix: Matrix) -> None:
        self._pair = pair
        self._back = invert(matrix)  # from the reference to the image
        self.kind = ROUGH
        self.uncertainty = self.deviation = np.inf
        self._counts: Gray | None = None
        self._look()

    @property
    def matrix(self) -> Matrix:
        return invert(self._back)

    def off(self, matrix: Matrix) -> float:
        """How far from another map it puts the worst corner, as a share of the width."""
        return apart(self.matrix, matrix, self._pair.mask.shape[::-1])

    def refine(self, kind: str, counts: Gray | None = None) -> None:
        """Robust Gauss-Newton steps with the parameters of this kind of map.

        :param counts: (h, w), how much each pixel counts; None: all alike.
        """
        self.kind, self._counts = kind, counts
        for _ in range(ROBUST_STEPS):
            basis, residual, weight = self._equations()
            weighted = basis * weight
            try:
                step = _float64(np.linalg.solve(weighted @ basis.T, weighted @ residual))
            except np.linalg.LinAlgError:
                return
            if not np.abs(step).max() < 0.2:  # also not finite
                return
            moved = self._moved(step)
            if not _is_plausible(moved, self._pair.mask.shape[::-1]):
                return
            self._back = moved
            self._look()
            if np.abs(step).max() < LAST_STEP:
                break
        self.uncertainty = self._uncertainty()

    def _warped(self, image: NDArray[Any]) -> Gray:
        height, width = self._pair.mask.shape
        return np.asarray(
            cv2.warpPerspective(
                image, self._back, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
        )

    def _look(self) -> None:
        pair = self._pair
        self._used = (self._warped(np.ones_like(pair.now)) > 0.999) & pair.mask
        self._seen = self._warped(pair.now)[self._used].astype(np.float64)
        self.overlap = float(self._used.sum() / max(1, pair.mask.sum()))
        then = pair.then[self._used]
        flat = len(then) < 2 or min(self._seen.std(), then.std()) < FLAT
        self.correlation = -1.0 if flat else float(np.corrcoef(self._seen, then)[0, 1])

    def weighted_correlation(self, counts: Gray) -> float:
        """By how much each pixel (h, w) counts."""
        if self.correlation == -1.0:
            return -1.0
        then, used = self._pair.then, self._used
        covariance = np.cov(self._seen, then[used], aweights=counts[used])
        scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
        return float(covariance[0, 1] / scale) if scale > 0 else -1.0

    def _equations(self) -> tuple[Matrix, Matrix, Matrix]:
        """Per used pixel, n of them: derivatives by the parameters (k, n), residual (n,) and
        weight (n,), Tukey's biweight."""
        pair, used = self._pair, self._used
        width = pair.mask.shape[1]
        gx, gy = (self._warped(one)[used].astype(np.float64) * width for one in pair.slopes)
        basis = _derivatives(self.kind, gx, gy, *self._normalised(pair.pixels[:, used]))
        residual = pair.then[used] - self._seen
        tells = (gx**2 + gy**2) * (1.0 if self._counts is None else self._counts[used])
        self.deviation = deviation = 1.4826 * _median(np.abs(residual), tells)
        ratio = np.minimum(np.abs(residual) / (OUTLIER_DEVIATIONS * deviation + 1e-6), 1.0)
        robust = (1.0 - ratio**2) ** 2
        return basis, residual, robust if self._counts is None else robust * self._counts[used]

    def _normalised(self, pixels: Matrix) -> Matrix:
        """Where pixels (2, N) of the reference are mapped to, in parts of the width from the
        middle, (2, N)."""
        x, y, depth = self._back[:, :2] @ pixels + self._back[:, 2:]
        middle, width = self._pair.middle, self._pair.mask.shape[1]
        return np.stack([(x / depth - middle[0]) / width, (y / depth - middle[1]) / width])

    def _moved(self, step: Matrix) -> Matrix:
        """The map back, a step further."""
        width, (x, y) = self._pair.mask.shape[1], self._pair.middle
        pixels = np.array([[width, 0, x], [0, width, y], [0, 0, 1.0]])
        return _scaled(pixels @ _step(self.kind, step) @ np.linalg.inv(pixels) @ self._back)

    def _uncertainty(self) -> float:
        basis, residual, weight = self._equations()
        weighted = basis * weight
        height, width = self._pair.mask.shape
        rows, columns = np.nonzero(self._used)
        tile = (rows * TILES // height) * TILES + columns * TILES // width
        scores = np.array([np.bincount(tile, one, TILES * TILES) for one in weighted * residual])
        tiles = len(np.unique(tile))
        if tiles <= 2 * len(basis):
            return np.inf
        try:
            bread = np.linalg.inv(weighted @ basis.T)
        except np.linalg.LinAlgError:
            return np.inf
        # Few tiles tell too little of how they vary: the usual correction of their number.
        covariance = bread @ (scores @ scores.T) @ bread * tiles / (tiles - len(basis))
        u, v = self._normalised(self._pair.where.T)
        one, zero = np.ones_like(u), np.zeros_like(u)
        ways = (_derivatives(self.kind, *way, u, v) for way in ((one, zero), (zero, one)))
        variance = sum(np.einsum("kc,kl,lc->c", way, covariance, way) for way in ways)
        return float(np.sqrt(max(0.0, np.max(variance))))


def _median(values: Matrix, weights: Matrix) -> float:
    """Of values (n,) of which each counts as often as its weight says."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    if not len(values) or sums[-1] <= 0:
        return 0.0
    return float(values[order[np.searchsorted(sums, sums[-1] / 2)]])


def _derivatives(kind: str, gx: Matrix, gy: Matrix, u: Matrix, v: Matrix) -> Matrix:
    """By each parameter of a kind of map, (k, n): of what rises by (gx, gy) to the right and down
    at points (u, v), all (n,)."""
    if kind == "translation":
        return np.stack([gx, gy])
    if kind == "similarity":
        return np.stack([gx, gy, gx * u + gy * v, gy * u - gx * v])
    affine = [gx, gy, gx * u, gx * v, gy * u, gy * v]
    if kind == "homography":
        out = affine[2] + affine[5]
        return np.stack([*affine, out * u, out * v])
    return np.stack(affine)


def _step(kind: str, step: Matrix) -> Matrix:
    """The map (3, 3) whose derivatives at no motion `_derivatives` takes."""
    made = np.eye(3)
    made[:2, 2] = step[:2]
    if kind == "similarity":
        zoom, turn = step[2:]
        made[:2, :2] += [[zoom, -turn], [turn, zoom]]
    elif kind != "translation":
        made[:2, :2] += step[2:6].reshape(2, 2)
        made[2, :2] -= step[6:] if kind == "homography" else 0.0
    return made
