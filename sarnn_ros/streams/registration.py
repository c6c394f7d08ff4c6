# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera has been moved to since the demonstrations, and the warp that undoes it.

The *reference* of a camera is the median of the demonstrations' first images, with a mask of where
they look alike: an object tells nothing of the camera. An image is registered to it in three
steps: where to begin (no motion; the shift by phase correlation; a similarity through matched SIFT
features), from coarse to fine by maximising the correlation (ECC, Evangelidis and Psarakis 2008),
and robust least squares on images of even local contrast, for which light and shadows matter
little (Lucas and Kanade 1981, in the forward-additive form of Baker and Matthews 2004).

How exact the result is, is told by the fit itself. Residuals of neighbouring pixels depend on each
other (parallax, shadows, objects), so the covariance of the parameters is estimated from sums over
tiles of the image (a sandwich estimate, clustered by tile). Of affine map, similarity and
translation, the first is taken that the picture determines well enough.

A camera that has moved in space moves near and far things differently, and no map of the image
does that. So where a picture does not fit as a whole, the last step counts most what is near to
where the demonstrations differ, as the objects are there.

OpenCV and NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Gray = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: A map of pixels, (2, 3): x' = m[:, :2] @ x + m[:, 2]; pixel centres are integers.
Matrix = NDArray[np.float64]

#: Images are registered, and references kept, at this width at most, pixels.
REFERENCE_WIDTH = 320
#: A pixel differs between demonstrations if a channel is off the median by more than this,
#: 0 … 255, in more than this share of them.
MIN_DIFFERENCE, SHARE_THAT_DIFFERS = 12.0, 0.05
#: Kinds of maps, most parameters first.
KINDS = ("affine", "similarity", "translation")
#: A kind is determined if no corner of the image is less certain than this share of the width.
MAX_UNCERTAINTY = 0.004
#: A map enlarges or shrinks by no more than this factor, and shows this share of the reference.
MAX_ZOOM, MIN_OVERLAP = 1.5, 0.5
#: No other place is looked for if the images correlate this well where it is likely, and no corner
#: is off by more than this share of the width from there.
SURE_CORRELATION, NEAR = 0.85, 0.01
#: Standard deviation of the window of the local contrast, as a share of the width; the contrast,
#: in log intensity, below which there is only noise; and the intensity that dark noise has.
CONTRAST_WINDOW, NOISE_CONTRAST, DARK = 0.05, 0.03, 8.0
#: A camera has moved if what does not correlate there is at most this part of what does not in its
#: place. Of 40 pictures of the lift scene with the arm elsewhere none was then taken for a moved
#: camera (34 without this), of 30 that were moved none for one in its place.
LEFT_WHERE_MOVED = 0.5
#: SIFT: features looked for, and matches that must agree on a similarity.
FEATURES, MIN_MATCHES = 600, 8
#: Robust steps at most, and the residual that counts for nothing, in robust deviations.
ROBUST_STEPS, OUTLIER_DEVIATIONS = 10, 3.0
#: Tiles per side for the covariance.
TILES = 10
#: Where the whole picture correlates no better than this, its depth matters: what a pixel counts
#: in the last step falls off to this weight with the distance from where the demonstrations
#: differ, over this share of the width. With Fetch's cameras moved by 6° and 4 cm, the table is
#: then 1 to 2 pixels of 160 off in front for 4.7 with all pixels alike.
NO_DEPTH, FAR_WEIGHT, FALL_OFF = 0.9, 0.02, 0.05
#: The table may be off by more than its edges are wide: so images are blurred by this share of the
#: width at first. The result counts if no more than this part of what did not correlate is left.
BLUR, LEFT_IF_NEARER = 0.02, 0.9
#: Whether it is the same scene is told by wider surroundings.
FALL_OFF_OF_CORRELATION = 0.1


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

    def near(self, fall_off: float) -> Gray:
        """float32 (h, w), 1 where the demonstrations differ, down to `FAR_WEIGHT` away from there.

        :param fall_off: as a share of the width.
        """
        differs = cv2.morphologyEx(
            (~self.mask).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
        )
        if not differs.any():
            return np.ones(self.mask.shape, np.float32)
        away = cv2.distanceTransform(1 - differs, cv2.DIST_L2, cv2.DIST_MASK_5)
        near = np.exp(-((away / (fall_off * differs.shape[1])) ** 2))
        return np.asarray(FAR_WEIGHT + (1.0 - FAR_WEIGHT) * near, np.float32)


@dataclass(frozen=True, eq=False)
class Registration:
    """Where an image lies on a reference.

    :param matrix: (2, 3) float64, from pixels of the image to pixels of the reference, both in
        the size of the camera's own image.
    :param kind: of the map, one of `KINDS`.
    :param uncertainty: standard deviation of the worst corner, as a share of the width.
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
    def shift(self) -> tuple[float, float]:
        """(right, down) by which the image shows what was in the reference's middle off its own
        middle, pixels."""
        middle, back = (np.array(self.size) - 1.0) / 2.0, invert(self.matrix)
        right, down = back[:, :2] @ middle + back[:, 2] - middle
        return float(right), float(down)

    @property
    def turn(self) -> float:
        """By which the image is turned, rad, clockwise as it is looked at."""
        return float(np.arctan2(self.matrix[0, 1] - self.matrix[1, 0], np.trace(self.matrix)))

    @property
    def zoom(self) -> float:
        """How many times as large things look as in the reference."""
        return float(1.0 / np.sqrt(np.linalg.det(self.matrix[:, :2])))


def make_reference(first_images: Sequence[Image], source: tuple[int, int]) -> Reference:
    """The reference of one camera.

    :param first_images: uint8 (h, w, 3) RGB, the first of each demonstration by `shrink`.
    :param source: (width, height) of the camera's own image, pixels.
    """
    stack = np.stack(first_images)
    median = np.median(stack, axis=0).astype(np.float32)
    off = np.abs(stack - median).max(axis=-1)
    differs = np.quantile(off, 1.0 - SHARE_THAT_DIFFERS, axis=0) > MIN_DIFFERENCE
    grown = cv2.dilate(differs.astype(np.uint8), np.ones((3, 3), np.uint8))
    return Reference(np.rint(median).astype(np.uint8), np.asarray(grown == 0), source)


def shrink(source: Image, widest: int = REFERENCE_WIDTH) -> Image:
    """The camera's image (H, W, 3) in the size in which it is registered, pixels."""
    height, width = source.shape[:2]
    if width <= widest:
        return np.ascontiguousarray(source)
    size = widest, max(1, round(height * widest / width))
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
    pair = _Pair(_even(plain[0]), _even(plain[1]), reference.mask)
    small = image.shape[1] / reference.source[0]
    start = np.eye(2, 3) if near is None else resized(near, small)
    best = pair.fit(start)
    best.refine(KINDS[0])
    stayed = apart(best.matrix, start, image.shape[1::-1])
    if not (best.correlation > sure and stayed < NEAR):
        for matrix in _candidates(image, reference, plain, pair):
            fit = pair.fit(matrix)
            fit.refine(KINDS[0])
            if fit.overlap >= MIN_OVERLAP and fit.correlation > best.correlation:
                best = fit
                if best.correlation > sure:
                    break
    # The robot is the strongest edge of many scenes, and stands elsewhere at times: a picture that
    # fits nearly as well where the camera stood has not moved.
    still = pair.fit(np.eye(2, 3))
    clearly = 1.0 - best.correlation <= LEFT_WHERE_MOVED * (1.0 - still.correlation)
    if not clearly and _off(best.matrix, *image.shape[1::-1]) >= NEAR:
        best = still
    if not _is_plausible(best.matrix):
        return None
    counts, around = (reference.near(share) for share in (FALL_OFF, FALL_OFF_OF_CORRELATION))
    nearer = None if best.correlation > NO_DEPTH else pair.nearer(best.matrix, counts)
    if nearer is None:
        found = pair.determined(best.matrix)
    else:
        found = pair.determined(nearer, counts)
    return Registration(
        resized(found.matrix, 1 / small),
        found.kind,
        found.uncertainty,
        max(best.correlation, found.weighted_correlation(around)),
        found.overlap,
        reference.source,
    )


def describe(found: Registration) -> list[tuple[str, str]]:
    """How the picture lies, and what to do with the camera, part by part."""
    (right, down), width = found.shift, found.size[0]
    parts = []
    for value, way, back in ((right, "right", "right"), (-right, "left", "left"),
                             (down, "down", "down"), (-down, "up", "up")):  # fmt: skip
        if value >= 0.003 * width:
            where = f"{value:.0f} px ({value / width:.1%} of the width) too far {way}"
            parts.append((where, f"turn it {back}"))
    degrees = float(np.degrees(found.turn))
    if abs(degrees) >= 0.3:
        way = "clockwise" if degrees > 0 else "counter-clockwise"
        parts.append((f"turned {way} by {abs(degrees):.1f}°", f"roll it {way}"))
    if abs(found.zoom - 1.0) >= 0.005:
        larger = found.zoom > 1.0
        size = f"{abs(found.zoom - 1.0):.1%} too {'large' if larger else 'small'}"
        parts.append((size, "move it back" if larger else "move it closer"))
    return parts


def undo(image: Image, matrix: Matrix) -> Image:
    """The image as the camera would show it from its place: uint8 (H, W, 3).

    :param matrix: of a `Registration`. What lies beyond the image repeats its border.
    """
    height, width = image.shape[:2]
    warped = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)


def invert(matrix: Matrix) -> Matrix:
    """The map back, (2, 3)."""
    return _float64(np.linalg.inv(_square(matrix))[:2])


def apart(one: Matrix, other: Matrix, size: tuple[int, ...]) -> float:
    """How far apart two maps put the worst corner, as a share of the width.

    :param size: (width, height) of the images, pixels.
    """
    return _off(_float64(_square(one) @ _square(invert(other)))[:2], *size)


def _float64(values: Any) -> Matrix:
    return np.asarray(values, np.float64)


def _square(matrix: Any) -> Matrix:
    return np.vstack([_float64(matrix), [0.0, 0.0, 1.0]])


def resized(matrix: Matrix, factor: float) -> Matrix:
    """The map between images that are so many times as large."""
    zoom = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1.0]])
    return _float64((zoom @ _square(matrix) @ np.linalg.inv(zoom))[:2])


def _corners(width: int, height: int) -> Matrix:
    return np.array([(x, y) for x in (0.0, width - 1.0) for y in (0.0, height - 1.0)])


def _off(matrix: Matrix, width: int, height: int) -> float:
    """How far the worst corner is moved, as a share of the width."""
    corners = _corners(width, height)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    return float(np.linalg.norm(moved - corners, axis=1).max() / width)


def _is_plausible(matrix: Matrix) -> bool:
    factors = np.linalg.svd(matrix[:, :2], compute_uv=False)
    upright = np.linalg.det(matrix[:, :2]) > 0
    return bool(upright and factors[0] < MAX_ZOOM and factors[1] > 1 / MAX_ZOOM)


def _even(gray: Gray) -> Gray:
    """Log intensity less its local mean, divided by its local contrast."""
    log = np.log(gray + DARK)
    sigma = CONTRAST_WINDOW * gray.shape[1]
    off = log - cv2.GaussianBlur(log, (0, 0), sigma)
    contrast = np.sqrt(np.maximum(cv2.GaussianBlur(off**2, (0, 0), sigma), 0.0))
    return np.asarray(cv2.GaussianBlur(off / (contrast + NOISE_CONTRAST), (0, 0), 1.0))


def recognise(image: Image, reference: Reference) -> float:
    """How well an image correlates with a reference where its features say that it lies, -1 … 1;
    -1 where they do not say. Quicker than `register`, and less sure to find it.

    :param image: uint8 (h, w, 3) RGB, by `shrink`.
    """
    matched = match(image, reference) if image.shape == reference.image.shape else None
    if matched is None or not _is_plausible(matched):
        return -1.0
    fit = _fit(image, reference, matched)
    fit.refine(KINDS[0])
    return fit.correlation if fit.overlap >= MIN_OVERLAP else -1.0


def correlate(image: Image, reference: Reference, matrix: Matrix) -> float:
    """How well an image correlates with a reference at even local contrast, -1 … 1.

    :param image: uint8 (h, w, 3) RGB, by `shrink`.
    :param matrix: (2, 3), from its pixels to the reference's, both in this size.
    """
    return _fit(image, reference, matrix).correlation


def _fit(image: Image, reference: Reference, matrix: Matrix) -> _Fit:
    now, then = _grays(image, reference)
    return _Pair(_even(now), _even(then), reference.mask).fit(matrix)


def _grays(image: Image, reference: Reference) -> tuple[Gray, Gray]:
    now, then = (
        cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float32)
        for one in (image, reference.image)
    )
    return now, then


def _candidates(
    image: Image, reference: Reference, plain: Sequence[Gray], pair: _Pair
) -> Iterator[Matrix]:
    """Maps that may be about right."""
    mask = reference.mask.astype(np.uint8)
    for start in _starts(image, reference, plain):
        # Plain images converge from farther away; even ones in spite of a shadow.
        for images in (plain, (pair.now, pair.then)):
            found = _coarse_to_fine(images, mask, start)
            if found is not None and _is_plausible(found):
                yield found


def _starts(image: Image, reference: Reference, plain: Sequence[Gray]) -> Iterator[Matrix]:
    window = cv2.createHanningWindow(plain[0].shape[::-1], cv2.CV_32F)
    # Copies: it multiplies its inputs by the window, in place.
    (right, down), _ = cv2.phaseCorrelate(plain[0].copy(), plain[1].copy(), window)
    yield np.array([[1.0, 0.0, right], [0.0, 1.0, down]])
    yield np.eye(2, 3)
    matched = match(image, reference)
    if matched is not None:
        yield matched


def match(image: Image, reference: Reference) -> Matrix | None:
    """The similarity (2, 3) from an image to the reference on which most SIFT features agree, in
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
    return np.asarray(matrix, np.float64)


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
        begin = np.ascontiguousarray(resized(matrix, scale), np.float32)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        try:
            _, found = cv2.findTransformECC(now, then, begin, kind, criteria, seen, 3)
        except cv2.error:
            return None
        matrix = resized(_float64(found), 1 / scale)
    return matrix if np.isfinite(matrix).all() else None


class _Pair:
    """An image and the reference at even contrast, and what all fits of the two share."""

    def __init__(self, now: Gray, then: Gray, mask: Mask) -> None:
        self.now, self.then, self.mask = now, then, mask
        self.slopes = [
            cv2.Sobel(now, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1))
        ]
        height, width = mask.shape
        y, x = np.mgrid[:height, :width]
        # In parts of the width from the middle, or the equations would be badly conditioned.
        self.middle = np.array([(width - 1) / 2, (height - 1) / 2])
        self.u, self.v = (x - self.middle[0]) / width, (y - self.middle[1]) / width

    def fit(self, matrix: Matrix) -> _Fit:
        return _Fit(self, matrix)

    def nearer(self, matrix: Matrix, counts: Gray) -> Matrix | None:
        """From there, where it fits best by how much each pixel (h, w) counts; None if that is not
        clearly better for those that do."""
        width = BLUR * self.now.shape[1]
        now, then = (
            np.asarray(cv2.GaussianBlur(one, (0, 0), width), np.float32)
            for one in (self.now, self.then)
        )
        blurred = _Pair(now, then, self.mask).fit(matrix)
        blurred.refine(KINDS[0], counts)
        fits = self.fit(matrix), self.fit(blurred.matrix)
        left_before = 1.0 - fits[0].weighted_correlation(counts)
        for fit in fits:
            fit.refine(KINDS[0], counts)
        best = max(fits, key=lambda fit: fit.weighted_correlation(counts))
        left = 1.0 - best.weighted_correlation(counts)
        return best.matrix if left < LEFT_IF_NEARER * left_before else None

    def determined(self, matrix: Matrix, counts: Gray | None = None) -> _Fit:
        """From there, the fit with most parameters that the picture determines; else the most
        certain one."""
        fits = []
        for kind in KINDS:
            fit = self.fit(matrix)
            fit.refine(kind, counts)
            if fit.uncertainty <= MAX_UNCERTAINTY:
                return fit
            fits.append(fit)
        return min(fits, key=lambda one: one.uncertainty)


class _Fit:
    """One map between the two images of a pair.

    :ivar overlap, correlation, uncertainty, kind: see `Registration`; `correlation` of the whole.
    """

    def __init__(self, pair: _Pair, matrix: Matrix) -> None:
        self._pair = pair
        self._back = invert(matrix)  # from the reference to the image
        self.kind = KINDS[0]
        self.uncertainty = np.inf
        self._counts: Gray | None = None
        self._look()

    @property
    def matrix(self) -> Matrix:
        return invert(self._back)

    def refine(self, kind: str, counts: Gray | None = None) -> None:
        """Robust Gauss-Newton steps with the parameters of this kind of map.

        :param counts: (h, w), how much each pixel counts; None: all alike.
        """
        self.kind, self._counts = kind, counts
        for _ in range(ROBUST_STEPS):
            basis, residual, weight = self._equations()
            weighted = basis * weight[:, None]
            try:
                step = _float64(np.linalg.solve(weighted.T @ basis, weighted.T @ residual))
            except np.linalg.LinAlgError:
                return
            if not np.abs(step).max() < 0.2:  # also not finite
                return
            self._move(step)
            if np.abs(step).max() < 1e-5:
                break
        self.uncertainty = self._uncertainty()

    def _warped(self, image: NDArray[Any]) -> Gray:
        height, width = self._pair.mask.shape
        return np.asarray(
            cv2.warpAffine(
                image, self._back, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
        )

    def _look(self) -> None:
        pair = self._pair
        self._used = (self._warped(np.ones_like(pair.now)) > 0.999) & pair.mask
        self._seen = self._warped(pair.now)[self._used].astype(np.float64)
        self.overlap = float(self._used.sum() / max(1, pair.mask.sum()))
        then = pair.then[self._used]
        flat = len(then) < 2 or self._seen.std() == 0.0 or then.std() == 0.0
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
        """Per used pixel, n of them: derivatives by the parameters (n, k), residual (n,) and
        weight (n,), Tukey's biweight."""
        pair, used = self._pair, self._used
        gx, gy = (self._warped(one)[used].astype(np.float64) for one in pair.slopes)
        field = _field(self.kind, pair.u[used], pair.v[used])
        basis = (gx[:, None] * field[:, 0] + gy[:, None] * field[:, 1]) * pair.mask.shape[1]
        residual = pair.then[used] - self._seen
        deviation = 1.4826 * np.median(np.abs(residual)) if len(residual) else 0.0
        ratio = np.minimum(np.abs(residual) / (OUTLIER_DEVIATIONS * deviation + 1e-6), 1.0)
        robust = (1.0 - ratio**2) ** 2
        return basis, residual, robust if self._counts is None else robust * self._counts[used]

    def _corner_field(self) -> Matrix:
        height, width = self._pair.mask.shape
        return _field(self.kind, *((_corners(width, height) - self._pair.middle) / width).T)

    def _move(self, step: Matrix) -> None:
        height, width = self._pair.mask.shape
        corners = _corners(width, height)
        moved = corners @ self._back[:, :2].T + self._back[:, 2]
        moved += width * (self._corner_field() @ step)
        lifted = np.column_stack([corners, np.ones(4)])
        self._back = np.asarray(np.linalg.lstsq(lifted, moved, rcond=None)[0].T, np.float64)
        self._look()

    def _uncertainty(self) -> float:
        basis, residual, weight = self._equations()
        weighted = basis * weight[:, None]
        height, width = self._pair.mask.shape
        rows, columns = np.nonzero(self._used)
        tile = (rows * TILES // height) * TILES + columns * TILES // width
        scores = np.zeros((TILES * TILES, basis.shape[1]))
        np.add.at(scores, tile, weighted * residual[:, None])
        tiles = len(np.unique(tile))
        if tiles <= 2 * basis.shape[1]:
            return np.inf
        try:
            bread = np.linalg.inv(weighted.T @ basis)
        except np.linalg.LinAlgError:
            return np.inf
        # Few tiles tell too little of how they vary: the usual correction of their number.
        covariance = bread @ (scores.T @ scores) @ bread * tiles / (tiles - basis.shape[1])
        field = self._corner_field()
        variance = np.einsum("cik,kl,cil->c", field, covariance, field)
        return float(np.sqrt(max(0.0, variance.max())))


def _field(kind: str, u: Matrix, v: Matrix) -> Matrix:
    """How (n, 2, k) points at (u, v) move with each parameter of a kind of map."""
    zero, one = np.zeros_like(u), np.ones_like(u)
    dx, dy = {
        "translation": ((one, zero), (zero, one)),
        "similarity": ((one, zero, u, -v), (zero, one, v, u)),
        "affine": ((one, zero, u, v, zero, zero), (zero, one, zero, zero, u, v)),
    }[kind]
    return np.stack([np.stack(dx, axis=-1), np.stack(dy, axis=-1)], axis=1)
