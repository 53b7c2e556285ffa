"""The table of sizes: how right each model is on sequences of each size, and how many of its seeds have learnt it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from palimpsest import sources
from palimpsest.analysis.frames import axes_of
from palimpsest.analysis.sequences import SUCCESS
from palimpsest.rendering import style
from palimpsest.rendering.frames import cell_of, records
from palimpsest.rendering.latex import bounds, escape, interval, longtable, number
from palimpsest.rendering.table_parts import Entry, cell_text, grouped


def generalisation_table(table: pd.DataFrame, titles: Mapping[str, str], confidence: float) -> str:
    """Scores and success rates by size, as LaTeX: a row a cell and size.

    Args:
        table: :func:`palimpsest.analysis.sequences.rates`.
        titles: experiment → title.
        confidence: level of the intervals.
    """
    axes, entries = axes_of(table), []
    last: tuple[Any, ...] = ()
    for row in sorted(records(table), key=lambda row: _place(row, axes)):
        cell = cell_of(row, axes)
        here = (row["experiment"], row["track"], row["model"], *cell.items())
        name = escape(style.label(row["model"])) + (f", {cell_text(cell)}" if cell else "")
        cells = [
            name if here != last else "",
            size_text(row["experiment"], int(row["slice"])) + ("" if row["trained"] == "yes" else r"\,$^{*}$"),
            interval(*(row[f"accuracy_{part}"] for part in ("mean", "low", "high"))),
            number(row["floor"]),
            interval(*(row[f"sequence_accuracy_{part}"] for part in ("mean", "low", "high"))),
            f"{number(int(row['succeeded']))}/{number(int(row['runs']))}",
            bounds(row["success_low"], row["success_high"]),
        ]
        entries.append(Entry(row["experiment"], row["track"], name, cells))
        last = here
    level = escape(format(confidence, ".0%"))
    caption = (
        "Test scores by the size of sequences: share of the answer that is right, the informed floor of this share, "
        "and share of sequences without an error, in brackets their intervals at "
        f"{level}; seeds of which at least "
        f"{number(SUCCESS, 2)} is right, and the exact binomial interval of their share. "
        f"Sizes with a star were not trained. {_sizes(table)}"
    )
    header = ["track", "model", "size", "right", "informed floor", "sequences right", "seeds", "interval"]
    rows = grouped(entries, titles, len(header), "no test of this preset has sequences of several sizes")
    return longtable("@{}llrlrlrl@{}", header, rows, caption, "tab:generalisation")


def size_text(experiment: str, size: int) -> str:
    r"""A size as the experiment's manifest spells it, as LaTeX.

    >>> size_text("copy", 120), size_text("repeat_copy", 2010)
    ('$120$', '$20\\times10$')
    """
    spelled = sources.experiment_of(experiment).spell_size(size)
    return number(int(spelled)) if spelled.isdigit() else "$" + spelled.replace(" × ", r"\times") + "$"


def _sizes(table: pd.DataFrame) -> str:
    """What the sizes of the table's experiments count, as a sentence of LaTeX."""
    counted = dict.fromkeys(sources.experiment_of(name).size for name in table["experiment"])
    return f"A size counts {escape(' or '.join(counted))}." if counted else ""


def _place(row: Mapping[str, Any], axes: list[str]) -> tuple[Any, ...]:
    """What rows are sorted by: experiment and track, models and cells as figures show them, size."""
    cell = [style.rank(axis, value) for axis, value in cell_of(row, axes).items()]
    return (row["experiment"], row["track"], style.position(row["model"]), row["model"], cell, row["slice"])
