"""Every cell's metrics over its seeds: mean, deviation, and an interval that respects what the metric can be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pandas import DataFrame

from palimpsest.analysis import estimates
from palimpsest.analysis.estimates import Sample
from palimpsest.analysis.frames import framed, metrics_of, records
from palimpsest.analysis.ranges import range_of
from palimpsest.analysis.statistics import Interval, interquartile_mean

STATISTICS = ("mean", "sd", "low", "high", "iqm")
"""What is computed of a metric over the completed runs of a cell."""


def metric_interval(metric: str, values: Iterable[float], confidence: float) -> Interval:
    """Mean, standard deviation and interval of a metric over seeds.

    Shares have Korn and Graubard's interval, which stays in [0, 1]; all else has Student's, cut where the metric's
    range ends (:mod:`palimpsest.analysis.estimates`, :mod:`palimpsest.analysis.ranges`). Equal values have no interval,
    for they do not say how well they are known; neither has one value. A NaN among the values makes all but n NaN, so
    that nobody takes the rest for the whole.

    Args:
        metric: its name, as ``test_accuracy_on``.
        values: one a seed.
        confidence: level of the interval, in (0, 1).
    """
    sample, ends = tuple(map(float, values)), range_of(metric)
    if not all(ends.low <= value <= ends.high for value in sample):  # a NaN, or a metric that only sounds alike
        return estimates.interval(Sample(sample, "plain"), confidence)
    kind = "share" if ends == (0, 1) else "plain"
    return estimates.interval(Sample(sample, kind, low=ends.low, high=ends.high), confidence)


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
            values = [math.nan if run[metric] is None else float(run[metric]) for run in completed]
            interval = metric_interval(metric, values, confidence)
            spread = {name: getattr(interval, name) for name in STATISTICS[:-1]} | {"iqm": interquartile_mean(values)}
            row |= {f"{metric}_{name}": value for name, value in spread.items()}
        rows.append(row)
    return framed(rows, axes, ["n", "diverged"], [f"{metric}_{name}" for metric in metrics for name in STATISTICS])


def summarised_metrics(summary: DataFrame) -> list[str]:
    """The metrics of a table of cells, in order: what its columns behind ``diverged`` are statistics of."""
    names = list(summary.columns)
    return [name.removesuffix("_mean") for name in names[names.index("diverged") + 1 :] if name.endswith("_mean")]
