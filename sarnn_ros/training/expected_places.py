# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a thing must have been in the first images, by what the demonstrations did with it.

A filter that finds a thing in most episodes, and something else in the others, has places that
the trajectories tell, but for the others. A robust regression of the places on the trajectories
shows in how many episodes it is so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sarnn_ros.training.explained import Array, told_by
from sarnn_ros.training.recipe import RECIPE

#: Components of the trajectories: as many as tell this share of how they differ, at most so many.
COMPONENT_SHARE, MAX_COMPONENTS = 0.98, 6
#: Of the regression, as a share of a component's variance. With 0.03 far places were left out.
RIDGE = 0.01
#: Cells of the feature map beyond which a miss counts for little, from wide to narrow, each for
#: so many rounds.
SCALES, ROUNDS = (8.0, 4.0, 2.0, 2.0, 2.0), 3
#: A place is as expected if it is no further off, cells.
MAX_MISS = 3.0


class Told(NamedTuple):
    """What is known of E episodes, each column with a deviation of 1.

    :ivar motions: how their trajectories differ beside what the starts tell, (E, C).
    :ivar starts: where they start, (E, K), see `explained.Starts`.
    """

    motions: Tensor
    starts: Tensor


def tell(wanted: Array, starts: Array, device: torch.device) -> Told:
    """The principal components of trajectories (E, N, D), and the starts (E, K)."""
    count = len(wanted)
    left = wanted - told_by(starts, wanted, starts)[0]
    turned, sizes, _ = np.linalg.svd(left.reshape(count, -1), full_matrices=False)
    shares = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-9)
    most = min(MAX_COMPONENTS, max(1, count // RECIPE.episodes_per_chosen_point))
    kept = min(most, int((shares < COMPONENT_SHARE).sum()) + 1)
    parts = turned[:, :kept] * np.sqrt(count), starts
    return Told(*(torch.from_numpy(np.array(part)).float().to(device) for part in parts))


def expected_places(places: Tensor, told: Told) -> tuple[Tensor, Tensor]:
    """By a regression in which large misses hardly count: how far each place is from the one that
    the other episodes let expect, (E, M), and the mean deviation of what the motions tell, (M,).

    Weighted least squares, repeated with weights by the misses (Holland and Welsch 1977): the
    square of Cauchy's.

    :param places: of M filters, (E, M, 2), cells.
    """
    inputs = torch.cat([torch.ones_like(told.motions[:, :1]), *told], 1)
    ridge = RIDGE * torch.eye(inputs.shape[1]).to(inputs)
    ridge[0, 0] = 0
    weight = torch.ones_like(places[..., 0])
    for scale in SCALES:
        for _ in range(ROUNDS):
            gram = torch.einsum("em,ek,el->mkl", weight, inputs, inputs)
            gram += weight.sum(0).reshape(-1, 1, 1) * ridge
            inverse = torch.linalg.inv(gram)
            slope = inverse @ torch.einsum("em,ek,emd->mkd", weight, inputs, places)
            miss = (places - torch.einsum("ek,mkd->emd", inputs, slope)).norm(dim=2)
            own = weight * torch.einsum("ek,mkl,el->em", inputs, inverse, inputs)
            weight = (1 + (miss / scale) ** 2) ** -2
    columns = slice(1, 1 + told.motions.shape[1])
    moved = torch.einsum("ek,mkd->emd", told.motions, slope[:, columns])
    return miss / (1 - own).clamp(min=0.2), moved.abs().sum(2).mean(0)
