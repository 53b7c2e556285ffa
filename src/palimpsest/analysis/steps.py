"""Training steps: every metric of every run, averaged over windows of steps so that a figure can show them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from palimpsest.analysis.frames import COUNT, IDENTITY, Layout, read_frame, read_rows
from palimpsest.analysis.runs import asked, axes, key_of, read_final, run_frame
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params

STEPS = Layout(IDENTITY, {"seed": COUNT, "step": COUNT})
WINDOWS = 50
"""Largest number of rows of a run, enough for a curve; all steps of all runs would take some hundred megabytes."""


def steps(params: Params, root: Path, experiment: str) -> DataFrame:
    """Collect the training metrics of every run of an experiment, in at most fifty windows of consecutive steps.

    ``step`` is the last step of a window, and a metric is its mean over the window. The windows of a run are as equal
    as possible and cover all its steps. A metric is empty if it is not finite at a step of the window, or if the
    model does not have it.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments.

    Raises:
        DataError: a ``steps.csv`` or ``final.json`` is missing or corrupt, or the former lacks a step of the latter.
        ParameterError: the preset has no such experiment.
    """
    rows: list[dict[str, Any]] = []
    for cell, spec in asked(params, experiment):
        key = key_of(spec)
        directory = root / cell.directory(spec.seed)
        metrics, values = _read_run(directory / "steps.csv", read_final(directory / "final.json", spec).steps)
        rows += [
            {**key, "step": step, **dict(zip(metrics, means, strict=True))} for step, means in window_means(values)
        ]
    return run_frame(rows, axes(params, experiment), ["seed", "step"])


def window_means(values: NDArray[np.float64]) -> list[tuple[int, list[float]]]:
    """Return the last step of each window, counted from 1, and the means over the window.

    Args:
        values: (steps, metrics), any number; NaN and infinity make a mean NaN.
    """
    count = min(WINDOWS, len(values))
    bounds = [len(values) * window // count for window in range(count + 1)] if count else [0]
    plain = np.where(np.isfinite(values), values, np.nan)
    return [(stop, plain[start:stop].mean(0).tolist()) for start, stop in itertools.pairwise(bounds)]


def _read_run(path: Path, number: int) -> tuple[list[str], NDArray[np.float64]]:
    """Read the names of the metrics of one run, and their values (steps, metrics)."""
    (first, *metrics), *rows = read_rows(path)
    if first != "step":
        raise DataError(f"{path}: column {first!r}; allowed: 'step' first")
    for name in metrics:
        if not name or metrics.count(name) > 1 or name in (*STEPS.head, *STEPS.middle):
            raise DataError(f"{path}: column {name!r}: not a metric, or repeated; allowed: each metric once")
    if [row[0] for row in rows] != [str(step) for step in range(1, number + 1)]:
        raise DataError(f"{path}: column 'step': {len(rows)} rows; allowed: steps 1 to {number}, in order")
    fields = [row[1:] for row in rows]
    try:
        return metrics, np.array(fields, dtype=np.float64).reshape(number, len(metrics))
    except ValueError:
        raise DataError(_first_non_number(path, metrics, fields)) from None


def _first_non_number(path: Path, metrics: list[str], fields: list[list[str]]) -> str:
    for step, row in enumerate(fields, 1):
        for name, field in zip(metrics, row, strict=True):
            try:
                float(field)
            except ValueError:
                return f"{path}: column {name!r}, step {step}: {field!r}; allowed: a number"
    return f"{path}: not a table of numbers; allowed: what palimpsest writes"


def read_steps(path: Path) -> DataFrame:
    """Read ``training_steps.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, STEPS)
