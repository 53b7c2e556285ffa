"""How long a slot keeps what was written to it: Kaplan–Meier curves of slot lifetimes, from the traces of runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy import stats

from palimpsest.analysis.frames import COUNT, IDENTITY, SHARE, Layout, read_frame
from palimpsest.analysis.runs import axes, key_of, read_final, run_frame
from palimpsest.analysis.traces import Trace, read_trace, traces
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params

WRITTEN = 0.5
"""Weight from which on a write replaces what a slot held."""
SURVIVAL = Layout(
    IDENTITY,
    {"seed": COUNT, "lives": COUNT, "running": COUNT, "steps": COUNT, "survival": SHARE},
    metrics=False,
)
"""Columns of ``survival.csv``: a row a run and lifetime; of its ``lives``, ``running`` outlast their sequence."""


class Lives(NamedTuple):
    """Lifetimes of what slots held."""

    steps: NDArray[np.int64]
    """From the write to the one that replaced it, or to the end of the sequence."""
    running: NDArray[np.bool_]
    """Whether the sequence ended first, so that the life is longer than was seen."""


def lives(weights: NDArray[Any], lengths: NDArray[Any]) -> Lives:
    """Return the life of everything that was written.

    A life begins when a slot is written with a weight of ``WRITTEN`` or more, summed over heads, and ends when that
    happens again; what was last written to a slot lives on when the sequence ends: its life is right-censored.

    Args:
        weights: (examples, steps, heads, slots), in [0, 1].
        lengths: (examples,): steps of each sequence; what follows is padding.
    """
    steps: list[NDArray[np.int64]] = []
    running: list[NDArray[np.bool_]] = []
    for own, length in zip(weights, lengths, strict=True):
        for written in (own[: int(length)].sum(1) >= WRITTEN).T:
            begun = np.flatnonzero(written)
            steps.append(np.diff(begun, append=int(length)).astype(np.int64))
            running.append(np.arange(1, len(begun) + 1) == len(begun))
    return Lives(np.concatenate(steps), np.concatenate(running))


def kaplan_meier(found: Lives) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return lifetimes in order, and the share of lives that are longer [Kaplan and Meier 1958, by scipy].

    Raises:
        ValueError: there is no life.
    """
    sample = stats.CensoredData.right_censored(found.steps, found.running)
    curve = stats.ecdf(sample).sf
    return curve.quantiles.astype(np.int64), curve.probabilities.clip(0, 1)


def survival(params: Params, root: Path, experiment: str) -> DataFrame:
    """Collect the survival curve of every run that has written a slot: one row a lifetime, with ``SURVIVAL``'s columns.

    Args:
        params: the preset.
        root: product directory.
        experiment: one of its experiments; runs that diverged, whose trace has no write weights, or that wrote nothing
            give no rows.

    Raises:
        DataError: a run or its trace is missing, corrupt or of another shape.
        ParameterError: the preset has no such experiment.
    """
    rows = [
        {**key_of(spec), **row}
        for path, spec in traces(params, root, experiment)
        if read_final(path.with_name("final.json"), spec).status == "completed"
        for row in _of_run(path, read_trace(path))
    ]
    return run_frame(rows, axes(params, experiment), list(SURVIVAL.middle))


def _of_run(path: Path, trace: Trace) -> Iterator[dict[str, Any]]:
    if "write_weighting" not in trace:
        return
    weights, lengths = trace["write_weighting"], trace.get("length")
    if weights.ndim != 4 or lengths is None or lengths.shape != weights.shape[:1]:
        shape = None if lengths is None else lengths.shape
        raise DataError(
            f"{path}: write_weighting {weights.shape}, length {shape}; "
            "allowed: (examples, steps, heads, slots), (examples,)"
        )
    found = lives(weights, lengths)
    if not len(found.steps):
        return
    counts = {"lives": len(found.steps), "running": int(found.running.sum())}
    for steps, share in zip(*kaplan_meier(found), strict=True):
        yield {**counts, "steps": int(steps), "survival": float(round(share, 6))}


def read_survival(path: Path) -> DataFrame:
    """Read ``survival.csv`` of an experiment.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(path, SURVIVAL)
