"""Intervals and tests of a mean over seeds that respect what the number can be; pure functions.

A mean over seeds is uncertain for two reasons: seeds differ, and all seeds answer the same few test examples. The
variance of the mean is therefore s²/n + v, where s is the deviation between seeds and v what the examples leave open.
Its degrees of freedom are Satterthwaite's: n - 1 where only seeds matter, many where only examples do [1946].

- ``share``, ``difference`` and ``count`` lie in a range. Their interval is Korn and Graubard's: Clopper and Pearson's,
  for the number of independent trials that has this variance [Korn and Graubard 1998]. It never leaves the range.
- ``success`` is the share of seeds that succeed: Clopper and Pearson's interval itself [1934].
- ``reduction`` is 1 - exp(mean of log(a / b)), with Student's interval on the log scale.
- ``correlation`` is averaged on Fisher's z scale, on which a rank correlation of k pairs has a variance of
  1.06 / (k - 3) at least [Fieller et al. 1957].
- ``plain`` has no known range: Student's interval. Equal values have none, for nothing says how well they are known.

A p value is the level at which the one-sided limit meets the bound, so that intervals and verdicts always agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.special
import scipy.stats

from palimpsest.analysis.statistics import DIGITS, Interval, PValues

Kind = Literal["share", "difference", "count", "success", "reduction", "correlation", "plain"]
SMALLEST_P = 1e-9
"""Below this a p value is not computed: it has no meaning at a few seeds."""

LARGEST_LOG = 700.0
"""Above this the exponential function is infinite in float64."""


@dataclass(frozen=True)
class Sample:
    """One number for every seed, and what is known of how they came about."""

    values: tuple[float, ...]
    """One a seed, all finite; of a reduction log(a / b)."""
    kind: Kind = "plain"
    examples: int | None = None
    """Test examples that every seed answered."""
    variance: float = 0.0
    """v: variance of the mean that the choice of the test examples makes, on the scale of the values."""
    low: float = -math.inf
    """Smallest number that the mean can be."""
    high: float = math.inf
    """Largest number that the mean can be."""
    points: int | None = None
    """Pairs behind each correlation, or values that are counted."""


def share_variance(share: float, examples: int | None) -> float:
    """Return v of a mean over m examples whose scores lie in [0, 1]: p (1 - p) / m at most [Bhatia and Davis 2000].

    The share is moved towards a half as if half of an example were wrong and half of one right, so that answers that
    are always right leave something open.
    """
    if not examples:
        return 0.0
    moved = (share * examples + 0.5) / (examples + 1)
    return max(moved * (1 - moved), 0.0) / examples


def interval(sample: Sample, confidence: float) -> Interval:
    """Return the estimate and its two-sided interval; what cannot be said is NaN."""
    n = len(sample.values)
    if n == 0 or not np.isfinite(sample.values).all():
        return Interval(n, math.nan, math.nan, math.nan, math.nan)
    estimate, limit = _limits(sample)
    sd = float(np.sort(sample.values).std(ddof=1)) if n > 1 and sample.kind != "success" else math.nan
    sd = 0.0 if sd < 10**-DIGITS else sd
    if n == 1 and sample.kind != "success":
        return Interval(1, estimate, math.nan, math.nan, math.nan)
    tail = (1 - confidence) / 2
    return Interval(n, estimate, sd, min(limit(tail, -1), estimate), max(limit(tail, 1), estimate))


def p_values(sample: Sample, bound: float, *, above: bool) -> PValues:
    """Return the p values that the mean lies above (or below) the bound, and that it lies on the other side."""
    n = len(sample.values)
    if n == 0 or (n == 1 and sample.kind != "success") or not np.isfinite(sample.values).all():
        return PValues(math.nan, math.nan)
    limit = _limits(sample)[1]
    if math.isnan(limit(0.025, -1)):
        return PValues(math.nan, math.nan)
    upper = _level(lambda tail: limit(tail, -1) > bound)
    lower = _level(lambda tail: limit(tail, 1) < bound)
    return PValues(upper, lower) if above else PValues(lower, upper)


def _level(excluded: Callable[[float], bool]) -> float:
    """Return the smallest level at which a one-sided limit excludes the bound."""
    if not excluded(1 - SMALLEST_P):
        return 1.0
    below, above = math.log(SMALLEST_P), math.log(1 - SMALLEST_P)
    if excluded(SMALLEST_P):
        return SMALLEST_P
    for _ in range(50):
        middle = (below + above) / 2
        below, above = (below, middle) if excluded(math.exp(middle)) else (middle, above)
    return math.exp(above)


_Limit = Callable[[float, int], float]
"""A one-sided limit: of this level, below (-1) or above (1)."""


def _limits(sample: Sample) -> tuple[float, _Limit]:
    """Return the estimate, and its limits as a function."""
    values = np.asarray(sample.values, dtype=np.float64)
    if sample.kind == "reduction":
        mean, limit = _student(values, sample.variance)
        return 1 - math.exp(mean), lambda tail, side: 1 - math.exp(min(limit(tail, -side), LARGEST_LOG))
    if sample.kind == "correlation":
        mean, limit = _fisher(values, sample.points or 0)
        return math.tanh(mean), lambda tail, side: math.tanh(limit(tail, side))
    if sample.kind == "plain":
        mean, limit = _student(values, sample.variance)
        return mean, lambda tail, side: min(max(limit(tail, side), sample.low), sample.high)
    return _in_a_range(values, sample)


def _mean(values: np.ndarray) -> float:
    if (np.round(values - values[0], DIGITS) == 0).all():
        return round(float(np.sort(values)[0]), DIGITS) + 0.0  # zero has no sign
    return math.fsum(values) / len(values)


def _between(values: np.ndarray) -> float:
    """Return s² / n, which is 0 for equal values, rounding errors aside."""
    if len(values) < 2 or (np.round(values - values[0], DIGITS) == 0).all():
        return 0.0
    return float(np.sort(values).var(ddof=1)) / len(values)


def _degrees(between: float, variance: float, n: int) -> float:
    return math.inf if between == 0 else (between + variance) ** 2 / (between**2 / (n - 1))


def _quantile(tail: float, degrees: float) -> float:
    """Return how many standard errors away a one-sided limit of this level lies."""
    return -float(scipy.special.ndtri(tail) if degrees == math.inf else scipy.special.stdtrit(degrees, tail))


def _student(values: np.ndarray, variance: float) -> tuple[float, _Limit]:
    mean, between = _mean(values), _between(values)
    error = math.sqrt(between + variance)
    if error == 0:
        return mean, lambda tail, side: math.nan
    degrees = _degrees(between, variance, len(values))
    return mean, lambda tail, side: mean + side * _quantile(tail, degrees) * error


def _fisher(values: np.ndarray, points: int) -> tuple[float, _Limit]:
    """Return the mean on the z scale; a perfect order counts as half of a step away from one."""
    step = 12 / (points * (points**2 - 1)) if points > 1 else 1.0
    z = np.arctanh(np.clip(values, -1 + step / 2, 1 - step / 2))
    mean, between = _mean(z), _between(z)
    least = 1.06 / (points - 3) / len(z) if points > 3 else math.nan
    if math.isnan(least):
        return mean, lambda tail, side: math.nan
    degrees = float(len(z) - 1) if between >= least else math.inf
    error = math.sqrt(max(between, least))
    return mean, lambda tail, side: mean + side * _quantile(tail, degrees) * error


def _in_a_range(values: np.ndarray, sample: Sample) -> tuple[float, _Limit]:
    """Return Clopper and Pearson's limits for the number of trials that has the variance of the mean."""
    width, mean = sample.high - sample.low, _mean(values)
    share = min(max((mean - sample.low) / width, 0.0), 1.0)
    between, variance, trials = _between(values), sample.variance, sample.examples or 0
    if sample.kind == "count":  # an integer is known to a half
        variance, trials = 1 / 12 / len(values), len(values) * (sample.points or 1)
    if sample.kind == "success":
        between, variance, trials = 0.0, share * (1 - share) / len(values), len(values)
    total, degrees = (between + variance) / width**2, _degrees(between, variance, len(values))
    certain = min(share, 1 - share) < 10**-DIGITS
    if (certain and not trials) or (not certain and total == 0):
        return mean, lambda tail, side: math.nan

    def limit(tail: float, side: int) -> float:
        size = float(trials) if certain else share * (1 - share) / total
        if degrees != math.inf and not certain:
            tail = 0.5 + 1e-9 if abs(tail - 0.5) < 1e-9 else tail
            size *= (_quantile(tail, math.inf) / _quantile(tail, degrees)) ** 2
        return sample.low + width * _clopper_pearson(share * size, size, tail, side)

    return mean, limit


def _clopper_pearson(successes: float, trials: float, tail: float, side: int) -> float:
    failures = max(trials - successes, 0.0)
    if side < 0:
        return 0.0 if successes <= 0 else float(scipy.special.betaincinv(successes, failures + 1, tail))
    return 1.0 if failures <= 0 else float(scipy.special.betaincinv(successes + 1, failures, 1 - tail))
