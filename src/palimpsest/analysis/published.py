"""The sources' own numbers, each with its origin, and how they stand beside ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pandas import DataFrame
from pydantic import Field, model_validator

from palimpsest.analysis.frames import records, tidy
from palimpsest.config import Section, TrackName, checked, read_yaml
from palimpsest.errors import ParameterError


class Number(Section):
    """A mean as its source gives it, with the standard deviation over runs."""

    mean: float
    sd: float | None = Field(None, ge=0)


class Row(Section):
    """One row of a source's table."""

    cell: dict[str, float] = Field(description="axis: value")
    runs: int | None = Field(None, ge=1, description="runs behind it, where the source says so")
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
        cells = [tuple(sorted(row.cell.items())) for row in self.rows]
        if len(set(cells)) != len(cells):
            raise ValueError("a cell is given twice; allowed: each cell once")
        return self

    @property
    def axes(self) -> list[str]:
        """Axes by which its rows differ, alphabetical."""
        return sorted(self.rows[0].cell)


class PublishedResults(Section):
    """All numbers of one source, and which of our metrics each of its values is compared with."""

    source: str = Field(pattern=r"^\d{3}$")
    model: str
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


class Published(Section):
    """Content of params/published.yaml: the sources by experiment."""

    experiments: dict[str, PublishedResults]


def read_published(path: Path) -> Published:
    """Read params/published.yaml.

    Raises:
        ParameterError: one line a mistake: file, key, value, and what is allowed.
    """
    return checked(Published, read_yaml(path), path)


def compare(summary: DataFrame, published: Published, experiment: str = "nema_lite") -> DataFrame:
    """The source's tables and ours side by side, one row for each cell of the source's finest table.

    Columns: the axes; then of each table of the source ``<table>_n`` (where it says how many runs) and
    ``<table>_<value>_mean`` and ``_sd``; then the same of each of our tracks. A table with fewer axes repeats its
    numbers; a cell that a track does not have is empty.

    Args:
        summary: as ``summarise`` or ``read_summary`` give it.
        published: from :func:`read_published`.
        experiment: which of its sources.

    Raises:
        ParameterError: there are no published numbers of the experiment, or ours lack a metric.
    """
    if experiment not in published.experiments:
        known = ", ".join(sorted(published.experiments))
        raise ParameterError(f"params/published.yaml: experiments: {experiment!r}: missing; allowed: {known}")
    source = published.experiments[experiment]
    for metric in source.ours.values():
        if f"{metric}_mean" not in summary.columns:
            known = ", ".join(name.removesuffix("_mean") for name in summary.columns if name.endswith("_mean"))
            raise ParameterError(f"params/published.yaml: {experiment}.ours: {metric!r}: unknown; allowed: {known}")
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
