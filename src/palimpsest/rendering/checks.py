"""Tables of the two checks that are run by hand and committed: the search of learning rates, and fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from palimpsest.analysis.flips import FLIPS, count, read_flips
from palimpsest.analysis.search import SEARCH, read_search
from palimpsest.foundation.files import write_text
from palimpsest.planning.departures import AXIS
from palimpsest.rendering import style
from palimpsest.rendering.frames import cell_from_path, records
from palimpsest.rendering.latex import bounds, escape, longtable, number
from palimpsest.rendering.table_parts import cell_text, heading, spanning

COUNTS = {1: "one learning rate", 2: "two learning rates", 3: "three learning rates"}


def write_checks(folder: Path, root: Path) -> list[Path]:
    """Write ``tables/search.tex`` and ``tables/flips.tex`` from the CSV files of the same names.

    A file that is not there is no error, because the checks cost as much as the paper itself: its table is one
    sentence that names the command which makes it.

    Args:
        folder: where ``search.csv`` and ``flips.csv`` are, ``tables`` of the project.
        root: product directory.

    Raises:
        DataError: a file is broken.
    """
    tables: dict[Path, tuple[str, Callable[[Path], str]]] = {
        SEARCH: ("make search", lambda path: search_table(read_search(path))),
        FLIPS: ("make fresh", lambda path: flips_table(read_flips(path))),
    }
    written = []
    for file, (command, render) in tables.items():
        source, target = folder / file.name, root / file.with_suffix(".tex")
        missing = rf"\noindent This was not run: \texttt{{{command}}} makes the table." + "\n"
        write_text(target, render(source) if source.is_file() else missing)
        written.append(target)
    return written


def search_table(table: pd.DataFrame) -> str:
    """Return the search as LaTeX: a row a cell, with what each rate reached on validation; what is chosen is bold.

    Args:
        table: as :func:`palimpsest.analysis.search.read_search` returns it.
    """
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in records(table):
        cells.setdefault((row["experiment"], row["track"], row["model"], row["cell"]), []).append(row)
    width = max(map(len, cells.values()), default=1)
    rows: list[Sequence[str] | None] = []
    last = ""
    for (experiment, _, model, cell), rates in cells.items():
        if experiment != last:
            rows += heading(experiment.replace("_", " "), width + 4, first=not last)
        last = experiment
        tried = [_tried(row) for row in rates]
        name = [escape(style.label(model)), cell_text(cell_from_path(cell)), escape(rates[0]["optimiser"])]
        rows.append([*name, *tried, *[""] * (width - len(tried)), number(max(int(row["steps"]) for row in rates))])
    caption = (
        f"Search of learning rates: {COUNTS.get(width, 'several learning rates')} for every model and baseline of the "
        "repaired tracks, one seed, which no other table has, with the data and the steps of the default preset. "
        "A rate, and the task's main metric with it on the validation split; the bold one is chosen. The test split "
        f"was not used. In {sum(map(_at_an_end, cells.values()))} of {len(cells)} cells the smallest or the largest "
        "rate is chosen, so that a wider search might find a better one. Grids with further hyper-parameters are "
        "searched at one point of them, and all their cells have the rate that is chosen there; the published tracks "
        "keep the rates of their sources."
    )
    header = ["model", "cell", "optimiser", rf"\multicolumn{{{width}}}{{l}}{{rate: validation}}", "steps"]
    return longtable("@{}lll" + "l" * width + "r@{}", header, rows, caption, "tab:search")


def _at_an_end(rates: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the chosen one of several rates is the smallest or the largest."""
    tried = sorted(row[AXIS] for row in rates)
    return any(row["chosen"] == "yes" and row[AXIS] in (tried[0], tried[-1]) for row in rates)


def _tried(row: Mapping[str, Any]) -> str:
    rate = f"{row[AXIS]:.6f}".rstrip("0")
    value = f"{row['validation']:.3f}" if row["status"] == "completed" else "diverged"
    text = escape(f"{rate}: {value}")
    return rf"\textbf{{{text}}}" if row["chosen"] == "yes" else text


def flips_table(table: pd.DataFrame) -> str:
    """Return both verdicts of every claim and track as LaTeX; what flips is bold.

    Args:
        table: as :func:`palimpsest.analysis.flips.read_flips` returns it.
    """
    rows: list[Sequence[str] | None] = []
    last = ""
    for row in records(table):
        name = "" if row["claim"] == last else escape(row["claim"])
        last = row["claim"]
        cells = [name, escape(row["track"])]
        for start in ("", "fresh_"):
            verdict = escape(row[f"{start}verdict"])
            cells.append(rf"\textbf{{{verdict}}}" if row["flips"] == "yes" else verdict)
            cells += [number(row[f"{start}estimate"]), bounds(row[f"{start}low"], row[f"{start}high"])]
            cells.append(number(int(row[f"{start}n"])))
        rows.append(cells)
    counts = count(table)
    caption = (
        f"Verdicts from the seeds of this paper and from a fresh block of seeds with the same data: {counts.flips} of "
        rf"{counts.verdicts} flip ({100 * counts.share:.1f}\,\%), {counts.opposite} of them from holds to fails or "
        "back. Holds, fails, undecided and untested are four verdicts, and every change from one to another is a flip."
    )
    header = [
        "claim",
        "track",
        "verdict",
        "estimate",
        "interval",
        "$n$",
        "fresh verdict",
        "estimate",
        "interval",
        "$n$",
    ]
    return longtable("@{}llllllllll@{}", header, rows or [[spanning("no claim", len(header))]], caption, "tab:flips")
