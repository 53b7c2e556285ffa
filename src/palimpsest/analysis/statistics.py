"""Statistics over a few seeds: exact intervals of shares, rank correlation and Holm's correction; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

LEAST_FOR_IQM = 8
"""Values from which on an interquartile mean is taken."""
DIGITS = 12
"""Decimals that count: differences of equal shares differ behind them, and would pass for a variance."""


class Interval(NamedTuple):
    """A mean over seeds; what cannot be computed is NaN."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


class PValues(NamedTuple):
    """Of the hypothesis that a mean is beyond a bound, and of its opposite."""

    beyond: float
    opposite: float


def proportion_interval(successes: int, n: int, confidence: float) -> Interval:
    """Share of successes with its exact binomial interval [Clopper and Pearson 1934]; of no trial all is NaN.

    Its limits are the shares p at which as many successes, or as few, have a probability of (1 − c)/2. A share has no
    standard deviation of its own: sd is NaN.

    Args:
        successes: of the trials, 0 to n.
        n: trials.
        confidence: c, in (0, 1).
    """
    if n == 0:
        return Interval(0, math.nan, math.nan, math.nan, math.nan)
    limits = scipy.stats.binomtest(successes, n).proportion_ci(confidence, method="exact")
    return Interval(n, successes / n, math.nan, float(limits.low), float(limits.high))


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half; NaN for fewer than eight values, of which it is no summary."""
    sample = np.asarray(values, dtype=np.float64).reshape(-1)
    return float(scipy.stats.trim_mean(sample, 0.25)) if len(sample) >= LEAST_FOR_IQM else math.nan


def paired_difference(minuend: Mapping[int, float], subtrahend: Mapping[int, float]) -> dict[int, float]:
    """Minuend − subtrahend by seed; NaN for a seed that either lacks, so that no pair goes missing unseen."""
    return {
        seed: minuend.get(seed, math.nan) - subtrahend.get(seed, math.nan) for seed in sorted({*minuend, *subtrahend})
    }


def holm_steps(p_values: Sequence[float], level: float) -> list[int]:
    """Return by how many each p value is multiplied in Holm's procedure, in the order given [Holm 1979].

    The smallest of m is compared with level / m, the next with level / (m - 1), and so on; from the first that is
    larger, all others have its multiplier. A p value times its multiplier is at most the level if and only if Holm
    rejects.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps, multiplier, stopped = [1] * len(p_values), len(p_values), False
    for rank, index in enumerate(order):
        multiplier = multiplier if stopped else len(p_values) - rank
        stopped = stopped or p_values[index] * multiplier > level
        steps[index] = multiplier
    return steps


def above_floor(right: int, answers: int, floor: float) -> float:
    """Exact one-sided binomial p value of ``right`` right ``answers``, if each is right with probability ``floor``."""
    return float(scipy.stats.binomtest(right, answers, floor, alternative="greater").pvalue)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation; 0 if either does not vary, for then it does not move with the other; NaN with a NaN.

    Fewer than two pairs have no order: NaN.
    """
    pair = np.round(np.stack([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)]), DIGITS)
    if pair.shape[1] < 2 or not np.isfinite(pair).all():
        return math.nan
    if (pair == pair[:, :1]).all(1).any():
        return 0.0
    return float(np.corrcoef(scipy.stats.rankdata(pair[0]), scipy.stats.rankdata(pair[1]))[0, 1])
