"""From a sample to the whole: shares, durations and sums, each with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964
"""Of the normal distribution, for 95 %."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the interval in which it is with a probability of 95 %.

    Attributes:
        value: What is most likely.
        low: The interval's lower end.
        high: Its upper end.
    """

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """All three, multiplied."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def at_least(self, bound: float) -> Estimate:
        """All three, and none below a bound."""
        return Estimate(max(self.value, bound), max(self.low, bound), max(self.high, bound))


def wilson(num: int, of: int) -> Estimate | None:
    """The share of rows with some property, e.g. of those that failed; None = there are no rows.

    Wilson's score interval: unlike the usual one it is right for few rows, and for none that failed.
    Source: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval

    Args:
        num: Rows that have it.
        of: All rows.
    """
    if of < 1:
        return None
    share, square = num / of, Z * Z / of
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / of + square / (4 * of))
    low = 0.0 if num == 0 else middle - half
    return Estimate(share, low, 1.0 if num == of else middle + half)


def mean(values: Sequence[float], weights: Sequence[int]) -> Estimate | None:
    """The mean of a row, where some values are those of several rows; None = there are none.

    A ratio estimator. From one value nothing is known of the spread: its interval begins at 0 and has
    no end.

    Args:
        values: Of one row, or the sum of several.
        weights: How many rows each value is of.
    """
    num_rows, num = sum(weights), len(values)
    if not num_rows:
        return None
    ratio = sum(values) / num_rows
    if num == 1:
        return Estimate(ratio, 0.0, math.inf)
    rests = [value - ratio * weight for value, weight in zip(values, weights, strict=True)]
    deviation = math.sqrt(num / (num - 1) * math.fsum(rest * rest for rest in rests))
    half = Z * deviation / num_rows
    return Estimate(ratio, max(0.0, ratio - half), ratio + half)


def count_per_row(num: int, num_rows: int) -> Estimate | None:
    """How many things come to a row, where it is not known which row each belongs to.

    As if they came independently of each other (Poisson): the interval is rather too wide.
    """
    if not num_rows:
        return None
    half = Z * math.sqrt(num)
    return Estimate(num, max(0.0, num - half), num + half).times(1 / num_rows)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which this share of all values is; None = there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
