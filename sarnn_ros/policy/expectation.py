# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where an episode's images let expect each attention point. NumPy only.

A filter that meets something it was never shown may find that instead of its thing. The others
tell: in the demonstrations all points followed from a few numbers z, by which the motions differ.
So z is estimated from all points together, in a way in which those that disagree do not count, and
tells where each of them should be.

    point_k = (mean_k + slope_k z) / (1 + depth_k z) + noise,  z ~ N(0, I),
    noise ~ N(0, deviation_k²) in x and in y, which differ where the image is not square

but for a share of `missed_k`, which are anywhere in the image, or where they were then. This is
fitted by expectation maximisation (Dempster et al. 1977) from several starts: with all points, and
with a few at random. Where few demonstrations tell the slopes, with all points only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.policy.directory import Places

Vector = NDArray[np.float64]

#: A point is where it is expected within so many standard deviations.
MAX_DEVIATIONS = 4.0
#: Each filter misses in at least so many of the scenes that it was never shown.
MIN_MISSED = 0.08
#: Fits begin with all points, and so many times with a few at random.
STARTS, POINTS_PER_START = 60, 5
#: How near a thing may be, as a share of where it usually is.
MIN_DEPTH = 0.3
#: Rounds of a fit, and in how many of them the weights are still soft, by which power.
ROUNDS, SOFT_ROUNDS, SOFTNESS = 20, 9, 0.3
#: Deviation of a point that misses as in a demonstration from where it was then.
MISSED_DEVIATION = 0.02
#: Things have been moved if another fit is better by so many times what is usual at that time, and
#: more than plausible.
USUAL_GAINS = 1.5
#: Another fit is as plausible if its logarithmic likelihood is less by no more than this.
PLAUSIBLE = 6.0
#: First images are as those of the demonstrations if their fit is worse than the median one by no
#: more than so many standard deviations, of which the 95th percentile is so many off, and which
#: are so large at least. The ratio of 160 trials as demonstrated, of four policies of 50
#: demonstrations, is 0.73 at most; with the objects hidden it is 0.7 (push), 1.1, 1.7 and 7.
MAX_COST_DEVIATIONS, P95_DEVIATIONS, MIN_COST_DEVIATION = 3.6, 1.64, 3.0


class Expectation:
    """Where each point should be, `where` (K, 2), and how far from there it may be, `near` (K,),
    in shares of the image. Where several fits are plausible it may be wherever one of them lets
    expect it. `cost`: how badly the points fit. `z`: what differs between episodes, as the points
    tell it, (C,).

    :param points: of an episode's first images, all cameras', (K, 2), shares of the image.
    """

    where: Vector
    near: Vector
    cost: float
    z: Vector

    def __init__(self, places: Places, points: Vector) -> None:
        self._fit = _Fit(places)
        self._usual = places.cost
        self._other_fits = places.other_fits
        count = len(points)
        random = np.random.default_rng(0)
        weight: Vector = np.zeros((1 + STARTS * places.other_fits, count))
        weight[0] = 1.0
        for row in weight[1:]:
            row[random.choice(count, min(count, POINTS_PER_START), False)] = 1.0
        self._take(*self._fit.improve(points, weight))

    @property
    def unlikely(self) -> float:
        """How badly the points fit: 0 as those of a median demonstration, above 1 so badly that
        something is missing, covered, or has been taken for something else."""
        median, high = self._usual
        deviation = max((high - median) / P95_DEVIATIONS, MIN_COST_DEVIATION)
        return (self.cost - median) / (MAX_COST_DEVIATIONS * deviation)

    def follow(self, points: Vector, usual_gain: float) -> bool:
        """Whether things have been moved: another fit, begun with the points that are not where
        they should be, tells much better where all now are, and counts from now on.

        :param points: of later images, (K, 2).
        :param usual_gain: by how much a fit is better at that time though nothing was moved.
        """
        count = len(points)
        left = np.linalg.norm(points - self.where, axis=1) > self.near
        if left.sum() < 2 or not self._other_fits:
            return False
        starts = np.stack([np.maximum(left, self._weight), left.astype(float), np.ones(count)])
        z, weight, cost = self._fit.improve(points, starts)
        gain = self._fit.cost(points, self.z[None])[0] - cost.min()
        if gain < USUAL_GAINS * usual_gain + PLAUSIBLE:
            return False
        self._take(z, weight, cost)
        return True

    def _take(self, z: Vector, weight: Vector, cost: Vector) -> None:
        best = int(cost.argmin())
        likely = np.flatnonzero(cost < cost[best] + PLAUSIBLE)
        where = self._fit.where(z[likely])
        self.where = where[likely == best][0]
        apart = np.linalg.norm(where - self.where, axis=2)
        deviations = self._fit.deviations(z[likely], weight[likely])
        self.near = (apart + MAX_DEVIATIONS * deviations).max(0)
        self.z, self._weight, self.cost = z[best], weight[best], float(cost[best])


def best_gain(places: Places, points: Vector, z: Vector) -> float:
    """By how much some z fits points (K, 2) better than this one (C,), which is the right one: see
    `Places.usual_gain`."""
    fit = _Fit(places)
    off = (points - fit.where(z[None])[0]) / fit.deviation
    left = np.linalg.norm(off, axis=1) > MAX_DEVIATIONS
    starts = np.stack([left, ~left, np.ones(len(points))])
    return float(fit.cost(points, z[None])[0] - fit.improve(points, starts)[2].min())


class _Fit:
    """Many fits at once, N of them, which differ in where they began."""

    def __init__(self, places: Places) -> None:
        self.mean = np.array(places.mean).T
        count = len(self.mean)
        slope = np.array(places.slope, np.float64).reshape(-1, 2, count)
        self.slope = np.moveaxis(slope, 0, -1).swapaxes(0, 1)  # (K, 2, C)
        self.depth = np.array(places.depth, np.float64).reshape(-1, count).T  # (K, C)
        self.deviation = np.array(places.deviation).T  # (K, 2)
        self._variance = self.deviation**2
        missed = np.maximum(places.missed, MIN_MISSED)
        self._found, self._share = np.log1p(-missed), np.log(missed)
        self._missed_at = [np.reshape(one, (-1, 2)) for one in places.missed_at]

    def improve(self, points: Vector, weight: Vector) -> tuple[Vector, Vector, Vector]:
        """From weights (N, K): z (N, C), weights, and what is minimised, (N,)."""
        missed = self._missed(points)
        z: Vector = np.zeros((len(weight), self.depth.shape[1]))
        for number in range(ROUNDS):
            z = self._solve(points, weight, z)
            inside, _ = self._cost(points, z, missed)
            power = SOFTNESS if number < SOFT_ROUNDS else 1.0
            weight = 1 / (1 + np.exp(np.clip(-power * inside, -50, 50)))
        z = self._solve(points, weight, z)
        return z, weight, self._cost(points, z, missed)[1]

    def where(self, z: Vector) -> Vector:
        """Of each point, (N, K, 2), by z (N, C)."""
        flat = self.mean + np.einsum("kic,nc->nki", self.slope, z)
        where: Vector = flat / self._depths(z)[..., None]
        return where

    def _depths(self, z: Vector) -> Vector:
        """How far each thing is, (N, K), 1 as usual, by z (N, C)."""
        depths: Vector = np.maximum(1 + z @ self.depth.T, MIN_DEPTH)
        return depths

    def cost(self, points: Vector, z: Vector) -> Vector:
        """What is minimised, (N,), at z (N, C)."""
        return self._cost(points, z, self._missed(points))[1]

    def _missed(self, points: Vector) -> Vector:
        """Logarithmic density of points (K, 2) that have missed, (K,): half of them are anywhere
        in the image, half near where they were in a demonstration."""
        density = np.ones(len(points))
        for row, (at, point) in enumerate(zip(self._missed_at, points, strict=True)):
            if len(at):
                squares = ((at - point) ** 2).sum(1) / MISSED_DEVIATION**2
                near = np.exp(-squares / 2).mean() / (2 * np.pi * MISSED_DEVIATION**2)
                density[row] = (1 + near) / 2
        missed: Vector = self._share + np.log(density)
        return missed

    def _solve(self, points: Vector, weight: Vector, before: Vector) -> Vector:
        """z (N, C) by weights (N, K), and by z of before, which tells how far things are.

        Both sides of each equation are multiplied by its depth: then it is linear in z.
        """
        precision = (weight / self._depths(before) ** 2)[..., None] / self._variance
        slope = self.slope - points[:, :, None] * self.depth[:, None]
        gram = np.einsum("nki,kic,kid->ncd", precision, slope, slope)
        right = np.einsum("nki,kic,ki->nc", precision, slope, points - self.mean)
        z: Vector = np.linalg.solve(np.eye(gram.shape[1]) + gram, right[..., None])[..., 0]
        return z

    def _cost(self, points: Vector, z: Vector, missed: Vector) -> tuple[Vector, Vector]:
        """How much likelier it is that a point found its thing than that it did not, as a
        logarithm, (N, K); and what is minimised, (N,)."""
        squares = ((points - self.where(z)) ** 2 / self._variance).sum(2)
        found = self._found - squares / 2 - np.log(2 * np.pi * self.deviation.prod(1))
        cost = (z**2).sum(1) / 2 - np.logaddexp(found, missed).sum(1)
        return found - missed, cost

    def deviations(self, z: Vector, weight: Vector) -> Vector:
        """Of each point from where it is expected, as z (N, C) is not exact either, (N, K)."""
        slope = self.slope - self.where(z)[..., None] * self.depth[:, None]
        slope = slope / self._depths(z)[..., None, None]
        precision = weight[..., None] / self._variance
        gram = np.einsum("nki,nkic,nkid->ncd", precision, slope, slope)
        inverse = np.linalg.inv(np.eye(gram.shape[1]) + gram)
        of_z = np.einsum("nkic,ncd,nkid->nk", slope, inverse, slope)
        deviation: Vector = np.sqrt(self._variance.max(1) + of_z)
        return deviation
