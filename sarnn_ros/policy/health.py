# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Prediction health: does the world still do what the policy expects of it? NumPy only.

At each tick the policy predicts what it will see one tick later. One tick later this is compared
with what it does see. The errors, by *term*:

* `joints`: per joint, as a share of its trained range;
* `points:<camera>`: per attention point its distance from where it was expected, as a share of
  the image's sides;
* `image:<camera>`: root mean square difference of the pixels, as a share of white.
* `places`, not an error: how unlike the points of the first images are to those of the
  demonstrations (`Expectation.unlikely`). It stays as it was at the first tick.

Quantiles of the same errors on validation episodes are stored with the policy. A ratio is a live
error divided by the largest that is usual, see `_usual`: for joints the largest ratio counts; for
points the mean, since a single point may be lost for a while. The ratios are smoothed by the
median over a window, which an outlier does not move. The largest is the *score*. What follows from
it is decided in `control/`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.policy.directory import Health, PolicyConfig, Quantiles, health_terms
from sarnn_ros.streams.observe import Observation

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Dataset, Episode
    from sarnn_ros.policy.runtime import Policy, Prediction

Vector = NDArray[np.float64]
#: What a comparison does with the joints. `count`: they count. `ignore`: they were not commanded
#: where they were predicted. `require`: somebody else moves the arm; only a tick at which the
#: joints went where they were predicted says something about the rest.
JointsUse = Literal["count", "ignore", "require"]

#: The term of the first images' points.
PLACES = "places"
#: Episodes that the reference is taken from, at most: 32 of 80 ticks take some 10 s.
MAX_REFERENCE_EPISODES = 32
#: Smallest error that is divided by: a joint that hardly moved in validation, or a point that
#: stood still, must not raise an alarm over noise.
MIN_ERROR = 0.01
#: Of a joint so many times the 95th percentile is usual, too. That of a gripper that closes on a
#: thing is hardly below the 99th: its error is the same at every tick.
STEADY_FACTOR = 2.0
#: So much is usual of each joint, too: a share of the median joint's range, but no more than a
#: degree, rad or m. Beside joints that move much, that of one that hardly does is nothing.
#: Insertion, by two arms with wrists that move by 0.01 rad: warned in 17 of 36 trials that
#: succeeded, now in none; that the objects are hidden is still told in 10 of 10. Three other tasks
#: do not change.
SHARE_OF_MEDIAN_SPAN, DEGREE = 0.02, 0.017
#: Share of a window's ticks that must have an error, or the ratio is unknown.
MIN_KNOWN_SHARE = 0.5


def prediction_errors(
    config: PolicyConfig, expected: Prediction, observation: Observation, prediction: Prediction
) -> dict[str, Vector]:
    """The errors of one tick by term: (D,) joints, (k_dim,) points, (1,) image.

    :param expected: what was predicted at the tick before.
    :param observation: what came.
    :param prediction: what the policy made of it, for its `encoder_points`.
    :returns: the terms that are known and finite: without a predicted image no `image:…`.
    """
    normalisation = config.normalisation
    span = np.subtract(normalisation.maximum, normalisation.minimum)
    errors = {"joints": np.abs((expected.action - observation.state) / span)}
    for camera, points in prediction.encoder_points.items():
        offsets = expected.decoder_points[camera] - points
        errors[f"points:{camera}"] = np.linalg.norm(offsets, axis=-1)
    for camera, image in (expected.images or {}).items():
        difference = np.subtract(image, observation.images[camera], dtype=np.float32)
        errors[f"image:{camera}"] = np.sqrt([np.mean(difference**2)]) / 255.0
    return {term: error for term, error in errors.items() if np.isfinite(error).all()}


@dataclass(frozen=True)
class HealthReading:
    """How well the last predictions came true.

    :param ratios: by term, the median of the window over the largest usual error. Terms of which
        too little is known are missing.
    :param score: the largest of those that count, or None if nothing is known.
    :param worst: its term.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    worst: str | None = None


class HealthMonitor:
    """Compares tick by tick. For one thread.

    :param window: ticks that a ratio is smoothed over.
    :param count_images: let image terms count in the score. Otherwise they are reported only:
        the image is predicted while somebody looks at it, and whether a robot stops must not
        depend on that.
    """

    def __init__(self, config: PolicyConfig, *, window: int, count_images: bool) -> None:
        self._config = config
        self._count_images = count_images
        reference = {} if config.health is None else config.health.errors
        span = np.subtract(config.normalisation.maximum, config.normalisation.minimum)
        self._usual = {term: _usual(term, one, span) for term, one in reference.items()}
        self._window = window
        self._ratios: dict[str, deque[float]] = {}
        self._last: tuple[int, Prediction] | None = None
        self._unlikely: float | None = None
        self._stays = False

    def reset(self, *, in_run: bool = False) -> None:
        """Forget the past, as when the policy does.

        :param in_run: in the middle of a run: what its first images told stays, as the robot has
            moved what they showed.
        """
        self._ratios.clear()
        self._last, self._stays = None, in_run
        if not in_run:
            self._unlikely = None

    def expect(self, observation: Observation, prediction: Prediction) -> None:
        """Keep what is predicted at this tick, without a comparison with the tick before."""
        self._last = (observation.tick_ns, prediction)
        if prediction.unlikely is not None and not self._stays:
            self._unlikely = prediction.unlikely

    def see(
        self, observation: Observation, prediction: Prediction, *, joints: JointsUse = "count"
    ) -> HealthReading:
        """Compare this tick with what was predicted at the one before."""
        last = self._last
        self.expect(observation, prediction)
        errors: dict[str, Vector] = {}
        if last is not None and follows(last[0], observation.tick_ns, self._config.spec.period_ns):
            errors = prediction_errors(self._config, last[1], observation, prediction)
        if joints != "count":
            error = errors.pop("joints", None)
            if joints == "require" and not self._came_true(error):
                errors = {}
        for term, usual in self._usual.items():
            recent = self._ratios.setdefault(term, deque(maxlen=self._window))
            all_of_term = np.max if term == "joints" else np.mean
            recent.append(float(all_of_term(errors[term] / usual)) if term in errors else np.nan)
        return self._reading()

    def _came_true(self, error: Vector | None) -> bool:
        if error is None or "joints" not in self._usual:
            return False
        return bool((error <= self._usual["joints"]).all())

    def _reading(self) -> HealthReading:
        ratios = {}
        for term, recent in self._ratios.items():
            known = [ratio for ratio in recent if np.isfinite(ratio)]
            if len(known) >= max(1.0, MIN_KNOWN_SHARE * self._window):
                ratios[term] = float(np.median(known))
        if self._unlikely is not None:
            ratios[PLACES] = max(self._unlikely, 0.0)
        counted = {
            term: ratio
            for term, ratio in ratios.items()
            if self._count_images or not term.startswith("image:")
        }
        worst = max(counted, key=counted.__getitem__, default=None)
        return HealthReading(ratios, None if worst is None else counted[worst], worst)


def replay(
    policy: Policy, episode: Episode, **options: Any
) -> Iterator[tuple[Observation, Prediction]]:
    """What the policy predicts at each tick of a recorded episode, from the recorded inputs.

    :param options: of `Policy.step`.
    """
    policy.reset()
    for row, tick in enumerate(episode.ticks.tolist()):
        observation = Observation(
            tick_ns=tick,
            images={name: images[row] for name, images in episode.images.items()},
            state=episode.joints[row],
            stamps={},
            sources={},
        )
        yield observation, policy.step(observation, **options)


def reference(policy: Policy, dataset: Dataset) -> Health | None:
    """The quantiles of the errors on recorded episodes, for `PolicyConfig.health`.

    From validation episodes, or from the demonstrations trained on where there are none, which the
    policy knows better than what it will meet: `Health.source` says which.

    :returns: None where no episode has two ticks, all of them were led (of those only parts are
        the policy's to repeat), or an error is not finite.
    """

    def demonstrated(indices: Iterable[int]) -> list[Episode]:
        return [dataset.episodes[one] for one in indices if dataset.episodes[one].led is None]

    source: Literal["validation", "training"] = "validation"
    known = demonstrated(dataset.validation)
    if not known:
        source, known = "training", demonstrated(dataset.training)
    if not known:
        return None
    rows = np.unique(np.linspace(0, len(known) - 1, MAX_REFERENCE_EPISODES).astype(int))
    episodes = [known[row] for row in rows]
    names = health_terms(policy.config.model, policy.spec)
    found = list(_errors(policy, episodes))
    if not found or any(set(errors) != set(names) for errors in found):
        return None
    return Health(
        source=source,
        episodes=len(episodes),
        ticks=len(found),
        errors={term: _quantiles([errors[term] for errors in found]) for term in names},
    )


def follows(before_ns: int, tick_ns: int, period_ns: int) -> bool:
    """Whether a tick is the one that was predicted: ticks need not be exactly periodic."""
    return 0.5 * period_ns < tick_ns - before_ns < 1.5 * period_ns


def _usual(term: str, errors: Quantiles, span: Vector) -> Vector:
    """The largest error that is usual, of each joint, point or image: the 99th percentile. For a
    joint not less than the median joint's, as those of one joint of few episodes may by chance all
    be small; a share of their ranges, they are comparable.

    :param span: of the joints' trained ranges, SI units.
    """
    usual: Vector = np.maximum(errors.p99, MIN_ERROR)
    if term == "joints":
        steady = STEADY_FACTOR * np.array(errors.p95)
        usual = np.maximum(np.maximum(usual, steady), np.median(errors.p99))
        usual = np.maximum(usual, min(SHARE_OF_MEDIAN_SPAN * np.median(span), DEGREE) / span)
    return usual


def _quantiles(errors: Sequence[Vector]) -> Quantiles:
    p50, p95, p99, largest = np.quantile(errors, (0.5, 0.95, 0.99, 1.0), axis=0).tolist()
    return Quantiles(p50=p50, p95=p95, p99=p99, max=largest)


def _errors(policy: Policy, episodes: Iterable[Episode]) -> Iterator[dict[str, Vector]]:
    for episode in episodes:
        run = list(replay(policy, episode, want_image=True))
        for (before, expected), (observation, prediction) in pairwise(run):
            if follows(before.tick_ns, observation.tick_ns, policy.spec.period_ns):
                yield prediction_errors(policy.config, expected, observation, prediction)
