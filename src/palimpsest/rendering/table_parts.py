"""Shared by LaTeX tables: cells as text, and rows grouped under a heading for each experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from palimpsest import sources
from palimpsest.foundation.sections import Scalar, format_value
from palimpsest.planning.parameters import Params
from palimpsest.rendering.latex import escape


class Entry(NamedTuple):
    """A row of a table, with its experiment, track and part."""

    experiment: str
    track: str
    part: str
    """Rows of a track with different parts have a thin rule between them."""
    cells: Sequence[str]
    """Escaped cells without the track, which is added as the first cell."""


def titles_of(params: Params) -> dict[str, str]:
    """Return experiment → title."""
    return {name: experiment.title for name, experiment in params.experiments.items()}


def grouped(
    entries: Iterable[Entry], titles: Mapping[str, str], columns: int, empty: str
) -> list[Sequence[str] | None]:
    """Return rows under a heading for each experiment; only the first row of a track names the track.

    Args:
        entries: the rows, in order.
        titles: experiment → title.
        columns: number of columns, that of the track included.
        empty: text of the table if there is no entry.
    """
    rows: list[Sequence[str] | None] = []
    last: Entry | None = None
    for entry in entries:
        if last is None or last.experiment != entry.experiment:
            rows += heading(titles[entry.experiment], columns, first=last is None)
            last = None
        elif last[:3] != entry[:3]:
            rows.append(None)
        rows.append(["" if last and last.track == entry.track else escape(entry.track), *entry.cells])
        last = entry
    return rows or [[spanning(escape(empty), columns)]]


def heading(title: str, columns: int, first: bool) -> list[Sequence[str] | None]:
    """Return a row with a title, after a thin rule unless it is the first row of its table."""
    row = [spanning(rf"\textit{{{escape(title)}}}", columns)]
    return [row] if first else [None, row]


def spanning(text: str, columns: int) -> str:
    """Return a LaTeX cell that spans all columns."""
    return rf"\multicolumn{{{columns}}}{{@{{}}l@{{}}}}{{{text}}}"


def cell_text(cell: Mapping[str, Scalar]) -> str:
    r"""Format a cell of a grid as LaTeX.

    >>> cell_text({"mem_lambda": 0.05, "ablation": "write"}), cell_text({})
    ('$\\lambda$\\,=\\,0.05, no write loss', '--')
    """
    parts, words = [], sources.words()
    for axis, value in cell.items():
        text = format_value(value)
        name = words.symbols.get(axis, escape(axis.replace("_", " ")))
        parts.append(escape(words.values.get(axis, {}).get(text, "")) or f"{name}\\,=\\,{escape(text)}")
    return ", ".join(parts) or "--"
