# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command limits: whether a predicted command may be sent to the robot, and if not, why.

Pure arithmetic on joint vectors in SI units (rad or m), one entry per commanded joint. When to
stop altogether, and what to send instead, is decided in `controller`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.control.settings import GuardSettings
from sarnn_ros.errors import ConfigError, join_problems

Vector = NDArray[np.float64]
Check = Literal["position", "approach", "step", "velocity", "acceleration"]

#: Those that `guard.on_*` may have clamp.
CHECKS: tuple[Check, ...] = ("position", "step", "velocity", "acceleration")

#: A step that is clamped goes to this part of its limit, and so does the point of rest. The last
#: check measures it once more, from newer joints, and a measurement that trembles must not have it
#: refused.
CLAMPED_STEP = 0.9
#: Smallest step limits, in `guard.floor`. Where a peg meets its hole, wrist joints that move by
#: 0.007 to 0.01 rad per tick in demonstrations are 0.012 to 0.021 off their commands: with limits
#: of 1.5 times the former, half of gym-aloha's insertions latched that succeed without.
STEP_FLOORS = 3.0
#: Beyond what was trained the velocity towards a position limit is at most this times what is left
#: of the way, 1/s: as `k_position` of ros2_control's soft joint limits.
SOFT_LIMIT_GAIN = 5.0


def _unlimited() -> Vector:
    return np.array(np.inf)


@dataclass(frozen=True)
class JointLimits:
    """Limits per commanded joint, each an array of shape (n,); infinite where there is none.

    :param position_min: lowest commanded position, rad or m.
    :param position_max: highest commanded position, rad or m.
    :param max_step: largest distance of a command from the present position, rad or m.
    :param max_velocity: largest commanded velocity, rad/s or m/s.
    :param first_velocity: of a motion's first command, from the present position, if that is more:
        the command of an arm that sags is off it before it moves.
    :param max_acceleration: largest commanded acceleration, rad/s^2 or m/s^2.
    :param trained_acceleration: likewise, by training. Not for the first two commands of a motion,
        which may have to catch up with an arm that lags, or with a policy that begins elsewhere.
    :param max_lead: as `max_step`, and also of an arm that lags.
    :param trained_min, trained_max: the positions that were trained, rad or m. Beyond them a
        command slows down towards the position limit.
    :param clamp: the checks that pull the command to its limit instead of refusing it.
    :param narrowed_by: by field, of each joint: what set this limit; empty: training.
    """

    position_min: Vector
    position_max: Vector
    max_step: Vector
    max_velocity: Vector
    max_acceleration: Vector
    trained_acceleration: Vector = dataclasses.field(default_factory=_unlimited)
    first_velocity: Vector = dataclasses.field(default_factory=lambda: np.zeros(()))
    max_lead: Vector = dataclasses.field(default_factory=_unlimited)
    trained_min: Vector = dataclasses.field(default_factory=lambda: -_unlimited())
    trained_max: Vector = dataclasses.field(default_factory=_unlimited)
    clamp: frozenset[Check] = frozenset()
    narrowed_by: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_training(
        cls, trained: Mapping[str, Vector], guard: GuardSettings, period_s: float
    ) -> JointLimits:
        """Limits around what the training data did.

        :param trained: `position_min`, `position_max`, `max_step`, `max_change`,
            `second_difference` and, if it is known, `first_lead` of the `Envelope`, (n,) each.
        :param period_s: between two commands, s.
        """
        low, high = trained["position_min"], trained["position_max"]
        margin = np.maximum(guard.position_margin * (high - low), guard.floor)
        floor = STEP_FLOORS * guard.floor
        change = np.maximum(guard.velocity_margin * trained["max_change"], floor)
        second = np.maximum(guard.acceleration_margin * trained["second_difference"], 2.0 * floor)
        first = guard.step_margin * trained.get("first_lead", np.zeros(low.shape))
        return cls(
            position_min=low - margin,
            position_max=high + margin,
            max_step=np.maximum(guard.step_margin * trained["max_step"], floor),
            max_velocity=change / period_s,
            first_velocity=first / period_s,
            max_acceleration=np.full(low.shape, np.inf),
            trained_acceleration=second / period_s**2,
            trained_min=low,
            trained_max=high,
            clamp=frozenset(one for one in CHECKS if getattr(guard, f"on_{one}") == "clamp"),
        )

    @cached_property
    def between_commands(self) -> JointLimits:
        """For the set-points between two commands that these limits let through. A velocity too
        high makes the way longer; accelerations between set-points a few milliseconds apart mean
        nothing."""
        return dataclasses.replace(
            self,
            max_acceleration=np.full_like(self.max_acceleration, np.inf),
            trained_min=self.position_min,
            trained_max=self.position_max,
            clamp=frozenset({"velocity"}),
        )

    def replaced(self, rows: Sequence[int], values: Mapping[str, Vector]) -> JointLimits:
        """These limits, but for some joints.

        :param rows: those.
        :param values: theirs, in vectors of all joints, by field name.
        """
        mine = np.zeros(self.max_step.shape, np.bool_)
        mine[list(rows)] = True
        changed: dict[str, Any] = {
            name: np.where(mine, value, getattr(self, name)) for name, value in values.items()
        }
        return dataclasses.replace(self, **changed)

    def narrowed(
        self, names: Sequence[str], values: Mapping[str, ArrayLike], *, where: str
    ) -> JointLimits:
        """These limits and further ones, whichever is tighter.

        :param names: the joints, for messages.
        :param values: by field name, one value for all joints or one for each.
        :param where: they come from; in `narrowed_by` with the field in the place of a `*`.
        :raises ConfigError: for a wrong count, a limit that is not a number, or limits that
            leave a joint no position at all; all of them at once.
        """
        problems: list[str] = []
        merged: dict[str, Any] = {}
        narrowed_by = dict(self.narrowed_by)
        for field, value in values.items():
            own = np.atleast_1d(np.asarray(value, np.float64))
            if own.size == 0:
                continue
            if own.size not in (1, len(names)):
                problems.append(
                    f"{field}: {own.size} values, but {len(names)} joints are commanded "
                    f"({', '.join(names)}): give 1 or {len(names)}"
                )
            elif np.isnan(own).any():
                problems.append(f"{field}: {own.tolist()} holds a value that is not a number")
            else:
                before = getattr(self, field)
                tighter = np.maximum if field == "position_min" else np.minimum
                merged[field] = tighter(before, own)
                earlier = narrowed_by.get(field, [""] * len(names))
                mine, name = merged[field] != before, where.replace("*", field)
                narrowed_by[field] = np.where(mine, name, earlier).tolist()
        if "max_velocity" in merged:
            own = np.atleast_1d(np.asarray(values["max_velocity"], np.float64))
            merged["first_velocity"] = np.minimum(self.first_velocity, own)
        if "max_step" in merged:
            own = np.atleast_1d(np.asarray(values["max_step"], np.float64))
            merged["max_lead"] = np.minimum(self.max_lead, own)
        limits = dataclasses.replace(self, **merged, narrowed_by=narrowed_by)
        if not problems:
            for index in np.flatnonzero(limits.position_min > limits.position_max):
                problems.append(
                    f"{names[index]}: no position is left between "
                    f"{limits.position_min[index]:.4g} and {limits.position_max[index]:.4g}"
                )
        if problems:
            raise ConfigError(
                join_problems(problems),
                where=where,
                remedy="the limits must overlap with the range the policy was trained in",
            )
        return limits


@dataclass(frozen=True)
class LimitViolation:
    """One joint's violation of one check.

    :param reason: `non_finite`, `present`, or the check.
    :param value: what was found.
    :param limit: what is allowed, in the same unit.
    :param narrowed_by: what set this limit; empty: training, with the margin of the check.
    """

    reason: str
    joint: str
    value: float
    limit: float
    narrowed_by: str = ""

    def __str__(self) -> str:
        value, limit = f"{self.value:.4g}", f"{self.limit:.4g}"
        if self.reason == "non_finite":
            return f"{self.joint}: the prediction is {self.value}"
        what, unit, _, margin = MESSAGES[self.reason]
        text = f"{self.joint}: {what} {value}{unit} is beyond the limit {limit}{unit}"
        if margin and self.limit:
            factor = abs(self.value / self.limit)
            text += f" by a factor of {factor:.3g} ({self.narrowed_by or margin})"
        return text

    @property
    def excess(self) -> float:
        """How bad it is, beside others of the same check."""
        if self.reason != "non_finite" and MESSAGES[self.reason][3] and self.limit:
            return abs(self.value / self.limit)
        return abs(self.value - self.limit)


#: What was measured, its unit, the likely cause, and the parameter that would have to grow by the
#: factor of the excess, if there is one.
MESSAGES = {
    "present": (
        "the measured position",
        " rad or m",
        "was the arm moved out of its range, or does the driver report degrees?",
        "",
    ),
    "position": (
        "the commanded position",
        " rad or m",
        (
            "does the scene look as in the demonstrations? guard.position_margin widens the "
            "range, guard.floor that of a joint that hardly moved"
        ),
        "",
    ),
    "approach": (
        "the command beyond the trained range",
        " rad or m",
        "it slows down towards the position limit: does the scene look as in the demonstrations?",
        "",
    ),
    "step": (
        "the step from the measured position",
        " rad or m",
        "does the arm not follow its commands (did its controller reject them?), or was it moved?",
        "guard.step_margin",
    ),
    "velocity": (
        "the commanded velocity",
        " per s",
        "is the prediction restless, or was the robot demonstrated more slowly?",
        "guard.velocity_margin",
    ),
    "acceleration": (
        "the commanded acceleration",
        " per s^2",
        "is the prediction restless, or was the robot demonstrated more smoothly?",
        "guard.acceleration_margin",
    ),
}


@dataclass(frozen=True)
class LimitResult:
    """The outcome for one command.

    :param ok: whether `command` may be sent.
    :param command: as given, or clamped; never to be sent unless `ok`.
    :param violations: every violation, also of the checks that clamp.
    """

    ok: bool
    command: Vector
    violations: tuple[LimitViolation, ...] = ()

    @property
    def reason(self) -> str:
        """The worst violation of each check, and what they most likely come from."""
        by_check: dict[str, list[LimitViolation]] = {}
        for violation in self.violations:
            by_check.setdefault(violation.reason, []).append(violation)
        texts, causes = [], []
        if "position" in by_check:
            by_check.pop("approach", None)  # beyond the limit it is of course
        for reason, found in by_check.items():
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            texts.append(f"{max(found, key=lambda one: one.excess)}{more}")
            own = {one.narrowed_by for one in found if one.narrowed_by.startswith("guard.")}
            if own and reason in ("velocity", "acceleration"):
                causes.append(f"guard.on_{reason}:=clamp goes on at {' and '.join(sorted(own))}")
            elif reason in MESSAGES:
                causes.append(MESSAGES[reason][2])
        return ": ".join(filter(None, ("; ".join(texts), "; ".join(causes))))


@dataclass(frozen=True)
class _Window:
    """The commands that one check allows.

    :param lowest, highest: of them, (n,).
    :param centre: of the window, (n,); None: it has none, and the command itself is judged.
    :param unit: in which the distance from the centre is told.
    :param limit: of that distance below and above it, (n,) each.
    """

    check: Check
    lowest: Vector
    highest: Vector
    centre: Vector | None = None
    unit: float = 1.0
    limit: tuple[Vector, Vector] = dataclasses.field(
        default_factory=lambda: (_unlimited(), _unlimited())
    )

    @classmethod
    def around(
        cls, check: Check, centre: Vector, limit: Vector | tuple[Vector, Vector], unit: float = 1.0
    ) -> _Window:
        below, above = limit if isinstance(limit, tuple) else (limit, limit)
        return cls(
            check, centre - below * unit, centre + above * unit, centre, unit, (below, above)
        )

    def outside(self, wanted: Vector) -> NDArray[np.bool_]:
        # A clamped value may land a rounding error beyond its limit: that is not a violation.
        slack = 1e-9 * (1.0 + np.abs(wanted))
        result: NDArray[np.bool_] = (wanted < self.lowest - slack) | (
            wanted > self.highest + slack
        )
        return result

    def measured(self, wanted: Vector) -> tuple[Vector, Vector]:
        """What the check finds of a command, and what it allows."""
        if self.centre is None:
            return wanted, np.where(wanted < self.lowest, self.lowest, self.highest)
        with np.errstate(over="ignore"):  # absurd commands may be reported as infinite
            limit = np.where(wanted < self.centre, *self.limit)
            return np.abs(wanted - self.centre) / self.unit, limit


class JointLimiter:
    """Checks commands in this order: finite, position, approach to it, step, velocity,
    acceleration. The approach is always clamped, the others as the limits say.

    A step is measured from the *present* position, so that a command never leads away from a
    robot that was pushed, stopped or is lagging. The present position itself must be within the
    position limits, give or take one step: outside of what was trained nothing is predicted
    soundly, and a driver that reports degrees shows up there first.

    :param lead: how far below and above the present position commands may be of an arm that lags,
        if that is more than a step, (n,) each, rad or m; see `LagWatch`.
    """

    def __init__(
        self, limits: JointLimits, names: Sequence[str], lead: tuple[Vector, Vector] | None = None
    ) -> None:
        self.limits = limits
        self.names = tuple(names)
        self._no_lead = (np.zeros(len(self.names)), np.zeros(len(self.names)))
        self.lead = lead or self._no_lead

    def forget_lead(self) -> None:
        """Until it is measured again the step limit alone counts."""
        self.lead = self._no_lead

    def reach(self, share: float = 1.0) -> tuple[Vector, Vector]:
        """How far below and above the present position a command may be, (n,) each, rad or m.

        :param share: so much of that.
        """
        below, above = (np.maximum(self.limits.max_step, one) for one in self.lead)
        return share * below, share * above

    def check(
        self,
        command: ArrayLike,
        present: ArrayLike,
        period_s: float,
        previous: ArrayLike | None = None,
        before: ArrayLike | None = None,
        *,
        start: ArrayLike | None = None,
        ramp: bool = False,
        clamp: bool = False,
    ) -> LimitResult:
        """Check one command.

        :param command: shape (n,), rad or m, for one period from now.
        :param present: shape (n,), the position measured now.
        :param period_s: time until the command is to be reached, s.
        :param previous: the command sent one period ago; without it the motion starts.
        :param before: the command sent two periods ago.
        :param start: where it starts then, see `Motion.here`; None: at the present position.
        :param ramp: one of the three is of a ramp, or a person's, whose acceleration was not
            trained.
        :param clamp: pull it to the limits, whatever `JointLimits.clamp` says.
        """
        wanted = np.array(command, np.float64)
        here = np.asarray(present, np.float64)
        if wanted.shape != (len(self.names),) or here.shape != wanted.shape:
            raise ValueError(f"{wanted.shape} and {here.shape} for {len(self.names)} joints")
        violations = self._violations("non_finite", ~np.isfinite(wanted), wanted, wanted)
        violations += self._violations("present", ~np.isfinite(here), here, here)
        if violations:
            return LimitResult(False, wanted, tuple(violations))

        violations = self._present_outside(here)
        ok = not violations
        begins = here if start is None else np.asarray(start, np.float64)
        last = begins if previous is None else np.asarray(previous, np.float64)
        velocity, acceleration = np.zeros_like(last), self.limits.max_acceleration
        if before is not None:
            velocity = (last - np.asarray(before, np.float64)) / period_s
            if not ramp:
                acceleration = np.minimum(acceleration, self.limits.trained_acceleration)
        fastest = self.limits.max_velocity
        if previous is None:
            first = np.maximum(fastest, self.limits.first_velocity)
            fastest = np.where(last == here, first, fastest)  # a command holds what sags already
        windows = self._windows(here, last, velocity, fastest, acceleration, period_s)
        clamped = frozenset(CHECKS) if clamp else self.limits.clamp
        slowed = np.zeros(last.shape, np.bool_)
        for window in windows:
            check, found = window.check, window.outside(wanted)
            if check == "approach":
                change = np.clip(wanted, window.lowest, window.highest) - last
                was = velocity * period_s
                slowed = found & (change * was >= 0.0) & (np.abs(change) <= np.abs(was))
            elif check == "acceleration":
                found &= ~slowed  # to refuse it would stop the joint at once
            if not found.any():
                continue
            violations += self._violations(check, found, *window.measured(wanted))
            if check == "approach" or check in clamped:
                if check == "step":
                    window = _Window.around(check, here, self.reach(CLAMPED_STEP))
                wanted = np.where(found, np.clip(wanted, window.lowest, window.highest), wanted)
            else:
                ok = False
        # A clamp must not undo an earlier one: the step and the position come before the rest.
        for window in windows:
            if window.check in ("position", "step"):
                ok = ok and not window.outside(wanted).any()
        return LimitResult(ok, wanted, tuple(violations))

    def _present_outside(self, here: Vector) -> list[LimitViolation]:
        limits = self.limits
        low, high = limits.position_min - limits.max_step, limits.position_max + limits.max_step
        below = here < low
        return self._violations("present", below | (here > high), here, np.where(below, low, high))

    def _windows(
        self,
        here: Vector,
        last: Vector,
        velocity: Vector,
        fastest: Vector,
        acceleration: Vector,
        period_s: float,
    ) -> tuple[_Window, ...]:
        """The checks in their order.

        :param last, velocity: where the motion is, and how fast, (n,).
        :param fastest, acceleration: what it may be at most.
        """
        limits, nearer = self.limits, min(SOFT_LIMIT_GAIN * period_s, 1.0)
        return (
            _Window("position", limits.position_min, limits.position_max),
            _Window(
                "approach",
                np.minimum(limits.trained_min, last + nearer * (limits.position_min - last)),
                np.maximum(limits.trained_max, last + nearer * (limits.position_max - last)),
            ),
            _Window.around("step", here, self.reach()),
            _Window.around("velocity", last, fastest, period_s),
            _Window.around(
                "acceleration", last + velocity * period_s, acceleration, period_s * period_s
            ),
        )

    def within_step(self, command: Vector, present: Vector) -> bool:
        """Whether a command is within the step limit, whatever `lead` allows.

        :param command, present: as for `check`.
        """
        return bool((np.abs(command - present) <= self.limits.max_step + 1e-9).all())

    def check_step(self, command: Vector, present: Vector) -> LimitResult:
        """The check of the step alone, by a newer measurement than `check` had.

        :param command, present: as for `check`.
        """
        step, limit = np.abs(command - present), np.where(command < present, *self.reach())
        # Not >: also where the measurement is not finite.
        found = ~(step <= limit + 1e-9 * (1.0 + np.abs(command)))
        if not found.any():
            return LimitResult(True, command)
        violations = self._violations("step", found, step, limit)
        return LimitResult(False, command, tuple(violations))

    def _violations(
        self, reason: str, found: NDArray[np.bool_], values: Vector, bounds: Vector
    ) -> list[LimitViolation]:
        field = f"max_{reason}"
        narrowed_by = self.limits.narrowed_by.get(field, ())
        violations = []
        for index in np.flatnonzero(found):
            value, bound = float(values[index]), float(bounds[index])
            # There are two limits of the acceleration: this may be the other one.
            mine = narrowed_by and bound == getattr(self.limits, field)[index]
            by = narrowed_by[index] if mine else ""
            violations.append(LimitViolation(reason, self.names[index], value, bound, by))
        return violations
