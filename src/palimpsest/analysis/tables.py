"""The tables of runs and cells: one file an experiment, an index of the files, and every metric as one long table.

``docs/tables.md`` describes the files for readers. This module is the only one that writes or reads them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from pandas import DataFrame

from palimpsest.analysis import runs as runs_of
from palimpsest.analysis.frames import (
    COUNT,
    IDENTITY,
    NAME,
    NUMBER,
    TEXT,
    Layout,
    axes_of,
    framed,
    metrics_of,
    read_frame,
    records,
)
from palimpsest.analysis.summary import STATISTICS, summarise, summarised_metrics
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import write_bytes, write_text
from palimpsest.foundation.sections import format_value
from palimpsest.planning.parameters import Params

INDEX = Path("tables/runs.csv")
METRICS = Path("tables/metrics.parquet")

INDEX_LAYOUT = Layout(
    {"experiment": NAME, "source": NAME, "runs": COUNT, "cells": COUNT, "metrics": COUNT, "file": NAME},
    {},
    axes=False,
    metrics=False,
)
SUMMARY_LAYOUT = Layout(
    IDENTITY, {"n": COUNT, "diverged": COUNT, "metric": TEXT, **dict.fromkeys(STATISTICS, NUMBER)}, metrics=False
)


def runs_file(experiment: str) -> Path:
    """Where the runs of an experiment are listed, below the product directory: one row a run."""
    return Path("tables/runs") / f"{experiment}.csv"


def summary_file(experiment: str) -> Path:
    """Where the means of an experiment are listed, below the product directory: one row a cell and metric."""
    return Path("tables/summary") / f"{experiment}.csv"


# --- writing ----------------------------------------------------------------------------------------------------------


def write_experiment(params: Params, root: Path, experiment: str) -> tuple[DataFrame, DataFrame]:
    """Write the table of runs and the table of means of one experiment.

    Returns:
        The runs as :func:`palimpsest.analysis.runs.collect` and the cells as
        :func:`palimpsest.analysis.summary.summarise` return them.

    Raises:
        DataError: a run is missing or corrupt.
        ParameterError: the preset has no such experiment.
    """
    runs = runs_of.collect(params, root, experiment)
    summary = summarise(runs, axes_of(runs), params.confidence)
    write_frames(root, experiment, runs, summary)
    return runs, summary


def write_frames(root: Path, experiment: str, runs: DataFrame, summary: DataFrame) -> None:
    """Write both tables of one experiment from frames that hold this experiment alone."""
    write_text(root / runs_file(experiment), _csv(runs))
    write_text(root / summary_file(experiment), _csv(long_summary(summary)))


def write_index(params: Params, root: Path) -> DataFrame:
    """Write ``tables/runs.csv`` and ``tables/metrics.parquet`` from the tables of all experiments of a preset.

    Returns:
        The index.

    Raises:
        DataError: the table of an experiment is missing or corrupt.
    """
    rows, long = [], []
    for experiment in sorted(params.experiments):
        runs, summary = _read_runs(root, experiment), _read_summary(root, experiment)
        source = params.experiments[experiment].source
        counts = {"runs": len(runs), "cells": len(summary), "metrics": len(metrics_of(runs))}
        rows.append({"experiment": experiment, "source": source, **counts, "file": runs_file(experiment).as_posix()})
        long += long_metrics(runs)
    index = DataFrame(rows, columns=list(INDEX_LAYOUT.head))
    write_text(root / INDEX, _csv(index))
    write_bytes(root / METRICS, _parquet(DataFrame(long, columns=list(_LONG))))
    return index


_LONG = {
    "experiment": pyarrow.string(),
    "track": pyarrow.string(),
    "model": pyarrow.string(),
    "cell": pyarrow.string(),
    "seed": pyarrow.int64(),
    "metric": pyarrow.string(),
    "value": pyarrow.float64(),
}


def long_metrics(runs: DataFrame) -> list[dict[str, Any]]:
    """One row a run and metric; a metric that a run does not have, or that is not finite, has no row.

    Args:
        runs: the runs of one experiment or more.

    Returns:
        Rows with ``experiment, track, model, cell, seed, metric, value``; ``cell`` is spelled as in the paths of runs,
        e.g. ``mem_lambda=0.05/write_threshold=0.5``.
    """
    axes, metrics, rows = axes_of(runs), metrics_of(runs), []
    for run in records(runs):
        cell = "/".join(f"{axis}={format_value(run[axis])}" for axis in axes if run[axis] is not None)
        key = {name: run[name] for name in IDENTITY} | {"cell": cell, "seed": run["seed"]}
        rows += [{**key, "metric": name, "value": run[name]} for name in metrics if run[name] is not None]
    return rows


def long_summary(summary: DataFrame) -> DataFrame:
    """One row a cell and metric, with its statistics as columns; a metric that no run of the cell has gets no row.

    A cell without any metric (no run was completed) has one row whose ``metric`` is empty.

    Args:
        summary: one row a cell, as :func:`palimpsest.analysis.summary.summarise` returns it.
    """
    axes, metrics, rows = axes_of(summary), summarised_metrics(summary), []
    for cell in records(summary):
        key = {name: cell[name] for name in (*IDENTITY, *axes, "n", "diverged")}
        found = [
            {**key, "metric": metric, **{name: cell[f"{metric}_{name}"] for name in STATISTICS}}
            for metric in metrics
            if any(cell[f"{metric}_{name}"] is not None for name in STATISTICS)
        ]
        rows += found or [{**key, "metric": ""}]
    return framed(rows, axes, ["n", "diverged", "metric"], STATISTICS)


def _csv(table: DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _parquet(table: DataFrame) -> bytes:
    """The table without the versions of the libraries that wrote it; the same table gives the same bytes."""
    content = pyarrow.Table.from_pandas(table, schema=pyarrow.schema(list(_LONG.items())), preserve_index=False)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(content.replace_schema_metadata(None), buffer, compression="zstd")
    return buffer.getvalue()


# --- reading ----------------------------------------------------------------------------------------------------------


def read_index(root: Path) -> DataFrame:
    """Read ``tables/runs.csv``: which experiments there are, of which source, with how many runs, cells and metrics.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    return read_frame(root / INDEX, INDEX_LAYOUT)


def read_runs(root: Path, experiment: str | None = None) -> DataFrame:
    """Read one row a run: its key, size and flags, then its final metrics.

    Args:
        root: product directory.
        experiment: only its runs, with only its axes and metrics; without it, all experiments of the index, with the
            axes and metrics of all (empty where an experiment does not have them).

    Raises:
        DataError: file, column, row, value and what is allowed; or a run is listed twice.
    """
    if experiment is not None:
        return _read_runs(root, experiment)
    frames = []
    for row in records(read_index(root)):
        frames.append(_read_runs(root, row["experiment"]))
        if len(frames[-1]) != row["runs"]:
            path = root / runs_file(row["experiment"])
            raise DataError(f"{path}: {len(frames[-1])} runs; allowed: {row['runs']}, as in {INDEX}")
    rows = [row for frame in frames for row in records(frame)]
    axes = sorted({axis for frame in frames for axis in axes_of(frame)})
    return runs_of.run_frame(rows, axes, list(runs_of.RUNS.middle))


def read_summary(root: Path, experiment: str | None = None) -> DataFrame:
    """Read one row a cell: its key, ``n``, ``diverged``, then ``<metric>_<statistic>`` of every metric.

    Args:
        root: product directory.
        experiment: only its cells; without it, those of all experiments of the index.

    Raises:
        DataError: file, column, row, value and what is allowed.
    """
    if experiment is not None:
        return _read_summary(root, experiment)
    frames = [_read_summary(root, row["experiment"]) for row in records(read_index(root))]
    metrics = sorted({metric for frame in frames for metric in summarised_metrics(frame)})
    return _joined(frames, ["n", "diverged"], _summary_columns(metrics))


def _read_runs(root: Path, experiment: str) -> DataFrame:
    path = root / runs_file(experiment)
    frame = read_frame(path, runs_of.RUNS)
    _of_experiment(frame, path, experiment)
    repeated = frame.duplicated([*IDENTITY, *axes_of(frame), "seed"])
    if repeated.any():
        line = int(repeated.to_numpy().argmax()) + 2
        raise DataError(f"{path}: row {line}: repeats a run; allowed: each run once")
    return frame


def _read_summary(root: Path, experiment: str) -> DataFrame:
    path = root / summary_file(experiment)
    long = read_frame(path, SUMMARY_LAYOUT)
    _of_experiment(long, path, experiment)
    axes = axes_of(long)
    key = [*IDENTITY, *axes, "n", "diverged"]
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line, row in enumerate(records(long), 2):
        cell = cells.setdefault(tuple(row[name] for name in key), {name: row[name] for name in key})
        if f"{row['metric']}_mean" in cell:
            raise DataError(f"{path}: row {line}: repeats {row['metric']!r} of a cell; allowed: each metric once")
        if row["metric"]:
            cell |= {f"{row['metric']}_{name}": row[name] for name in STATISTICS}
    columns = _summary_columns(sorted({name for name in long["metric"] if name}))
    return framed(list(cells.values()), axes, ["n", "diverged"], columns)


def _of_experiment(frame: DataFrame, path: Path, experiment: str) -> None:
    """Check that a file holds the experiment of its name, so that no run is counted under two experiments."""
    other = [name for name in frame["experiment"] if name != experiment]
    if other:
        raise DataError(f"{path}: column 'experiment': {other[0]!r}; allowed: {experiment}")


def _summary_columns(metrics: Sequence[str]) -> list[str]:
    return [f"{metric}_{name}" for metric in metrics for name in STATISTICS]


def _joined(frames: Sequence[DataFrame], middle: list[str], columns: Sequence[str]) -> DataFrame:
    """The frames of several experiments below each other, with the axes of all."""
    axes = sorted({axis for frame in frames for axis in axes_of(frame)})
    return framed([row for frame in frames for row in records(frame)], axes, middle, columns)
