# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a number of trials allows to say. Standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: A comparison with a larger p-value does not say that one is better.
SIGNIFICANT_P = 0.05
#: What so many more trials would tell is part of a score.
MORE_TRIALS = 10


def wilson(successes: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a success rate, in [0, 1]; 95 % at z = 1.96.

    Wilson, E. B. (1927), J. Am. Stat. Assoc. 22, 209-212.
    """
    if trials == 0:
        return 0.0, 1.0
    rate, spread = successes / trials, z**2 / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def exact_p(wins: int, losses: int) -> float:
    """Two-sided p-value of pairs in which only one of two succeeded, if both were equally good:
    the exact form of McNemar's test, a binomial test at 1/2.

    McNemar, Q. (1947), Psychometrika 12, 153-157.
    """
    pairs = wins + losses
    tail = sum(math.comb(pairs, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**pairs))


@dataclass(frozen=True)
class Score:
    """Successes of trials, with Wilson's 95 % interval."""

    successes: int
    trials: int

    @property
    def rate(self) -> float:
        """In [0, 1]; without trials NaN."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.successes, self.trials)

    @property
    def cells(self) -> tuple[str, str, str]:
        """For a table: successes of trials, rate, interval."""
        if not self.trials:
            return "0 of 0", "", ""
        return f"{self.successes} of {self.trials}", f"{self.rate:.0%}", percents(self.interval)

    @property
    def claim(self) -> str:
        """What may be said of it, and what more trials would tell."""
        if not self.trials:
            return "no trial: nothing may be said"
        trials = self.trials + MORE_TRIALS
        more = wilson(self.rate * trials, trials)
        return (
            f"{self.successes} of {self.trials}: the success rate is {percents(self.interval)} "
            f"(95 % interval); {MORE_TRIALS} more trials that go alike would narrow that to "
            f"{percents(more)}"
        )


def percents(interval: tuple[float, float]) -> str:
    """`40 to 89 %`."""
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def comparison(first: str, second: str, wins: int, losses: int, pairs: int) -> str:
    """Whether pairs of trials allow to say that one of two is better.

    :param wins: pairs in which only the first succeeded.
    :param losses: those in which only the second did.
    """
    p = exact_p(wins, losses)
    better = first if wins > losses else second
    says = f"{better} is better" if p < SIGNIFICANT_P else "this does not say that one is better"
    return (
        f"of {pairs} pairs at the same place, only {first} succeeded in {wins}, only {second} in "
        f"{losses}, in the others both or none: {says} (exact test: p = {p:.2g}; one is called "
        f"better below {SIGNIFICANT_P:g})"
    )
