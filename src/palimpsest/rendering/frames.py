"""How rendering selects cells and rows of the analysis tables; nothing here computes a metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from palimpsest.analysis.frames import axes_of
from palimpsest.foundation.sections import Scalar, format_value

CLAIMS = Path("tables/claims.csv")
EVIDENCE = Path("tables/claims_evidence.json")

KEYS = ["experiment", "track", "model"]


def axes_with_values(table: pd.DataFrame) -> list[str]:
    """The axes that any row of a table has."""
    return [axis for axis in axes_of(table) if bool(table[axis].notna().to_numpy().any())]


def axes_of_words(table: pd.DataFrame) -> list[str]:
    """The axes whose values are words: variants that stand beside each other, and not settings to choose among."""
    return [axis for axis in axes_with_values(table) if not is_numeric_dtype(table[axis])]


def cell_of(row: Mapping[str, Any], axes: Iterable[str]) -> dict[str, Scalar]:
    """The axes that a row has, with their values."""
    return {axis: _plain(row[axis]) for axis in axes if not pd.isna(row[axis])}


def cell_path(cell: dict[str, Scalar]) -> str:
    """``axis=value`` joined by ``/``, as in the path of a run; empty for a model without axes."""
    return "/".join(f"{axis}={format_value(value)}" for axis, value in cell.items())


def cell_from_path(path: str) -> dict[str, Scalar]:
    """The cell that :func:`cell_path` spelled; its values as text.

    >>> cell_from_path("ablation=write/slot_dim=64"), cell_from_path("")
    ({'ablation': 'write', 'slot_dim': '64'}, {})
    """
    pairs = (part.split("=", 1) for part in path.split("/") if part)
    return {axis: value for axis, value in pairs}


def _plain(value: Any) -> Scalar:
    return value.item() if isinstance(value, np.generic) else value


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def select(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows in which every named column has the given value."""
    mask = pd.Series(True, index=table.index)
    for column, value in values.items():
        mask &= table[column] == value
    return table.loc[mask]


def rows_of_cell(table: pd.DataFrame, row: Mapping[str, Any], axes: Sequence[str]) -> pd.DataFrame:
    """The rows of ``table`` that belong to the cell of ``row``."""
    mask = pd.Series(True, index=table.index)
    for column in [*KEYS, *axes]:
        value = row[column]
        mask &= table[column].isna() if pd.isna(value) else table[column] == value
    return table.loc[mask]


def best_cells(summary: pd.DataFrame, apart: Sequence[str] = ()) -> pd.DataFrame:
    """One row a track and model: the cell with the highest mean validation accuracy; with phases, that over all phases.

    A cell of which a run diverged comes last. Of several equal cells the one that writes least on validation is taken,
    then the first. The test split is not used.

    Args:
        summary: the table of cells, or rows of it.
        apart: axes whose values are kept apart, so that there is a row for each.
    """
    accuracy = summary["validation_accuracy_on_mean"]
    if "validation_average_accuracy_mean" in summary.columns:
        accuracy = summary["validation_average_accuracy_mean"].fillna(accuracy)
    order = summary.assign(_row=range(len(summary)), _accuracy=accuracy)
    by, ascending = ["diverged", "_accuracy"], [True, False]
    if "validation_write_ratio_mean" in summary.columns:
        by, ascending = [*by, "validation_write_ratio_mean"], [*ascending, True]
    order = order.sort_values([*by, "_row"], ascending=[*ascending, True], na_position="last")
    best = order.drop_duplicates([*KEYS, *apart]).sort_values("_row")
    return best.drop(columns=["_row", "_accuracy"]).reset_index(drop=True)
