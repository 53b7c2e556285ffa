"""Numbers that the sources published, each with its origin, and their comparison with ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pandas import DataFrame
from pydantic import Field, model_validator

from palimpsest.analysis.frames import axes_of, records, tidy
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Scalar, Section, checked, format_value, read_yaml
from palimpsest.planning.parameters import TrackName
from palimpsest.planning.presets import read_parts


class Number(Section):
    """A mean that a source published, with the standard deviation over runs if the source gives it."""

    mean: float
    sd: float | None = Field(None, ge=0)


class Row(Section):
    """One row of a source's table."""

    of: str = Field(
        "",
        pattern=r"^([A-Za-z0-9]+([ ._-][A-Za-z0-9]+)*)?$",
        description="the model, where a table is about several: words of letters and digits, for numbers are named so",
    )
    cell: dict[str, float] = Field(description="axis: value")
    runs: int | None = Field(None, ge=1, description="runs behind it, if the source gives their number")
    values: dict[str, Number]


class PublishedTable(Section):
    """One table of a source."""

    origin: str = Field(min_length=1, description="document, file and version: where every number of it stands")
    note: str = Field("", description="what a reader has to know about it")
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _rows_are_alike(self) -> PublishedTable:
        if not self.rows:
            raise ValueError("no row; allowed: at least one")
        for row in self.rows:
            if set(row.cell) != set(self.rows[0].cell) or set(row.values) != set(self.rows[0].values):
                raise ValueError(f"row {row.cell} has other axes or values; allowed: those of the first row")
            if bool(row.of) != bool(self.rows[0].of):
                raise ValueError("some rows name a model in `of` and some do not; allowed: all rows or none")
        cells = [(row.of, *sorted(row.cell.items())) for row in self.rows]
        if len(set(cells)) != len(cells):
            raise ValueError("a cell is given twice; allowed: each cell once, of each model")
        return self

    @property
    def names_models(self) -> bool:
        """Whether every row names its model."""
        return bool(self.rows[0].of)

    @property
    def axes(self) -> list[str]:
        """The axes in which rows differ, in alphabetical order."""
        return sorted(self.rows[0].cell)


class PublishedResults(Section):
    """All numbers of one source, and the metric of ours that each of its values is compared with."""

    source: str = Field(pattern=r"^\d{3}$")
    model: str | None = Field(None, description="ours, whose cells are theirs; absent where rows name models of theirs")
    ours: dict[str, str] = Field(description="value in the tables: final metric of ours")
    tables: dict[str, PublishedTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _values_have_counterparts(self) -> PublishedResults:
        for name, table in self.tables.items():
            unknown = sorted(set(table.rows[0].values) - set(self.ours))
            if unknown:
                known = ", ".join(sorted(self.ours))
                raise ValueError(f"table {name!r} has value {unknown[0]!r}, not in ours; allowed: {known}")
        return self

    @model_validator(mode="after")
    def _rows_are_of_a_model(self) -> PublishedResults:
        for name, table in self.tables.items():
            if name in get_args(TrackName):
                raise ValueError(f"table {name!r} has the name of a track of ours; allowed: any other")
            if table.names_models and self.model is not None:
                raise ValueError(f"table {name!r} names models in `of`; allowed: that or `model`, not both")
            if not table.names_models and self.model is None:
                raise ValueError(f"table {name!r} names no model in `of`, nor is there a `model`; allowed: either")
        return self

    @property
    def names_models(self) -> bool:
        """Whether the rows belong to several models, compared with all of ours; else to one model, cell by cell."""
        return self.model is None


class Published(Section):
    """Content of the files of published numbers, by experiment."""

    experiments: dict[str, PublishedResults]


def read_published(path: Path) -> Published:
    """Read the numbers that the sources published.

    Args:
        path: a folder with one file for each source, like ``params/published``; or one file with all of them.

    Raises:
        ParameterError: one line for each mistake: file, key, value, and what is allowed.
    """
    return checked(Published, read_parts(path, "experiments") if path.is_dir() else read_yaml(path), path)


def compare(summary: DataFrame, published: Published, experiment: str) -> DataFrame:
    """Return the source's tables and ours side by side, one row for each cell of the source's finest table.

    Columns: the axes; then, for each table of the source, ``<table>_n`` (if it gives the number of runs) and
    ``<table>_<value>_mean`` and ``_sd``; then the same for each of our tracks. A table with fewer axes repeats its
    numbers. A cell that a track does not have is empty.

    Args:
        summary: from ``summarise`` or ``read_summary``.
        published: from :func:`read_published`.
        experiment: the experiment to compare.

    Raises:
        ParameterError: the experiment has no published numbers, they belong to several models, or our summary lacks a
            metric.
    """
    source = _source(published, experiment, names_models=False)
    _check_metrics(summary, source, experiment)
    finest = max(source.tables.values(), key=lambda table: len(table.axes))
    ours = [row for row in records(summary) if (row["experiment"], row["model"]) == (experiment, source.model)]
    rows = []
    for cell in sorted((row.cell for row in finest.rows), key=lambda cell: [cell[axis] for axis in finest.axes]):
        row: dict[str, Any] = {axis: cell[axis] for axis in finest.axes}
        for name, table in source.tables.items():
            row |= _theirs(name, table, cell)
        for track in get_args(TrackName):
            row |= _ours(track, [row for row in ours if row["track"] == track], cell, source.ours)
        rows.append(row)
    frame = DataFrame(rows)
    return tidy(frame.astype({name: "Int64" for name in frame.columns if name.endswith("_n")}))


def compare_models(summary: DataFrame, published: Published, experiment: str) -> DataFrame | None:
    """Return the source's models in the order of the file, and below them every cell of ours.

    Columns: ``model``; ``cell`` (``axis=value`` joined by ``/``, empty without axes); ``by``, the source's table or our
    track; ``n``, the number of completed runs (of the source, if it gives it); and ``<value>_mean`` and ``_sd`` of each
    value over these runs.

    Args:
        summary: from ``summarise`` or ``read_summary``.
        published: from :func:`read_published`.
        experiment: the experiment to compare.

    Returns:
        The rows, or ``None`` if we have no run of this experiment: numbers of a data set are never compared with runs
        on a substitute for it.

    Raises:
        ParameterError: the experiment has no published numbers, they belong to one model cell by cell, or our summary
            lacks a metric.
    """
    source = _source(published, experiment, names_models=True)
    ours = [row for row in records(summary) if row["experiment"] == experiment]
    if not ours:
        return None
    _check_metrics(summary, source, experiment)
    rows: list[dict[str, Any]] = [
        {"model": row.of, "cell": _spelled(row.cell), "by": name, "n": row.runs}
        | {f"{value}_{part}": getattr(row.values.get(value), part, None) for value in source.ours for part in _PARTS}
        for name, table in source.tables.items()
        for row in table.rows
    ]
    axes = axes_of(summary)
    for row in ours:
        cell = {axis: row[axis] for axis in axes if row[axis] is not None}
        rows.append(
            {"model": row["model"], "cell": _spelled(cell), "by": row["track"], "n": int(row["n"])}
            | {f"{value}_{part}": row[f"{metric}_{part}"] for value, metric in source.ours.items() for part in _PARTS}
        )
    frame = DataFrame(rows)
    numbers = {f"{value}_{part}": "float64" for value in source.ours for part in _PARTS}
    return tidy(frame.astype({"n": "Int64", **numbers}))


_PARTS = ("mean", "sd")


def _source(published: Published, experiment: str, *, names_models: bool) -> PublishedResults:
    """Return the numbers of an experiment; ``names_models`` is the kind that they must have."""
    known = {name: source for name, source in published.experiments.items() if source.names_models == names_models}
    if experiment not in known:
        kind = "of one model, cell by cell" if names_models else "of several models"
        problem = kind if experiment in published.experiments else "missing"
        allowed = ", ".join(sorted(known)) or "none"
        raise ParameterError(f"params/published: experiments: {experiment!r}: {problem}; allowed: {allowed}")
    return known[experiment]


def _check_metrics(summary: DataFrame, source: PublishedResults, experiment: str) -> None:
    for metric in source.ours.values():
        if f"{metric}_mean" not in summary.columns:
            known = ", ".join(name.removesuffix("_mean") for name in summary.columns if name.endswith("_mean"))
            raise ParameterError(f"params/published: {experiment}.ours: {metric!r}: unknown; allowed: {known}")


def _spelled(cell: Mapping[str, Scalar]) -> str:
    return "/".join(f"{axis}={format_value(value)}" for axis, value in cell.items())


def _theirs(name: str, table: PublishedTable, cell: dict[str, float]) -> dict[str, float]:
    match = next((row for row in table.rows if all(cell.get(axis) == row.cell[axis] for axis in table.axes)), None)
    columns: dict[str, float] = {}
    if any(row.runs is not None for row in table.rows):
        columns[f"{name}_n"] = math.nan if match is None or match.runs is None else float(match.runs)
    for value in table.rows[0].values:
        number = match.values[value] if match else None
        columns[f"{name}_{value}_mean"] = math.nan if number is None else number.mean
        columns[f"{name}_{value}_sd"] = math.nan if number is None or number.sd is None else number.sd
    return columns


def _ours(
    track: str, rows: Sequence[dict[str, Any]], cell: dict[str, float], metrics: dict[str, str]
) -> dict[str, float]:
    match = next((row for row in rows if all(row.get(axis) == value for axis, value in cell.items())), {})
    columns = {f"{track}_n": match.get("n")}
    for value, metric in metrics.items():
        columns |= {f"{track}_{value}_{part}": match.get(f"{metric}_{part}") for part in ("mean", "sd")}
    return {name: math.nan if number is None else float(number) for name, number in columns.items()}
