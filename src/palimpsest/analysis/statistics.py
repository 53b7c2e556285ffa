"""Statistics over a few seeds: Student-t and exact intervals, and Holm's correction; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame

from palimpsest.analysis.frames import framed, metrics_of, records

STATISTICS = ("mean", "sd", "low", "high", "iqm")
"""What is computed of a metric over the completed runs of a cell."""
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


def mean_interval(values: ArrayLike, confidence: float) -> Interval:
    """Mean, standard deviation and Student-t interval.

    x̄ ± t_{(1+c)/2, n−1} · s / √n

    Equal values give a point. One value gives no interval: sd, low and high are NaN. A NaN among the values makes all
    but n NaN, so that nobody takes the rest for the whole.

    Args:
        values: one a seed.
        confidence: c, in (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64).reshape(-1)
    n = len(sample)
    if n == 0 or not np.isfinite(sample).all():
        return Interval(n, math.nan, math.nan, math.nan, math.nan)
    if n == 1:
        return Interval(1, float(sample[0]), math.nan, math.nan, math.nan)
    if _alike(sample):
        point = float(np.sort(sample)[0]) + 0.0  # zero has no sign
        return Interval(n, point, 0.0, point, point)
    mean, sd = math.fsum(sample) / n, float(np.sort(sample).std(ddof=1))
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1)) * sd / math.sqrt(n)
    return Interval(n, mean, sd, mean - reach, mean + reach)


def _alike(sample: NDArray[np.float64]) -> bool:
    """Whether all values are the same number, rounding errors aside."""
    return bool((np.round(sample - sample[0], DIGITS) == 0).all())


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


def summarise(runs: DataFrame, axes: list[str], confidence: float) -> DataFrame:
    """Every cell's final metrics over its completed runs.

    ``n`` counts the completed runs, over which the means go, and ``diverged`` the others. A metric that is not finite
    in a completed run has no mean.

    Args:
        runs: as ``collect`` or ``read_runs`` give it.
        axes: its axes.
        confidence: level of the intervals.
    """
    metrics = metrics_of(runs)
    keys = ["experiment", "track", "model", *axes]
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in sorted(records(runs), key=lambda run: run["seed"]):
        cells.setdefault(tuple(run[key] for key in keys), []).append(run)
    rows = []
    for cell in sorted(cells, key=lambda cell: [(value is not None, value) for value in cell]):
        completed = [run for run in cells[cell] if run["status"] == "completed"]
        row = dict(zip(keys, cell, strict=True)) | {"n": len(completed), "diverged": len(cells[cell]) - len(completed)}
        for metric in metrics:
            values = np.array([run[metric] for run in completed], dtype=np.float64)
            row |= {f"{metric}_{name}": value for name, value in _spread(values, confidence).items()}
        rows.append(row)
    return framed(rows, axes, ["n", "diverged"], [f"{metric}_{name}" for metric in metrics for name in STATISTICS])


def summarised_metrics(summary: DataFrame) -> list[str]:
    """The metrics of a table of cells, in order: what its columns behind ``diverged`` are statistics of."""
    names = list(summary.columns)
    return [name.removesuffix("_mean") for name in names[names.index("diverged") + 1 :] if name.endswith("_mean")]


def _spread(values: NDArray[np.float64], confidence: float) -> dict[str, float]:
    interval = mean_interval(values, confidence)._asdict()
    return {name: interval[name] for name in ("mean", "sd", "low", "high")} | {"iqm": interquartile_mean(values)}
