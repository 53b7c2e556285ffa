"""Tables of scores that a manifest describes: metrics of each track and model at the cell that validation chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from palimpsest.rendering import style
from palimpsest.rendering.frames import axes_of_words, best_cells, cell_of, records
from palimpsest.rendering.latex import escape, interval, number, tabular
from palimpsest.rendering.table_parts import Entry, cell_text, grouped
from palimpsest.sources.shared.tables import Scores


def score_table(table: Scores, summary: pd.DataFrame, experiments: Sequence[str], titles: Mapping[str, str]) -> str:
    """A row a track, model and variant, a column a metric with its interval.

    Args:
        table: the description.
        summary: one row a cell.
        experiments: those of the source that has the table.
        titles: experiment → title.

    Raises:
        KeyError: no run has one of the metrics.
    """
    words, entries = axes_of_words(summary), []
    for row in records(best_cells(summary, words)):
        if row["experiment"] not in (table.experiments or experiments) or row["model"] not in (
            table.models or (row["model"],)
        ):
            continue
        cells = [
            escape(style.label(row["model"])),
            cell_text(cell_of(row, words)),
            number(int(row["n"])),
            *(interval(*(row[f"{metric}_{part}"] for part in ("mean", "low", "high"))) for metric in table.metrics),
        ]
        entries.append(Entry(row["experiment"], row["track"], "", cells))
    header = ["track", "model", "cell", "$n$", *(escape(style.label(metric)) for metric in table.metrics)]
    rows = grouped(entries, titles, len(header), "no run")
    return tabular("@{}lllr" + "l" * len(table.metrics) + "@{}", header, rows)
