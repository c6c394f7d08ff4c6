# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a thing must have been in the first images, by what the demonstrations did with it.

A filter that finds a thing in most episodes, and something else in the others, has places that
the trajectories tell, but for the others. A robust regression of the places on the trajectories
shows in how many episodes it is so. Many such filters are on the same thing, each in other
episodes: together they tell where it is in nearly all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from sarnn_ros.policy.directory import ANYWHERE_DEVIATION, Places
from sarnn_ros.policy.expectation import MIN_DEPTH, Expectation, best_gain
from sarnn_ros.training.explained import Array, told_by
from sarnn_ros.training.recipe import RECIPE

#: Components of the trajectories: as many as tell this share of how they differ, at most so many,
#: or one per so many episodes if these are more: where five things lie, ten numbers differ.
COMPONENT_SHARE, MAX_COMPONENTS, EPISODES_PER_COMPONENT = 0.98, 6, 8
#: The same where they are to be exact, and by how many there are more episodes.
EXACT_SHARE, SPARE_EPISODES = 0.999, 4
#: Of the regression, as a share of a component's variance. With 0.03 far places were left out.
RIDGE = 0.01
#: How much nearer or farther a thing is expected to be, as a share, where a component is as large
#: as it usually is. With 0.1 sixteen demonstrations fitted too well.
DEPTH_DEVIATION = 0.07
#: Cells of the feature map beyond which a miss counts for little, from wide to narrow, each for
#: so many rounds.
SCALES, ROUNDS = (8.0, 4.0, 2.0, 2.0, 2.0), 3
#: A place is as expected if it is no further off, cells.
MAX_MISS = 3.0
#: How much expected places must deviate between the episodes, cells.
MIN_PLACE_DEVIATION = 1.5
#: Things that are looked for, and the share of the episodes in which the best filter of a thing
#: must find it; of another filter of the same thing. Places at random are within `MAX_MISS` of the
#: expected one in 13 to 24 % of 45 episodes.
MAX_THINGS, MIN_FIRST_SHARE, MIN_SHARE = 4, 0.35, 0.25
#: In so many more episodes, as a share, must the best one find it than if the motions were equal.
MIN_GAIN = 0.2
#: Two filters are on one thing if their expected places differ by the same in half of the
#: episodes, to so many cells, and no more than by so many.
MAX_DEVIATION, MAX_OFFSET = 1.5, 10.0
#: Smallest deviation of a point that has found its thing, cells.
MIN_DEVIATION = 0.5
#: Share of a thing's filters, by what they find, of which one must have found it in an episode.
MIN_VOTES = 0.2
#: A motion is told if it is off by less than this share of how much motions deviate. It is 0.03 to
#: 0.05 in the median of Fetch's pick-and-place, clean and in clutter; of two of insertion's four
#: numbers 0.2, and 39 of 50 succeed with the motion, 47 without.
NEAR_MOTION = 0.15
#: And where other things lie about, which points are on at times: Meta-World's pick-place, off by
#: 0.2, succeeds in 47 and 47 of 50 with the motion, in 49 and 33 without.
NEAR_IN_CLUTTER = 0.5
#: The recurrent part gets motions of which so many, as a share, are told.
MIN_TOLD = 0.6
#: Usual gains: of so many ticks at most, which share of the demonstrations has less, and how far
#: each reaches, as a share of the longest demonstration.
MAX_GAIN_TICKS, GAIN_QUANTILE, GAIN_WINDOW = 50, 0.98, 0.06
#: Parts of the demonstrations, in cross-validation: what is found by the others is judged by each.
FOLDS = 5


class Told(NamedTuple):
    """What is known of E episodes, each column with a deviation of 1 in all that it was made of.

    :ivar motions: how their trajectories differ beside what the starts tell, (E, C), largest
        differences first.
    :ivar starts: where they start, (E, K), see `explained.Starts`.
    :ivar ways: by how much a trajectory differs per unit of each motion, (C, N, D).
    """

    motions: Tensor
    starts: Tensor
    ways: Tensor

    def of(self, episodes: Tensor) -> Told:
        """Of some of the episodes: numbers, or bool (E,)."""
        return self._replace(motions=self.motions[episodes], starts=self.starts[episodes])

    def still(self) -> Told:
        """As if the motions did not differ."""
        return self._replace(motions=torch.zeros_like(self.motions))

    def of_motions(self, count: int) -> Told:
        """The first motions, and zeros if they are fewer."""
        more = max(0, count - self.motions.shape[1])
        return self._replace(
            motions=pad(self.motions, (0, more))[:, :count],
            ways=pad(self.ways, (0, 0, 0, 0, 0, more))[:count],
        )


def tell(wanted: Array, starts: Array, device: torch.device, exact: bool = False) -> Told:
    """The principal components of trajectories (E, N, D), and the starts (E, K).

    :param exact: nearly all components, which of few episodes are too many to regress on them.
    """
    count = len(wanted)
    share, most = COMPONENT_SHARE, count // RECIPE.episodes_per_chosen_point
    if exact:
        share, most = EXACT_SHARE, count - SPARE_EPISODES
    left = (wanted - told_by(starts, wanted, starts)[0]).reshape(count, -1)
    turned, sizes, _ = np.linalg.svd(left, full_matrices=False)
    turned *= np.sign(turned[np.abs(turned).argmax(0), np.arange(turned.shape[1])])
    shares = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-9)
    limit = max(MAX_COMPONENTS, count // EPISODES_PER_COMPONENT)
    kept = min(limit, max(1, most), int((shares < share).sum()) + 1)
    motions = turned[:, :kept] * np.sqrt(count)
    ways = (motions.T @ left / count).reshape(kept, *wanted.shape[1:])
    parts = motions, starts, ways
    return Told(*(torch.from_numpy(np.array(part)).float().to(device) for part in parts))


def expected_places(places: Tensor, told: Told) -> tuple[Tensor, Tensor]:
    """By a regression in which large misses hardly count: where the other episodes let expect each
    place, (E, M, 2), and the mean deviation of what the motions tell, (M,).

    Weighted least squares, repeated with weights by the misses (Holland and Welsch 1977): the
    square of Cauchy's.

    :param places: of M filters, (E, M, 2), cells.
    """
    inputs = _inputs(told)
    view, own = _robust(inputs, places, torch.ones_like(places[..., 0]))
    still = inputs.clone()
    still[:, 1 : 1 + told.motions.shape[1]] = 0
    moved = (view(inputs) - view(still)).abs().sum(2).mean(0)
    off = places - view(inputs)
    return places - off / (1 - own).clamp(min=0.2).unsqueeze(2), moved


class _View(NamedTuple):
    """Where M filters' things are in the image, by inputs x (E, I), of which the first is 1:

        place = x · slope / (1 + x[1:] · depth)

    So a pinhole camera shows what moves in space linearly with x (Hartley and Zisserman 2004,
    6.1).

    :ivar slope: (M, I, 2), cells.
    :ivar depth: (M, I - 1): by which share things are farther away.
    """

    slope: Tensor
    depth: Tensor

    def depths(self, inputs: Tensor) -> Tensor:
        """(E, M); 1 is usual."""
        return (1 + inputs[:, 1:] @ self.depth.T).clamp(min=MIN_DEPTH)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Places (E, M, 2)."""
        flat = torch.einsum("ek,mkd->emd", inputs, self.slope)
        return flat / self.depths(inputs).unsqueeze(2)


def _inputs(told: Told) -> Tensor:
    """Of the regression, (E, 1 + C + K): a constant, the motions and the starts."""
    return torch.cat([torch.ones_like(told.motions[:, :1]), told.motions, told.starts], 1)


def _robust(inputs: Tensor, places: Tensor, counts: Tensor) -> tuple[_View, Tensor]:
    """`_regression`, repeated with weights by the misses, from wide to narrow.

    :param counts: what each place counts at first, and at most, (E, M).
    """
    weight, depths = counts, torch.ones_like(counts)
    for scale in SCALES:
        for _ in range(ROUNDS):
            view, own = _regression(inputs, places, weight / depths**2, scale)
            depths, off = view.depths(inputs), places - view(inputs)
            weight = counts * (1 + (off.norm(dim=2) / scale) ** 2) ** -2
    return view, own


def _regression(
    inputs: Tensor, places: Tensor, weight: Tensor, deviation: float
) -> tuple[_View, Tensor]:
    """Fitted to places (E, M, 2), cells, with weights (E, M); and each place's share of what is
    fitted to it, (E, M).

    With both sides multiplied by its depth each equation is linear (direct linear transform). So
    far things would count for more: divide their weights by the squares of their depths, which
    the fit before tells, and repeat it.

    :param deviation: of places from where they are expected, cells.
    """
    count, terms = inputs.shape[1], 3 * inputs.shape[1] - 1
    total = weight.sum(0).unsqueeze(1)
    middle = (weight.unsqueeze(2) * places).sum(0) / total
    left = places - middle
    rows = left.new_zeros(*left.shape, terms)  # unknowns: slopes of x, slopes of y, depths
    rows[:, :, 0, :count] = rows[:, :, 1, count : 2 * count] = inputs.unsqueeze(1)
    rows[..., 2 * count :] = -left.unsqueeze(3) * inputs[:, None, None, 1:]
    ridge = (RIDGE * total).repeat(1, terms)
    ridge[:, [0, count]] = 0
    ridge[:, 2 * count :] = (deviation / DEPTH_DEVIATION) ** 2
    weighted = rows * weight[..., None, None]
    gram = torch.einsum("emdr,emds->mrs", weighted, rows) + torch.diag_embed(ridge)
    inverse = torch.linalg.inv(gram)
    found = torch.einsum("mrs,emds,emd->mr", inverse, weighted, left)
    own = torch.einsum("emdr,mrs,emds->em", weighted, inverse, rows) / 2
    slope, depth = found[:, : 2 * count].reshape(-1, 2, count), found[:, 2 * count :]
    slope = slope + middle.unsqueeze(2) * pad(depth, (1, 0), value=1.0).unsqueeze(1)
    return _View(slope.mT, depth), own


def places_of_things(things: Tensor, sure: Tensor, told: Told) -> Tensor:
    """Where the motions tell that things are in all episodes, (E, T, 2), cells, by those in which
    they were surely found; arguments as `find_things` gives them."""
    inputs = _inputs(told)
    return _robust(inputs, things, sure.to(things))[0](inputs)


def fit_places(
    points: Tensor,
    told: Told,
    cells: Tensor,
    anywhere: Sequence[int] = (),
    near: float = NEAR_MOTION,
) -> Places:
    """Where first images let expect each point, by those of E demonstrations; for
    `PolicyConfig.places`.

    :param points: (E, K, 2), shares of the image.
    :param cells: in a share of 1 of the image's width and height, (K, 2).
    :param anywhere: numbers of points that may be anywhere later, whatever the first images show.
    :param near: by which share of how much motions deviate one may be off that is told.
    """
    costs, right = [], 0
    folds = torch.arange(len(points)) % FOLDS
    for fold in range(FOLDS):  # those that it was fitted to fit too well, if they are few
        by = (folds != fold).to(points.device)
        others = _fit(points[by], told.of(by), cells, anywhere)
        for one, motion in zip(points[~by], told.motions[~by], strict=True):
            found = Expectation(others, one.double().cpu().numpy())
            costs.append(found.cost)
            off = found.z[: len(motion)] - motion.double().cpu().numpy()
            right += bool((off**2).mean() < near**2)
    median, high = np.quantile(costs, (0.5, 0.95)).tolist()
    update = {"cost": (median, high), "told": right / len(points)}
    return _fit(points, told, cells, anywhere).model_copy(update=update)


def _fit(points: Tensor, told: Told, cells: Tensor, anywhere: Sequence[int]) -> Places:
    """As `fit_places`, but for what other demonstrations tell of it."""
    places = points * cells
    off = (places - expected_places(places, told)[0]).norm(dim=2)
    found = off < (1.5 * off.median(0).values).clamp(min=MAX_MISS)
    weight = found.to(points)
    inputs, depths = _inputs(told), torch.ones_like(weight)
    for _ in range(ROUNDS):
        view, _ = _regression(inputs, places, weight / depths**2, SCALES[-1])
        depths = view.depths(inputs)
    slope = view.slope.permute(1, 2, 0) / cells.T  # (inputs, 2, K)
    squares = (weight * off**2).sum(0) / (2 * weight.sum(0))
    missed = ((off > MAX_MISS).sum(0) + 1) / (len(points) + 2)
    astray = (off > MAX_MISS).T
    deviation = torch.sqrt(squares + MIN_DEVIATION**2) / cells.T.expand(2, len(squares))
    free = list(anywhere)
    slope[..., free], view.depth[free], astray[free] = 0, 0, False
    deviation[:, free], missed[free] = ANYWHERE_DEVIATION, 0.99
    rows: Any = slope.double().cpu().tolist()
    deviations: Any = deviation.tolist()
    depth: Any = view.depth.T.double().cpu().tolist()
    return Places(
        mean=rows[0],
        slope=rows[1:],
        depth=depth,
        deviation=deviations,
        missed=tuple(missed.tolist()),
        missed_at=tuple(
            tuple((x, y) for x, y in points[which, point].tolist())
            for point, which in enumerate(astray)
        ),
        cost=(0.0, 0.0),
        told=1.0,
        usual_gain=(0.0,),
    )


def usual_gain(places: Places, points: Sequence[Array], told: Told) -> tuple[float, ...]:
    """`Places.usual_gain`, by demonstrations, in which nothing is moved but by the robot.

    :param points: of the ticks of each demonstration, (T, K, 2), shares of the image.
    """
    right = _inputs(told)[:, 1:].double().cpu().numpy()
    longest = max(map(len, points))
    at = np.unique(np.linspace(0, longest - 1, MAX_GAIN_TICKS).round().astype(int))
    gains = np.zeros((len(points), len(at)))
    for row, (episode, z) in enumerate(zip(points, right, strict=True)):
        for column, tick in enumerate(np.minimum(at, len(episode) - 1)):
            gains[row, column] = best_gain(places, episode[tick], z)  # of the last one, once ended
    usual = np.quantile(gains, GAIN_QUANTILE, axis=0)
    # What is usual a little earlier or later is so now: paces differ.
    near = np.abs(at[:, None] - np.arange(longest)) <= max(1.0, GAIN_WINDOW * longest)
    return tuple(np.where(near, usual[:, None], 0.0).max(0).tolist())


def as_expected(places: Tensor, expected: Tensor) -> Tensor:
    """Whether places (E, M, 2) are, bool (E, M)."""
    misses: Tensor = (places - expected).norm(dim=2)
    return misses < MAX_MISS


def find_things(places: Tensor, told: Told) -> tuple[Tensor, Tensor]:
    """Where up to `MAX_THINGS` T things are that the trajectories follow, (E, T, 2), cells, and
    in which episodes some filter has found them there, bool (E, T).

    :param places: of M filters, (E, M, 2), cells.
    """
    expected, deviation = expected_places(places, told)
    found = as_expected(places, expected)
    share = found.to(places).mean(0)
    # Of what hardly moves any place is as expected, and the motions tell nothing of it.
    still = expected_places(places, told.still())[0]
    gain = share - as_expected(places, still).to(places).mean(0)
    left = gain * (deviation > MIN_PLACE_DEVIATION) * (share >= MIN_FIRST_SHARE)
    where, sure = [places[:, :0]], [found[:, :0]]
    while len(where) <= MAX_THINGS and left.max() >= MIN_GAIN:
        first = int(left.argmax())
        apart = expected - expected[:, first : first + 1]
        offset = apart.median(0).values
        varies = (apart - offset).norm(dim=2).median(0).values
        same = (varies < MAX_DEVIATION) & (offset.norm(dim=1) < MAX_OFFSET) & (share > MIN_SHARE)
        same[first] = True
        weight = share[same] * found[:, same]
        votes = weight.sum(1)
        at = ((places - offset)[:, same] * weight.unsqueeze(2)).sum(1)
        where.append((at / votes.clamp(min=1e-9).unsqueeze(1)).unsqueeze(1))
        sure.append((votes > MIN_VOTES * share[same].sum()).unsqueeze(1))
        left[same] = 0
    return torch.cat(where, 1), torch.cat(sure, 1)
