"""Tables of continual learning that a manifest describes: its measures, at the cell that validation chose."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from palimpsest.rendering import style
from palimpsest.rendering.frames import axes_of_words, best_cells, cell_of, records
from palimpsest.rendering.latex import escape, interval, number, tabular
from palimpsest.rendering.table_parts import Entry, cell_text, grouped
from palimpsest.sources.shared.tables import Continual

COLUMNS = {
    "test_average_accuracy": "average",
    "test_learnt_accuracy": "learnt",
    "test_forgetting": "forgetting",
    "test_backward_transfer": "backward",
    "test_forward_transfer": "forward",
}
"""Measure → title of its column; the last two are transfers."""


def continual_table(
    table: Continual, summary: pd.DataFrame, experiments: Collection[str], titles: Mapping[str, str]
) -> str:
    """A row a track, model and variant, a column a measure with its interval.

    ``n`` counts completed runs, after a plus sign those that diverged.

    Args:
        table: the description.
        summary: one row a cell.
        experiments: those of the sources that have the table.
        titles: experiment → title.
    """
    words, entries = axes_of_words(summary), []
    for row in records(best_cells(_with_phases(summary), words)):
        if row["experiment"] not in experiments or row["model"] not in (table.models or (row["model"],)):
            continue
        cell = cell_of(row, words)
        name = escape(style.label(row["model"])) + (f", {cell_text(cell)}" if cell else "")
        values = [_stacked(*(row[f"{measure}_{part}"] for part in ("mean", "low", "high"))) for measure in COLUMNS]
        lost = rf"\,+\,{number(int(row['diverged']))}" if row["diverged"] else ""
        entries.append(Entry(row["experiment"], row["track"], "", [name, f"{number(int(row['n']))}{lost}", *values]))
    header = ["track", "model", "$n$", *COLUMNS.values()]
    rows = grouped(entries, titles, len(header), "no run has phases")
    return tabular("@{}llr" + "l" * len(COLUMNS) + "@{}", header, rows)


def _stacked(mean: float | None, low: float | None, high: float | None) -> str:
    r"""A mean with its interval below it, because five of them beside each other are wider than the text.

    >>> _stacked(0.5, 0.412, 0.65), _stacked(0.5, None, None)
    ('\\shortstack[l]{$0.500$\\\\{\\tiny[0.41, 0.65]}}', '$0.500$')
    """
    shown, space, ends = interval(mean, low, high).partition(r"\,")
    return rf"\shortstack[l]{{{shown}\\{ends}}}" if space else shown


def _with_phases(summary: pd.DataFrame) -> pd.DataFrame:
    """The cells whose runs have accuracy matrices, and, of the same experiments, those without a completed run."""
    known = f"{next(iter(COLUMNS))}_mean"
    if known not in summary:
        return summary.iloc[:0]
    measured = np.isfinite(summary[known].to_numpy(float))
    experiments = set(summary["experiment"][measured])
    failed = (summary["n"] == 0) & summary["experiment"].isin(list(experiments))
    return summary.loc[measured | failed.to_numpy(bool)]
