# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Notice attention that has collapsed, and start again with other weights.

The robot stands still at the start of an episode. A point that differs there between episodes
looks at what makes them differ; if no point does, the policy repeats the mean motion.
"""

from __future__ import annotations

import numpy as np

from sarnn_ros.training.trainer import Trainer

#: Ticks at the start of an episode, in which the robot has hardly moved.
START_TICKS = 5
#: Of fewer episodes a deviation says nothing.
MIN_EPISODES = 3
#: Attention has collapsed if no point differs this much between the starts of episodes (the image
#: is 1 wide), or only by this share of what it did before: untrained points follow any salient
#: object. Lift task: 0.27 throughout in trainings that succeed; 0.27, then 0.03 in one that fails.
MIN_SPREAD = 0.05
MIN_SHARE = 0.5


def attention_spread(trainer: Trainer) -> float | None:
    """How far a point at the start of an episode deviates between the training episodes (sample
    standard deviation, x and y together), as a share of the image; the largest of all points.

    :returns: None of fewer than three episodes that have a next tick.
    """
    points = trainer.encode_all(trainer.training) if trainer.points is None else trainer.points
    episodes = trainer.training.unpad(points)
    if len(episodes) < MIN_EPISODES:
        return None
    starts = [one[:START_TICKS].mean(0, dtype=np.float64).reshape(-1, 2) for one in episodes]
    return float(np.linalg.norm(np.std(starts, axis=0, ddof=1), axis=-1).max())


class AttentionCheck:
    """Restarts a training whose attention has collapsed at `attention_check_epoch`.

    :param widest: largest `attention_spread` after any epoch since the start.
    :param restarts: how often it has been started again.
    """

    def __init__(self, widest: float = 0.0, restarts: int = 0) -> None:
        self.widest = widest
        self.restarts = restarts

    def collapsed(self, trainer: Trainer) -> bool:
        """Whether the attention has lost, or never found, what differs between the episodes."""
        spread = attention_spread(trainer)
        return spread is not None and spread < max(MIN_SPREAD, MIN_SHARE * self.widest)

    def __call__(self, trainer: Trainer) -> bool:
        """To be called after every epoch. Returns whether training has been started again."""
        config = trainer.config
        if config.attention_check_epoch is None or config.attention == "search":
            return False
        self.widest = max(self.widest, attention_spread(trainer) or 0.0)
        if trainer.epoch != config.attention_check_epoch or self.restarts >= config.restarts:
            return False
        if not trainer.group.decide(self.collapsed(trainer)):
            return False
        self.restarts += 1
        self.widest = 0.0
        trainer.restart()
        return True
