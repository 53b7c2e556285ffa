"""Tables of the analysis: how their columns are ordered, and how each field is checked when a CSV file is read."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame
from pandas.api.types import is_float_dtype

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.sections import Scalar, format_value


class Column(NamedTuple):
    """What the fields of a column may be."""

    convert: Callable[[str], object]
    """From a field to a value; raises ``ValueError`` for a field that is not allowed."""
    allowed: str
    """The same in words, for messages."""


def _name(field: str) -> str:
    if not field:
        raise ValueError
    return field


def _number(field: str) -> float:
    value = float(field) if field else math.nan
    if field and not math.isfinite(value):
        raise ValueError
    return value


def _share(field: str) -> float:
    value = float(field)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def _count(field: str) -> int:
    value = int(field)
    if value < 0:
        raise ValueError
    return value


TEXT = Column(str, "text")
NAME = Column(_name, "a name")
NUMBER = Column(_number, "a finite number or nothing")
SHARE = Column(_share, "a number from 0 to 1")
INTEGER = Column(int, "an integer")
COUNT = Column(_count, "an integer from 0")


def one_of(*values: str) -> Column:
    """A column of a few words."""

    def convert(field: str) -> str:
        if field not in values:
            raise ValueError
        return field

    return Column(convert, ", ".join(values))


@dataclass(frozen=True)
class Layout:
    """Columns of a table, in order: ``head``, one for every axis of the grids, ``middle``, one for every metric."""

    head: Mapping[str, Column]
    middle: Mapping[str, Column]
    axes: bool = True
    metrics: bool = True

    def split(self, path: Path, header: Sequence[str]) -> tuple[list[str], list[str]]:
        """Names of the axes and of the metrics of a table with this header.

        Raises:
            DataError: a column is missing, repeated, unknown or out of place.
        """
        missing = [name for name in (*self.head, *self.middle) if name not in header]
        for name in missing[:1]:
            raise DataError(f"{path}: column {name!r}: missing; allowed: {', '.join([*self.head, *self.middle])}")
        for name in header:
            if not name or header.count(name) > 1:
                raise DataError(f"{path}: column {name!r}: empty or repeated; allowed: each column once")
        start, end = len(self.head), header.index(next(iter(self.middle))) if self.middle else len(self.head)
        known = [*self.head, *header[start:end], *self.middle]
        axes, metrics = list(header[start:end]), list(header[len(known) :])
        if list(header[: len(known)]) != known or (axes and not self.axes) or (metrics and not self.metrics):
            wanted = [*self.head, *(["axes"] * self.axes), *self.middle, *(["metrics"] * self.metrics)]
            raise DataError(f"{path}: columns {', '.join(header)}; allowed, in this order: {', '.join(wanted)}")
        return axes, metrics


IDENTITY = {"experiment": NAME, "track": one_of("published", "repaired"), "model": NAME}
"""How the table of anything measured begins."""


def read_rows(path: Path) -> list[list[str]]:
    """Read a CSV file as text: the header, and rows of the same length.

    Raises:
        DataError: the file is missing, empty or ragged, or is not CSV.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not CSV: {error}; allowed: what palimpsest writes") from None
    if not rows:
        raise DataError(f"{path}: empty; allowed: a table with a header")
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise DataError(f"{path}: row {line}: {len(row)} fields; allowed: {len(rows[0])}, as in the header")
    return rows


def read_frame(path: Path, layout: Layout) -> DataFrame:
    """Read a table of this package.

    Raises:
        DataError: the file, the column, the row, the value and what is allowed.
    """
    header, *rows = read_rows(path)
    axes, metrics = layout.split(path, header)
    kinds = {**layout.head, **dict.fromkeys(axes, TEXT), **layout.middle, **dict.fromkeys(metrics, NUMBER)}
    columns = {}
    for name, fields in zip(header, zip(*rows, strict=True) if rows else [()] * len(header), strict=True):
        columns[name] = list(_converted(path, name, kinds[name], fields))
        if kinds[name] is NUMBER:
            columns[name] = np.array(columns[name], dtype=np.float64)
        elif name in axes:
            columns[name] = _axis_from_text(columns[name])
    return DataFrame(columns, columns=header)


def _converted(path: Path, name: str, column: Column, fields: Sequence[str]) -> Iterator[object]:
    for line, field in enumerate(fields, 2):
        try:
            yield column.convert(field)
        except ValueError:
            raise DataError(f"{path}: column {name!r}, row {line}: {field!r}; allowed: {column.allowed}") from None


def _axis_from_text(fields: Sequence[str]) -> pd.Series:
    try:
        return pd.Series([float(field) if field else math.nan for field in fields], dtype=np.float64)
    except ValueError:
        return pd.Series([field or None for field in fields], dtype="str")


def axis_column(values: Sequence[Scalar | None]) -> pd.Series:
    """An axis as a column: numbers if all its values are numbers, else as paths spell them; empty where not given."""
    numeric = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    if numeric:
        return pd.Series([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    return pd.Series([None if value is None else format_value(value) for value in values], dtype="str")


def framed(rows: list[dict[str, Any]], axes: list[str], middle: list[str], values: Sequence[str]) -> DataFrame:
    """A table with the columns ``experiment, track, model``, ``axes``, ``middle`` and ``values``, in this order.

    Args:
        rows: column → value; a column that a row does not have is empty.
        axes: their columns hold numbers if all values are numbers, else text.
        middle: any kind of value.
        values: numbers; one that is not finite is empty.
    """
    keys = {name: [row.get(name) for row in rows] for name in (*IDENTITY, *axes, *middle)}
    numbers = {name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in values}
    return tidy(DataFrame({**keys, **{axis: axis_column(keys[axis]) for axis in axes}, **numbers}))


def axes_of(frame: DataFrame) -> list[str]:
    """The axes of a table of this package: its columns between ``model`` and ``seed`` or ``n``."""
    names = list(frame.columns)
    first = names.index("model") + 1
    last = next(index for index, name in enumerate(names) if index >= first and name in ("seed", "n"))
    return names[first:last]


FLOOR_AT = "floor_at_"
"""How the columns of a table of runs begin that have the informed floor of a slice of the test split."""


def metrics_of(runs: DataFrame) -> list[str]:
    """The metrics of a table of runs: its columns behind ``flags`` without the informed floors of slices."""
    names = list(runs.columns)
    return [name for name in names[names.index("flags") + 1 :] if not is_floor_of_slice(name)]


def is_floor_of_slice(name: str) -> bool:
    """Whether a column of a table of runs has the informed floor of a slice.

    >>> is_floor_of_slice("floor_at_20"), is_floor_of_slice("test_accuracy_at_20")
    (True, False)
    """
    return name.startswith(FLOOR_AT) and name.removeprefix(FLOOR_AT).isdecimal()


def records(frame: DataFrame) -> list[dict[str, Any]]:
    """Rows as plain mappings; an empty field is ``None``."""
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def tidy(frame: DataFrame) -> DataFrame:
    """The same table with numbers as files hold them: what is not finite is empty, and zero has no sign."""
    columns = {str(name): column for name, column in frame.items()}
    for name, column in columns.items():
        if is_float_dtype(column):
            values = column.to_numpy(dtype=np.float64) + 0.0
            columns[name] = pd.Series(np.where(np.isfinite(values), values, math.nan), index=frame.index)
    return DataFrame(columns, index=frame.index, columns=frame.columns)
