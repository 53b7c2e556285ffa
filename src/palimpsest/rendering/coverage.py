"""The table of how often intervals hold what they estimate, from what `python -m bench.coverage` simulated."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from palimpsest.foundation.errors import DataError
from palimpsest.rendering.frames import records
from palimpsest.rendering.latex import escape, number, tabular

COLUMNS = ("quantity", "seeds", "n", "truth", "coverage", "median_width", "coverage_student", "zero_width_student")


def coverage_table(path: Path) -> str:
    """Return the table as LaTeX: a row a quantity, kind of seeds and number of seeds.

    Raises:
        DataError: the file is missing or broken; the message names the command that writes it.
    """
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, ValueError):
        raise DataError(f"{path}: missing or no table; `python -m bench.coverage` makes it") from None
    if tuple(table.columns) != COLUMNS or table.empty:
        raise DataError(f"{path}: columns {list(table.columns)}; allowed: {', '.join(COLUMNS)}, with a row at least")
    rows, last = [], ("", "")
    for row in records(table):
        new = (row["quantity"], row["seeds"])
        names = [escape(word) for word in new] if new != last else ["", ""]
        shares = [_percent(row[name]) for name in ("coverage", "coverage_student", "zero_width_student")]
        rows.append(
            [*names, number(int(row["n"])), number(row["truth"]), shares[0], number(row["median_width"]), *shares[1:]]
        )
        last = new
    header = ["quantity", "seeds", "$n$", "true value", "coverage", "median width", "Student's", "of zero width"]
    return tabular("@{}llrrrrrr@{}", header, rows)


def _percent(share: float) -> str:
    return rf"{100 * share:.1f}\,\%"
